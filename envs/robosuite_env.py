"""A robosuite task as a Gymnasium environment: flat observations, exact seeding, honest endings, fast images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from envs.backend import load_robosuite
from envs.tasks import TASKS
from envs.tasks.base import Task, grip_position, grip_rotation, object_state
from episodes.types import EnvSpec

PROPRIO = tuple(
    ["eef_x", "eef_y", "eef_z"]  # m, world frame
    + [f"eef_r{row}{column}" for column in (1, 2) for row in (1, 2, 3)]  # first two columns of the rotation matrix
    + ["finger_left", "finger_right"]  # m, joint positions
)
ACTION = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
UNITS = ("0.05 m",) * 3 + ("0.5 rad",) * 3 + ("-1 opens, +1 closes",)  # what an action of 1 means
HELD_SHARE = 0.1  # the part of `progress` that holding the goal earns
MAX_IMAGE = 4096  # pixels; every OpenGL since 3.0 draws that, and a larger buffer may end the process
MODEL_SEED = 0  # robosuite draws object sizes when the model is built: one model for every environment


class RoboSuiteEnv(gym.Env[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]):
    """A Panda with robosuite's stock OSC_POSE controller on one task.

    Observation: {camera: uint8 (H, W, 3), ..., "proprio": float32 (11,)}; names and units in `spec_`. Action: float32
    (7,) in [-1, 1], end-effector delta in the robot base's frame (1 is 0.05 m or 0.5 rad) and gripper (+1 closes).
    Reward: 1 at the step at which the goal has been true for `hold_steps` steps in a row, which also terminates the
    episode; truncated at `max_steps` (default: the task's `seconds`). info: instruction, success, is_success (the same,
    for Stable-Baselines3), progress.

    `reset(seed=s)` gives the same states and images bit for bit in any process, whatever ran before. `render` is "fast"
    (large robot meshes drawn as their collision shapes) or "stock"; neither changes the physics. `images=False` leaves
    the cameras out of the observation; `look` draws them when asked. `state=True` adds a float32 box "state" for agents
    that learn without pictures: the grip's velocity (3, m/s), the share of the holding time, and 12 numbers an object
    (`object_state`). `dense=True` adds info["dense"], the task's hand-made reward of the state reached. While `blind`
    is set, `step` returns no pictures: nobody will look at them.
    ValueError: an unknown setting, or an action of the wrong shape or not finite.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        task: str | Task = "lift",
        *,
        image_size: int = 64,
        cameras: Sequence[str] = ("agentview", "wrist"),
        hz: float = 10.0,
        max_steps: int | None = None,
        hold_steps: int = 5,
        render: str = "fast",
        images: bool = True,
        state: bool = False,
        dense: bool = False,
        render_mode: str | None = None,
    ) -> None:
        if isinstance(task, str) and task not in TASKS:
            raise ValueError(f"task={task!r}: choose {', '.join(sorted(TASKS))}")
        self.task = TASKS[task] if isinstance(task, str) else task
        self._steps, self._held, self.blind = 0, 0, False
        unknown = [name for name in cameras if name not in self.task.cameras]
        if unknown:
            raise ValueError(
                f"cameras={unknown!r}: choose from those of {self.task.env_id}: {', '.join(self.task.cameras)}"
            )
        if len(set(cameras)) != len(cameras):
            raise ValueError(f"cameras={list(cameras)!r}: name each camera once")
        if render not in ("stock", "fast"):
            raise ValueError(f"render={render!r}: choose 'stock' or 'fast'")
        if not isinstance(hz, (int, float)) or not 1 <= hz <= 500 or abs(500 / hz - int((1 / hz) / 0.002)) > 1e-6:
            raise ValueError(f"hz={hz}: the 500 Hz simulation must divide into it; try 5, 10, 20, 25 or 50")
        max_steps = round(self.task.seconds * hz) if max_steps is None else max_steps
        for name, value in (("image_size", image_size), ("max_steps", max_steps), ("hold_steps", hold_steps)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name}={value!r}: must be a whole number of at least 1")
        if image_size > MAX_IMAGE:
            raise ValueError(f"image_size={image_size}: at most {MAX_IMAGE} pixels; take a smaller one")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r}: choose 'rgb_array' or None")
        self.hold_steps, self.max_steps, self.render_mode, self._render = hold_steps, max_steps, render_mode, render
        self.raw: Any = load_robosuite().make(
            self.task.robosuite_name,
            robots="Panda",
            control_freq=hz,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            use_object_obs=False,
            renderer="mujoco",
            hard_reset=False,  # a new model per episode costs 0.1-2 s and changes object sizes
            ignore_done=True,
            seed=MODEL_SEED,
            **self.task.kwargs,
        )
        if self.task.prepare is not None:
            self.task.prepare(self.raw)
        from envs.osc import control_loop  # loads mujoco and numba

        self._advance = control_loop(self.raw)
        self.raw._observables = {}  # 50 sensor updates per step that nothing here reads
        self._substeps = int(self.raw.control_timestep / self.raw.model_timestep)
        names = tuple(cameras) if images else ()
        self.view_spec = EnvSpec(  # of what `look` returns
            env_id=self.task.env_id,
            cameras=tuple(cameras),
            image_size=(image_size, image_size),
            proprio_names=PROPRIO,
            action_names=ACTION,
            action_low=(-1.0,) * 7,
            action_high=(1.0,) * 7,
            action_units=UNITS,
            rotation="rotation_vector",
            gripper_close=1.0,
            hz=float(hz),
            max_steps=max_steps,
        )
        self.spec_ = replace(self.view_spec, cameras=names)
        boxes: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(0, 255, (image_size, image_size, 3), np.uint8) for name in names
        }
        boxes["proprio"] = spaces.Box(-np.inf, np.inf, (len(PROPRIO),), np.float32)
        self._state, self._dense = state, dense
        if state:
            boxes["state"] = spaces.Box(-np.inf, np.inf, (len(self.state()),), np.float32)
        self.observation_space = spaces.Dict(boxes)
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)
        self._image_size = image_size
        self._renderer: Any = None  # made at the first picture, where a vector environment's worker can report errors
        self._viewer: Any = None

    @property
    def instruction(self) -> str:
        """What the robot is told."""
        return self.task.instruction

    def is_success(self) -> bool:
        """True once the goal has been true for `hold_steps` steps in a row."""
        return self._held >= self.hold_steps

    def progress(self) -> float:
        """Staged task progress in [0, 1]: 0.9 task.progress + 0.1 (share of the holding time), 1 exactly at success."""
        held = min(self._held, self.hold_steps) / self.hold_steps
        return (1 - HELD_SHARE) * self.task.progress(self.raw) + HELD_SHARE * held if held < 1 else 1.0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode_seed = int(self.np_random.integers(2**31)) if seed is None else int(seed)
        self.raw.rng.bit_generator.state = np.random.default_rng(self.episode_seed).bit_generator.state
        self.raw.reset()
        self._steps, self._held = 0, 0
        return self._observation(), self._info()

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        try:
            action = np.asarray(action, np.float64)
        except (TypeError, ValueError):
            raise ValueError(f"action: {action!r:.60} is no array; give 7 numbers in [-1, 1]") from None
        if action.shape != (7,):
            raise ValueError(f"action: shape {action.shape}, expected (7,): {', '.join(ACTION)}")
        if not np.isfinite(action).all():
            raise ValueError(f"action: {action.tolist()} is not finite; all 7 numbers must be in [-1, 1]")
        self._advance(np.clip(action, -1.0, 1.0), self._substeps)
        self._steps += 1
        self._held = self._held + 1 if self.task.success(self.raw) else 0
        terminated = self.is_success()
        truncated = not terminated and self._steps >= self.max_steps
        return self._observation(), float(terminated), terminated, truncated, self._info()

    def state(self) -> npt.NDArray[np.float32]:
        """What pictures would show, as numbers: the "state" box."""
        velocity = self.raw.sim.data.get_site_xvelp(self.raw.robots[0].gripper["right"].important_sites["grip_site"])
        held = min(self._held, self.hold_steps) / self.hold_steps
        parts = [velocity, [held], *(object_state(self.raw, item) for item in self.task.objects(self.raw))]
        return np.concatenate(parts).astype(np.float32)

    def look(self) -> dict[str, npt.NDArray[Any]]:
        """The cameras and `proprio` of this moment, as `view_spec` says, whatever the observation holds."""
        return {**self.draw(self.raw.sim.data._data), "proprio": self._proprio()}

    def draw(self, data: Any) -> dict[str, npt.NDArray[np.uint8]]:
        """The cameras of `view_spec` as they see `data`, an MjData of this environment's model; nothing is stepped."""
        if self._renderer is None:
            self._renderer = self._make_renderer(self.view_spec.cameras, self._image_size)
        images: dict[str, npt.NDArray[np.uint8]] = self._renderer(data)
        return images

    def foreground(self) -> dict[str, npt.NDArray[np.bool_]]:
        """The pixels (H, W) of every camera that show the robot or an object, from the simulator's segmentation."""
        if self._renderer is None:
            self._renderer = self._make_renderer(self.view_spec.cameras, self._image_size)
        masks: dict[str, npt.NDArray[np.bool_]] = self._renderer.moving(self.raw.sim.data._data)
        return masks

    def _observation(self) -> dict[str, npt.NDArray[Any]]:
        seen = self.look() if self.spec_.cameras and not self.blind else {"proprio": self._proprio()}
        return seen | {"state": self.state()} if self._state else seen

    def _proprio(self) -> npt.NDArray[np.float32]:
        robot = self.raw.robots[0]
        fingers = self.raw.sim.data._data.qpos[robot._ref_gripper_joint_pos_indexes["right"]]
        rotation = grip_rotation(self.raw)[:, :2].T.ravel()
        return np.concatenate([grip_position(self.raw), rotation, fingers]).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        success = self.is_success()
        facts = {
            "instruction": self.instruction,
            "success": success,
            "is_success": success,
            "progress": self.progress(),
        }
        return facts | {"dense": self.task.dense(self.raw)} if self._dense else facts

    def _make_renderer(self, names: Sequence[str], size: int) -> Any:
        from envs.rendering import Renderer  # loads mujoco's GL bindings

        cameras = {name: self.task.cameras[name] for name in names}
        return Renderer(self.raw.sim.model._model, cameras, (size, size), self._render)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The first camera of the task at 256 x 256 pixels, for people (render_mode="rgb_array")."""
        if self.render_mode is None:
            return None
        name = next(iter(self.task.cameras))
        if self._viewer is None:
            self._viewer = self._make_renderer([name], 256)
        return self._viewer(self.raw.sim.data._data)[name]

    def close(self) -> None:
        """Free the GL contexts; calling it again does nothing."""
        for renderer in (self._renderer, self._viewer):
            if renderer is not None:
                renderer.close()
        self._renderer = self._viewer = None

"""A SIMPLER task as this project's Gymnasium environment: flat observations, exact seeding, SIMPLER's endings."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from scipy.spatial.transform import Rotation

from envs.simpler.catalogue import SIMPLER_TASKS, SimplerTask
from envs.simpler.layout import Placement, Setup
from envs.simpler.protocol import SimplerTrial, move_near_setup
from episodes.types import EnvSpec

ROTATION = tuple(f"eef_r{row}{column}" for column in (1, 2) for row in (1, 2, 3))  # columns of the rotation matrix
PROPRIO = ("eef_x", "eef_y", "eef_z", *ROTATION, "finger_right", "finger_left")  # m, robot base frame; fingers rad or m
ACTION = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
# What covers 99 % of the actions in the data sets that policies for these robots learn from; more is executed as well.
RANGE = {"google": (0.25, 0.75), "widowx": (0.1, 0.5)}  # m, rad
GRIPPER = {  # (robot, command) -> in words, and what closes; a robot's own command comes first
    ("google", "change"): ("-1 opens by 1.31 rad, +1 closes by 1.31 rad, 0 keeps", 1.0),
    ("google", "position"): ("-1 is open, +1 is closed", 1.0),
    ("widowx", "position"): ("-1 is closed, +1 is open", -1.0),
}
NATIVE = {"google": (512, 640), "widowx": (480, 640)}  # pixels, (H, W) of SIMPLER's cameras
CAMERA = {"google": "overhead_camera", "widowx": "3rd_view_camera"}
MAX_IMAGE = 4096  # pixels
REWARDS = ("sparse", "dense")


def proprioception(p: npt.ArrayLike, q: npt.ArrayLike, fingers: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """PROPRIO from the hand's position (m), quaternion wxyz in the base frame, and the fingers, the right one first."""
    rotation = Rotation.from_quat(np.roll(np.asarray(q), -1)).as_matrix()[:, :2].T.ravel()
    return np.concatenate([np.asarray(p), rotation, np.asarray(fingers)]).astype(np.float32)


def own_gripper(robot: str) -> str:
    """The command that SIMPLER gives the robot's gripper: change or position."""
    return next(command for known, command in GRIPPER if known == robot)


def simpler_spec(
    task: SimplerTask, size: tuple[int, int], max_steps: int, images: bool = True, gripper: str = ""
) -> EnvSpec:
    """What a policy for the task must agree on; `size` (H, W) pixels. Loads no simulator."""
    distance, angle = RANGE[task.robot]
    limit = (distance,) * 3 + (angle,) * 3 + (1.0,)
    gripper = gripper or own_gripper(task.robot)
    words, close = GRIPPER[task.robot, gripper]
    return EnvSpec(
        env_id=task.env_id,
        cameras=(CAMERA[task.robot],) if images else (),
        image_size=size,
        proprio_names=PROPRIO,
        action_names=ACTION,
        action_low=tuple(-x for x in limit),
        action_high=limit,
        action_units=("m",) * 3 + ("rad",) * 3 + (words,),
        rotation="rotation_vector",
        gripper_close=close,
        hz=task.hz,
        max_steps=max_steps,
        gripper=gripper,
    )


class GripperChanges:
    """An episode's gripper positions (above 0: closed) as the Google robot's changes, each commanded once."""

    def __init__(self) -> None:
        self._closed = False  # SIMPLER's episodes begin open

    def of(self, actions: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Actions (K, 7) with positions to actions (K, 7) with changes: +1 closes, -1 opens, 0 keeps."""
        closed = np.append(self._closed, actions[:, 6] > 0)
        self._closed = bool(closed[-1])
        return np.column_stack([actions[:, :6], np.diff(closed.astype(np.float32))]).astype(np.float32)


class SimplerEnv(gym.Env[dict[str, npt.NDArray[Any]], npt.NDArray[np.float32]]):
    """One SIMPLER task on ManiSkill 3, one environment, CPU physics.

    Observation: {camera: uint8 (H, W, 3), "proprio": float32 (11,)}. The camera is SIMPLER's; its whole view is drawn
    at `image_size` (an int: square), with the photograph of Visual Matching behind robot and objects where the
    placement has one. Action: float32 (7,) in metres, radians (rotation vector, base axes) and gripper; what lies
    outside the action space is executed too, as in SIMPLER. `gripper`: the robot's own command, which is a change for
    the Google robot and a position for WidowX, or "position" for both (Google robot: above 0 is closed). A policy
    learns a position more easily than the one step of a change; SIMPLER's evaluation of published policies converts
    likewise. Reward: "sparse" is 1 at every step at which the task is solved, "dense" the staged progress.
    Truncated at `max_steps` (default SIMPLER's); terminated only with
    `stop_at_success`. info: instruction, success (at this step: SIMPLER counts the last step's), success_any,
    is_success, progress. While `blind` is set, `step` returns no pictures: nobody will look at them.

    `reset(seed=s)` draws a placement from the seed; `reset(options={"trial": t})` begins a protocol trial (see
    envs.simpler.protocol), `options={"setup": Setup, "placement": Placement}` any other. A new setup rebuilds the
    scene. ValueError: an unknown setting, missing assets, or an action of the wrong shape or not finite. ImportError:
    ManiSkill is not installed, or SAPIEN cannot draw.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self,
        task: str | SimplerTask = "pick_coke_can",
        *,
        image_size: int | tuple[int, int] = (256, 320),
        reward: str = "sparse",
        stop_at_success: bool = False,
        max_steps: int | None = None,
        images: bool = True,
        gripper: str = "",
        render_mode: str | None = None,
    ) -> None:
        if isinstance(task, str) and task not in SIMPLER_TASKS:
            raise ValueError(f"task={task!r}: choose {', '.join(sorted(SIMPLER_TASKS))}")
        self.task = SIMPLER_TASKS[task] if isinstance(task, str) else task
        size = (image_size, image_size) if isinstance(image_size, (int, np.integer)) else tuple(image_size)
        if len(size) != 2 or not all(isinstance(n, (int, np.integer)) and 8 <= n <= MAX_IMAGE for n in size):
            raise ValueError(f"image_size={image_size!r}: give pixels or (height, width), each 8 to {MAX_IMAGE}")
        if reward not in REWARDS:
            raise ValueError(f"reward={reward!r}: choose {' or '.join(REWARDS)}")
        max_steps = self.task.max_steps if max_steps is None else max_steps
        if not isinstance(max_steps, (int, np.integer)) or max_steps < 1:
            raise ValueError(f"max_steps={max_steps!r}: must be a whole number of at least 1")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r}: choose 'rgb_array' or None")
        self.gripper = gripper or own_gripper(self.task.robot)
        if (self.task.robot, self.gripper) not in GRIPPER:
            known = " or ".join(command for robot, command in GRIPPER if robot == self.task.robot)
            raise ValueError(f"gripper={gripper!r}: {self.task.name} takes {known}")
        self._changes: GripperChanges | None = None
        self.reward, self.stop_at_success, self.render_mode = reward, stop_at_success, render_mode
        self.max_steps, self.image_size, self._drawn = int(max_steps), (int(size[0]), int(size[1])), images
        self.spec_ = simpler_spec(self.task, self.image_size, self.max_steps, images, self.gripper)
        limit = self.spec_.action_high
        boxes: dict[str, spaces.Space[Any]] = {
            name: spaces.Box(0, 255, (*self.image_size, 3), np.uint8) for name in self.spec_.cameras
        }
        boxes["proprio"] = spaces.Box(-np.inf, np.inf, (len(PROPRIO),), np.float32)
        self.observation_space = spaces.Dict(boxes)
        self.action_space = spaces.Box(-np.array(limit, np.float32), np.array(limit, np.float32), dtype=np.float32)
        self._cls = self.task.load()
        self.raw: Any = None
        self._steps, self.blind = 0, False

    def _build(self, setup: Setup) -> None:
        from envs.simpler.backend import render_backend
        from envs.simpler.scene import intrinsics

        H, W = self.image_size
        matrix = intrinsics(self.task.robot, NATIVE[self.task.robot], (H, W))
        cameras = {CAMERA[self.task.robot]: {"height": H, "width": W, "intrinsic": matrix}}
        self.raw = self._cls(
            setup=setup,
            obs_mode="rgb+segmentation" if self._drawn else "none",
            reward_mode=self.reward,
            sim_backend="physx_cpu",
            render_backend=render_backend() if self._drawn else "none",
            sensor_configs=cameras if self._drawn else {},
        )

    @property
    def instruction(self) -> str:
        """What the robot is told; some tasks have several sentences in turn."""
        assert self.raw is not None, "reset the environment first"
        return str(self.raw.instruction()[0])

    def is_success(self) -> bool:
        """Is the task solved at this step?"""
        return bool(self._last["success"][0])

    def progress(self) -> float:
        """Staged progress in [0, 1], 1 exactly where the task is solved."""
        return float(self._last["progress"][0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
        super().reset(seed=seed)
        self.episode_seed = int(self.np_random.integers(2**31)) if seed is None else int(seed)
        setup, placement = self._wanted(dict(options or {}))
        if self.raw is None:
            self._build(setup)
        self.raw.blind = self.blind
        given: dict[str, Any] = {"setup": setup}
        if placement is not None:
            given["placements"] = [placement]
        observation, _ = self.raw.reset(seed=self.episode_seed % 2**31, options=given)
        self._steps = 0
        self._changes = None if self.gripper == own_gripper(self.task.robot) else GripperChanges()
        self._last = self.raw.get_info()
        return self._observation(observation), self._info()

    def _wanted(self, options: dict[str, Any]) -> tuple[Setup, Placement | None]:
        unknown = sorted(set(options) - {"trial", "setup", "placement"})
        if unknown:
            raise ValueError(f"reset: unknown options {unknown}; give trial, or setup and placement")
        trial = options.get("trial")
        if trial is not None:
            if not isinstance(trial, SimplerTrial) or trial.task != self.task.name:
                raise ValueError(f"reset: trial {getattr(trial, 'key', trial)!r} is not one of {self.task.name}")
            return trial.setup, trial.placement
        setup = options.get("setup", self._cls.default_setup)
        if "setup" not in options and self.task.name == "move_near":  # any of the protocol's triplets
            setup = move_near_setup(setup, int(np.random.default_rng(self.episode_seed).integers(60)))
        return setup, options.get("placement")

    def step(
        self, action: npt.NDArray[np.float32]
    ) -> tuple[dict[str, npt.NDArray[Any]], float, bool, bool, dict[str, Any]]:
        try:
            action = np.asarray(action, np.float32)
        except (TypeError, ValueError):
            raise ValueError(f"action: {action!r:.60} is no array; give 7 numbers") from None
        if action.shape != (7,):
            raise ValueError(f"action: shape {action.shape}, expected (7,): {', '.join(ACTION)}")
        if not np.isfinite(action).all():
            raise ValueError(f"action: {action.tolist()} is not finite; give metres, radians and the gripper")
        self.raw.blind = self.blind
        own = action[None] if self._changes is None else self._changes.of(action[None])
        observation, reward, _, _, self._last = self.raw.step(own)
        self._steps += 1
        terminated = self.stop_at_success and self.is_success()
        truncated = not terminated and self._steps >= self.max_steps
        return self._observation(observation), float(reward[0]), terminated, truncated, self._info()

    def advance(self) -> None:
        """place_apple: go on to the second instruction, as a policy that says it is done with the first does."""
        if not hasattr(self.raw, "advance"):
            raise ValueError(f"{self.task.name} has one instruction; only place_apple can advance")
        self.raw.advance()

    def _observation(self, observation: Any) -> dict[str, npt.NDArray[Any]]:
        images = {}
        for name in () if self.blind else self.spec_.cameras:
            images[name] = observation["sensor_data"][name]["rgb"][0].cpu().numpy()
        base, tip = self.raw.agent.robot.pose.sp, self.raw.agent.tip.pose.sp
        pose = base.inv() * tip
        names = [joint.name for joint in self.raw.agent.robot.active_joints]
        fingers = [names.index(n) for n in names if "finger" in n]
        fingers.sort(key=lambda i: "left" in names[i])
        angles = self.raw.agent.robot.get_qpos()[0].cpu().numpy()[fingers]
        return {**images, "proprio": proprioception(pose.p, pose.q, angles)}

    def _info(self) -> dict[str, Any]:
        success = self.is_success()
        return {
            "instruction": self.instruction,
            "success": success,
            "is_success": success,
            "success_any": bool(self._last["success_any"][0]),
            "progress": self.progress(),
        }

    def render(self) -> npt.NDArray[np.uint8] | None:
        """What the camera sees (render_mode="rgb_array")."""
        if self.render_mode is None or not self._drawn or self.raw is None:
            return None
        data = self.raw._get_obs_sensor_data()
        return np.asarray(data[CAMERA[self.task.robot]]["rgb"][0].cpu().numpy(), np.uint8)

    def close(self) -> None:
        """Free the scene; calling it again does nothing."""
        if self.raw is not None:
            self.raw.close()
        self.raw = None

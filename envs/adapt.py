"""`adapt`: a Gymnasium environment of one's own as the loop wants it; what nothing says is not guessed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from episodes.types import EnvSpec

RENDER = "render"  # the camera that env.render() is
OUTCOMES = ("is_success", "success")  # of info, in the order they are looked for


@dataclass(frozen=True)
class OwnTask:
    """A task whose environment the user makes: `make(image_size=, max_steps=)` returns an `adapt`ed one."""

    name: str
    env_id: str  # module:function
    make: Callable[..., Any]


def adapt(
    env: gym.Env[Any, Any],
    instruction: str,
    *,
    cameras: Sequence[str] = (),
    proprio: Sequence[str] = (),
    success: str = "",
    progress: Callable[[Any, dict[str, Any]], float] | None = None,
    hz: float = 0.0,
    max_steps: int = 0,
    end_at_success: bool = True,
) -> Adapted:
    """Wrap an environment so that demonstrations, values and policies of this package can be recorded and run on it.

    cameras: keys of the observation with uint8 (H, W, 3) boxes, "render" for env.render(); by default all such keys, or
    "render" where there is none and render_mode is rgb_array. proprio: keys of 1-D float boxes (default: all; a
    1-D observation that is no dict is "observation"). success: the key of `info` (default: is_success, success).
    progress: (observation, info) -> 0 to 1; without, it is unknown. hz: default 1 / env.unwrapped.dt or the metadata's
    render_fps. max_steps: default that of the environment's registration. `end_at_success`: the first success ends the
    episode, as it does in every task here.

    What no environment says (units and frame of actions, which gripper sign closes) stays empty or at robosuite's, and
    one UserWarning lists it. ValueError: what is needed and cannot be inferred, all of it at once.
    """
    return Adapted(env, instruction, cameras, proprio, success, progress, hz, max_steps, end_at_success)


class Adapted(gym.Env[dict[str, npt.NDArray[Any]], npt.NDArray[np.floating[Any]]]):
    """What `adapt` returns; `spec_` is the EnvSpec it inferred, `env` the environment inside."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        instruction: str,
        cameras: Sequence[str],
        proprio: Sequence[str],
        success: str,
        progress: Callable[[Any, dict[str, Any]], float] | None,
        hz: float,
        max_steps: int,
        end_at_success: bool,
    ) -> None:
        self.env, self.instruction, self.blind = env, instruction, False
        self._success, self._progress, self._end = success, progress, end_at_success
        boxes = _boxes(env.observation_space)
        self._cameras = tuple(cameras) or _cameras(env, boxes)
        self._proprio = tuple(proprio) or tuple(
            name for name, box in boxes.items() if len(box.shape) == 1 and np.issubdtype(box.dtype, np.floating)
        )
        self._max_steps, self._steps = max_steps or getattr(env.spec, "max_episode_steps", None) or 0, 0
        hz = hz or _rate(env)
        lacks = list(_lacking(env, boxes, instruction, self._cameras, self._proprio, hz, self._max_steps))
        sizes = {} if lacks else {name: self._picture_of(name, boxes) for name in self._cameras}
        if len(set(sizes.values())) > 1:
            lacks.append(f"cameras of one size (they have {sizes}; wrap it in gymnasium.wrappers.ResizeObservation)")
        if lacks:
            raise ValueError(f"adapt {_name(env)}: give {'; '.join(lacks)}")
        space: Any = env.action_space
        n = space.shape[0]
        self.spec_ = EnvSpec(
            env_id=_name(env),
            cameras=self._cameras,
            image_size=next(iter(sizes.values())),
            proprio_names=tuple(f"{key}_{i}" for key in self._proprio for i in range(boxes[key].shape[0])),
            action_names=tuple(f"action_{i}" for i in range(n)),
            action_low=tuple(map(float, space.low)),
            action_high=tuple(map(float, space.high)),
            action_units=("",) * n,
            rotation="rotation_vector",
            gripper_close=1.0,
            hz=float(hz),
            max_steps=int(self._max_steps),
        )
        views = {name: spaces.Box(0, 255, (*self.spec_.image_size, 3), np.uint8) for name in self._cameras}
        state = {"proprio": spaces.Box(-np.inf, np.inf, (self.spec_.proprio_dim,), np.float32)}
        self.observation_space = spaces.Dict(views | state)
        self.action_space = env.action_space
        unsaid = ["the units, frame and rotation form of its actions, and the gripper action that closes"]
        unsaid += [] if progress else ["its progress (progress=)"]
        warnings.warn(f"adapt {_name(env)}: not known: {'; '.join(unsaid)}", stacklevel=3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps = 0
        return self._seen(observation), self._told(observation, info, at_reset=True)

    def step(self, action: npt.NDArray[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; the action is cut to the bounds of the action space, as every controller would."""
        space: Any = self.action_space
        bounded = np.clip(action, space.low, space.high).astype(space.dtype)
        observation, reward, terminated, truncated, info = self.env.step(bounded)
        self._steps += 1
        told = self._told(observation, info, at_reset=False)
        terminated = bool(terminated) or (self._end and told["success"])
        truncated = not terminated and (bool(truncated) or self._steps >= self._max_steps)
        return self._seen(observation), float(reward), terminated, truncated, told

    def close(self) -> None:
        self.env.close()

    def _seen(self, observation: Any) -> dict[str, npt.NDArray[Any]]:
        parts = observation if isinstance(observation, dict) else {"observation": observation}
        joints = [np.asarray(parts[key], np.float32) for key in self._proprio]
        seen = {"proprio": np.concatenate(joints)} if joints else {"proprio": np.zeros(0, np.float32)}
        return ({} if self.blind else {name: self._picture(name, parts) for name in self._cameras}) | seen

    def _picture(self, name: str, parts: dict[str, Any]) -> npt.NDArray[np.uint8]:
        drawn: Any = parts[name] if name != RENDER else self.env.render()
        picture = np.ascontiguousarray(drawn)
        size = getattr(self, "spec_", None) and self.spec_.image_size
        if (
            picture.dtype != np.uint8
            or picture.ndim != 3
            or picture.shape[2] != 3
            or picture.shape[:2] != (size or picture.shape[:2])
        ):
            raise ValueError(
                f"{name}: the environment gave {picture.dtype} {picture.shape}, expected uint8 ({size}, 3)"
            )
        return picture

    def _picture_of(self, name: str, boxes: dict[str, spaces.Box]) -> tuple[int, int]:
        """(H, W) of a camera; that of render() is known once it has drawn."""
        if name != RENDER:
            return int(boxes[name].shape[0]), int(boxes[name].shape[1])
        self.env.reset(seed=0)
        height, width = self._picture(name, {}).shape[:2]
        return int(height), int(width)

    def _told(self, observation: Any, info: dict[str, Any], at_reset: bool) -> dict[str, Any]:
        key = self._success or next((name for name in OUTCOMES if name in info), "")
        if key not in info and not at_reset:
            known = ", ".join(sorted(info)) or "nothing"
            raise ValueError(
                f"{self.spec_.env_id}: its info has no {key or ' or '.join(OUTCOMES)} but {known}; set success="
            )
        reached = float("nan") if self._progress is None else float(self._progress(observation, info))
        return {**info, "instruction": self.instruction, "success": bool(info.get(key, False)), "progress": reached}


def _name(env: Any) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _boxes(space: spaces.Space[Any]) -> dict[str, spaces.Box]:
    """The boxes of an observation space by key; one that is no dict is "observation"."""
    parts: Any = space.spaces if isinstance(space, spaces.Dict) else {"observation": space}
    return {name: box for name, box in parts.items() if isinstance(box, spaces.Box)}


def _cameras(env: Any, boxes: dict[str, spaces.Box]) -> tuple[str, ...]:
    drawn = tuple(name for name, box in boxes.items() if _is_picture(box))
    return drawn or ((RENDER,) if env.render_mode == "rgb_array" else ())


def _is_picture(box: spaces.Box) -> bool:
    return box.dtype == np.uint8 and len(box.shape) == 3 and box.shape[2] == 3


def _rate(env: Any) -> float:
    dt = getattr(env.unwrapped, "dt", 0)
    return 1 / dt if dt else float(env.metadata.get("render_fps") or 0)


def _lacking(
    env: Any, boxes: dict[str, spaces.Box], instruction: str, cameras: Sequence[str], proprio: Sequence[str], hz: float,
    max_steps: int,
) -> list[str]:  # fmt: skip
    """What the loop needs and nothing says, as what to give."""
    lacks = [] if instruction.strip() else ["instruction='what to do'"]
    if not cameras:
        lacks.append(
            "cameras=[...] (no uint8 (H, W, 3) box in the observation; or make it with render_mode='rgb_array')"
        )
    for name in cameras:
        if name == RENDER and env.render_mode != "rgb_array":
            lacks.append("render_mode='rgb_array' when it is made, for cameras=['render']")
        elif name != RENDER and (name not in boxes or not _is_picture(boxes[name])):
            lacks.append(f"other cameras ({name!r} is no uint8 (H, W, 3) box; there are {', '.join(boxes) or 'none'})")
    for name in proprio:
        if name not in boxes or len(boxes[name].shape) != 1:
            lacks.append(f"other proprio ({name!r} is no 1-D box; there are {', '.join(boxes) or 'none'})")
    space = env.action_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        lacks.append(f"a 1-D Box of actions (it has {space}; wrap it)")
    elif not np.isfinite([space.low, space.high]).all():
        lacks.append("bounds of its actions (gymnasium.wrappers.RescaleAction)")
    if not hz:
        lacks.append("hz=RATE")
    if not max_steps:
        lacks.append("max_steps=N")
    return lacks

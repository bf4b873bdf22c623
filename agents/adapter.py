"""What a foreign policy calls things and how its actions are meant: data (agents/adapters/*.yaml), checked when loaded.

The poses of an action are metres and a rotation about the axes of the robot's base, in both conventions; rotation
vectors and Euler angles are converted. Grippers: see `Gripper`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from episodes.images import resized
from episodes.settings import from_json, require, require_one_of
from episodes.types import MAX_PIXELS, EnvSpec, Observation

FOLDER = Path(__file__).with_name("adapters")
ROTATIONS = ("rotation_vector", "euler_xyz")
GRIPPERS = ("open_share", "closed_share", "as_is")
STATES = ("none", "position_quaternion_closed", "position_euler_open")
FINGERS = {"google": (0.0, 1.3), "widowx": (0.037, 0.015)}  # open and closed: rad, m
Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Adapter:
    """Settings of one kind of foreign policy."""

    name: str
    robot: str  # "google" or "widowx": whose actions it gives
    draw_size: tuple[int, int]  # pixels (H, W), as the simulator draws: the camera's own
    image_size: tuple[int, int]  # pixels (H, W), as the policy wants it
    image_key: str
    prompt_key: str = "prompt"
    state_key: str = ""  # "": no state is sent
    state: str = "none"  # what it holds, see STATES; poses in the base's frame, m and quaternion xyzw or Euler rad
    actions_key: str = "actions"  # in the answer
    rotation: str = "euler_xyz"  # of an action: roll, pitch, yaw about fixed axes (R = Rz Ry Rx), or rotation_vector
    gripper: str = "open_share"  # 1 is open, 0 closed; closed_share the other way round; as_is: the environment's own
    threshold: float = 0.5  # WidowX: share above which the gripper is told to open; Google: change that counts
    sticky: int = 1  # steps for which a gripper command of the Google robot is repeated
    execute: int = 1  # steps of an answer that are executed before the policy is asked again

    def __post_init__(self) -> None:
        require_one_of(self, robot=tuple(FINGERS), rotation=ROTATIONS, gripper=GRIPPERS, state=STATES)
        require(self, threshold=(0, 1), sticky=(1, 1000), execute=(1, 1000))
        for name in ("draw_size", "image_size"):
            size = getattr(self, name)
            if not all(8 <= n <= MAX_PIXELS for n in size):
                raise ValueError(f"Adapter: {name}={size}; give (height, width), each 8 to {MAX_PIXELS} pixels")
        for name in ("image_key", "prompt_key", "actions_key"):
            if not getattr(self, name):
                raise ValueError(f"Adapter: {name} is empty; name the key that the policy uses")
        if bool(self.state_key) != (self.state != "none"):
            raise ValueError(f"Adapter: state={self.state!r} with state_key={self.state_key!r}; give both or neither")

    def check(self, spec: EnvSpec) -> None:
        """ValueError: the environment's robot is another one, or it draws no picture."""
        close = {"google": 1.0, "widowx": -1.0}[self.robot]
        if spec.gripper_close != close or spec.rotation != "rotation_vector" or spec.action_dim != 7:
            raise ValueError(f"adapter {self.name}: made for the {self.robot} robot, {spec.env_id} has another")
        if len(spec.cameras) != 1:
            raise ValueError(f"adapter {self.name}: {spec.env_id} draws {len(spec.cameras)} cameras, expected 1")

    def request(self, observation: Observation, spec: EnvSpec) -> dict[str, Any]:
        """The observation under the policy's own keys."""
        picture = resized(observation.images[spec.cameras[0]], self.image_size)
        sent: dict[str, Any] = {self.image_key: picture, self.prompt_key: observation.instruction}
        if self.state_key:
            sent[self.state_key] = self.state_of(observation.proprio)
        return sent

    def state_of(self, proprio: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The policy's state vector from the environment's proprioception (x y z, two columns of R, two fingers)."""
        first, second = proprio[3:6].astype(float), proprio[6:9].astype(float)
        turn = Rotation.from_matrix(np.stack([first, second, np.cross(first, second)], axis=1))
        low, high = FINGERS[self.robot]
        closed = float(np.clip((proprio[9:11].mean() - low) / (high - low), 0.0, 1.0))
        if self.state == "position_quaternion_closed":
            return np.array([*proprio[:3], *turn.as_quat(), closed], np.float32)
        return np.array([*proprio[:3], *turn.as_euler("xyz"), 1.0 - closed], np.float32)

    def pose(self, actions: Array) -> Array:
        """Position and rotation vector (K, 6) of the policy's actions (K, 7)."""
        if self.rotation == "rotation_vector":
            return actions[:, :6].copy()
        return np.concatenate([actions[:, :3], Rotation.from_euler("xyz", actions[:, 3:6]).as_rotvec()], axis=1)

    def own_pose(self, actions: Array) -> Array:
        """The inverse of `pose`: the environment's actions (K, 7) in the policy's convention (K, 6)."""
        if self.rotation == "rotation_vector":
            return actions[:, :6].copy()
        return np.concatenate([actions[:, :3], Rotation.from_rotvec(actions[:, 3:6]).as_euler("xyz")], axis=1)


class Gripper:
    """One episode's actions in the environment's convention; it remembers what the gripper was told.

    WidowX: +1 (open) above the threshold, else -1. Google robot, whose command is a change: where the policy's opening
    differs by more than the threshold from that of the last command (1 at the start: the hand is open), the change is
    commanded and repeated for `sticky` steps, else 0 (keep). Source: the Octo and OpenVLA policies of SimplerEnv
    (sticky 15 and 1). Differs from Octo's: the reference is the last command, as in CogACT's, not the last step, so
    that slow changes count too.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.reset()

    def reset(self) -> None:
        """Begin an episode with the gripper open."""
        self._opening, self._command, self._left = 1.0, 0.0, 0

    def actions(self, actions: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """(K, 7) for the environment from the policy's (K, 7)."""
        raw = np.asarray(actions, np.float64)
        last = [self._next(float(share)) for share in raw[:, 6]]
        return np.concatenate([self.adapter.pose(raw), np.array(last)[:, None]], axis=1).astype(np.float32)

    def _next(self, value: float) -> float:
        a = self.adapter
        if a.gripper == "as_is":
            return value
        opening = value if a.gripper == "open_share" else 1.0 - value
        if a.robot == "widowx":
            return 1.0 if opening > a.threshold else -1.0
        if self._left == 0 and abs(self._opening - opening) > a.threshold:
            self._command, self._left = self._opening - opening, a.sticky  # opening less: +, closes
            self._opening = opening
        if self._left == 0:
            return 0.0
        self._left -= 1
        return float(np.clip(self._command, -1.0, 1.0))


def load_adapter(name: str) -> Adapter:
    """The adapter of this name in agents/adapters, or of a YAML file; ValueError naming what is wrong in it."""
    import yaml

    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    known = sorted(p.stem for p in FOLDER.glob("*.yaml"))
    try:
        raw = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"adapter={name}: choose {', '.join(known)}, or a .yaml file ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a YAML file ({str(error).splitlines()[0]})") from error
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: expected settings, found {type(raw).__name__}")
    try:
        return from_json(Adapter, {"name": path.stem} | raw)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error

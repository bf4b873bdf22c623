"""What every SIMPLER task shares in ManiSkill 3: settings, photograph overlay, settling, endings, placements."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from mani_skill.envs.sapien_env import BaseEnv
from mani_skill.utils.structs.actor import Actor
from mani_skill.utils.structs.types import SceneConfig, SimConfig
from PIL import Image
from scipy.spatial.transform import Rotation

from envs.simpler.assets import asset_folder
from envs.simpler.layout import Placement, Setup

Array = npt.NDArray[np.float64]

SETTLE = 0.5  # s, each of the two stages
SETTLE_MORE = 1.5  # s, if something still moves after them
STILL = (1e-3, 1e-2)  # m/s and rad/s: summed over the objects, above that something still moves


FOCAL = {"google": (425.0, 425.0, 320.0, 256.0), "widowx": (623.588, 623.588, 319.501, 239.545)}  # fx fy cx cy, pixels


def intrinsics(robot: str, native: tuple[int, int], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """SIMPLER's camera matrix for images of `size` (H, W) that show the same view."""
    fx, fy, cx, cy = FOCAL[robot]
    down, across = size[0] / native[0], size[1] / native[1]
    return np.array([[fx * across, 0.0, cx * across], [0.0, fy * down, cy * down], [0.0, 0.0, 1.0]])


def photograph(path: Path, height: int, width: int) -> npt.NDArray[np.uint8]:
    """The photograph (H, W, 3) at the camera's size, resized as OpenCV's default does (bilinear, no filter)."""
    try:
        import cv2
    except ImportError:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    photo: Any = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)  # type: ignore[arg-type]
    return np.asarray(cv2.resize(photo, (width, height)), np.uint8)


class SimplerScene(BaseEnv):
    """The part of SIMPLER that its two robots share.

    `reset(options={"setup": Setup, "placements": [Placement] * num_envs})`; without placements they are drawn from the
    episode's seed by `sample_placement`. A new setup rebuilds the scene. `evaluate` gives success at this step and, as
    `success_any`, at any step since the reset; nothing terminates by itself, SIMPLER counts the last step's flag.
    """

    SUPPORTED_REWARD_MODES: ClassVar[tuple[str, ...]] = ("sparse", "dense", "normalized_dense", "none")
    SUPPORTED_OBS_MODES: ClassVar[tuple[str, ...]] = ("rgb+segmentation", "none", "state_dict")
    camera: ClassVar[str]
    sim_hz: ClassVar[int]
    control_hz: ClassVar[int]
    contact_offset: ClassVar[float] = 0.02
    overlay_folder: ClassVar[str]
    default_setup: ClassVar[Setup]
    agent: Any

    def __init__(self, *, setup: Setup | None = None, **kwargs: Any) -> None:
        self.setup = self.default_setup if setup is None else setup
        self._photographs: dict[str, torch.Tensor] = {}
        self._overlays: list[str] = []
        self.blind = False  # nobody will look at the next observation
        super().__init__(**kwargs)

    @property
    def _default_sim_config(self) -> SimConfig:
        from mani_skill.utils.structs.types import DefaultMaterialsConfig

        return SimConfig(
            sim_freq=self.sim_hz,
            control_freq=self.control_hz,
            scene_config=SceneConfig(
                contact_offset=self.contact_offset,
                solver_position_iterations=25,
                solver_velocity_iterations=1,
                enable_pcm=False,
                enable_tgs=True,
                enable_enhanced_determinism=True,  # an episode must not depend on those before it
            ),
            default_materials_config=DefaultMaterialsConfig(1.0, 1.0, 0.0),
        )

    def reset(self, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Begin episodes, in the scene of options["setup"]."""
        options = dict(options or {})
        setup = options.pop("setup", self.setup)
        if setup != self.setup:
            self.setup = setup
            options["reconfigure"] = True
        return super().reset(seed=seed, options=options)

    # --- the photograph behind what is rendered ---------------------------------------------------------------------

    def kept(self) -> list[Any]:
        """Actors and links that stay rendered; the photograph covers the rest."""
        raise NotImplementedError

    def _after_reconfigure(self, options: dict[str, Any]) -> None:
        super()._after_reconfigure(options)
        self._photographs = {}
        self._kept_ids = torch.unique(torch.cat([thing.per_scene_id for thing in self.kept()])).to(self.device)

    def _photograph(self, name: str, height: int, width: int) -> torch.Tensor:
        if name not in self._photographs:
            path = asset_folder() / "data" / self.overlay_folder / "real_inpainting" / name
            if not path.is_file():
                raise ValueError(f"{path}: the overlay photograph is missing; download the assets (docs/simpler.md)")
            self._photographs[name] = torch.from_numpy(photograph(path, height, width).copy()).to(self.device)
        return self._photographs[name]

    def get_obs(self, info: dict[str, Any] | None = None, unflattened: bool = False) -> Any:
        """The observation; nothing while `blind` is set."""
        return {} if self.blind else super().get_obs(info, unflattened)

    def _get_obs_sensor_data(self, apply_texture_transforms: bool = True) -> dict[str, Any]:
        data = super()._get_obs_sensor_data(apply_texture_transforms)
        image = data[self.camera]
        if any(self._overlays) and "segmentation" in image:
            H, W = image["rgb"].shape[1:3]
            shown = torch.isin(image["segmentation"][..., :1], self._kept_ids.to(image["segmentation"].dtype))
            for i, name in enumerate(self._overlays):
                if name:
                    photo = self._photograph(name, H, W).to(image["rgb"].device)
                    image["rgb"][i] = torch.where(shown[i], image["rgb"][i], photo)
        return data  # type: ignore[no-any-return]

    # --- the beginning of an episode --------------------------------------------------------------------------------

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        """A placement of the kind that the protocol uses, drawn at random."""
        raise NotImplementedError

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        """Put objects and robot where the placements say, and let them settle."""
        raise NotImplementedError

    def _initialize_episode(self, env_idx: torch.Tensor, options: dict[str, Any]) -> None:
        placements = options.get("placements")
        if placements is None:
            placements = [self.sample_placement(self._batched_episode_rng[int(i)]) for i in env_idx]
        if not self._overlays:
            self._overlays = [""] * self.num_envs
            self._success_any = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
            self.placements = list(placements)
        for i, placement in zip(env_idx.tolist(), placements):
            self._overlays[i], self.placements[i] = placement.overlay, placement
        self._success_any[env_idx] = False
        with torch.device(self.device):
            self.place(placements, env_idx)

    def _settle(self, seconds: float) -> None:
        if self.gpu_sim_enabled:
            self.scene._gpu_apply_all()
        for _ in range(int(self.sim_freq * seconds)):
            self.scene.step()
        if self.gpu_sim_enabled:
            self.scene._gpu_fetch_all()

    def settle(self, objects: list[Actor], more: float = SETTLE_MORE) -> None:
        """SIMPLER's: 0.5 s without tilting, 0.5 s free, and `more` seconds if something still moves."""
        if not self.gpu_sim_enabled:
            for actor in objects:
                actor.set_locked_motion_axes([False, False, False, True, True, False])
        self._settle(SETTLE)
        if not self.gpu_sim_enabled:
            for actor in objects:
                actor.set_locked_motion_axes([False] * 6)  # what has come to rest sleeps on, as in SIMPLER
        self._settle(SETTLE)
        linear = sum(torch.linalg.norm(actor.linear_velocity, dim=1) for actor in objects)
        angular = sum(torch.linalg.norm(actor.angular_velocity, dim=1) for actor in objects)
        if (linear > STILL[0]).any() or (angular > STILL[1]).any():
            self._settle(more)

    def set_robot(self, placements: list[Placement], qpos: torch.Tensor) -> None:
        """Robot base and joint angles (B, n); drives hold them."""
        raise NotImplementedError

    # --- what a step means ------------------------------------------------------------------------------------------

    def judge(self) -> dict[str, torch.Tensor]:
        """This step's `success` (B,), `progress` (B,) in [0, 1] short of success, and further facts."""
        raise NotImplementedError

    def evaluate(self) -> dict[str, torch.Tensor]:
        """Success now and ever, and staged progress, each (B,)."""
        info = self.judge()
        self._success_any |= info["success"]
        done = torch.where(info["success"], 1.0, torch.clamp(info["progress"], 0.0, 1.0 - 1e-6))
        return {**info, "progress": done, "success_any": self._success_any.clone()}

    def step(self, action: Any) -> Any:
        """Step; success never ends an episode, as in SIMPLER."""
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, reward, torch.zeros_like(terminated), truncated, info  # SIMPLER does not stop early

    def compute_sparse_reward(self, obs: Any, action: torch.Tensor, info: dict[str, Any]) -> torch.Tensor:
        """1 where the task is solved, (B,)."""
        return info["success"].float()  # type: ignore[no-any-return]

    def compute_dense_reward(self, obs: Any, action: torch.Tensor, info: dict[str, Any]) -> torch.Tensor:
        """The staged progress, 1 at success."""
        return info["progress"]  # type: ignore[no-any-return]

    def compute_normalized_dense_reward(self, obs: Any, action: torch.Tensor, info: dict[str, Any]) -> torch.Tensor:
        """The dense reward, which lies in [0, 1] already."""
        return self.compute_dense_reward(obs, action, info)

    def instruction(self) -> list[str]:
        """What the robot is told, one sentence per environment."""
        raise NotImplementedError

    def get_language_instruction(self, **kwargs: Any) -> list[str]:
        """`instruction`, by ManiSkill's name."""
        return self.instruction()


def poses(p: npt.ArrayLike, q: npt.ArrayLike) -> Any:
    """ManiSkill poses from positions (B, 3) and quaternions wxyz (B, 4)."""
    from mani_skill.utils.structs.pose import Pose

    return Pose.create_from_pq(
        torch.as_tensor(np.asarray(p), dtype=torch.float32), torch.as_tensor(np.asarray(q), dtype=torch.float32)
    )


# Where SIMPLER's settling leaves these models: rotation vector (degrees) and shift (mm) in the frame in which they are
# let go, measured in the original. SAPIEN 3 lets them roll onto another facet, so they are let go as they are to lie.
LYING: dict[str, tuple[tuple[float, float, float], tuple[float, float]]] = {
    "baked_apple": ((-1.520, 0.205, -0.484), (0.286, 0.916)),
    "dummy_sink_target_plane": ((0.413, 7.437, 1.377), (-22.95, -2.55)),
}


def let_go(model: str, xyz: npt.ArrayLike, quat: npt.ArrayLike) -> tuple[Array, Array]:
    """Positions (B, 3) and orientations wxyz (B, 4) at which a model is let go to lie as in SIMPLER."""
    places, turned = np.array(xyz, np.float64), np.array(quat, np.float64)
    if model in LYING:
        turn, shift = LYING[model]
        base = Rotation.from_quat(np.roll(turned, -1, axis=1))
        places = places + base.apply(1e-3 * np.array([*shift, 0.0]))
        turned = np.roll((base * Rotation.from_rotvec(np.radians(turn))).as_quat(), 1, axis=1)
    return places, turned


def contacts_of(scene: Any, actor: Actor) -> list[tuple[Any, Any]]:
    """CPU simulation: (contact, the other body) of everything that touches the actor with an impulse above 1e-6 N s."""
    own, found = actor._bodies[0], []
    for contact in scene.px.get_contacts():
        bodies = list(contact.bodies)
        if own in bodies and np.linalg.norm(sum(point.impulse for point in contact.points)) > 1e-6:
            found.append((contact, bodies[1 - bodies.index(own)]))
    return found

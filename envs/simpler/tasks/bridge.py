"""SIMPLER's four WidowX tasks: ManiSkill 3's scenes and objects with SIMPLER's controller, settling and tests.

What differs from mani-skill's own: rotation-vector actions and SIMPLER's kinematics, 0.5 s of settling (mani-skill:
0.1 s), the grasp test by impulse, one photograph per environment, staged progress, no early end.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import sapien
import torch
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval import put_on_in_scene as stock
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval.base_env import BaseBridgeEnv
from mani_skill.utils.registration import register_env
from sapien.physx import PhysxMaterial

from envs.simpler.assets import asset_folder
from envs.simpler.collision import split
from envs.simpler.layout import Placement, Setup
from envs.simpler.scene import SimplerScene, let_go, poses
from envs.simpler.widowx import WidowXSink, WidowXTable

ARM_REST = {  # rad, in the order of the arm's joints
    "flat_table": (-0.01840777, 0.0398835, 0.22242722, -0.00460194, 1.36524296, 0.00153398),
    "sink": (-0.2600599, -0.12875618, 0.04461369, -0.00652761, 1.7033415, -0.26983038),
}
FINGERS_REST = 0.037  # m
BASE = {"flat_table": (0.147, 0.028, 0.870), "sink": (0.127, 0.060, 0.85)}  # m
PHOTOGRAPH = {"flat_table": "bridge_real_eval_1.png", "sink": "bridge_sink.png"}
DROP = 0.87 + 0.5  # m, height at which objects are let go
EGGPLANT_YAWS = (0.0, np.pi / 4, -np.pi / 4)  # rad; mani-skill has eight orientations of its own here
SETTLE_MORE = 6.0  # s, if something still moves after the first second
ON_MARGIN = 0.003  # m beyond half the target's diagonal
EPISODES = 24


class Bridge(SimplerScene, BaseBridgeEnv):
    """A WidowX on a table or at a sink; put the source object onto the target."""

    SUPPORTED_OBS_MODES: ClassVar[tuple[str, ...]] = SimplerScene.SUPPORTED_OBS_MODES
    SUPPORTED_REWARD_MODES: ClassVar[tuple[str, ...]] = SimplerScene.SUPPORTED_REWARD_MODES
    camera = "3rd_view_camera"
    sim_hz, control_hz = 500, 5
    contact_offset = 0.005
    overlay_folder = "tasks/bridge_v2_real2sim_dataset"
    default_setup = Setup(scene="bridge")
    rgb_overlay_mode = "none"  # mani-skill's own overlay, which all environments of a process share
    must_touch: ClassVar[bool] = True  # the source has to press on the target
    height_margin: ClassVar[float] = 0.02  # m between the two bounding boxes at success
    sentence: ClassVar[str]

    def _load_agent(self, options: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        self.robot_uids = (WidowXSink if self.scene_setting == "sink" else WidowXTable).uid
        super()._load_agent(options)

    def _load_scene(self, options: dict[str, Any]) -> None:
        self.objs: dict[str, Any] = {}
        super()._load_scene(options)
        for actor in self.objs.values():
            actor.set_linear_damping(0.1)
            actor.set_angular_damping(0.1)

    def _build_actor_helper(
        self, model_id: str, scale: float = 1, kinematic: bool = False, initial_pose: Any = None
    ) -> Any:
        """mani-skill's, with the collision mesh split as in SAPIEN 2."""
        folder = asset_folder() / "data" / self.overlay_folder / "custom" / "models" / model_id
        visual = [
            folder / f"textured.{kind}" for kind in ("obj", "dae", "glb") if (folder / f"textured.{kind}").is_file()
        ]
        if not visual:
            raise ValueError(f"{folder}: the model is missing; download the assets (docs/simpler.md)")
        builder = self.scene.create_actor_builder()
        builder.add_multiple_convex_collisions_from_file(
            str(split(folder / "collision.obj")),
            scale=[scale] * 3,
            material=PhysxMaterial(0.5, 0.5, 0.0),
            density=self.model_db[model_id].get("density", 1000),
        )
        builder.add_visual_from_file(str(visual[0]), scale=[scale] * 3)
        builder.initial_pose = initial_pose or sapien.Pose([0, 0, DROP + 0.3 * len(self.scene.actors)])
        return builder.build_kinematic(name=model_id) if kinematic else builder.build(name=model_id)

    def kept(self) -> list[Any]:
        return [*self.agent.robot.get_links(), *(self.objs[name] for name in self.objects_excluded_from_greenscreening)]

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        base = BASE[self.scene_setting]
        return Placement(base[:2], overlay=PHOTOGRAPH[self.scene_setting], episode=int(rng.randint(EPISODES)))

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        n = len(placements)
        base = np.array([[*p.robot_xy, BASE[self.scene_setting][2]] for p in placements])
        quats = np.array([p.robot_quat for p in placements])
        away = base.copy()
        away[:, 0] = -10.0
        self.agent.robot.set_pose(poses(away, quats))
        episode = np.array([int(p.episode or 0) for p in placements])
        xyz, turns = self.xyz_configs.cpu().numpy().copy(), self.turns()
        xyz[..., 2] = DROP
        spot = episode % (len(xyz) * len(turns)) // len(turns)
        objects = list(self.objs.values())
        for k, (model, actor) in enumerate(self.objs.items()):
            actor.set_pose(poses(*let_go(model, xyz[spot, k], turns[episode % len(turns), k])))
        self.settle(objects, more=SETTLE_MORE)
        self.agent.robot.set_pose(poses(base, quats))
        qpos = torch.tensor([[*ARM_REST[self.scene_setting], FINGERS_REST, FINGERS_REST]] * n)
        self.agent.reset(qpos)
        self._after_settling(env_idx)

    def turns(self) -> np.ndarray:
        """Orientations (wxyz) at which source and target are let go, (Q, 2, 4)."""
        return self.quat_configs.cpu().numpy()  # type: ignore[no-any-return]

    def _after_settling(self, env_idx: torch.Tensor) -> None:
        if not hasattr(self, "_start"):
            self._start = torch.zeros(self.num_envs, len(self.objs), 3)
            self._half = torch.zeros(self.num_envs, 2, 3)
            self._held = torch.zeros(self.num_envs, dtype=torch.int32)
        self._start[env_idx] = self._positions()[env_idx]
        for k, name in enumerate((self.source_obj_name, self.target_obj_name)):
            R = self.objs[name].pose.to_transformation_matrix()[:, :3, :3]
            half = (R @ self.episode_model_bbox_sizes[name].float()[:, None])[..., 0] / 2  # signed, as in SIMPLER
            self._half[env_idx, k] = half[env_idx]
        self._held[env_idx] = 0

    def _positions(self) -> torch.Tensor:
        return torch.stack([actor.pose.p for actor in self.objs.values()], dim=1)  # (B, objects, 3)

    def judge(self) -> dict[str, torch.Tensor]:
        source, target = self.objs[self.source_obj_name], self.objs[self.target_obj_name]
        now = self._positions()
        moved = torch.linalg.norm((now - self._start)[..., :2], dim=2)
        others = moved[:, 1:]
        grasped = self.agent.is_grasping(source)
        self._held = torch.where(grasped, self._held + 1, torch.zeros_like(self._held))
        offset = source.pose.p - target.pose.p
        flat = torch.linalg.norm(offset[:, :2], dim=1)
        allowed = torch.linalg.norm(self._half[:, 1, :2], dim=1) + ON_MARGIN
        gap = offset[:, 2] - self._half[:, 1, 2] - self._half[:, 0, 2]
        on = (flat <= allowed) & (offset[:, 2] > 0) & (gap <= self.height_margin)
        if self.must_touch:
            on = on & (torch.linalg.norm(self.scene.get_pairwise_contact_impulses(source, target), dim=1) > 1e-6)
        reach = 1.0 - torch.clamp(torch.linalg.norm(source.pose.p - self.agent.tip.pose.p, dim=1) / 0.3, 0.0, 1.0)
        start = torch.linalg.norm((self._start[:, 0] - self._start[:, 1])[:, :2], dim=1)
        carried = torch.clamp((start - flat) / torch.clamp(start - allowed, min=0.02), 0.0, 1.0)
        touched = torch.maximum(grasped.float(), (moved[:, 0] > 0.02).float())
        return {
            "success": on,
            "progress": 0.3 * torch.maximum(reach, touched) + 0.2 * touched + 0.5 * carried,
            "is_src_obj_grasped": grasped,
            "consecutive_grasp": self._held >= 5,
            "moved_correct_obj": (moved[:, 0] > 0.03) & (others < moved[:, :1]).all(1),
            "moved_wrong_obj": (others > 0.03).any(1) & (others > moved[:, :1]).any(1),
            "src_on_target": on,
        }

    def instruction(self) -> list[str]:
        return [self.sentence] * self.num_envs


@register_env("SimplerCarrotOnPlate-v0", max_episode_steps=60, override=True)
class CarrotOnPlate(Bridge, stock.PutCarrotOnPlateInScene):
    """Description: put the carrot onto the plate. Randomizations: 24 layouts. Success: the carrot is on the plate."""

    sentence = "put carrot on plate"


@register_env("SimplerSpoonOnTowel-v0", max_episode_steps=60, override=True)
class SpoonOnTowel(Bridge, stock.PutSpoonOnTableClothInScene):
    """Description: put the spoon onto the towel. Randomizations: 24 layouts. Success: its middle is above the towel."""

    sentence = "put the spoon on the towel"
    must_touch = False


@register_env("SimplerStackCube-v0", max_episode_steps=60, override=True)
class StackCube(Bridge, stock.StackGreenCubeOnYellowCubeBakedTexInScene):
    """Description: stack the green block on the yellow one. Randomizations: 24 layouts. Success: it lies on it."""

    sentence = "stack the green block on the yellow block"


@register_env("SimplerEggplantInBasket-v0", max_episode_steps=120, override=True)
class EggplantInBasket(Bridge, stock.PutEggplantInBasketScene):
    """Description: put the eggplant from the sink into the yellow basket. Randomizations: 24 layouts.

    Success: the eggplant is above the basket's floor.
    """

    sentence = "put eggplant into yellow basket"
    must_touch = False
    height_margin = 0.06

    def turns(self) -> np.ndarray:
        return np.array([[[np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)], [1.0, 0.0, 0.0, 0.0]] for yaw in EGGPLANT_YAWS])

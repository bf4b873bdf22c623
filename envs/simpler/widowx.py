"""WidowX of the Bridge tasks with SIMPLER's controllers: rotation vectors, target poses, the same kinematics."""

from __future__ import annotations

from typing import Any

import torch
from mani_skill.agents.registration import register_agent
from mani_skill.envs.tasks.digital_twins.bridge_dataset_eval.base_env import (
    WidowX250SBridgeDatasetFlatTable,
    WidowX250SBridgeDatasetSink,
)
from mani_skill.utils import common

from envs.simpler.assets import asset_folder
from envs.simpler.control import FingerConfig, PoseConfig

CLEARANCE = 0.001  # m beyond the fingers' range, so that they press when closed on something (SIMPLER)
FRICTION = {"static_friction": 2.0, "dynamic_friction": 2.0, "restitution": 0.0}


class _WidowX(WidowX250SBridgeDatasetFlatTable):
    urdf_config = {  # noqa: RUF012 - the base class's form
        "_materials": {"finger": FRICTION},
        "link": {
            f"{side}_finger_link": {"material": "finger", "patch_radius": 0.01, "min_patch_radius": 0.01}
            for side in ("left", "right")
        },
    }

    @property
    def urdf_path(self) -> str:  # type: ignore[override]
        return str(asset_folder() / "data/robots/widowx/wx250s.urdf")

    @property
    def _controller_configs(self) -> dict[str, Any]:
        arm = PoseConfig(
            joint_names=list(self.arm_joint_names),
            urdf=self.urdf_path,
            tip="ee_gripper_link",
            stiffness=self.arm_stiffness,
            damping=self.arm_damping,
            force_limit=self.arm_force_limit,
            limits=None,
        )
        gripper = FingerConfig(
            joint_names=list(self.gripper_joint_names),
            low=0.015 - CLEARANCE,
            high=0.037 + CLEARANCE,
            stiffness=self.gripper_stiffness,
            damping=self.gripper_damping,
            force_limit=self.gripper_force_limit,
        )
        return {"target": {"arm": arm, "gripper": gripper}}

    def _after_init(self) -> None:
        super()._after_init()
        self.tip = self.robot.links_map["ee_gripper_link"]

    def is_grasping(self, object: Any, min_impulse: float = 1e-6, max_angle: float = 60.0) -> torch.Tensor:  # type: ignore[override]
        """(B,) true where both fingers push on the object in their closing direction (SIMPLER: impulses)."""
        holding = []
        for link, sign in ((self.finger1_link, 1.0), (self.finger2_link, -1.0)):
            impulse = self.scene.get_pairwise_contact_impulses(link, object)
            direction = sign * link.pose.to_transformation_matrix()[..., :3, 1]
            angle = torch.rad2deg(common.compute_angle_between(direction, impulse))
            holding.append((torch.linalg.norm(impulse, dim=1) >= min_impulse) & (angle <= max_angle))
        return holding[0] & holding[1]


@register_agent(override=True)
class WidowXTable(_WidowX):
    """WidowX at the table, with SIMPLER's controllers."""

    uid = "foresight_widowx"


@register_agent(override=True)
class WidowXSink(_WidowX, WidowX250SBridgeDatasetSink):
    """WidowX at the sink, with SIMPLER's controllers."""

    uid = "foresight_widowx_sink"

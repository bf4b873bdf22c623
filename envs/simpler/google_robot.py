"""The Google robot of SIMPLER as a ManiSkill 3 agent: gains, friction, camera and controllers as measured there."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import sapien
import torch
from mani_skill.agents.base_agent import BaseAgent
from mani_skill.agents.registration import register_agent
from mani_skill.sensors.camera import CameraConfig
from mani_skill.utils import common

from envs.simpler.assets import asset_folder
from envs.simpler.control import GripperConfig, PoseConfig

ARM = (
    "joint_torso",
    "joint_shoulder",
    "joint_bicep",
    "joint_elbow",
    "joint_forearm",
    "joint_wrist",
    "joint_gripper",
)
HEAD = ("joint_head_pan", "joint_head_tilt")
FINGERS = ("joint_finger_right", "joint_finger_left")  # the right one leads
TIP = "link_gripper_tcp"
URDF = "google_robot_meta_sim_fix_wheel_fix_fingertip"
BASE_HEIGHT = 0.06205 + 0.017  # m
REST = {  # rad
    "joint_torso": -0.2639457174606611,
    "joint_shoulder": 0.0831913360274175,
    "joint_bicep": 0.5017611504652179,
    "joint_elbow": 1.156859026208673,
    "joint_forearm": 0.028583671314766423,
    "joint_wrist": 1.592598203487462,
    "joint_gripper": -1.080652960128774,
    "joint_finger_right": 0.0,
    "joint_finger_left": 0.0,
    "joint_head_pan": -0.00285961,
    "joint_head_tilt": 0.7851361,
}
VARIANTS = (  # recoloured visuals of the same robot
    "",
    "recolor_tabletop_visual_matching_1",
    "recolor_tabletop_visual_matching_2",
    "recolor_cabinet_visual_matching_1",
)
IMAGE_SIZE = (512, 640)  # pixels, height and width
INTRINSIC = np.array([[425.0, 0.0, 320.0], [0.0, 425.0, 256.0], [0.0, 0.0, 1.0]])


def _friction(name: str, patch: float) -> dict[str, Any]:
    return {"material": name, "patch_radius": patch, "min_patch_radius": patch}


class GoogleRobot(BaseAgent):
    """Fixed base, 7-joint arm, two fingers and a head with the camera; actions in metres, radians and finger deltas."""

    uid = "foresight_google_robot"
    load_multiple_collisions = True
    variant: ClassVar[str] = ""
    urdf_config: ClassVar[dict[str, Any]] = {
        "_materials": {
            "finger": {"static_friction": 2.0, "dynamic_friction": 2.0, "restitution": 0.0},
            "nail": {"static_friction": 0.1, "dynamic_friction": 0.1, "restitution": 0.0},
            "base": {"static_friction": 0.1, "dynamic_friction": 0.0, "restitution": 0.0},
            "wheel": {"static_friction": 1.0, "dynamic_friction": 0.0, "restitution": 0.0},
        },
        "link": {
            "link_base": _friction("base", 0.1),
            "link_wheel_left": _friction("wheel", 0.1),
            "link_wheel_right": _friction("wheel", 0.1),
            **{f"link_finger_{side}": _friction("finger", 0.1) for side in ("left", "right")},
            **{f"link_finger_tip_{side}": _friction("finger", 0.1) for side in ("left", "right")},
            **{f"link_finger_nail_{side}": _friction("nail", 0.01) for side in ("left", "right")},
        },
    }

    @property
    def urdf_path(self) -> str:  # type: ignore[override]
        """The robot's description among the downloaded assets."""
        name = f"{URDF}_{self.variant}" if self.variant else URDF
        return str(asset_folder() / f"data/robots/googlerobot/{name}.urdf")

    @property
    def _controller_configs(self) -> dict[str, Any]:
        # the stiffness of arm and head: kinematics do not change with the colours, so one chain serves all variants
        arm = PoseConfig(
            joint_names=[*ARM, *HEAD],
            urdf=str(asset_folder() / f"data/robots/googlerobot/{URDF}.urdf"),
            tip=TIP,
            stiffness=(
                *(1700.0, 1737.0471680861954, 979.975871856535, 930.0, 1212.154500274304),
                *(432.96500923932535, 468.0013365498738, 2000.0, 2000.0),
            ),
            damping=(
                *(1059.9791902443303, 1010.4720585373592, 767.2803161582076, 680.0, 674.9946964336588),
                *(274.613381336198, 340.532560578637, 900.0, 900.0),
            ),
            force_limit=(300.0, 300.0, *[100.0] * 7),
        )
        gripper = GripperConfig(joint_names=list(FINGERS), stiffness=200.0, damping=8.0, force_limit=60.0)
        return {"planned": {"arm": arm, "gripper": gripper}}

    @property
    def _sensor_configs(self) -> list[CameraConfig]:
        return [
            CameraConfig(
                uid="overhead_camera",
                pose=sapien.Pose([0, 0, 0], [0.5, 0.5, -0.5, 0.5]),
                height=IMAGE_SIZE[0],
                width=IMAGE_SIZE[1],
                intrinsic=INTRINSIC,
                near=0.1,
                far=10.0,
                entity_uid="link_camera",
            )
        ]

    def _after_init(self) -> None:
        links = self.robot.links_map
        self.tip = links[TIP]
        self.finger_links = {side: self._fingers(links, side) for side in ("left", "right")}

    @staticmethod
    def _fingers(links: dict[str, Any], side: str) -> list[Any]:
        return [links[f"link_finger_{part}{side}"] for part in ("", "tip_", "nail_")]

    def rest_qpos(self, head: tuple[float, float] | None = None) -> torch.Tensor:
        """Joint angles (1, 11) of SIMPLER's initial pose in this articulation's order; `head` is pan and tilt (rad)."""
        rest = dict(REST)
        if head is not None:
            rest["joint_head_pan"], rest["joint_head_tilt"] = head
        return common.to_tensor(
            np.array([[rest[j.name] for j in self.robot.active_joints]]), device=self.device
        ).float()

    def is_grasping(self, object: Any, min_impulse: float = 1e-6, max_angle: float = 80.0) -> torch.Tensor:  # type: ignore[override]
        """(B,) true where each finger pushes on the object with more than `min_impulse` N s within `max_angle` degrees.

        SIMPLER's test: impulses of the last simulation step, summed over a finger's links, against the tip's y axis.
        """
        holding = []
        for side in ("left", "right"):
            links = self.finger_links[side]
            impulse = sum(self.scene.get_pairwise_contact_impulses(link, object) for link in links)
            direction = links[1].pose.to_transformation_matrix()[..., :3, 1]
            angle = torch.rad2deg(common.compute_angle_between(direction, impulse))
            holding.append((torch.linalg.norm(impulse, dim=1) >= min_impulse) & (angle <= max_angle))
        return holding[0] & holding[1]


def _register(variant: str) -> type[GoogleRobot]:
    uid = f"{GoogleRobot.uid}_{variant}" if variant else GoogleRobot.uid
    return register_agent(override=True)(type("GoogleRobot", (GoogleRobot,), {"uid": uid, "variant": variant}))  # type: ignore[no-any-return]


ROBOTS = {variant: _register(variant) for variant in VARIANTS}

"""The Google robot's scenes: stage, light, objects by model id, and the robot's place."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import sapien
import torch
from mani_skill.utils import sapien_utils
from mani_skill.utils.structs.actor import Actor
from sapien.physx import PhysxMaterial

from envs.simpler.assets import asset_folder
from envs.simpler.collision import split
from envs.simpler.google_robot import BASE_HEIGHT, ROBOTS
from envs.simpler.layout import Placement
from envs.simpler.scene import SimplerScene, poses

ROOT = "data/tasks/google_robot_real2sim"
TABLE = 0.87  # m, top of the table
DROP = 0.5  # m above the table, where objects are let go
AWAY = -10.0  # m, x of the robot while they settle
STAGE_PLACE = (1.6616, 3.0337, 0.0)
STAGE_TURN = (0.707, 0.707, 0.0, 0.0)  # wxyz as SIMPLER wrote it; SAPIEN normalises
OTHER_STAGES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {}
LIGHTS: dict[str, tuple[float, list[tuple[tuple[float, float, float], float]]]] = {
    # table tasks: ambient, and (direction, colour) of the directional lights
    "": (0.3, [((0, 0, -1), 2.2), ((-1, -0.5, -1), 0.7), ((1, 1, -1), 0.7)]),
    "brighter": (0.3, [((0, 0, -1), 3.6), ((-1, -0.5, -1), 1.3), ((1, 1, -1), 1.3)]),
    "darker": (0.3, [((1, 1, -1), 0.8), ((0, 0, -1), 0.8)]),
}


@lru_cache
def model_facts(root: Path) -> dict[str, dict[str, Any]]:
    """Bounding box, scale and density of every model that the asset folder describes."""
    facts: dict[str, dict[str, Any]] = {}
    for name in ("info_pick_custom_v0", "info_pick_custom_baked_tex_v0", "info_pick_custom_baked_tex_v1"):
        for model, values in json.loads((root / f"{name}.json").read_text()).items():
            facts.setdefault(model, values)
    return facts


def extents(model: str) -> np.ndarray:
    """Edge lengths (3,) of a model's bounding box in its own frame, metres."""
    box = model_facts(asset_folder() / ROOT)[model]["bbox"]
    return np.array(box["max"]) - np.array(box["min"])


class GoogleScene(SimplerScene):
    """Stage, lights, robot and objects of the Google robot's tasks."""

    camera = "overhead_camera"
    sim_hz, control_hz = 513, 3
    overlay_folder = "tasks/google_robot_real2sim"
    stage_collides: ClassVar[bool] = True

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("robot_uids", ROBOTS[""].uid)
        super().__init__(**kwargs)

    def _load_agent(self, options: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        if self.setup.urdf_version not in ROBOTS:
            raise ValueError(f"urdf_version={self.setup.urdf_version!r}: choose {', '.join(map(repr, ROBOTS))}")
        self.robot_uids = ROBOTS[self.setup.urdf_version].uid
        super()._load_agent(options, sapien.Pose([0.35, 0.2, BASE_HEIGHT], [0, 0, 0, 1]))
        if not self.setup.dull:
            for robot in self.agent.robot._objs:
                sapien_utils.set_articulation_render_material(robot, specular=0.9, roughness=0.3)

    def _load_lighting(self, options: dict[str, Any]) -> None:
        ambient, lights = LIGHTS[self.setup.lighting]
        self.scene.set_ambient_light([ambient] * 3)
        for i, (direction, colour) in enumerate(lights):
            self.scene.add_directional_light(
                list(direction),
                [colour] * 3,
                shadow=self.enable_shadow and i == 0,
                shadow_scale=5,
                shadow_map_size=2048,
            )

    def _load_stage(self) -> None:
        path = asset_folder() / ROOT / "stages" / f"{self.setup.scene}.glb"
        if not path.is_file():
            raise ValueError(f"{path}: the stage is missing; download the assets (docs/simpler.md)")
        builder = self.scene.create_actor_builder()
        place, turn = OTHER_STAGES.get(self.setup.scene, (STAGE_PLACE, STAGE_TURN))
        turn_pose = sapien.Pose(q=list(turn))
        if self.stage_collides:
            builder.add_nonconvex_collision_from_file(str(path), pose=turn_pose)
        builder.add_visual_from_file(str(path), pose=turn_pose)
        builder.initial_pose = sapien.Pose(list(place))
        self.stage = builder.build_static(name="arena")

    def _load_object(self, model: str, density: float | None = None) -> Actor:
        facts = model_facts(asset_folder() / ROOT).get(model)
        folder = asset_folder() / ROOT / "models" / model
        if facts is None or not folder.is_dir():
            raise ValueError(f"{folder}: the model is missing; download the assets (docs/simpler.md)")
        builder = self.scene.create_actor_builder()
        builder.add_multiple_convex_collisions_from_file(
            str(split(folder / "collision.obj")),
            material=PhysxMaterial(0.5, 0.5, 0.0),
            density=facts.get("density", 1000) if density is None else density,
        )
        visual = next(
            (folder / f"textured.{kind}" for kind in ("obj", "dae", "glb") if (folder / f"textured.{kind}").is_file()),
            None,
        )
        if visual is None:
            raise ValueError(f"{folder}: no textured.obj, .dae or .glb; download the assets (docs/simpler.md)")
        builder.add_visual_from_file(str(visual))
        builder.initial_pose = sapien.Pose([0, 0, TABLE + 1.0 + 0.3 * len(self.scene.actors)])
        actor = builder.build(name=model)
        actor.set_linear_damping(0.1)
        actor.set_angular_damping(0.1)
        return actor

    def set_robot(self, placements: list[Placement], qpos: torch.Tensor) -> None:
        robot = self.agent.robot
        base = np.array([[*p.robot_xy, BASE_HEIGHT] for p in placements])
        robot.set_pose(poses(base, np.array([p.robot_quat for p in placements])))
        self.agent.reset(qpos)

    def park_robot(self, count: int) -> None:
        """Put the robots away while objects settle."""
        self.agent.robot.set_pose(poses([[AWAY, 0.0, BASE_HEIGHT]] * count, [[0.0, 0.0, 0.0, 1.0]] * count))

    def rest_qpos(self, placements: list[Placement]) -> torch.Tensor:
        """The joints (B, J) at the start of an episode."""
        return torch.cat([self.agent.rest_qpos(p.head) for p in placements])

    def tip(self) -> torch.Tensor:
        """Position (B, 3) between the finger tips, world frame."""
        return self.agent.tip.pose.p  # type: ignore[no-any-return]

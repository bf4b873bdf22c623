"""Open and close the drawers of a cabinet."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import sapien
import torch
from mani_skill.utils.registration import register_env

from envs.simpler.assets import asset_folder
from envs.simpler.google_scene import ROOT, GoogleScene
from envs.simpler.layout import Placement, Setup
from envs.simpler.protocol import facing

CABINET = (-0.295, 0.0, 0.017)  # m
FRICTION, DAMPING = 0.05, 1.0  # of the drawers' joints
OPENED, CLOSED, AJAR = 0.15, 0.05, 0.2  # m: counts as open, as closed, and where a drawer to be closed begins
DRAWERS = ("top", "middle", "bottom")
PANEL = (0.3125, 0.0, 0.07)  # m, middle of the front panel's upper edge in the drawer's frame
POSES: dict[str, tuple[tuple[float, float], float]] = {  # of the robot: xy (m) and yaw (rad) against facing -x
    "a0": ((0.644, -0.179), -0.03),
    "a1": ((0.765, -0.182), -0.02),
    "a2": ((0.889, -0.203), -0.06),
    "b0": ((0.652, 0.009), 0.0),
    "b1": ((0.752, 0.009), 0.0),
    "b2": ((0.851, 0.035), 0.0),
    "c0": ((0.665, 0.224), 0.0),
    "c1": ((0.765, 0.222), -0.025),
    "c2": ((0.865, 0.222), -0.025),
}
LIGHT: dict[str, tuple[float, list[tuple[tuple[float, float, float], float]]]] = {
    "simple": (1.0, [((-float(np.cos(np.radians(75))), 0.0, -float(np.sin(np.radians(75)))), 1.0)]),
    "": (0.3, [((-0.2, 0, -1), 1.0), ((-1, 1, -0.05), 0.5), ((-1, -1, -0.05), 0.5)]),
    "brighter": (0.3, [((-0.2, 0, -1), 2.0), ((-1, 1, -0.05), 0.5), ((-1, -1, -0.05), 0.5)]),
    "darker": (0.3, [((-0.2, 0, -1), 0.5), ((-1, 1, -0.05), 0.5), ((-1, -1, -0.05), 0.5)]),
}


class Cabinet(GoogleScene):
    """A cabinet with three drawers whose handles have no collision shape, and the robot in front of it."""

    default_setup = Setup(scene="dummy_drawer", lighting="simple", station="mk_station_recolor", dull=True)
    stage_collides = False
    drawer: ClassVar[str] = "top"

    def _load_scene(self, options: dict[str, Any]) -> None:
        if self.setup.scene == "dummy_drawer":
            builder = self.scene.create_actor_builder()
            gray = sapien.render.RenderMaterial(base_color=[0.5, 0.5, 0.5, 1.0])
            builder.add_box_visual(half_size=[5.0, 5.0, 0.001], material=gray)
            builder.initial_pose = sapien.Pose([0, 0, -0.001])
            self.stage = builder.build_static(name="arena")
        else:
            self._load_stage()
        path = asset_folder() / ROOT / "stations" / f"{self.setup.station}.urdf"
        if not path.is_file():
            raise ValueError(f"{path}: the cabinet is missing; download the assets (docs/simpler.md)")
        loader = self.scene.create_urdf_loader()
        loader.name = "cabinet"
        loader.fix_root_link = True
        builder = loader.parse(str(path))["articulation_builders"][0]
        builder.initial_pose = sapien.Pose(list(CABINET))
        self.cabinet = builder.build(name="cabinet")
        for joint in self.cabinet.active_joints:
            joint.set_friction(FRICTION)
            joint.set_drive_properties(0.0, DAMPING)
        names = [joint.name for joint in self.cabinet.active_joints]
        self._drawer = names.index(f"{self.drawer}_drawer_joint")
        self.front = self.cabinet.links_map[f"{self.drawer}_drawer"]

    def _load_lighting(self, options: dict[str, Any]) -> None:
        ambient, lights = LIGHT[self.setup.lighting]
        self.scene.set_ambient_light([ambient] * 3)
        for direction, colour in lights:
            self.scene.add_directional_light(list(direction), [colour] * 3, shadow=False)

    def kept(self) -> list[Any]:
        return [*self.agent.robot.get_links(), *self.cabinet.get_links()]

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        name = list(POSES)[int(rng.randint(len(POSES)))]
        (x, y), yaw = POSES[name]
        return Placement((x, y), facing(yaw), overlay=f"open_drawer_{name}.png")

    def opening(self) -> torch.Tensor:
        """How far the task's drawer is out, (B,) m."""
        return self.cabinet.get_qpos()[:, self._drawer]  # type: ignore[no-any-return]

    def set_drawers(self, qpos: torch.Tensor) -> None:
        """Put the drawers where qpos (B, D) m says, at rest."""
        self.cabinet.set_qpos(qpos)
        self.cabinet.set_qvel(torch.zeros_like(qpos))

    def reach(self) -> torch.Tensor:
        """Closeness in [0, 1] of the finger tips to the front panel's upper edge; 0 from 0.5 m on."""
        front = self.front.pose.to_transformation_matrix()
        edge = (front @ torch.tensor([*PANEL, 1.0]))[:, :3]
        return 1.0 - torch.clamp(torch.linalg.norm(edge - self.tip(), dim=1) / 0.5, 0.0, 1.0)


class OpenDrawer(Cabinet):
    """Description: open the named drawer, which is closed.

    Randomizations: nine places of the robot, each with the photograph taken there.
    Success: the drawer is out by 15 cm.
    """

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        qpos = torch.zeros(self.num_envs, 3)
        self.set_drawers(qpos[env_idx])
        self.set_robot(placements, self.rest_qpos(placements))

    def judge(self) -> dict[str, torch.Tensor]:
        out = self.opening()
        return {
            "success": out >= OPENED,
            "progress": 0.3 * self.reach() + 0.7 * torch.clamp(out / OPENED, 0, 1),
            "qpos": out,
        }

    def instruction(self) -> list[str]:
        return [f"open {self.drawer} drawer"] * self.num_envs


class CloseDrawer(Cabinet):
    """Description: close the named drawer, which is out by 20 cm.

    Randomizations: as for opening. Success: the drawer is out by 5 cm or less.
    """

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        qpos = torch.zeros(self.num_envs, 3)
        qpos[:, self._drawer] = AJAR
        self.set_drawers(qpos[env_idx])
        self.set_robot(placements, self.rest_qpos(placements))

    def judge(self) -> dict[str, torch.Tensor]:
        out = self.opening()
        closed = torch.clamp((AJAR - out) / (AJAR - CLOSED), 0, 1)
        return {"success": out <= CLOSED, "progress": 0.3 * self.reach() + 0.7 * closed, "qpos": out}

    def instruction(self) -> list[str]:
        return [f"close {self.drawer} drawer"] * self.num_envs


def _register(base: type[Cabinet], verb: str, drawer: str) -> type[Cabinet]:
    name = f"{verb}{drawer.title()}Drawer"
    task = type(name, (base,), {"drawer": drawer, "__doc__": base.__doc__})
    return register_env(f"Simpler{name}-v0", max_episode_steps=113, override=True)(task)  # type: ignore[no-any-return]


OpenTopDrawer, OpenMiddleDrawer, OpenBottomDrawer = (_register(OpenDrawer, "Open", drawer) for drawer in DRAWERS)
CloseTopDrawer, CloseMiddleDrawer, CloseBottomDrawer = (_register(CloseDrawer, "Close", drawer) for drawer in DRAWERS)

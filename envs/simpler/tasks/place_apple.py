"""Open the top drawer and place the apple into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.utils.registration import register_env

from envs.simpler.google_scene import DROP, TABLE
from envs.simpler.layout import Placement, Setup
from envs.simpler.protocol import facing
from envs.simpler.scene import contacts_of, poses
from envs.simpler.tasks.drawer import OPENED, POSES, Cabinet

AJAR = 0.05  # m, as far out as the drawer must be at the end
BOTTOM = 2  # index of the drawer's bottom plate among its collision shapes
SWITCH = 100  # step at which the second instruction comes, if the policy has not asked for it before
X, Y = (-0.08, -0.02), (-0.02, 0.08)  # m, where the apple may lie on the cabinet


@register_env("SimplerPlaceApple-v0", max_episode_steps=200, override=True)
class PlaceApple(Cabinet):
    """Description: open the top drawer, then put the apple that lies on the cabinet into it. Two instructions: the
    second comes when the policy asks for it (`advance`) or after 100 steps.

    Randomizations: the apple's place in 6 x 10 cm, three places of the robot.
    Success: in the second part, the drawer is out by 5 cm and the apple has touched its bottom.
    """

    default_setup = Setup(
        scene="dummy_drawer", lighting="simple", station="mk_station_recolor", dull=True, objects=("baked_apple_v2",)
    )
    contact_offset = 0.005

    def _load_scene(self, options: dict[str, Any]) -> None:
        super()._load_scene(options)
        self.apple = self._load_object(self.setup.objects[0])

    def kept(self) -> list[Any]:
        return [*super().kept(), self.apple]

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        name = ("a0", "b0", "c0")[int(rng.randint(3))]
        (x, y), yaw = POSES[name]
        spot = (float(rng.uniform(*X)), float(rng.uniform(*Y)))
        return Placement((x, y), facing(yaw), overlay=f"open_drawer_{name}.png", xy=spot)

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        self.park_robot(len(placements))
        self.set_drawers(torch.zeros(self.num_envs, 3)[env_idx])
        self.apple.set_pose(poses([[*p.xy, TABLE + DROP] for p in placements], [[1.0, 0, 0, 0]] * len(placements)))  # type: ignore[misc]
        self.settle([self.apple])
        self.set_drawers(torch.zeros(self.num_envs, 3)[env_idx])
        self.set_robot(placements, self.rest_qpos(placements))
        if not hasattr(self, "_second"):
            self._second = torch.zeros(self.num_envs, dtype=torch.bool)
            self._touched = torch.zeros(self.num_envs, dtype=torch.bool)
            self._apple_start = torch.zeros(self.num_envs, 3)
        self._second[env_idx] = False
        self._touched[env_idx] = False
        self._apple_start[env_idx] = self.apple.pose.p[env_idx]

    def advance(self, env_idx: torch.Tensor | None = None) -> None:
        """Go on to the second instruction, as a policy may ask."""
        self._second[slice(None) if env_idx is None else env_idx] = True

    def _in_drawer(self) -> torch.Tensor:
        if self.gpu_sim_enabled:  # no shapes on the GPU: the whole drawer, and the apple below its upper edge
            impulse = self.scene.get_pairwise_contact_impulses(self.apple, self.front)
            below = self.apple.pose.p[:, 2] < self.front.pose.p[:, 2]
            return (torch.linalg.norm(impulse, dim=1) > 1e-6) & below
        plate = self.front._bodies[0].collision_shapes[BOTTOM]
        touching = any(plate in contact.shapes for contact, _ in contacts_of(self.scene, self.apple))
        return torch.tensor([touching], device=self.device)

    def judge(self) -> dict[str, torch.Tensor]:
        self._second |= self._elapsed_steps >= SWITCH
        self._touched |= self._in_drawer()
        out = self.opening()
        apple = self.apple.pose.p
        inside = self.front.pose.p + torch.tensor([0.1, 0.0, 0.0])
        lifted = torch.clamp((apple[:, 2] - self._apple_start[:, 2]) / 0.03, 0.0, 1.0)
        far = torch.linalg.norm((apple - inside)[:, :2], dim=1)
        start = torch.linalg.norm((self._apple_start - inside)[:, :2], dim=1)
        carried = torch.clamp(1.0 - far / torch.clamp(start, min=0.05), 0.0, 1.0)
        opened = torch.clamp(out / OPENED, 0.0, 1.0)
        reach = 1.0 - torch.clamp(torch.linalg.norm(apple - self.tip(), dim=1) / 0.5, 0.0, 1.0)
        second = torch.maximum(0.1 * reach + 0.1 * lifted + 0.2 * carried, 0.5 * self._touched)
        return {
            "success": self._second & (out >= AJAR) & self._touched,
            "progress": 0.1 * self.reach() * ~self._second + 0.4 * opened + second * opened,
            "is_drawer_open": out >= OPENED,
            "has_contact": self._touched.clone(),
            "qpos": out,
        }

    def instruction(self) -> list[str]:
        return ["place apple into top drawer" if second else "open top drawer" for second in self._second]

"""Pick up the coke can."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from mani_skill.utils.registration import register_env
from scipy.spatial.transform import Rotation

from envs.simpler.google_scene import DROP, TABLE, GoogleScene
from envs.simpler.layout import Placement, Setup
from envs.simpler.scene import contacts_of, poses

ORIENTATIONS = {  # roll, pitch, yaw (rad) at which the can is let go
    "horizontal": (0.0, 0.0, np.pi),
    "standing": (np.pi / 2, 0.0, 0.0),
    "vertical": (0.0, 0.0, np.pi / 2),
}
X, Y = (-0.35, -0.12), (-0.02, 0.42)  # m, where the can may lie
LIFTED, WELL_LIFTED = 0.01, 0.02  # m above where it lay
LIFT_STEPS = 5  # steps well lifted that count as success even if it is dropped later
REACH = 0.3  # m, distance at which reaching begins to count


def distractor_spots(target: tuple[float, float] | None, count: int) -> list[tuple[float, float]]:
    """Places (x, y) in m of the distractors around the can at `target`, by SIMPLER's rule.

    Uniform within +-0.3 m of the target, clipped to the table's free part, more than 0.25 m from the target; the same
    for the same target, because SIMPLER rebuilds its environment with one seed. Its exact places are not known here.
    """
    assert target is not None, "the placement of a can has its place"
    rng, spots = np.random.RandomState(2022), list[tuple[float, float]]()
    while len(spots) < count:
        x, y = np.clip(np.array(target) + rng.uniform(-0.3, 0.3, 2), (-0.50, 0.05), (-0.10, 0.35))
        if np.hypot(x - target[0], y - target[1]) > 0.25:
            spots.append((float(x), float(y)))
    return spots


@register_env("SimplerPickCokeCan-v0", max_episode_steps=80, override=True)
class PickCokeCan(GoogleScene):
    """Description: an opened coke can lies or stands on a table; lift it.

    Randomizations: the can's place in 0.23 x 0.44 m and one of three orientations.
    Success: grasped, 1 cm above where it lay and touching nothing but the robot; or 2 cm above it in at least five
    steps of the episode, not necessarily in a row.
    """

    default_setup = Setup(scene="google_pick_coke_can_1_v4")
    model: ClassVar[str] = "opened_coke_can"

    def _load_scene(self, options: dict[str, Any]) -> None:
        self._load_stage()
        self.can = self._load_object(self.model)
        self.distractors = [self._load_object(model) for model in self.setup.distractors]

    def kept(self) -> list[Any]:
        return [*self.agent.robot.get_links(), self.can, *self.distractors]

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        xy = (float(rng.uniform(*X)), float(rng.uniform(*Y)))
        orientation = list(ORIENTATIONS)[int(rng.randint(3))]
        return Placement((0.35, 0.2), overlay="google_coke_can_real_eval_1.png", xy=xy, orientation=orientation)

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        self.park_robot(len(placements))
        angles = np.array([ORIENTATIONS[p.orientation] for p in placements])
        quats = np.roll(Rotation.from_euler("xyz", angles).as_quat(), 1, axis=1)  # wxyz
        spots = np.array([[*p.xy, TABLE + DROP] for p in placements])  # type: ignore[misc]
        self.can.set_pose(poses(spots, quats))
        around = np.array([distractor_spots(p.xy, len(self.distractors)) for p in placements])  # (B, n, 2)
        upright = np.tile([1.0, 0.0, 0.0, 0.0], (len(placements), 1))
        for k, distractor in enumerate(self.distractors):
            height = np.full((len(placements), 1), TABLE + DROP)
            distractor.set_pose(poses(np.hstack([around[:, k], height]), upright))
        self.settle([self.can, *self.distractors])
        self.set_robot(placements, self.rest_qpos(placements))
        if not hasattr(self, "_height"):
            self._height = torch.zeros(self.num_envs)
            self._lifts = torch.zeros(self.num_envs, dtype=torch.int32)
        self._height[env_idx] = self.can.pose.p[env_idx, 2]
        self._lifts[env_idx] = 0

    def judge(self) -> dict[str, torch.Tensor]:
        lift = self.can.pose.p[:, 2] - self._height
        grasped = self.agent.is_grasping(self.can)
        free = torch.tensor([self._free()], device=self.device) if not self.gpu_sim_enabled else self._free_batched()
        lifted = grasped & free & (lift > LIFTED)
        well = lifted & (lift > WELL_LIFTED)
        self._lifts += (lift > WELL_LIFTED) & grasped
        distance = torch.linalg.norm(self.can.pose.p - self.tip(), dim=1)
        reach = 1.0 - torch.clamp(distance / REACH, 0.0, 1.0)
        height = torch.clamp(lift / WELL_LIFTED, 0.0, 1.0) * grasped
        return {
            "success": lifted | (self._lifts >= LIFT_STEPS),
            "progress": 0.4 * torch.maximum(reach, grasped.float()) + 0.2 * grasped + 0.4 * height,
            "is_grasped": grasped,
            "lifted_object": lifted,
            "lifted_object_significantly": well,
            "n_lift_significant": self._lifts.clone(),
        }

    def _free(self) -> bool:
        own = {id_ for link in self.agent.robot.get_links() for id_ in (link._bodies[0],)}
        return all(other in own for _, other in contacts_of(self.scene, self.can))

    def _free_batched(self) -> torch.Tensor:
        others = [self.stage, *self.distractors]
        return torch.stack(
            [torch.linalg.norm(self.scene.get_pairwise_contact_impulses(self.can, o), dim=1) <= 1e-6 for o in others]
        ).all(dim=0)

    def instruction(self) -> list[str]:
        return ["pick coke can"] * self.num_envs

"""Move one object near another, with a third one on the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.utils.registration import register_env
from scipy.spatial.transform import Rotation

from envs.simpler.google_scene import DROP, TABLE, GoogleScene, extents
from envs.simpler.layout import MOVE_NEAR_TRIPLETS, Placement, Setup, baked, move_near_layout
from envs.simpler.scene import let_go, poses

DENSITY = {"apple": 200.0, "orange": 200.0}  # kg/m^3
MOVED, MARGIN, NEAREST = 0.03, 0.10, 0.01  # m
FELL, FELL_MOVED = -0.02, -0.15  # m, height lost by the third object, and by source or target
PLACES = {"robot_xy": (0.35, 0.21), "robot_quat": (0.0449848, 0.0, 0.0, 0.9989877)}


def initial_quat(model: str) -> tuple[float, ...]:
    """Orientation (wxyz) at which a model is let go."""
    if "bottle" in model:
        return (0.5, 0.5, 0.5, 0.5)
    if "can" in model:
        return tuple(np.roll(Rotation.from_euler("x", np.pi / 2).as_quat(), 1))
    if "apple" in model:
        return (1.0, 0.0, 0.0, 0.0)
    return tuple(np.roll(Rotation.from_euler("z", np.pi / 2).as_quat(), 1))


def spoken(model: str) -> str:
    """A model's name in an instruction: "baked_opened_7up_can_v2" is a "7up can"."""
    skip = ("opened", "light", "generated", "modified", "objaverse", "bridge", "baked", "v2")
    return " ".join(word for word in model.split("_") if word not in skip and not word.endswith("cm"))


@register_env("SimplerMoveNear-v0", max_episode_steps=80, override=True)
class MoveNear(GoogleScene):
    """Description: three objects stand on a table; move the named one next to the other named one.

    Randomizations: 60 episodes: 5 triplets of objects, 2 layouts, 6 choices of source and target. `setup.objects` must
    be the models of the placements' triplet; SimplerEnv sees to it.
    Success: the source has moved 3 cm and farther than the others, is within 10 cm (beyond the two half diagonals) of
    the target and nearer to it than to the third object, and nothing has fallen down.
    """

    default_setup = Setup(scene="google_pick_coke_can_1_v4", objects=tuple(baked(m) for m in MOVE_NEAR_TRIPLETS[0]))
    contact_offset = 0.005

    def _load_scene(self, options: dict[str, Any]) -> None:
        self._load_stage()
        self.objects = [self._load_object(model, self._density(model)) for model in self.setup.objects]

    @staticmethod
    def _density(model: str) -> float | None:
        return next((density for name, density in DENSITY.items() if name in model), None)

    def kept(self) -> list[Any]:
        return [*self.agent.robot.get_links(), *self.objects]

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        episode = 12 * self._triplet() + int(rng.randint(12))
        return Placement(**PLACES, overlay="google_move_near_real_eval_1.png", episode=episode)  # type: ignore[arg-type]

    def _triplet(self) -> int:
        """Which triplet the scene's objects are of."""
        names = {model.removeprefix("baked_") for model in self.setup.objects}
        return next(k for k, triplet in enumerate(MOVE_NEAR_TRIPLETS) if names <= set(triplet))

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        self.park_robot(len(placements))
        layouts = [move_near_layout(int(p.episode or 0)) for p in placements]
        names = [model.removeprefix("baked_") for model in self.setup.objects]
        for actor, model, name in zip(self.objects, self.setup.objects, names):
            spots = [[*places[triplet.index(name)], TABLE + DROP] for triplet, _, places in layouts]
            actor.set_pose(poses(*let_go(model, spots, [initial_quat(name)] * len(placements))))
        self.settle(self.objects)
        self.set_robot(placements, self.rest_qpos(placements))
        M = len(self.objects)
        if getattr(self, "_objects_seen", 0) != M:
            self._objects_seen = M
            self._pair = torch.zeros(self.num_envs, 2, dtype=torch.int64)
            self._start = torch.zeros(self.num_envs, M, 3)
            self._radius = torch.zeros(self.num_envs, M)
        pairs = [[names.index(triplet[k]) for k in pair] for triplet, pair, _ in layouts]
        self._pair[env_idx] = torch.tensor(pairs)
        self._start[env_idx] = self._positions()[env_idx]
        for k, actor in enumerate(self.objects):
            R = actor.pose.to_transformation_matrix()[:, :3, :3]
            box = R @ torch.as_tensor(extents(self.setup.objects[k]), dtype=torch.float32)  # signed, as in SIMPLER
            self._radius[env_idx, k] = (torch.linalg.norm(box[:, :2], dim=1) / 2)[env_idx]

    def _positions(self) -> torch.Tensor:
        return torch.stack([actor.pose.p for actor in self.objects], dim=1)  # (B, 3, 3)

    def judge(self) -> dict[str, torch.Tensor]:
        rows = torch.arange(self.num_envs, device=self.device)
        source, target = self._pair.T
        now = self._positions()
        others = torch.ones(now.shape[:2], dtype=torch.bool, device=self.device)  # (B, M) all but the source
        others[rows, source] = False
        third = others.clone()
        third[rows, target] = False
        moved = torch.linalg.norm((now - self._start)[..., :2], dim=2)  # (B, M)
        rise = now[..., 2] - self._start[..., 2]
        own = moved[rows, source]
        moved_correct = (own > MOVED) & ((own[:, None] > moved) | ~others).all(1)
        moved_wrong = ((moved > MOVED) & others).any(1) & ((moved > own[:, None]) & others).any(1)
        height = (torch.where(third, rise > FELL, rise > FELL_MOVED)).all(1)
        away = torch.linalg.norm((now - now[rows, source][:, None])[..., :2], dim=2)  # (B, M) from the source
        to_target = away[rows, target]
        near = to_target < self._radius[rows, source] + self._radius[rows, target] + MARGIN
        closest = ((to_target[:, None] < away + NEAREST) | ~third).all(1)
        start = torch.linalg.norm((self._start[rows, source] - self._start[rows, target])[:, :2], dim=1)
        done = self._radius[rows, source] + self._radius[rows, target] + MARGIN
        approach = torch.clamp((start - to_target) / torch.clamp(start - done, min=0.05), 0.0, 1.0)
        reach = 1.0 - torch.clamp(torch.linalg.norm(now[rows, source] - self.tip(), dim=1) / 0.3, 0.0, 1.0)
        touched = own > 0.01
        return {
            "success": height & moved_correct & near & closest,
            "progress": 0.3 * torch.maximum(reach, touched.float()) + 0.1 * touched + 0.6 * approach,
            "all_obj_keep_height": height,
            "moved_correct_obj": moved_correct,
            "moved_wrong_obj": moved_wrong,
            "near_tgt_obj": near,
            "is_closest_to_tgt": closest,
        }

    def instruction(self) -> list[str]:
        names = [spoken(model) for model in self.setup.objects]
        return [f"move {names[int(s)]} near {names[int(t)]}" for s, t in self._pair]

"""Move one object near another, with a third one on the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mani_skill.utils.registration import register_env
from scipy.spatial.transform import Rotation

from envs.simpler.google_scene import DROP, TABLE, GoogleScene, extents
from envs.simpler.scene import Placement, Setup, poses, replace

TRIPLETS = (
    ("blue_plastic_bottle", "opened_pepsi_can", "orange"),
    ("opened_7up_can", "apple", "sponge"),
    ("opened_coke_can", "opened_redbull_can", "apple"),
    ("sponge", "blue_plastic_bottle", "opened_7up_can"),
    ("orange", "opened_pepsi_can", "opened_redbull_can"),
)
PAIRS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))  # source and target within the triplet
LAYOUTS = (((-0.33, 0.04), (-0.33, 0.34), (-0.13, 0.19)), ((-0.13, 0.04), (-0.33, 0.19), (-0.13, 0.34)))  # m
EPISODES = len(TRIPLETS) * len(LAYOUTS) * len(PAIRS)
UNBAKED = ("blue_plastic_bottle", "orange")  # have no baked texture in the visual matching set
DENSITY = {"apple": 200.0, "orange": 200.0}  # kg/m^3
MOVED, MARGIN, NEAREST = 0.03, 0.10, 0.01  # m
FELL, FELL_MOVED = -0.02, -0.15  # m, height lost by the third object, and by source or target
PLACES = {"robot_xy": (0.35, 0.21), "robot_quat": (0.0449848, 0.0, 0.0, 0.9989877)}


def layout(episode: int) -> tuple[tuple[str, str, str], tuple[int, int], tuple[tuple[float, float], ...]]:
    """The triplet of models, the indices of source and target in it, and the three places of an episode's number."""
    return TRIPLETS[episode // 12], PAIRS[episode % 6], LAYOUTS[(episode % 12) // 6]


def baked(model: str) -> str:
    """The model of the visual matching set."""
    return model if model in UNBAKED else f"baked_{model}"


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

    default_setup = Setup(scene="google_pick_coke_can_1_v4", objects=tuple(baked(m) for m in TRIPLETS[0]))
    contact_offset = 0.005

    @staticmethod
    def setup_for(setup: Setup, episode: int, textures: str) -> Setup:
        """`setup` with the objects of an episode; `textures` is "baked" (visual matching) or "plain"."""
        models = layout(episode)[0]
        return replace(setup, objects=tuple(baked(m) if textures == "baked" else m for m in models))

    def _load_scene(self, options: dict[str, Any]) -> None:
        self._load_stage()
        self.objects = [self._load_object(model, self._density(model)) for model in self.setup.objects]

    @staticmethod
    def _density(model: str) -> float | None:
        return next((density for name, density in DENSITY.items() if name in model), None)

    def kept(self) -> list[Any]:
        return [*self.agent.robot.get_links(), *self.objects]

    def sample_placement(self, rng: np.random.RandomState) -> Placement:
        names = [model.removeprefix("baked_") for model in self.setup.objects]
        triplet = TRIPLETS.index(tuple(names))  # type: ignore[arg-type]
        episode = 12 * triplet + int(rng.randint(12))
        return Placement(**PLACES, overlay="google_move_near_real_eval_1.png", episode=episode)  # type: ignore[arg-type]

    def place(self, placements: list[Placement], env_idx: torch.Tensor) -> None:
        self.park_robot(len(placements))
        layouts = [layout(int(p.episode or 0)) for p in placements]
        for k, actor in enumerate(self.objects):
            spots = [[*places[k], TABLE + DROP] for _, _, places in layouts]
            actor.set_pose(poses(spots, [initial_quat(self.setup.objects[k])] * len(placements)))
        self.settle(self.objects)
        self.set_robot(placements, self.rest_qpos(placements))
        if not hasattr(self, "_pair"):
            self._pair = torch.zeros(self.num_envs, 2, dtype=torch.int64)
            self._start = torch.zeros(self.num_envs, 3, 3)
            self._radius = torch.zeros(self.num_envs, 3)
        self._pair[env_idx] = torch.tensor([pair for _, pair, _ in layouts])
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
        third = 3 - source - target
        now = self._positions()
        moved = torch.linalg.norm((now - self._start)[..., :2], dim=2)  # (B, 3)
        dropped = now[..., 2] - self._start[..., 2]
        others = torch.stack([moved[rows, target], moved[rows, third]], 1)
        moved_correct = (moved[rows, source] > MOVED) & (moved[rows, source, None] > others).all(1)
        moved_wrong = (others > MOVED).any(1) & (others > moved[rows, source, None]).any(1)
        height = (dropped[rows, third] > FELL) & (dropped[rows, source] > FELL_MOVED) & (dropped[rows, target] > FELL_MOVED)
        away = torch.linalg.norm((now - now[rows, source][:, None])[..., :2], dim=2)  # (B, 3) from the source
        to_target = away[rows, target]
        near = to_target < self._radius[rows, source] + self._radius[rows, target] + MARGIN
        closest = to_target < away[rows, third] + NEAREST
        start = torch.linalg.norm((self._start[rows, source] - self._start[rows, target])[:, :2], dim=1)
        done = self._radius[rows, source] + self._radius[rows, target] + MARGIN
        approach = torch.clamp((start - to_target) / torch.clamp(start - done, min=0.05), 0.0, 1.0)
        reach = 1.0 - torch.clamp(torch.linalg.norm(now[rows, source] - self.tip(), dim=1) / 0.3, 0.0, 1.0)
        touched = moved[rows, source] > 0.01
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

"""What the benchmark holds: groups of episodes per task, their seeds, and the pace of the demonstrator."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

from episodes import seeds
from episodes.settings import require

TASKS = ("lift", "stack", "pick_place_can", "pick_place_bread", "pick_place_milk", "pick_place_cereal")
GROUPS = ("hesitation", "retry", "expert", "drop", "wrong_object")
SPLITS = {"test": seeds.EVAL[500_000:600_000], "train": seeds.TRAIN[900_000:]}
_TASK_BLOCK, _GROUP_BLOCK = 10_000, 1_000  # seeds per task and per group of a split


@dataclass
class Counts:
    """Episodes per task of each group."""

    hesitation: int = 25  # one pause (WVM, table B.3)
    retry: int = 25  # one missed grasp or drop, made up for (WVM, table B.3)
    expert: int = 17  # 102 in all; WVM has 99
    drop: int = 4  # ours: drops the object and never takes it again
    wrong_object: int = 4  # ours: the wrong object or place, never corrected; Lift has one object, and none of these

    def __post_init__(self) -> None:
        require(self, **dict.fromkeys(GROUPS, (0, _GROUP_BLOCK // 4)))

    def of(self, task: str, group: str) -> int:
        """Episodes of a task and group; Lift has no wrong object."""
        return 0 if (task, group) == ("lift", "wrong_object") else int(getattr(self, group))


@dataclass
class Pace:
    """How slowly the demonstrator moves in one task."""

    slowness: float = 1.0  # 1: the oracle's own pace
    seconds: float = 12.0  # an expert's episode at this pace, measured: hesitations are planned with it
    retry: float = 0.4  # slowness of a retry's moves, as a share of `slowness`

    def __post_init__(self) -> None:
        require(self, slowness=(0.2, 20), seconds=(0.5, 600), retry=(0.05, 1))


def paper_pace() -> dict[str, Pace]:
    """Paces at which the suboptimal episodes of each task last about as long as WVM's (table B.3: 17 to 28 s)."""
    return {
        "lift": Pace(4.6, 11.5),
        "stack": Pace(3.9, 14.5),
        "pick_place_can": Pace(2.65, 19.0),
        "pick_place_bread": Pace(2.65, 17.0),
        "pick_place_milk": Pace(3.0, 17.5),
        "pick_place_cereal": Pace(2.85, 19.0),
    }


@dataclass
class BenchConfig:
    """The RoboSuite part of Suboptimal-Value-Bench (WVM section 4, appendix B), with what its authors do not give.

    Differs from the paper: generated, not annotated by people; failures; a training split.
    """

    tasks: list[str] = field(default_factory=lambda: list(TASKS))
    test: Counts = field(default_factory=Counts)
    train: Counts = field(default_factory=lambda: Counts(hesitation=0, retry=0, expert=14, drop=2, wrong_object=2))
    pace: dict[str, Pace] = field(default_factory=paper_pace)
    hesitation_share: tuple[float, float] = (0.05, 0.60)  # of the episode's length, uniform; ours
    image_size: int = 64  # pixels
    cameras: list[str] = field(default_factory=lambda: ["agentview", "wrist"])
    hz: float = 10.0  # WVM, table A.2
    hold_steps: int = 5  # steps the goal must hold
    action_noise: float = 0.0  # sigma on the executed action; slow hands move by less than the demonstrations' noise
    limit: float = 2.0  # time limit in expert's times, beside a pause; a failure lasts one expert's time

    def __post_init__(self) -> None:
        require(self, image_size=(8, 4096), hz=(1, 500), hold_steps=(1, inf), action_noise=(0, inf), limit=(1.2, 10))
        unknown = [t for t in self.tasks if t not in TASKS]
        if unknown or not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"BenchConfig: tasks={list(self.tasks)}; name some of {', '.join(TASKS)}, each once")
        if missing := [t for t in self.tasks if t not in self.pace]:
            raise ValueError(f"BenchConfig: pace has no {missing[0]}; give its slowness and an expert's seconds")
        low, high = self.hesitation_share
        if not 0 < low < high < 0.9:
            raise ValueError(f"BenchConfig: hesitation_share=({low}, {high}); use two shares, 0 < low < high < 0.9")


def trial_seed(split: str, task: str, group: str, k: int) -> int:
    """The seed of the k-th trial of a group: blocks that never overlap, test seeds among EVAL, others among TRAIN."""
    assert 0 <= k < _GROUP_BLOCK, f"trial {k} of a block of {_GROUP_BLOCK}"
    return SPLITS[split][TASKS.index(task) * _TASK_BLOCK + GROUPS.index(group) * _GROUP_BLOCK + k]


def trial_of(seed: int) -> tuple[str, str, str, int]:
    """(split, task, group, k) of a seed made by `trial_seed`."""
    for split, block in SPLITS.items():
        if seed in block:
            task, rest = divmod(seed - block.start, _TASK_BLOCK)
            group, k = divmod(rest, _GROUP_BLOCK)
            if task < len(TASKS) and group < len(GROUPS):
                return split, TASKS[task], GROUPS[group], k
    raise ValueError(f"seed {seed} is not one of the benchmark's trials")

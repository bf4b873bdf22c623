"""The settings of the value benchmark and its ablations, registered with Hydra beside the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from episodes.settings import require, require_one_of
from experiments.data.schemas import require_pixels
from experiments.loop import schemas
from networks.settings import LatentsConfig
from valuefns.bench.plan import BenchConfig


@dataclass
class OwnDataConfig:
    """A dataset of one's own to score instead of the generated benchmark."""

    path: str = ""  # an episode store, or a LeRobotDataset / robomimic file to import
    annotations: str = ""  # csv: episode,type,m,n[,task,split]
    instruction: str = ""  # of every episode, where the dataset has none
    success: bool = True  # of every episode, where the dataset does not say; the csv's type `failure` wins
    image_size: list[int] = field(default_factory=list)  # read pictures at [H,W], padded; empty: as stored

    def __post_init__(self) -> None:
        require_pixels(self, self.image_size)


@dataclass
class ValueBenchConfig:
    """`foresight bench`: episodes with known truth, models, one scorecard."""

    bench: BenchConfig = field(default_factory=BenchConfig)
    data: OwnDataConfig = field(default_factory=OwnDataConfig)
    models: list[str] = field(
        default_factory=lambda: ["viva", "wvm", "distributional", "constant", "clock", "random", "oracle"]
    )
    valuefns: dict[str, Any] = field(default_factory=dict)  # name -> settings of a value function
    valuefn: Any = None  # one value function by itself, in place of `models`; `backend` is its vision-language model's
    checkpoints: dict[str, str] = field(default_factory=dict)  # name -> folder of a trained one, instead of training
    latents: LatentsConfig = MISSING  # for values that read latents
    train_on: list[str] = field(default_factory=lambda: ["expert", "drop", "wrong_object"])  # groups of the train split
    train_tasks: list[str] = field(default_factory=list)  # empty: all
    probe_experts: int = 3  # experts per task that are also scored reversed, static and with other words
    probe_pairs: int = 2  # experts per task that are also scored with the object left behind in their pictures
    seed: int = 0  # initialisation and batches
    device: str = "cpu"
    workers: int = 2  # local processes that record episodes
    videos: int = 6  # episodes drawn with their values: the worst of each kind
    runs: str = "runs"
    cache: str = "cache"
    fresh: bool = False  # start anew instead of continuing the newest unfinished run of the same settings

    def __post_init__(self) -> None:
        require(self, probe_experts=(0, inf), probe_pairs=(0, 30), seed=(0, inf), workers=(1, inf), videos=(0, inf))


@dataclass
class AblationRowConfig:
    """One row of an ablation table: what is changed in the model's settings, or left out of its training."""

    what: str = ""
    set: dict[str, Any] = field(default_factory=dict)  # nested settings of the value function, by name
    leave_out: list[str] = field(default_factory=list)  # tasks it does not learn from


@dataclass
class AblationConfig:
    """One ablation table: a model and its rows, the first of which the others are compared with."""

    name: str = MISSING  # cells and table go to <results>/<name>
    model: str = MISSING  # a name of valuefns; of a policy
    rows: dict[str, AblationRowConfig] = MISSING


@dataclass
class ValueAblationConfig(ValueBenchConfig):
    """`foresight ablate ablation=viva`: one table in cells (row, seed)."""

    ablation: AblationConfig = MISSING
    rows: list[str] = field(default_factory=list)  # empty: all
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    results: str = "runs/ablations"


@dataclass
class SightOptions:
    """Which values to probe, on how much, and where the cells are kept."""

    values: list[str] = field(default_factory=lambda: ["viva", "wvm", "distributional"])
    episodes: int = 24  # held-out demonstrations, all folds together
    pairs: int = 20  # of true and counterfactual pictures
    split: str = "eval"  # of the pairs' seeds; tune: choose settings
    results: str = "runs/sight"

    def __post_init__(self) -> None:
        require(self, episodes=(4, 1000), pairs=(0, 1000))
        require_one_of(self, split=("eval", "tune"))


@dataclass
class SightConfig(schemas.RecapSimConfig):
    """`foresight sight`: does the value look, over tasks and data seeds, in cells."""

    values: dict[str, Any] = field(default_factory=dict)  # name -> settings of a value function
    study: SightOptions = field(default_factory=SightOptions)


@dataclass
class PolicyAblationConfig(schemas.RecapSimConfig):
    """`foresight ablate ablation=videovla`: a policy's table in cells (row, data seed)."""

    ablation: AblationConfig = MISSING
    rows: list[str] = field(default_factory=list)  # empty: all
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])  # data seeds
    results: str = "runs/ablations"


def register() -> None:
    """Register these schemas and everybody's, before Hydra composes."""
    schemas.register()
    store = ConfigStore.instance()
    store.store("value_bench_schema", ValueBenchConfig)
    store.store("value_ablation_schema", ValueAblationConfig)
    store.store("sight_schema", SightConfig)
    store.store("policy_ablation_schema", PolicyAblationConfig)
    store.store("schema", AblationConfig, group="ablation")

"""The settings of every experiment, as typed groups registered with Hydra; YAML under conf/ holds values only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from agents.registry import POLICIES
from agents.settings import ExtractionConfig
from envs import OFFERED, offered_task
from envs.oracles.mix import OracleMix
from envs.takeover import TakeoverConfig
from episodes import seeds
from episodes.settings import require, require_one_of
from episodes.types import MAX_PIXELS
from experiments.data.schemas import AdvantageCommandConfig, LabelConfig, require_pixels
from experiments.studies.arms import TOKENS
from networks.settings import LatentsConfig
from valuefns.gvl.settings import GVLConfig
from valuefns.registry import VALUES

CONF = str(Path(__file__).parents[1] / "conf")


@dataclass
class TaskConfig:
    """The environment: a Gymnasium id and what it is made with."""

    env_id: str = MISSING
    image_size: int = 64  # pixels, height and width
    cameras: list[str] = field(default_factory=lambda: ["agentview", "wrist"])
    hz: float = 10.0  # control rate
    hold_steps: int = 5  # steps the goal must hold before it counts
    render: str = "fast"  # fast: large robot meshes drawn as their collision shapes; stock: robosuite's own
    gripper: str = ""  # its action: position or, for SIMPLER's Google robot, change; empty: the robot's own

    def __post_init__(self) -> None:
        require(self, image_size=(1, MAX_PIXELS), hz=(0.1, 1000), hold_steps=(1, inf))
        require_one_of(self, gripper=("", "position", "change"))
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"TaskConfig: cameras={list(self.cameras)}; name at least one camera, each once")


@dataclass
class CollectConfig:
    """The demonstrations: scripted, of mixed quality."""

    episodes: int = 200
    max_steps: int = 100  # time limit of one demonstration
    action_noise: float = 0.15  # sigma on the executed action; the noise-free one is recorded
    mix: OracleMix = field(  # two thirds are degraded, so that cloning everything leaves room to improve
        default_factory=lambda: OracleMix(
            expert=0.32, hesitation=0.18, retry_miss=0.2, retry_drop=0.1, failure=0.2, combine=0.25
        )
    )
    store: str = ""  # folder of an episode store: its episodes are the demonstrations, nothing is recorded

    def __post_init__(self) -> None:
        require(self, episodes=(1, 10_000), max_steps=(1, inf), action_noise=(0, inf))


@dataclass
class EvaluationConfig:
    """The test of a policy: the same seeds for every method."""

    trials: int = 50
    max_steps: int = 55  # time limit of one trial: an expert needs about 45 steps, mistakes do not fit in
    split: str = "eval"  # eval: report once; tune: choose settings
    first: int = 0  # offset into the split's seeds

    def __post_init__(self) -> None:
        require(self, trials=(1, len(seeds.EVAL)), max_steps=(1, inf), first=(0, len(seeds.EVAL) - self.trials))
        require_one_of(self, split=("eval", "tune"))


@dataclass
class RecapSimConfig:
    """`foresight recap`: collect, value, advantages, policies, evaluation, report."""

    task: TaskConfig = MISSING
    collect: CollectConfig = field(default_factory=CollectConfig)
    latents: LatentsConfig = MISSING  # what turns images into latent frames, for values that read latents
    valuefn: Any = MISSING  # viva, wvm, distributional (each with _tiny), constant, oracle, gvl, topreward, roboreward
    policy: Any = MISSING  # flow, flow_tiny, pi05, pi05_tiny, videovla, videovla_realtime, videovla_tiny
    labeller: ExtractionConfig = MISSING  # how values become weights and indicators: paper, tiny
    methods: list[str] = field(default_factory=lambda: ["bc", "filtered_bc", "awr", "recap"])
    folds: int = 1  # cross-fitting of the value; 1: the papers' choice
    iterations: int = 1  # RECAP iterations; from the second on, each method adds its own rollouts
    rollouts: int = 50  # episodes a method adds per further iteration
    corrections: bool = False  # in those, the scripted oracle takes over from a policy that has stalled
    takeover: TakeoverConfig = field(default_factory=TakeoverConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    preset: str = "tiny"  # name of the preset that chose the variants
    seed: int = 0  # data seed: demonstrations, folds, initialisation, batches
    device: str = "cpu"
    workers: int = 2  # local processes
    videos: int = 6  # episodes drawn with their value in the report
    runs: str = "runs"  # where run folders go
    cache: str = "cache"  # datasets, latents and values shared by runs, addressed by what made them
    fresh: bool = False  # start anew instead of continuing the newest unfinished run of the same settings
    track: str = ""  # trackio:PROJECT or wandb:PROJECT: where the finished run goes, with losses and videos

    def __post_init__(self) -> None:
        require(self, folds=(1, inf), iterations=(1, inf), rollouts=(1, inf), workers=(1, inf), videos=(0, inf))
        require(self, seed=(0, 99))  # there are 100 blocks of training seeds


@dataclass
class PlanConfig(RecapSimConfig):
    """`foresight plan`: what the training of these settings needs."""

    gpu: float = 80.0  # GiB of memory of one GPU

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, gpu=(0.1, 10_000))


@dataclass
class TrainConfig(RecapSimConfig):
    """`foresight train`: one value function or policy on a recorded store."""

    store: str = MISSING  # folder of an episode store
    out: str = MISSING  # folder to train in and save to
    part: str = "value"  # value, policy or latents
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved one whose weights the part starts from
    labels: str = ""  # file of labels a policy learns from; empty: behaviour cloning of every step
    image_size: list[int] = field(default_factory=list)  # read pictures at [H, W], padded; empty: as stored

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, part=("value", "policy", "latents"))
        require_pixels(self, self.image_size)


@dataclass
class MethodStudyOptions:
    """Which cells of the study of methods and values to run, and where they are kept."""

    methods: list[str] = field(default_factory=lambda: ["filtered_bc", "awr", "recap"])  # those that read a value
    values: list[str] = field(default_factory=lambda: ["viva", "viva_no_lookahead", "oracle"])
    plain: list[str] = field(default_factory=lambda: ["bc", "success_bc", "success_random"])  # those that read none
    shuffled: list[str] = field(default_factory=lambda: ["awr", "recap"])  # also with the first value's labels shuffled
    tokens: list[str] = field(
        default_factory=list
    )  # RECAP's policy on the first value acting with these: none, negative
    iterations: int = 1  # more: also RECAP on the first value that adds its own rollouts, a row per iteration
    corrections: bool = False  # and once more with the oracle's corrections in those rollouts
    same_rollouts: list[str] = field(default_factory=list)  # methods trained on what RECAP's last iteration had read
    fine_tune: int = (
        0  # steps of every arm from the data seed's cloned policy (policy.training.steps); 0: each from scratch
    )
    results: str = "runs/methods"

    def __post_init__(self) -> None:
        require(self, iterations=(1, inf), fine_tune=(0, inf))
        if self.same_rollouts and self.iterations == 1:
            raise ValueError(
                f"study.same_rollouts={self.same_rollouts}: one iteration has no rollouts; add study.iterations=3"
            )
        if unknown := [token for token in self.tokens if token not in TOKENS]:
            raise ValueError(f"study.tokens={unknown}: choose from {', '.join(TOKENS)}")


@dataclass
class MethodStudyConfig(RecapSimConfig):
    """`foresight study`: every method on every value, over tasks and data seeds, in cells."""

    values: dict[str, Any] = field(default_factory=dict)  # name -> settings of a value function
    study: MethodStudyOptions = field(default_factory=MethodStudyOptions)


@dataclass
class RankDatasetsConfig:
    """`foresight rank`: mean VOC of each store, and which episodes a threshold keeps."""

    stores: list[str] = field(default_factory=list)  # folders of episode stores
    valuefn: Any = MISSING  # gvl, topreward, roboreward, oracle; others with a checkpoint
    checkpoint: str = ""  # folder of a trained value
    image_size: list[int] = field(default_factory=list)  # read pictures at [H,W], padded; empty: as stored
    per_store: int = 0  # episodes drawn from each store; 0: all
    threshold: float = 0.5  # of VOC, above which GVL-SD calls an episode a success
    seed: int = 0
    device: str = "cpu"
    runs: str = "runs"  # where run folders go
    fresh: bool = False  # start anew instead of continuing the newest unfinished run of the same settings

    def __post_init__(self) -> None:
        require(self, per_store=(0, inf), threshold=(-1, 1), seed=(0, inf))
        require_pixels(self, self.image_size)


@dataclass
class ProposeSegmentsConfig:
    """`foresight propose`: intervals without progress, for people to review."""

    store: str = MISSING  # folder of an episode store
    valuefn: GVLConfig = MISSING  # its backend, camera, image_size, attempts and max_tokens are used
    fps: float = 2.0  # frames per second shown
    frames: int = 60  # at most, per episode
    out: str = ""  # file to write; empty: proposals.json in the store's folder
    device: str = "cpu"

    def __post_init__(self) -> None:
        require(self, fps=(1e-3, 1000), frames=(2, 1000))


@dataclass
class SimplerSweepConfig:
    """experiments/simpler_sweep.py: one policy on SIMPLER's protocol."""

    policy: str = "random"  # random, scripted, the folder of a saved policy, or a server: ws://host:port
    adapter: str = ""  # of a server that is not ours: bridge, fractal, or a YAML file (agents/adapters)
    tasks: list[str] = field(default_factory=list)  # of the protocol; empty: all
    settings: list[str] = field(default_factory=lambda: ["visual_matching", "variant_aggregation"])
    variants: list[str] = field(default_factory=list)  # empty: all of the setting
    limit: int = 0  # trials per variant and task, spread evenly; 0: all
    dry_run: bool = False  # print the plan and stop
    backend: str = "maniskill3"  # or simpler_env: the original, in a Python of its own (docs/simpler.md)
    simpler_python: str = ""  # backend=simpler_env: that Python; empty: the command to start it is printed
    listen: int = 0  # backend=simpler_env: port for its worker, on this machine alone; 0: any free one
    image_size: int = 0  # pixels, square; 0: the saved policy's, the adapter's, else 256
    images: bool = True  # draw observations (scripted and random policies do not need them)
    execute: int = 0  # steps of each answer that are executed; 0: the policy's
    content: str = ""  # SHA-256 that the policy must have; empty: what it has when the sweep starts
    workers: int = 1  # processes
    slots: int = 1  # environments of one process, whose observations the policy sees in one batch
    timeout: float = 60.0  # s that a server's answer may take
    attempts: int = 2  # of a trial whose server does not answer; then it is an error, no failure
    give_up: int = 10  # trials in a row without an answer, after which the sweep ends
    videos: int = 0  # failures that are run again and filmed
    device: str = "cpu"  # of the policy
    runs: str = "runs"  # folder of all runs

    def __post_init__(self) -> None:
        require(self, limit=(0, inf), workers=(1, inf), slots=(1, 1000), timeout=(0.01, inf), attempts=(1, 100))
        require(self, give_up=(1, inf), videos=(0, 1000), execute=(0, 1000), listen=(0, 65535))
        require(self, image_size=(0, 4096))
        require_one_of(self, backend=("maniskill3", "simpler_env"))
        remote = self.policy.startswith(("ws://", "wss://"))
        if self.adapter and not remote:
            raise ValueError(
                f"SimplerSweepConfig: adapter={self.adapter!r} with policy={self.policy!r}; adapters are for servers"
            )
        if self.backend == "simpler_env" and (self.policy == "scripted" or self.workers > 1 or self.slots > 1):
            raise ValueError(
                "SimplerSweepConfig: backend=simpler_env has one worker with one slot, and no scripted policy"
            )
        if not self.images and self.policy not in ("random", "scripted"):
            raise ValueError("SimplerSweepConfig: images=false; only random and scripted policies do without")


@dataclass
class AgentConfig:
    """A Stable-Baselines3 agent; the defaults are the library's."""

    algorithm: str = MISSING  # sac, ppo
    steps: int = 100_000  # environment steps of training, all environments together
    envs: int = 4  # environments stepped together
    gamma: float = 0.99  # discount, also of the shaping
    max_steps: int = 100  # time limit of an episode, training and evaluation
    hold_steps: int = 5  # steps the goal must hold before it ends an episode as a success
    actions: list[str] = field(default_factory=list)  # dimensions the agent moves; empty: all
    pixels: bool = False  # learn from the task's cameras and proprioception, not from the simulator's state
    evaluations: int = 10  # points of the learning curve
    settings: dict[str, Any] = field(default_factory=dict)  # further arguments of the algorithm

    def __post_init__(self) -> None:
        require(self, steps=(1, inf), envs=(1, inf), gamma=(0, 1), max_steps=(1, inf), evaluations=(1, inf))
        require(self, hold_steps=(1, inf))
        require_one_of(self, algorithm=("sac", "ppo"))
        if "gamma" in self.settings:
            raise ValueError("AgentConfig: settings.gamma; set agent.gamma, the shaping needs the same")


@dataclass
class ShapingStudyOptions:
    """Which cells of the reward-shaping study to run, and where they are kept."""

    arms: list[str] = field(default_factory=list)  # empty: all of experiments/studies/shaping/rewards.py
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])  # of the agents
    threshold: float = 0.8  # success rate whose first evaluation is `steps_to_threshold`
    curve_trials: int = 20  # episodes of one point of the learning curve
    every: int = 1  # control steps between readings of a value, the controls' too
    videos: int = 2  # hacks drawn per cell
    results: str = "runs/reward_shaping"

    def __post_init__(self) -> None:
        require(self, threshold=(0, 1), curve_trials=(1, 100_000), every=(1, inf), videos=(0, inf))


@dataclass
class ShapingStudyConfig:
    """`foresight shape`: values as rewards for Stable-Baselines3 agents."""

    task: TaskConfig = MISSING
    agent: AgentConfig = MISSING
    collect: CollectConfig = field(default_factory=CollectConfig)
    latents: LatentsConfig = MISSING
    valuefn: Any = MISSING
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)  # after training
    study: ShapingStudyOptions = field(default_factory=ShapingStudyOptions)
    seed: int = 0  # data seed of the value
    device: str = "cpu"  # of the value
    agent_device: str = "cpu"
    workers: int = 2
    runs: str = "runs"
    cache: str = "cache"

    def __post_init__(self) -> None:
        require(self, workers=(1, inf), seed=(0, 99))


def register_offered(overrides: Sequence[str]) -> None:
    """Register the settings of the parts of other packages, or at module:attribute, that these overrides choose.

    Only theirs are imported: what an installed package costs or breaks, it does to those that name it.
    """
    chosen = re.compile(r"[+~]*(valuefn|policy|task)(?:@[\w.]+)?=(.+)")
    store = ConfigStore.instance()
    for group, values in (m.groups() for word in overrides if (m := chosen.fullmatch(word))):
        for name in values.split(","):
            if (Path(CONF) / group / f"{name}.yaml").exists():
                continue
            if group == "task" and (":" in name or name in OFFERED.names()):
                env_id = name if ":" in name else offered_task(name).env_id
                store.store(name, TaskConfig(env_id), group="task")
            elif group != "task":
                kind = VALUES if group == "valuefn" else POLICIES
                if ":" in name or name in kind.names():
                    node = OmegaConf.structured(kind.settings(name))
                    store.store(name, OmegaConf.merge(node, {"name": name}), group=group)


def register() -> None:
    """Register the schemas, once; every experiment calls it before Hydra composes."""
    store = ConfigStore.instance()
    store.store("recap_sim_schema", RecapSimConfig)
    store.store("plan_schema", PlanConfig)
    store.store("train_schema", TrainConfig)
    store.store("method_study_schema", MethodStudyConfig)
    store.store("rank_datasets_schema", RankDatasetsConfig)
    store.store("label_schema", LabelConfig)
    store.store("advantage_schema", AdvantageCommandConfig)
    store.store("propose_segments_schema", ProposeSegmentsConfig)
    store.store("reward_shaping_schema", ShapingStudyConfig)
    store.store("agent_schema", AgentConfig, group="agent")
    store.store("schema", TaskConfig, group="task")
    store.store("schema", LatentsConfig, group="latents")
    for kind, group in ((VALUES, "valuefn"), (POLICIES, "policy")):
        for name, part in kind.own.items():
            store.store(f"{name}_schema", part, group=group)
    store.store("schema", ExtractionConfig, group="labeller")


def resolve(config: DictConfig) -> RecapSimConfig:
    """Turn a composed config into dataclasses; a bad value is a ValueError of its own setting."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, RecapSimConfig)
    return settings

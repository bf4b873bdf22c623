"""Settings of policies and labellers; no torch, so that commands check them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from episodes.settings import require, require_one_of
from episodes.types import WEIGHTINGS
from networks.settings import CogVideoXConfig, CogVideoXVAEConfig, T5TextConfig, TrainerConfig

TIMESTEPS = 1000
"""Of CogVideoX's schedule; the last one is pure noise."""

RETRAINED = ("training", "weighting", "indicator_dropout", "guidance", "image_shift", "init")
"""Settings that may differ from those of the saved weights that training starts from (`init`)."""


@dataclass
class FlowConfig:
    """Settings of the flow policy. Not from a paper: the small CPU baseline of this project, measured on Lift."""

    made_by: ClassVar[str] = "agents.flow:FlowPolicy"
    retrained: ClassVar[tuple[str, ...]] = RETRAINED

    name: str = "flow"
    chunk: int = 8  # K: actions per chunk
    execute: int = 4  # steps executed before the next chunk
    width: int = 256  # D of the head
    blocks: int = 3  # FiLM residual blocks
    feature: int = 128  # per camera
    image_shift: int = 3  # pixels, random per sample
    noise_samples: int = 4  # noise draws per encoded image
    euler_steps: int = 5
    indicator_dropout: float = 0.3  # share of indicators replaced by null (pi*0.6)
    guidance: float = 1.0  # beta; 1: no guidance
    weighting: str = "loss"  # how weights act: in the loss (WVM eq. E.5), or, sample, by how often a step is drawn
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            steps=1500, batch_size=64, lr=1e-3, lr_final=0.0, warmup=50, betas=(0.9, 0.999), weight_decay=1e-3,
            ema_decay=0.995,
        )
    )  # fmt: skip
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved flow whose weights training starts from

    def __post_init__(self) -> None:
        require(self, chunk=(1, inf), execute=(1, self.chunk), width=(1, inf), blocks=(0, inf), feature=(1, inf))
        require(self, image_shift=(0, inf), noise_samples=(1, inf), euler_steps=(1, inf), indicator_dropout=(0, 1))
        require(self, guidance=(0, inf))
        require_one_of(self, weighting=WEIGHTINGS)


@dataclass
class PaliGemmaShape:
    """The prefix; defaults: PaliGemma 3B at 224 pixels (SigLIP So400m/14 and Gemma 2B)."""

    image_size: int = 224  # pixels, square
    patch_size: int = 14  # pixels
    vision_width: int = 1152
    vision_layers: int = 27
    vision_heads: int = 16
    vision_mlp: int = 4304
    width: int = 2048  # D of the language model
    layers: int = 18  # of the language model and of the expert
    mlp: int = 16384
    heads: int = 8  # of the language model and of the expert, which share keys
    kv_heads: int = 1  # G
    head_dim: int = 256  # E
    vocabulary: int = 257_152
    init_std: float = 0.02  # of Gemma's random weights


@dataclass
class ExpertShape:
    """The action expert (openpi's "gemma 300m"); layers, heads and head dim are the prefix's."""

    width: int = 1024
    mlp: int = 4096


@dataclass
class Pi05Config:
    """Settings of the pi0.5-style policy; defaults: pi0.5 as openpi publishes it, fine-tuned as in WVM's RoboSuite."""

    made_by: ClassVar[str] = "agents.pi05:Pi05Policy"
    retrained: ClassVar[tuple[str, ...]] = RETRAINED

    name: str = "pi05"
    checkpoint: str = "lerobot/pi05_base"  # hub id or folder of the published weights; empty: random weights
    revision: str = "main"  # hub revision
    tokenizer: str = "google/paligemma-3b-pt-224"  # hub id or folder; empty: bytes as tokens
    tokenizer_revision: str = "main"
    max_tokens: int = 200  # of the prompt (openpi); a longer one is an error, not cut
    chunk: int = 50  # K (pi0.5, section IV)
    execute: int = 25  # steps executed before the next chunk (pi0, appendix D: 0.5 s at 50 Hz)
    max_action_dim: int = 32  # A; actions are padded with zeros (openpi)
    euler_steps: int = 10  # pi0 and openpi
    tau_alpha: float = 1.5  # tau ~ 0.999 Beta(alpha, 1) + 0.001 (pi0, appendix B; openpi)
    noise_samples: int = 1  # noise draws per prefix; more is ours: the prefix is where the time goes
    indicator_dropout: float = 0.3  # share of indicators replaced by none (pi*0.6)
    guidance: float = 1.0  # beta; 1: no guidance (pi*0.6, 1.5 to 2.5 where useful)
    weighting: str = "loss"  # how weights act: in the loss (WVM eq. E.5), or, sample, by how often a step is drawn
    image_shift: int = 0  # pixels of the stored image, random per sample; ours
    prefix: PaliGemmaShape = field(default_factory=PaliGemmaShape)
    expert: ExpertShape = field(default_factory=ExpertShape)
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            steps=5000, batch_size=256, lr=2.5e-5, warmup=1000,  # WVM's downstream policy; warm-up: openpi
        )
    )  # fmt: skip
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved pi05 whose weights training starts from

    def __post_init__(self) -> None:
        require_one_of(self, weighting=WEIGHTINGS)


@dataclass
class VideoVlaConfig:
    """VideoVLA's settings; the defaults are the paper's for simulation (section 4, implementation details)."""

    made_by: ClassVar[str] = "agents.videovla:VideoVlaPolicy"
    retrained: ClassVar[tuple[str, ...]] = RETRAINED

    name: str = "videovla"
    cameras: list[str] = field(default_factory=list)  # side by side in every frame; empty: the first (paper: one view)
    latents: int = 13  # F: the current frame and 12 future ones, 49 frames; 7, 4: table 8; 1: "action only", table 9
    frame_stride: int = 1  # control steps from frame to frame; undisclosed (an episode holds one frame per action)
    chunk: int = 6  # K
    execute: int = 3  # steps executed before the next chunk
    ddim_steps: int = 50  # 10 in real time
    causal_mask: bool = False  # table 13: actions see video, video does not see actions
    schedule: str = "sync"  # table 14: sync; async_training: noise levels of their own in training; async: also denoise
    # the video first and the actions after it
    lambda_video: float = 1.0  # of the video loss; 0: "no video loss", table 9
    indicator_dropout: float = 0.3  # share of indicators replaced by none (pi*0.6)
    guidance: float = 1.0  # beta of the indicator; 1: no guidance
    weighting: str = "loss"  # how weights act: in the loss (WVM eq. E.5), or, sample, by how often a step is drawn
    image_shift: int = 0  # ours: pixels, random per clip and view, the same for all its frames
    shifted_copies: int = 1  # latents cached per clip: one unshifted and the rest shifted
    transformer: CogVideoXConfig = field(default_factory=CogVideoXConfig)  # checkpoint="": "from scratch", table 7
    vae: CogVideoXVAEConfig = field(default_factory=CogVideoXVAEConfig)
    text: T5TextConfig = field(default_factory=T5TextConfig)
    training: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(  # betas, warm-up and decay of the rate are undisclosed
            steps=100_000, batch_size=256, lr=1e-5, lr_final=1.0, warmup=0, betas=(0.9, 0.999), weight_decay=1e-4,
        )
    )  # fmt: skip
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved videovla whose weights training starts from

    def __post_init__(self) -> None:
        require(self, latents=(1, inf), frame_stride=(1, inf), chunk=(1, inf), execute=(1, self.chunk))
        require(self, ddim_steps=(1, TIMESTEPS), lambda_video=(0, inf), indicator_dropout=(0, 1), guidance=(0, inf))
        require(self, image_shift=(0, inf), shifted_copies=(1, inf))
        require_one_of(self, schedule=("sync", "async_training", "async"), weighting=WEIGHTINGS)
        if self.latents == 1 and self.schedule != "sync":
            raise ValueError(f"VideoVlaConfig: schedule={self.schedule!r} needs a future; use latents of 2 or more")

    @property
    def frames(self) -> int:
        """Frames of a clip: the current one and four for every future latent frame."""
        return 1 + 4 * (self.latents - 1)


@dataclass
class AdvantageConfig:
    """How values become advantages, always in progress units: 1 is the whole task."""

    kind: str = "n_step"  # n_step (RECAP), gae, or chunk (WVM E.4)
    n: int = 50  # steps of n_step, or the chunk length H
    lam: float = 0.95  # lambda of gae
    smoothing: int = 1  # n_step and gae: frames (odd) that values are averaged over first; 1: none
    tail: str = "scaled"  # of the chunk advantage: printed or scaled
    time_cost: str = "own"  # viva scale; own: a step costs 1/T, T its episode's (ViVa eq. 1); task: 1/max_steps
    truncation: str = "bootstrap"  # a failure that ran out of time; outcome: it is paid out as one (pi*0.6)
    scale: str = "viva"  # of the values: viva, or recap, whose time cost is the task's
    c_fail: float = 50.0  # steps, of the recap scale; that of the value

    def __post_init__(self) -> None:
        require(self, n=(1, inf), lam=(0, 1), smoothing=(1, inf), c_fail=(0, inf))
        require_one_of(self, kind=("n_step", "gae", "chunk"), tail=("scaled", "printed"), time_cost=("own", "task"))
        require_one_of(self, truncation=("bootstrap", "outcome"), scale=("viva", "recap"))
        if self.smoothing % 2 == 0:
            raise ValueError(f"AdvantageConfig: smoothing={self.smoothing}; use an odd number of frames")


@dataclass
class ExtractionConfig:
    """Settings of every labeller; the defaults are the papers' (WVM appendix E, pi*0.6)."""

    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    filter: str = "percentile"  # filtered_bc: percentile, binary (A >= 0, WVM E.6) or strict (A > 0)
    keep: float = 0.7  # share of steps a percentile filter keeps, over the training set
    awr_temperature: float = 10.0  # tau: w = min(exp(tau A), delta), renormalised to mean 1
    awr_clip: float = 2.0  # delta
    awr_standardise: bool = False  # ours: A less its median, in standard deviations over the training set
    positive: float = 0.4  # RECAP: share of steps with a positive indicator, per task
    batch_positive: float = 0.0  # ours, RECAP: share of the training weight that is positive; 0: that of the data
    phase_floor: float = 0.0  # ours: of `keep` and `positive`, the share that every phase of the successes keeps
    seed: int = 0  # of labels drawn at random (success_random)

    def __post_init__(self) -> None:
        require(self, keep=(0, 1), awr_temperature=(0, inf), awr_clip=(1e-6, inf), positive=(0, 1))
        require(self, batch_positive=(0, 1), phase_floor=(0, 1), seed=(0, inf))
        require_one_of(self, filter=("percentile", "binary", "strict"))


INDICATORS = {"negative": 0, "positive": 1, "null": 2}  # episodes.labels


@dataclass
class ServeConfig:
    """`foresight serve FOLDER`."""

    policy: str = ""  # folder of a saved policy, a run, or owner/name[@revision] of the hub
    value: str = ""  # the same of a saved value, to serve instead of a policy
    batch: str = "auto"  # of a value: exact (each client read by itself, bit for bit as here), together, or auto: exact
    # on the CPU
    host: str = "127.0.0.1"  # 0.0.0.0: every network of this machine
    port: int = 8000  # 0: any free one
    indicator: str = "own"  # advantage token to act with: negative, positive, null; own: the checkpoint's
    guidance: float = 0.0  # classifier-free guidance weight; 1: none, 0: the checkpoint's
    slots: int = 64  # clients that ask at a time
    resize: bool = False  # fit pictures of another size: their shape kept, the rest black; false: refuse them
    device: str = "cpu"

    def __post_init__(self) -> None:
        require(self, port=(0, 65535), guidance=(0, inf), slots=(1, 4096))
        require_one_of(self, indicator=("own", *INDICATORS), batch=("auto", "exact", "together"))
        if self.value and self.policy:
            raise ValueError("ServeConfig: policy= and value= are both given; start a server for each")

"""Settings of the value functions; no torch, so that commands check them at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from episodes.settings import require, require_format, require_one_of
from networks.settings import STRIDE, TextConfig, TrainerConfig, WanConfig


@dataclass
class ViVaConfig:
    """ViVa's settings; the defaults are the paper's (sections 3.2, 3.3 and 4.2)."""

    made_by: ClassVar[str] = "valuefns.viva:ViVa"
    needs_latents: ClassVar[bool] = True
    retrained: ClassVar[tuple[str, ...]] = (
        "lambda_prop", "lambda_value", "lambda_image", "tau_shift", "pure_noise_share", "inference_steps", "frozen",
        "proprio_noise", "proprio_swap", "image_shift", "shifted_copies", "training", "init",
    )  # fmt: skip
    """Settings that may differ from those of the saved weights that training starts from (`init`)."""

    name: str = "viva"
    horizon: int = 50  # K: env steps to the future proprioception, clamped to the last step
    predict_proprio: bool = True  # False: no look-ahead, the value alone is denoised (paper: figure 9, "w/o propri")
    lambda_prop: float = 1.0  # 0 (ours): the true future stays in the sequence, noised and readable, but is not learned
    lambda_value: float = 0.5
    future_image: bool = False  # the paper's joint future image (worse there)
    lambda_image: float = 1.0  # of its loss; the paper gives no figure
    tau_shift: float = 1.0  # 1: uniform (paper); 5: Wan's schedule (its release)
    pure_noise_share: float = 0.0  # ours: updates at tau = 1, where one-step inference starts
    per_token_time: bool = True  # clean tokens at timestep 0 (Wan TI2V); False: one timestep for all (its release)
    inference_steps: int = 1
    frozen: bool = False  # ours: train only the patch embedding and the output layer
    proprio_noise: float = 0.0  # ours: sigma on the scaled proprioception in training
    proprio_swap: float = 0.0  # ours: share of samples with another frame's proprioception, now and K steps later
    image_shift: int = 0  # ours: whole-pixel shift of each training image; with future_image of each episode
    shifted_copies: int = 1  # latents cached per frame: one unshifted and the rest shifted
    wan: WanConfig = field(default_factory=WanConfig)
    text: TextConfig = field(default_factory=TextConfig)
    training: TrainerConfig = field(default_factory=TrainerConfig)
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved viva whose weights training starts from
    format: int = 2  # no choice: what these settings compute, and so part of every hash they are in

    def __post_init__(self) -> None:
        require_format(self, 2)
        require(self, horizon=(1, inf), inference_steps=(1, inf), shifted_copies=(1, inf), image_shift=(0, inf))
        require(self, lambda_prop=(0, inf), lambda_value=(0, inf), lambda_image=(0, inf), proprio_noise=(0, inf))
        require(self, tau_shift=(0, inf), pure_noise_share=(0, 1), proprio_swap=(0, 1))


@dataclass
class WVMConfig:
    """WVM's settings; the defaults are the paper's (table A.1). Rows of its table 4 are the switches marked so."""

    made_by: ClassVar[str] = "valuefns.wvm:WVM"
    needs_latents: ClassVar[bool] = True
    retrained: ClassVar[tuple[str, ...]] = (
        "lambda_video", "frozen", "prefix_random", "rewind", "rewind_plateau", "stride", "inference_steps",
        "pure_noise_share", "target", "fastest", "slower", "image_shift", "shifted_copies", "latent_noise", "training",
        "init",
    )  # fmt: skip
    """As ViVaConfig's."""

    name: str = "wvm"
    chunk: int = 4  # h: frames a value is predicted for, and looks back on
    fps: float = 2.0  # frames per second it reads (3 for the paper's real robots)
    lambda_video: float = 1.0  # of the video loss; 0: table 4 "w/o L_video"
    frozen: bool = False  # table 4 "frozen": the video transformer is not trained; "scratch": wan.checkpoint=""
    prefix_random: float = 0.5  # p: share of prefixes replaced by U[0, 1]; 0 and 1: table 4 "prefix rand."
    head: str = "flow"  # flow, or hl_gauss: table 4 "HL-Gaussian"
    bins: int = 51  # of hl_gauss, on [0, 1]; sigma is one bin
    rewind: float = 0.5  # share of windows that are reversed or held still
    rewind_plateau: float = 0.1  # share of those that are held still
    stride: int = 1  # frames from one window to the next when scoring; overlapping predictions are averaged
    inference_steps: int = 1
    value_dim: int = 512
    value_heads: int = 8  # of the attention to the text; the joint attention has the video's heads
    value_ffn_dim: int = 14336
    pure_noise_share: float = 0.0  # ours: updates at tau = 1, where one-step inference starts
    target: str = "progress"  # progress, or annotated: the oracle return of segment labels (ours, privileged)
    fastest: float = 1.0  # ours: share of each instruction's successes, the shortest, that count as experts
    slower: float = 0.0  # ours: share of windows from the other successes, valued by their steps to go
    image_shift: int = 0  # ours: largest whole-pixel shift of a window's pictures in training
    shifted_copies: int = 1  # frame latents cached per frame: one unshifted and the rest shifted
    latent_noise: float = 0.0  # ours: sigma on the current latents in training
    wan: WanConfig = field(default_factory=WanConfig)
    text: TextConfig = field(default_factory=TextConfig)
    training: TrainerConfig = field(default_factory=lambda: TrainerConfig(batch_size=1024))
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved wvm whose weights training starts from
    format: int = 2  # no choice: what these settings compute, and so part of every hash they are in

    def __post_init__(self) -> None:
        require_format(self, 2)
        require(self, chunk=(STRIDE, inf), fps=(0.01, 1000), lambda_video=(0, inf), prefix_random=(0, 1), bins=(2, inf))
        require(self, rewind=(0, 1), rewind_plateau=(0, 1), inference_steps=(1, inf), pure_noise_share=(0, 1))
        require(
            self, value_dim=(1, inf), value_heads=(1, inf), value_ffn_dim=(1, inf), fastest=(0.001, 1), slower=(0, 1)
        )
        require(self, image_shift=(0, inf), shifted_copies=(1, inf), latent_noise=(0, inf), stride=(1, self.chunk - 1))
        require_one_of(self, head=("flow", "hl_gauss"), target=("progress", "annotated"))
        if self.chunk % STRIDE:
            raise ValueError(f"WVMConfig: chunk={self.chunk}; use a multiple of {STRIDE}, the frames of a latent frame")
        if self.value_dim % self.value_heads:
            raise ValueError(
                f"WVMConfig: value_dim={self.value_dim} does not split into value_heads={self.value_heads}"
            )


@dataclass
class GemmaShape:
    """The encoder; defaults: SigLIP So400m/14 at 224 pixels and Gemma 3 270M, together about 0.68 B."""

    checkpoint: str = ""  # hub id or folder of a `Gemma3Model` of these shapes; empty: random weights
    revision: str = "main"
    vision_checkpoint: str = ""  # hub id or folder of a SigLIP of these shapes, for the image tower; empty: random
    vision_revision: str = "main"
    language_checkpoint: str = ""  # hub id or folder of a Gemma 3 of these shapes, for the words; empty: random
    language_revision: str = "main"
    image_size: int = 224  # pixels, square
    patch_size: int = 14  # pixels
    vision_width: int = 1152
    vision_layers: int = 27
    vision_heads: int = 16
    vision_mlp: int = 4304
    image_tokens: int = 64  # per view, after pooling; a square number
    width: int = 640  # D of the language model
    layers: int = 18
    mlp: int = 2048
    heads: int = 4
    kv_heads: int = 1
    head_dim: int = 256
    vocabulary: int = 262_144
    init_std: float = 0.02  # of random weights

    def __post_init__(self) -> None:
        side = self.image_size // self.patch_size
        root = round(self.image_tokens**0.5)
        if self.image_tokens != root**2 or side % root:
            raise ValueError(
                f"GemmaShape: image_tokens={self.image_tokens}; use the square of a divisor of {side} patches per side"
            )


@dataclass
class DistributionalConfig:
    """Settings of the distributional value; the defaults are pi*0.6's where it gives one (section IV)."""

    made_by: ClassVar[str] = "valuefns.distributional:Distributional"
    retrained: ClassVar[tuple[str, ...]] = ("image_shift", "training", "init")
    """As ViVaConfig's."""

    name: str = "distributional"
    bins: int = 201  # K
    scale: str = "viva"  # viva: V - 1 of ViVa's return, like for like; recap: steps to go as a share of the time limit
    c_fail: float = 50.0  # steps, of the recap scale; pi*0.6 does not give it
    tokenizer: str = "google/gemma-3-270m"  # hub id or folder; empty: bytes as tokens
    tokenizer_revision: str = "main"
    max_tokens: int = 200  # of the prompt; a longer one is an error, not cut
    image_shift: int = 0  # pixels, random per sample; ours
    encoder: GemmaShape = field(default_factory=GemmaShape)
    training: TrainerConfig = field(default_factory=TrainerConfig)
    init: str = ""  # folder or hub id (owner/name[@revision]) of a saved one whose weights training starts from

    def __post_init__(self) -> None:
        require(self, bins=(2, inf), c_fail=(0, inf), max_tokens=(1, inf), image_shift=(0, inf))
        require_one_of(self, scale=("viva", "recap"))

    @property
    def exposed_scale(self) -> str:
        """The scale of the values (`ValueFunction.scale`)."""
        return self.scale


@dataclass
class SavedConfig:
    """Settings of a value that was trained before and is applied as it is."""

    made_by: ClassVar[str] = "valuefns.saved:SavedValue"

    name: str = "saved"
    folder: str = ""  # of a saved value, or a hub id owner/name[@revision]

    def __post_init__(self) -> None:
        if self.name != "saved":
            raise ValueError(f"SavedConfig: name={self.name!r} is another value; use valuefn=saved valuefn.folder=...")


@dataclass
class ServedConfig:
    """Settings of a value that `foresight serve value=FOLDER` serves elsewhere."""

    made_by: ClassVar[str] = "valuefns.served:ServedValue"

    name: str = "served"
    url: str = ""  # ws://host:port
    content: str = ""  # SHA-256 that the served value must have; empty: what it has when it is first asked
    connect: float = 10.0  # s for which the server is tried
    timeout: float = 60.0  # s that an answer may take

    def __post_init__(self) -> None:
        require(self, connect=(0.01, 3600), timeout=(0.01, 3600))


@dataclass
class RewardServerConfig:
    """Settings of a reward model behind HTTP that is not ours: Robometer's evaluation server."""

    made_by: ClassVar[str] = "valuefns.reward_server:RewardServer"

    name: str = "reward_server"
    url: str = ""  # http://host:port
    camera: str = ""  # which view it is shown; empty: the first
    frames: int = 16  # of an episode, evenly spaced; values between them are interpolated
    image_size: int = 0  # pixels of the longest side as sent; 0: as recorded
    timeout: float = 120.0  # s that an answer may take

    def __post_init__(self) -> None:
        require(self, frames=(2, 1000), image_size=(0, 8192), timeout=(0.01, 3600))


APPLIED = (SavedConfig, ServedConfig, RewardServerConfig)
"""Values that are applied as they are: nothing here trains them."""


@dataclass
class ConstantConfig:
    """Settings of the constant value: none; it is fitted."""

    made_by: ClassVar[str] = "valuefns.constant:ConstantValue"

    name: str = "constant"


@dataclass
class OracleConfig:
    """Settings of the oracle value: none; it is fitted."""

    made_by: ClassVar[str] = "valuefns.oracle:OracleValue"

    name: str = "oracle"
    format: int = 2  # no choice: what these settings compute, and so part of every hash they are in

    def __post_init__(self) -> None:
        require_format(self, 2)


@dataclass
class ClockConfig:
    """Settings of the clock: none."""

    made_by: ClassVar[str] = "valuefns.bench.probes:ClockValue"

    name: str = "clock"


@dataclass
class RandomConfig:
    """Settings of the random value: none."""

    made_by: ClassVar[str] = "valuefns.bench.probes:RandomValue"

    name: str = "random"


@dataclass
class ProgressConfig:
    """Settings of the simulator's own progress: none."""

    made_by: ClassVar[str] = "valuefns.bench.probes:ProgressValue"

    name: str = "progress"

"""The settings of values that ask a vision-language model, and of the model that answers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf
from typing import ClassVar

from episodes.settings import require, require_one_of


@dataclass
class BackendConfig:
    """Settings of the model that answers: an OpenAI-compatible endpoint, or a transformers model on this machine."""

    kind: str = "openai"  # openai: POST {url}/chat/completions; local: transformers; or a package's own
    model: str = ""  # the endpoint's name of it, or a hub id or folder; a vision-language model
    temperature: float | None = 0.0  # null: the endpoint's own (some models refuse any other)
    cache: str = "cache/vlm"  # folder of answers, shared by runs; empty: keep none
    # openai
    url: str = "https://api.openai.com/v1"  # base URL
    key_env: str = "OPENAI_API_KEY"  # NAME of the environment variable with the key; empty: the endpoint wants none
    image_format: str = "jpeg"  # of the data URLs: jpeg or png
    token_limit: str = "max_tokens"  # what the endpoint calls it: max_tokens or max_completion_tokens
    concurrency: int = 8  # requests at once
    per_minute: float = 0.0  # requests per minute; 0: no limit but the endpoint's
    timeout: float = 180.0  # seconds without a byte from the endpoint
    tries: int = 6  # of one request: busy, broken or unreadable answers are asked for again
    backoff: float = 1.0  # seconds before the second try, doubled after each, at most a minute
    price_in: float = 0.0  # dollars per million prompt tokens; 0: unknown
    price_out: float = 0.0  # dollars per million answered tokens
    # local
    revision: str = "main"  # of a hub id
    dtype: str = "bfloat16"  # bfloat16, float16 or float32
    batch: int = 1  # questions answered together

    def __post_init__(self) -> None:
        require_one_of(self, image_format=("jpeg", "png"))
        require_one_of(self, token_limit=("max_tokens", "max_completion_tokens"))
        require_one_of(self, dtype=("bfloat16", "float16", "float32"))
        require(self, concurrency=(1, 256), per_minute=(0, inf), timeout=(0.01, inf), tries=(1, 100), backoff=(0, 60))
        require(self, price_in=(0, inf), price_out=(0, inf), batch=(1, inf))
        if self.temperature is not None:
            require(self, temperature=(0, 2))
        # neither message repeats what was given: it may be the key itself
        if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", self.key_env):
            raise ValueError(
                "BackendConfig: key_env is not a variable's name; export the key as a variable and give its NAME"
            )
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", self.url):
            raise ValueError(
                "BackendConfig: url is not http(s)://host[:port][/path]; put no key, user or query into it, "
                "the key goes into the variable that key_env names"
            )


@dataclass
class GVLConfig:
    """GVL's settings; the defaults are the paper's (arXiv 2411.04549, sections 3 and 4)."""

    made_by: ClassVar[str] = "valuefns.gvl.method:GVL"

    name: str = "gvl"
    backend: BackendConfig = field(default_factory=BackendConfig)
    frames: int = 30  # per episode, evenly spaced (WVM's comparison: 32)
    shuffle: bool = True  # False: the paper's ablation, frames in order of time
    context: str = "video"  # video: all frames in one prompt; single: the paper's ablation, one prompt per frame
    camera: str = ""  # which view; empty: the first
    image_size: int = 0  # pixels of the longest side as sent; 0: as recorded
    goal: str = "auto"  # text, image (the episode's last frame), or auto: text where there is an instruction
    shots: int = 0  # in-context example episodes, 0 to 5
    shots_store: str = ""  # a store the examples come from (another task or robot); empty: what it was fitted on
    attempts: int = 3  # asks at most so often for an answer with a value for every frame
    missing: float = 0.5  # share of frames without a value above which a whole episode has none
    max_tokens: int = 4096  # of an answer
    seed: int = 0  # of the permutations and the choice of examples

    def __post_init__(self) -> None:
        require(self, frames=(3, 1000), image_size=(0, 8192), shots=(0, 5), attempts=(1, 20), missing=(0, 1))
        require(self, max_tokens=(1, inf), seed=(0, inf))
        require_one_of(self, context=("video", "single"), goal=("auto", "text", "image"))


@dataclass
class PrefixConfig:
    """What TOPReward and the scores share; the defaults of prefixes and frames are WVM's comparison (appendix D)."""

    name: str = "topreward"
    backend: BackendConfig = field(default_factory=BackendConfig)
    prefixes: int = 15  # K: prefixes per episode that are asked about
    frames: int = 32  # of a video at most
    fps: float = 2.0  # frames per second of the video as shown
    camera: str = ""  # which view; empty: the first
    image_size: int = 0  # pixels of the longest side as sent; 0: as recorded
    missing: float = 0.5  # share of prefixes without a value above which a whole episode has none
    stride: int = 5  # steps between two questions of a stream; the value is held in between

    def __post_init__(self) -> None:
        require(self, prefixes=(2, 1000), frames=(2, 1000), fps=(1e-3, 1000), image_size=(0, 8192), missing=(0, 1))
        require(self, stride=(1, inf))


@dataclass
class TopRewardConfig(PrefixConfig):
    """Settings of TOPReward."""

    made_by: ClassVar[str] = "valuefns.gvl.prefixes:TopReward"

    scale: str = "episode"  # episode: log p min-max scaled within the episode; probability: p itself (causal)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_one_of(self, scale=("episode", "probability"))


@dataclass
class RoboRewardConfig(PrefixConfig):
    """Settings of the 1-5 scores."""

    made_by: ClassVar[str] = "valuefns.gvl.prefixes:RoboReward"

    name: str = "roboreward"
    prefixes: int = 5  # anchors
    max_tokens: int = 128  # of an answer
    attempts: int = 3  # asks at most so often for a score

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, max_tokens=(1, inf), attempts=(1, 20))

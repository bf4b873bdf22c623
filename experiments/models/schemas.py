"""Settings of the commands on trained models and on this machine; they import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from omegaconf import MISSING

from episodes import seeds
from episodes.settings import require


@dataclass
class ShareConfig:
    """`foresight share TRAINED folder=FOLDER`."""

    trained: str = MISSING  # folder of a trained policy or value, in its run's folder
    folder: str = MISSING  # new folder to make
    push: str = ""  # hub repository OWNER/NAME to upload it to; empty: none
    public: bool = False  # make the repository public


@dataclass
class ImagineConfig:
    """`foresight imagine POLICY`."""

    policy: str = MISSING  # folder of a trained videovla policy
    trials: int = 20
    first: int = 0  # offset into the evaluation seeds
    max_steps: int = 55  # time limit of a trial
    view: str = ""  # camera that is compared; empty: the policy's first
    videos: int = 6  # trials that are drawn
    out: str = "runs/imagination"
    device: str = "cpu"

    def __post_init__(self) -> None:
        require(self, trials=(1, len(seeds.EVAL)), first=(0, len(seeds.EVAL) - self.trials), max_steps=(1, inf))
        require(self, videos=(0, inf))


@dataclass
class DoctorConfig:
    """`foresight doctor`."""

    json: bool = False  # one json object for programs

"""Settings of the commands on data; they import nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from omegaconf import MISSING

from agents.settings import ExtractionConfig
from episodes.settings import require, require_one_of


def require_pixels(settings: object, size: list[int]) -> None:
    """A ValueError unless a size is empty, [N] or [H,W] in pixels."""
    if len(size) > 2 or any(n < 1 for n in size):
        raise ValueError(f"{type(settings).__name__}: image_size={list(size)}; give [height,width] in pixels")


def pair(size: list[int]) -> tuple[int, int] | None:
    """(H, W) of [N] or [H,W]; None of an empty list."""
    return (size[0], size[-1]) if size else None


@dataclass
class ImportConfig:
    """`foresight import SOURCE target=TARGET`."""

    source: str = MISSING  # a dataset folder or an HDF5 file; only read
    target: str = MISSING  # a new folder for the store
    format: str = "auto"  # or the name of one: docs/data.md
    success: str | None = None  # yes or no (all), @COLUMN, @COLUMN>0.5, or a csv file: episode,success
    instruction: str | None = None  # a text (all), @COLUMN, or a csv file: episode,instruction
    recorded_by: str = "human"  # human, oracle or policy:NAME
    cameras: list[str] = field(default_factory=list)  # names; empty: all
    state: list[str] = field(default_factory=list)  # vectors that make the proprioception; empty: the format's own
    action: str | None = None  # the vector of the actions
    actions: str | None = None  # absolute or delta: what they are, where the file is wrong
    hz: float | None = None  # the control rate, where the source does not say it
    image_size: list[int] = field(default_factory=list)  # [H,W] or [N] pixels that pictures are fitted to, rest black
    tolerance: float = 0.5  # share of a frame that timestamps may be off
    skip: list[str] = field(default_factory=list)  # episodes of the source to leave out; bad: all that cannot be read
    encoding: str = "png"  # of the store's pictures: png, mp4 lossless or mp4
    oxe: str | None = None  # an Open X-Embodiment data set: its conventions are known
    spec: str | None = None  # a JSON file of EnvSpec fields that the source does not say

    def __post_init__(self) -> None:
        require(self, tolerance=(0, inf))
        require_pixels(self, self.image_size)
        if self.actions is not None:
            require_one_of(self, actions=("absolute", "delta"))
        if bad := [part for part in self.skip if not part.isdecimal() and part != "bad"]:
            raise ValueError(f"ImportConfig: skip={bad[0]!r} is not an episode number; use for instance [3,7] or [bad]")


@dataclass
class ExportConfig:
    """`foresight export STORE`."""

    store: str = MISSING  # folder of an episode store
    labels: str = ""  # file of its labels to export; empty: only write the statistics that LeRobot needs
    source: str = ""  # folder of the LeRobotDataset v3.0 that it was imported from; empty: the store itself
    target: str = ""  # new folder to write to
    in_place: bool = False  # change the source itself: it is exchanged for the new dataset in one step
    format: str = "columns"  # a dataset with columns; or one file: progress, weights (LeRobot), rlinf
    prefix: str = ""  # of the columns' names
    tag: str = "foresight"  # of rlinf: meta/advantages_TAG.parquet

    def __post_init__(self) -> None:
        require_one_of(self, format=("columns", "progress", "weights", "rlinf"))
        if self.labels and bool(self.target) == self.in_place:
            raise ValueError("ExportConfig: labels need target=FOLDER, or in_place=true to change the source itself")
        if not self.labels and (self.target or self.in_place or self.source):
            raise ValueError("ExportConfig: nothing to write; name the labels: labels=STORE/labels/FILE.parquet")


@dataclass
class LabelConfig:
    """`foresight label STORE value=VALUE`."""

    stores: list[str] = field(default_factory=list)  # folders of episode stores
    valuefn: Any = MISSING  # a folder, a hub id, or the name of one that is not trained; value= is the same
    image_size: list[int] = field(default_factory=list)  # [H,W] pixels at which pictures are read; empty: as stored
    seed: int = 0  # of a value that draws numbers
    device: str = "cpu"

    def __post_init__(self) -> None:
        require_pixels(self, self.image_size)
        if not self.stores:
            raise ValueError("stores=[]: name at least one episode store, for example foresight label STORE")


@dataclass
class AdvantageCommandConfig:
    """`foresight advantage STORE method=awr`."""

    store: str = MISSING  # folder of an episode store
    method: str = MISSING  # awr, recap, filtered_bc, success_filtered_bc, bc, ..., or module:function
    labels: str = ""  # file of values; empty: the only one in STORE/labels
    labeller: ExtractionConfig = MISSING  # how values become weights and indicators: tiny, paper


@dataclass
class LabelReportConfig:
    """`foresight labels STORE`."""

    store: str = MISSING  # folder of an episode store
    labels: list[str] = field(default_factory=list)  # files of labels; empty: those in STORE/labels
    methods: list[str] = field(default_factory=lambda: ["filtered_bc", "awr", "recap"])  # for files of values
    out: str = ""  # also write OUT.md and OUT.svg


@dataclass
class ReviewConfig:
    """`foresight review STORE`."""

    store: str = MISSING  # folder of an episode store
    annotations: str = ""  # csv file to read and save; empty: STORE/annotations.csv
    proposals: str = ""  # json file of proposals; empty: STORE/proposals.json
    port: int = 8321  # on 127.0.0.1; 0: any free one
    browser: bool = True  # open it; false: only print the address

    def __post_init__(self) -> None:
        require(self, port=(0, 65535))


@dataclass
class ResultsConfig:
    """`foresight results`."""

    results: str = "results"  # folder of studies, each with its table.md
    page: str = "docs/results.md"  # written
    readme: str = "README.md"  # its table of the default run is written

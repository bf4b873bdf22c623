"""The label report of a store: every file of labels in it, or those that methods make of its values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from agents.extraction import labeller
from agents.label_report import Share, label_report, table, warnings
from agents.phases import progress_phases
from agents.settings import ExtractionConfig
from episodes.files import write_atomic
from episodes.labels import Labels
from episodes.store import Episodes, EpisodeStore
from experiments.data.advantage import values_of
from experiments.data.schemas import LabelReportConfig
from experiments.loop import schemas
from experiments.report.labels import kept_figure


def run_all(config: DictConfig) -> None:
    """Report the labels of a store: print the table, write it where `out` says, and say starved phases loudly."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, LabelReportConfig)
    place = Path(settings.store)
    store = EpisodeStore.open(place)
    files = [Path(name) for name in settings.labels] or sorted((place / "labels").glob("*.parquet"))
    if not files:
        raise ValueError(f"{place / 'labels'}: no labels; make some with foresight label STORE value=FOLDER")
    shares = []
    for path in files:
        labels = Labels.load(path)
        view = store.select(lambda row, known=frozenset(labels.episodes): row["episode_index"] in known)  # type: ignore[misc]
        labels.require_for(view)
        for name, made in named_labels(path, labels, view, settings.methods):
            shares += label_report(view, made, progress_phases(view), name)
    write(shares, Path(settings.out) if settings.out else None)
    for line in warnings(shares):
        print(f"WARNING: {line}", flush=True)


def named_labels(path: Path, labels: Labels, store: Episodes, methods: Sequence[str]) -> Iterator[tuple[str, Labels]]:
    """The labels of a file under its name, or those that each method makes of its values."""
    if "weight" in labels or "indicator" in labels:
        yield path.stem, labels
        return
    if "value" not in labels:
        raise ValueError(f"{path}: columns {sorted(labels.columns)}; a report needs weights, indicators or values")
    config = tiny_labeller()
    values, config = values_of(path, labels, store, config)
    for method in methods:
        made = labeller(method)(store, values, config)
        yield f"{method} on {path.stem}", made


def tiny_labeller() -> ExtractionConfig:
    """The settings of `labeller=tiny`."""
    schemas.register()
    with initialize_config_dir(schemas.CONF, version_base="1.3"):
        composed = compose("recap_sim", ["preset=tiny"])
    config = OmegaConf.to_object(composed.labeller)
    assert isinstance(config, ExtractionConfig)
    return config


def write(shares: list[Share], out: Path | None) -> None:
    """Print the report; with `out` also write it as a table and a picture."""
    print(table(shares))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out.with_suffix(".md"), table(shares).encode())
        figure = kept_figure([share.row() for share in shares])
        write_atomic(out.with_suffix(".svg"), lambda beside: figure.savefig(beside, format="svg"))

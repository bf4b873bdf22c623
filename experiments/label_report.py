"""What labels do to a store: share kept, weight and effective sample of every segment, phase and outcome.

    python -m experiments.label_report STORE                      # every file of labels that lies in the store
    python -m experiments.label_report STORE --labels A.parquet B.parquet --out results/labels/lift
    python -m experiments.label_report STORE --methods awr recap  # labels these methods make of the store's values

A file with a weight or an indicator is reported as it is, under its name. From one with values alone the methods make
their labels with the settings of `labeller=tiny`; the value of an episode's last step stands for its final observation.
Prints the table; with --out also writes OUT.md and the picture OUT.svg. A starved phase is said loudly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from agents.extraction import labeller
from agents.label_report import Share, label_report, table, warnings
from agents.phases import progress_phases
from agents.settings import ExtractionConfig
from episodes.files import write_atomic
from episodes.labels import Labels
from episodes.stopping import refusing
from episodes.store import Episodes, EpisodeStore
from experiments.loop import schemas
from experiments.loop.run_folder import read_json
from experiments.report.labels import kept_figure


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="an episode store")
    parser.add_argument("--labels", nargs="+", type=Path, help="files of labels; default: those in STORE/labels")
    parser.add_argument("--methods", nargs="+", default=["filtered_bc", "awr", "recap"], help="for files of values")
    parser.add_argument("--out", type=Path, help="write OUT.md and OUT.svg, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    with refusing("label_report"):
        store = EpisodeStore.open(args.store)
        files = args.labels or sorted((args.store / "labels").glob("*.parquet"))
        if not files:
            raise ValueError(f"{args.store / 'labels'}: no labels; make some with python -m experiments.label STORE")
        shares = []
        for path in files:
            labels = Labels.load(path)
            view = store.select(lambda row, known=frozenset(labels.episodes): row["episode_index"] in known)  # type: ignore[misc]
            labels.require_for(view)
            for name, made in named_labels(path, labels, view, args.methods):
                shares += label_report(view, made, progress_phases(view), name)
        write(shares, args.out)
        for line in warnings(shares):
            print(f"WARNING: {line}", flush=True)
    return 0


def named_labels(path: Path, labels: Labels, store: Episodes, methods: Sequence[str]) -> Iterator[tuple[str, Labels]]:
    """The labels of a file under its name, or those that each method makes of its values."""
    if "weight" in labels or "indicator" in labels:
        yield path.stem, labels
        return
    if "value" not in labels:
        raise ValueError(f"{path}: columns {sorted(labels.columns)}; a report needs weights, indicators or values")
    config = tiny_labeller()
    head = path.with_suffix(".json")
    if head.exists():
        config.advantage.scale = str(read_json(head, dict, "label the store again")["scale"])
        config.advantage.__post_init__()
    values = [labels.column("value", row["episode_index"]) for row in store.index]
    for method in methods:
        made = labeller(method)(store, [np.append(v, v[-1]) for v in values], config)
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


if __name__ == "__main__":
    sys.exit(main())

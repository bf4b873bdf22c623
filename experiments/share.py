"""Make a folder of a trained policy or value that others can load, with a model card, and upload it if asked.

python -m experiments.share runs/recap_sim/TIME/arms/recap/policy-0 to-share/lift-recap [--push owner/name] [--public]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from episodes.stopping import refusing
from experiments.loop.run_folder import read_json
from networks.sharing import CardFacts, push_to_hub, save_pretrained


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="folder of a trained policy or value, in its run's folder")
    parser.add_argument("folder", type=Path, help="new folder to make")
    parser.add_argument("--push", metavar="OWNER/NAME", help="upload it to this hub repository")
    parser.add_argument("--public", action="store_true", help="make the repository public (default: private)")
    return parser.parse_args(arguments)


def run_facts(trained: Path) -> CardFacts:
    """What the run that `trained` lies in says of it; a model outside a run has a card without these facts."""
    run = next((p for p in trained.resolve().parents if (p / "run.json").is_file()), None)
    if run is None:
        return CardFacts(title=trained.name)
    way_out = "copy the run's folder again, or share a model outside of it"
    facts = read_json(run / "run.json", dict, way_out)
    metrics: list[dict[str, Any]] = []
    arm = next((p.name for p in trained.resolve().parents if p.parent.name == "arms"), None)
    if arm is None and (run / "value_metrics.json").is_file():
        rows = read_json(run / "value_metrics.json", dict, way_out).get("rows", [])
        metrics = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in rows]
    elif (run / "summary.json").is_file():
        rows = read_json(run / "summary.json", dict, way_out).get("rows", [])
        metrics = [row for row in rows if arm is None or str(row.get("method", "")).split("@")[0] == arm]
    revision = "unknown"
    if (run / "environment.json").is_file():
        revision = str(read_json(run / "environment.json", dict, way_out).get("git_revision", revision))
    title = str(facts.get("title", ""))
    return CardFacts(
        title=f"{trained.name} of {run.name}",
        task=title.partition(":")[0],
        data=f"recorded by the run itself, data seed {facts.get('seed')} ({title})",
        metrics=metrics,
        command=str(facts.get("command", "")),
        revision=revision,
        checkpoints=facts.get("checkpoints") or {},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    args = parse(arguments)
    with refusing("share"):
        folder = save_pretrained(args.trained, args.folder, run_facts(args.trained))
        print(json.dumps({"folder": str(folder), "files": sorted(p.name for p in folder.rglob("*") if p.is_file())}))
        if args.push:
            print(push_to_hub(folder, args.push, private=not args.public))


if __name__ == "__main__":
    main()

"""The folder of a trained model that others can load: what its run says of it, and the upload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.loop.run_folder import read_json
from experiments.models.schemas import ShareConfig
from networks.sharing import CardFacts, push_to_hub, save_pretrained


def run_all(config: DictConfig) -> None:
    """Make the folder, and upload it if asked."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ShareConfig)
    trained = Path(settings.trained)
    folder = save_pretrained(trained, Path(settings.folder), run_facts(trained))
    print(json.dumps({"folder": str(folder), "files": sorted(p.name for p in folder.rglob("*") if p.is_file())}))
    if settings.push:
        print(push_to_hub(folder, settings.push, private=not settings.public))


def run_facts(trained: Path) -> CardFacts:
    """What the run that `trained` lies in says of it; a model outside a run has a card without these facts."""
    run = next((p for p in trained.resolve().parents if (p / "run.json").is_file()), None)
    if run is None:
        return CardFacts(title=trained.name)
    remedy = "copy the run's folder again, or share a model outside of it"
    facts = read_json(run / "run.json", dict, remedy)
    metrics: list[dict[str, Any]] = []
    arm = next((p.name for p in trained.resolve().parents if p.parent.name == "arms"), None)
    if arm is None and (run / "value_metrics.json").is_file():
        rows = read_json(run / "value_metrics.json", dict, remedy).get("rows", [])
        metrics = [{k: v for k, v in row.items() if not isinstance(v, list)} for row in rows]
    elif (run / "summary.json").is_file():
        rows = read_json(run / "summary.json", dict, remedy).get("rows", [])
        metrics = [row for row in rows if arm is None or str(row.get("method", "")).split("@")[0] == arm]
    revision = "unknown"
    if (run / "environment.json").is_file():
        revision = str(read_json(run / "environment.json", dict, remedy).get("git_revision", revision))
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

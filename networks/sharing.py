"""A trained model as a folder that can be shared: safetensors, config.json, and a card made of its run's facts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from episodes.files import atomic_folder, one_line, write_atomic
from networks.checkpoint import load_config, load_tensors

SHARED = ("config.json", "model.safetensors")
"""What a trained model consists of, in its folder and in the folders below it; nothing else is shared."""
_KEY = re.compile(r"hf_\w{8,}")


@dataclass(frozen=True)
class CardFacts:
    """What a model card says; an empty field is left out."""

    title: str = ""
    task: str = ""  # environment or task
    data: str = ""  # what it was trained on
    metrics: Sequence[dict[str, Any]] = ()  # rows of one table
    command: str = ""  # that made it
    revision: str = ""  # git revision of this package
    checkpoints: dict[str, dict[str, str]] = field(default_factory=dict)  # published models it started from
    limits: str = "Trained and tested in simulation only; nothing is known of it on a real robot."


def model_card(config: dict[str, Any], facts: CardFacts) -> str:
    """The text of README.md for a model whose config.json is `config` (with its `kind` and `spec`)."""
    from huggingface_hub import ModelCardData

    kind = str(config.get("kind", "model"))
    bases = sorted({c["source"] for c in facts.checkpoints.values() if c.get("commit")})
    head = ModelCardData(
        license="other",
        license_name="to-be-chosen",  # whoever publishes decides; what it started from may bind them
        tags=["robotics", "foresight", kind],
        base_model=bases or None,
    )
    lines = [f"---\n{head.to_yaml()}\n---", f"# {facts.title or kind}", ""]
    lines += [f"A `{kind}` trained with Foresight. Licence: to be chosen by whoever publishes it.", ""]
    lines += [f"- {name}: {text}" for name, text in (("Task", facts.task), ("Data", facts.data)) if text]
    for place, found in facts.checkpoints.items():
        lines.append(f"- Started from `{found['source']}` ({place}), commit `{found.get('commit', 'local folder')}`")
    if facts.command:
        lines.append(f"- Made by `{facts.command}`" + (f" at revision `{facts.revision}`" if facts.revision else ""))
    if "spec" in config:
        lines += ["", "## Interface", "", "```json", json.dumps(json.loads(config["spec"]), indent=1), "```"]
    if facts.metrics:
        names = list(facts.metrics[0])
        rows = [[_cell(row.get(name)) for name in names] for row in facts.metrics]
        table = [names, ["---"] * len(names), *rows]
        lines += ["", "## Metrics", "", *("| " + " | ".join(row) + " |" for row in table)]
    lines += ["", "## Limits", "", facts.limits, "", "## Use", "", *_USE.get(kind, _VALUE_USE), ""]
    return "\n".join(lines)


_POLICY_USE = ("```python", "from agents.make import load_policy", "policy = load_policy(Path(FOLDER))", "```")
_VALUE_USE = ("```python", "from valuefns.make import load_value", "value = load_value(Path(FOLDER))", "```")
_USE = {kind: _POLICY_USE for kind in ("flow", "pi05", "videovla")}


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "/")


def save_pretrained(trained: Path, folder: Path, facts: CardFacts) -> Path:
    """Copy the model saved in `trained` to a new `folder`, whole and checked, with a card; returns `folder`.

    Errors (ValueError): `trained` holds no model or a damaged one; `folder` exists already.
    """
    files = [p.relative_to(trained) for name in SHARED for p in sorted(trained.rglob(name))]
    config = load_config(trained)
    for path in files:
        if path.name == "model.safetensors":
            load_tensors(trained / path)  # compares the hash
    with atomic_folder(folder) as beside:
        for path in files:
            (beside / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(trained / path, beside / path)
        write_atomic(beside / "README.md", model_card(config, facts))
    return folder


def push_to_hub(folder: Path, repo: str, private: bool = True, api: Any = None) -> str:
    """Upload a folder of `save_pretrained` as the hub repository `repo` (made if need be); returns its commit's URL.

    The key is the hub library's own (`hf auth login`, or HF_TOKEN); it is never read here, and errors do not show it.
    Errors: no such folder, no network, no key or no right to write is a ValueError of one line.
    """
    if not (folder / "README.md").is_file():
        raise ValueError(one_line(f"{folder}: no model card; make the folder with save_pretrained"))
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, folder_path=str(folder), allow_patterns=["README.md", *(f"**{name}" for name in SHARED)],
            commit_message=f"Upload {folder.name}",
        )  # fmt: skip
    except Exception as error:  # whatever the network and the hub answer
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said = _KEY.sub("hf_...", line)[:300]
        raise ValueError(one_line(f"hub repository {repo}: {said}; try `hf auth login`")) from None
    return str(getattr(done, "commit_url", done))

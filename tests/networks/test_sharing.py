"""A trained model as a folder others can load: whole, with a card of its run's facts, and no key anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.flow import FlowPolicy
from agents.make import load_policy
from agents.settings import FlowConfig
from experiments.models.share import run_facts
from networks.sharing import push_to_hub
from tests.helpers.commands import foresight
from tests.helpers.made_lift import SPEC

COMMIT = "c" * 40


@pytest.fixture()
def trained(tmp_path: Path) -> Path:
    """A policy in a run's folder, among things that are not to be shared."""
    run = tmp_path / "runs" / "recap_sim" / "20260101-000000-seed3"
    folder = run / "arms" / "recap" / "policy-0"
    FlowPolicy(FlowConfig(), SPEC, seed=1).save(folder)
    (folder / "resume.safetensors").write_bytes(b"large")
    (folder / "notes.txt").write_text("private")
    source = {"source": "lerobot/pi05_base", "commit": COMMIT}
    title = "foresight/Lift-v0: bc, recap with value=viva, policy=flow"
    facts = {"title": title, "command": "python x.py seed=3", "seed": 3, "checkpoints": {"policy.checkpoint": source}}
    (run / "run.json").write_text(json.dumps(facts))
    rows = [{"method": m, "success": s, "n": 50} for m, s in (("bc", 0.5), ("recap", 0.84), ("recap@2", 0.875))]
    (run / "summary.json").write_text(json.dumps({"rows": rows}))
    (run / "environment.json").write_text(json.dumps({"git_revision": "abc123"}))
    return folder


def test_a_shared_folder_loads_and_its_card_says_what_the_run_knows(trained: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    foresight("share", trained, f"folder={shared}")
    assert sorted(p.name for p in shared.rglob("*")) == ["README.md", "config.json", "model.safetensors"]
    ours, theirs = load_policy(trained).state_dict(), load_policy(shared).state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    card = (shared / "README.md").read_text()
    from huggingface_hub import ModelCard

    head = ModelCard(card).data.to_dict()
    assert head["license"] == "other" and head["base_model"] == ["lerobot/pi05_base"] and "flow" in head["tags"]
    for said in ("foresight/Lift-v0", "data seed 3", "`python x.py seed=3` at revision `abc123`", COMMIT,
                 "| recap | 0.840 | 50 |", "| recap@2 | 0.875 | 50 |", "load_policy"):  # fmt: skip
        assert said in card, said
    assert "| bc |" not in card  # another method's row
    assert run_facts(tmp_path / "elsewhere" / "m").title == "m"


def test_what_is_no_whole_model_is_not_shared(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"share: .*choose a new folder"):
        foresight("share", trained, f"folder={trained.parent}")
    weights = trained / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(SystemExit, match=r"share: checkpoint .*changed or damaged"):
        foresight("share", trained, f"folder={tmp_path / 'shared'}")
    assert not (tmp_path / "shared").exists()
    with pytest.raises(ValueError, match="no model card"):
        push_to_hub(trained, "me/mine")


class StubApi:
    """The two network calls, and nothing else of the hub."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def create_repo(self, repo: str, **kwargs: Any) -> None:
        self.calls.append((repo, kwargs))

    def upload_folder(self, **kwargs: Any) -> Any:
        from huggingface_hub.utils import filter_repo_objects

        if self.error is not None:
            raise self.error
        root = Path(kwargs["folder_path"])
        there = [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]
        sent = sorted(filter_repo_objects(there, allow_patterns=kwargs["allow_patterns"]))
        self.calls.append((kwargs["repo_id"], {"sent": sent}))
        return type("Done", (), {"commit_url": "https://hub/commit/1"})


def test_pushing_sends_the_model_and_its_card_and_shows_no_key(trained: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    foresight("share", trained, f"folder={shared}")
    (shared / "latents").mkdir()
    (shared / "latents" / "model.safetensors").write_bytes(b"x")
    (shared / "secrets.env").write_text("hf_abcdefghijkl")
    api = StubApi()
    assert push_to_hub(shared, "me/mine", api=api) == "https://hub/commit/1"
    assert api.calls[0] == ("me/mine", {"private": True, "exist_ok": True})
    assert api.calls[1][1]["sent"] == ["README.md", "config.json", "latents/model.safetensors", "model.safetensors"]
    with pytest.raises(ValueError, match=r"repository me/mine: 401 for token hf_\.\.\.; try `hf auth login`") as error:
        push_to_hub(shared, "me/mine", api=StubApi(RuntimeError("401 for token hf_abcdefghijkl\nmore")))
    assert "abcdefghijkl" not in str(error.value)
    with pytest.raises(ValueError, match=r"repository me/mine: .*offline"):
        push_to_hub(shared, "me/mine")  # the hub is off in tests

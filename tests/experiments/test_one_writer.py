"""Ledgers and run folders: two writers lose nothing, another policy gets no other's numbers, clocks may go back."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import experiments.loop.run_folder as run_folder
import experiments.simpler.run as sweeps
from agents.adapter import FOLDER
from agents.flow import FlowPolicy
from agents.make import policy_content
from agents.remote import RemoteActor
from agents.serve import PolicyServer
from envs.ledger import TrialLedger
from experiments.loop.run_folder import RunFolder, revision
from experiments.loop.schemas import SimplerSweepConfig
from experiments.simpler.sweep import folder_of
from experiments.simpler.worker import row_of
from tests.helpers.commands import foresight
from tests.helpers.made_lift import SPEC
from tests.helpers.served import FLOW, Running


def row(key: str, size: int = 1) -> dict[str, Any]:
    return {"key": key, "v": "x" * size}


def test_two_ledgers_of_one_file_never_lose_a_row(tmp_path: Path) -> None:
    a, b = TrialLedger(tmp_path / "l.jsonl"), TrialLedger(tmp_path / "l.jsonl")
    for i in range(5):
        a.add(row(f"a{i}", 50))
    with pytest.raises(ValueError, match="somebody else has added trials to it"):
        b.add(row("b0"))
    a.add(row("a5"))
    assert [r["key"] for r in TrialLedger(a.path).rows] == [f"a{i}" for i in range(6)]


@pytest.mark.parametrize("content", [b"", b'{"key": "other"}', b'{"key": "o"}\n{"key": "p"}\n'])
def test_a_ledger_that_was_replaced_is_not_written_into(content: bytes, tmp_path: Path) -> None:
    ledger = TrialLedger(tmp_path / "l.jsonl")
    ledger.add(row("a", 9))
    ledger.path.write_bytes(content)
    with pytest.raises(ValueError, match="or replaced it"):
        ledger.add(row("b"))
    assert ledger.path.read_bytes() == content


def test_a_torn_last_line_is_still_replaced(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    TrialLedger(path).add(row("a"))
    with path.open("ab") as file:
        file.write(b'{"key": "torn')
    TrialLedger(path).add(row("b"))
    assert [r["key"] for r in TrialLedger(path).rows] == ["a", "b"]


# --- sweeps -----------------------------------------------------------------------------------------------------------

WORDS = ["policy=random", "settings=[visual_matching]", "limit=2"]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Sweeps whose trials need no simulator: each has the outcome that is set."""

    def outcome(final: bool) -> None:
        def results(settings: SimplerSweepConfig, pending: Any) -> Any:
            for trial in pending:
                ended = {"final": final, "any": final, "progress": float(final), "steps": 5, "instruction": "x"}
                yield [row_of(trial, settings) | ended]

        monkeypatch.setattr("experiments.simpler.sweep._results", results)

    monkeypatch.setattr(sweeps, "with_assets", lambda plan: (list(plan), []))
    monkeypatch.setattr("experiments.simpler.sweep.check_tasks", lambda *_: None)
    outcome(True)
    return outcome


def summaries(runs: Path) -> list[dict[str, Any]]:
    return [json.loads(p.read_text()) for p in sorted(runs.rglob("summary.json"), key=lambda p: p.stat().st_mtime_ns)]


def test_another_part_of_the_protocol_has_another_folder(tmp_path: Path, made_up: Any) -> None:
    for task in ("pick_coke_can", "move_near"):
        foresight("sweep", *WORDS, f"runs={tmp_path}", f"tasks=[{task}]")
    found = summaries(tmp_path)
    assert [[r["task"] for r in s["rows"]] for s in found] == [["pick_coke_can"], ["move_near"]]
    whole = SimplerSweepConfig(policy="p")
    assert folder_of(whole) == folder_of(replace(whole, limit=3))  # more trials continue
    parts: list[dict[str, Any]] = [{"tasks": ["move_near"]}, {"settings": ["visual_matching"]}, {"variants": ["base"]}]
    parts += [{"content": "ab"}]
    assert len({folder_of(replace(whole, **part)) for part in [{}, *parts]}) == 5


def test_an_edited_adapter_has_another_folder(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    shutil.copy(FOLDER / "fractal.yaml", file)
    settings = SimplerSweepConfig(policy="ws://127.0.0.1:1", adapter=str(file))
    first = folder_of(settings)
    assert folder_of(settings) == first
    file.write_text(re.sub(r"^execute: .*$", "execute: 7", file.read_text(), flags=re.M))
    assert folder_of(settings) != first


def _hold(folder: str, held: Any, end: Any) -> None:
    from episodes.files import writer_lock

    lock = writer_lock(Path(folder) / "lock", "x")
    held.set()
    end.wait(60)
    lock.release()


def test_a_second_sweep_of_the_same_is_refused_while_the_first_runs(tmp_path: Path, made_up: Any) -> None:
    words = [*WORDS, f"runs={tmp_path}", "tasks=[move_near]"]
    foresight("sweep", *words)
    (place,) = (tmp_path / "simpler_sweep").iterdir()
    context = multiprocessing.get_context("fork")
    held, end = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(place), held, end))
    other.start()
    try:
        assert held.wait(30)
        with pytest.raises(SystemExit, match="another writer holds the lock"):
            foresight("sweep", *words)
    finally:
        end.set()
        other.join()


def saved(folder: Path, seed: int) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    FlowPolicy(FLOW, SPEC, seed=seed).eval().save(folder)
    return folder


def test_a_folder_trained_again_does_not_get_the_first_ones_numbers(tmp_path: Path, made_up: Any) -> None:
    words = [f"runs={tmp_path / 'runs'}", *WORDS[1:], "tasks=[move_near]", f"policy={tmp_path / 'policy'}"]
    for seed, final in ((1, True), (2, False)):
        saved(tmp_path / "policy", seed)
        made_up(final)
        foresight("sweep", *words)
    first, second = summaries(tmp_path / "runs")
    assert (first["rows"][0]["final"], second["rows"][0]["final"]) == (1.0, 0.0)
    assert first["content"] != second["content"]
    with pytest.raises(SystemExit, match=r"its content is .*, not"):
        foresight("sweep", *words, f"content={first['content']}")


def test_another_policy_behind_the_same_address(tmp_path: Path, made_up: Any) -> None:
    """A server that is started with another policy: another folder, and refused in the middle of a sweep."""
    folders = [saved(tmp_path / str(seed), seed) for seed in (1, 2)]
    contents = [policy_content(folder, "own", 0.0) for folder in folders]
    assert contents[0] != contents[1] != policy_content(folders[1], "positive", 0.0)
    policy, port, actor = FlowPolicy.load(folders[0]), 0, None
    for content, final in zip(contents, (True, False), strict=True):
        made_up(final)
        with Running(PolicyServer(policy, port=port, content=content), port=port) as running:
            port = running.port
            foresight("sweep", *WORDS[1:], "tasks=[move_near]", f"runs={tmp_path / 'runs'}", f"policy={running.url}")
            if actor is None:
                actor = RemoteActor(running.url, SPEC)
                actor.close()
                continue
            with pytest.raises(ValueError, match="has another policy than before"):
                actor.reset(np.array([True]), np.array([1]), [""])
            with pytest.raises(ValueError, match="has another policy than before"):
                RemoteActor(running.url, SPEC, content=contents[0])
    assert [s["rows"][0]["final"] for s in summaries(tmp_path / "runs")] == [1.0, 0.0]


# --- run folders ------------------------------------------------------------------------------------------------------


def config(root: Path, **changes: Any) -> Any:
    return OmegaConf.create({"runs": str(root), "cache": "c", "fresh": False, "seed": 0, "device": "cpu"} | changes)


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a clock goes back to the second of a finished run, whose files are no longer its own then."""
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "20261101-020000")
    first = RunFolder("bench", config(tmp_path, steps=1), "first")
    (first.path / "scores.json").write_text("first")
    first.finish()
    others = [RunFolder("bench", config(tmp_path, steps=n), "other") for n in (2, 3)]
    assert len({first.path, *(other.path for other in others)}) == 3
    assert not any(other.continued or (other.path / "scores.json").exists() for other in others)
    assert json.loads((first.path / "run.json").read_text())["title"] == "first"


def test_a_run_stopped_before_its_report_is_continued(tmp_path: Path) -> None:
    first = RunFolder("bench", config(tmp_path), "a", leaves="report.html")
    first.finish()
    again = RunFolder("bench", config(tmp_path), "a", leaves="report.html")
    assert again.path == first.path and again.continued
    (again.path / "report.html").write_text("x")
    again.finish()
    assert RunFolder("bench", config(tmp_path), "a", leaves="report.html").path != first.path


def test_the_revision_is_that_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of the folder the command runs in, nor of what a hook's variables name; and git need not be there."""

    def made(name: str) -> str:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "init", "-q", tmp_path / name], check=True, env=clean)
        words = ["git", "-C", tmp_path / name, *who, "commit", "-q", "--allow-empty", "-m", name]
        subprocess.run(words, check=True, env=clean)
        return revision(tmp_path / name)

    mine, other = made("mine"), made("other")
    monkeypatch.chdir(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other/.git"))
    assert revision(tmp_path / "mine") == mine != other
    (tmp_path / "other/package").mkdir()
    assert revision(tmp_path / "other/package") == "not a git checkout"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(tmp_path / "mine") == "unknown (git cannot be run)"

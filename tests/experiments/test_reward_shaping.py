"""The reward-shaping study: a whole small run, its table from cells alone, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from experiments.loop import schemas
from experiments.loop.run_folder import write_json
from experiments.loop.schemas import CONF
from experiments.studies.shaping.levels import levels, mean_rank, pooled
from experiments.studies.shaping.measures import area, to_threshold
from experiments.studies.shaping.rewards import ARMS, shaping
from experiments.studies.shaping.run import run_all
from experiments.studies.shaping.table import rebuild
from experiments.studies.shaping.value import held_level, separate


def cell(folder: Path, arm: str, seed: int, curve: list[float], claimed: list[int], success: list[int]) -> None:
    about = {
        "task": "reach", "algorithm": "sac", "arm": arm, "seed": seed, "threshold": 0.8, "claim_accuracy": 0.9,
        "low": 0.2, "high": 0.8, "held_out": levels([np.array([0.2, 0.5, 0.8])], [np.array([0.0, 0.5, 1.0])]),
    }  # fmt: skip
    result = {
        "seconds": 60.0,
        "curve": [{"step": 1000 * k, "success": s, "seconds": 1.0} for k, s in enumerate(curve)],
        "value": {"calls": 10, "frames": 40, "seconds": 2.0},
        "levels": levels([np.array([0.5, 0.4, 0.3])], [np.array([0.0, 0.5, 1.0])]),
        "rows": [
            {"seed": i, "success": bool(s), "claimed": bool(c), "progress": 0.5 + 0.5 * s}
            for i, (s, c) in enumerate(zip(success, claimed, strict=True))
        ],
    }  # fmt: skip
    command = f"python experiments/reward_shaping.py 'study.seeds=[{seed}]' workers=2"
    made = {"key": f"reach-sac-{arm}-seed{seed}", "about": about, "identity": {}, "command": command, "result": result}
    write_json(folder / "cells" / f"reach-sac-{arm}-seed{seed}.json", made)


def study(folder: Path) -> None:
    for seed in range(3):
        cell(folder, "sparse", seed, [0, 0, 0.2, 0.5], [0, 0, 0, 1], [0, 0, 0, 1])
        cell(folder, "oracle", seed, [0, 0.9, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1])
        cell(folder, "value", seed, [0, 0, 0.1, 0.5], [1, 1, 1, 0], [1, 0, 0, 0])


def test_the_table_comes_from_the_cells(tmp_path: Path) -> None:
    study(tmp_path)
    rebuild(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    rows = {row["arm"]: row for row in summary["rows"]}
    assert list(rows) == ["sparse", "oracle", "value"]
    assert rows["oracle"]["success"] == rows["oracle"]["low"] == rows["oracle"]["high"] == 1
    assert rows["oracle"]["steps_to_threshold"] == 1000 and rows["oracle"]["reached"] == 3
    assert rows["sparse"]["steps_to_threshold"] == 3000 and rows["sparse"]["reached"] == 0
    assert rows["value"]["hack_rate"] == 0.5 and rows["sparse"]["hack_rate"] == 0 and rows["value"]["n"] == 12
    assert rows["sparse"]["progress"] == rows["sparse"]["progress_low"] == 0.625
    answers = {answer["arm"]: answer for answer in summary["comparisons"]}
    assert answers["oracle"]["steps"] == -2000 and answers["oracle"]["answer"] == "fewer"
    assert answers["oracle"]["progress"] == answers["oracle"]["progress_low"] == 0.375
    assert answers["oracle"]["improvement"] == 1 and answers["value"]["answer"] == "not shown"
    table = (tmp_path / "table.md").read_text()
    assert "| reach | sac | sparse | 0.25 | 0.25 to 0.25 | ≥ 3000 | 0 of 3 |" in table
    assert "1. `python experiments/reward_shaping.py 'study.seeds=[0,1,2]' 'study.arms=[sparse,oracle,value]'`" in table
    page = (tmp_path / "report.html").read_text()
    assert "does not beat sparse here; of its failed trials the value calls 67 % a success" in page
    assert (
        "its agents get 0.62 of the way (highest progress of a trial), 0.62 with sparse: +0.00 [+0.00, +0.00]" in page
    )
    assert "neither a potential of the learned value nor the sparse reward reaches the threshold within 3000" in page
    assert "a potential of the simulator&#39;s progress needs -2000 [-2000, -2000] environment steps" in page
    assert "demonstrations (rank correlation 1.00), on the trials of its own agents -1.00" in page
    assert page.count("<svg") == 2


def test_one_seed_has_no_interval_and_does_not_break_the_page(tmp_path: Path) -> None:
    cell(tmp_path, "sparse", 0, [0, 0.1], [0, 0], [0, 0])
    cell(tmp_path, "clock", 0, [0, 0.9], [0, 0], [1, 1])
    rebuild(tmp_path)
    rows = json.loads((tmp_path / "summary.json").read_text())["rows"]
    assert rows[0]["low"] is None and (tmp_path / "report.html").exists()


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "cells" / "reach-sac-value-seed1.json").write_text('{"task": "re')
    with pytest.raises(ValueError, match=r"reach-sac-value-seed1\.json.*remove it"):
        rebuild(tmp_path)


def test_measures_of_a_curve() -> None:
    curve: Any = {"threshold": 0.8, "curve": [{"step": s, "success": x} for s, x in ((0, 0), (100, 0.8), (300, 1))]}
    assert to_threshold(curve) == 100 and area(curve) == pytest.approx((40 + 180) / 300)


def test_a_claim_is_a_level_that_is_kept() -> None:
    assert held_level(np.array([0.1, 0.9, 0.2, 0.7, 0.6, 0.8]), 3) == pytest.approx(0.6)
    assert held_level(np.array([0.4, 0.5]), 5) == pytest.approx(0.4)
    cut, accuracy = separate(np.array([0.2, 0.3, 0.8, 0.9]), np.array([False, False, True, True]))
    assert 0.3 < cut < 0.8 and accuracy == 1
    with pytest.raises(ValueError, match="record both kinds"):
        separate(np.array([0.2, 0.3]), np.array([True, True]))


def test_levels_along_the_progress() -> None:
    found = levels([np.array([0.1, 0.3, 0.6, 9.0])], [np.array([0.0, 0.05, 1.0])])  # one value more than progress
    assert found["rank"] == pytest.approx(1.0) and found["bins"][0] == pytest.approx([2, 0.4, 0.1])
    at, mean, spread = pooled([found, found])
    assert at == pytest.approx([0.05, 0.95]) and mean == pytest.approx([0.2, 0.6]) and spread == pytest.approx([0.1, 0])
    still = levels([np.array([0.1, 0.3])], [np.array([0.5, 0.5])])
    assert still["rank"] is None and mean_rank([still]) is None and mean_rank([still, found]) == pytest.approx(1.0)


def test_every_arm_has_settings_of_its_own_gamma() -> None:
    for arm in ARMS.values():
        config = shaping(arm, 0.9, 4, 0.4, 0.8, 0.7)
        assert config.gamma == 0.9 and config.kind == arm.kind
        assert config.every == (1 if arm.source == "dense" else 4)
    assert shaping(ARMS["value_gated"], 0.9, 1, 0.4, 0.8, 0.7).gate == pytest.approx(0.75)


SMALL = [
    "collect.episodes=10", "collect.max_steps=60", "task.image_size=32", "study.every=3",
    "agent.steps=80", "agent.evaluations=1", "agent.envs=2", "agent.max_steps=12", "agent.settings.learning_starts=10",
    "study.curve_trials=1", "evaluation.trials=1", "study.seeds=[0]", "study.arms=[sparse,value_gated]", "workers=1",
]  # fmt: skip


def run(folder: Path, *words: str) -> None:
    schemas.register()
    places = [f"cache={folder / 'cache'}", f"runs={folder / 'runs'}", f"study.results={folder / 'results'}"]
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose("reward_shaping", overrides=[*SMALL, *places, *words])
    run_all(config)


@pytest.mark.slow
def test_a_whole_small_run_and_its_continuation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
    few = "valuefn.training.steps=40"
    run(tmp_path, few)
    made = json.loads((tmp_path / "results/cells/reach-sac-value_gated-seed0.json").read_text())["result"]
    assert [p["step"] for p in made["curve"]] == [0, 80] and len(made["rows"]) == 1
    assert made["value"]["frames"] > made["value"]["calls"] > 0 and len(made["shaping"]["version"]) == 16
    assert made["shaping"]["gamma"] == 0.97 and made["shaping"]["kind"] == "gated"
    run(tmp_path, few)
    assert "2 cells found, 0 to run" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"made with agent.gamma=0.97, now 0.5"):
        run(tmp_path, few, "agent.gamma=0.5")


@pytest.mark.slow
def test_agents_may_learn_from_pictures(tmp_path: Path) -> None:
    pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
    run(
        tmp_path,
        "valuefn.training.steps=40",
        "agent=sac_pixels",
        "task.image_size=64",
        "agent.settings.buffer_size=100",
    )
    summary = json.loads((tmp_path / "results/summary.json").read_text())
    assert {(row["algorithm"], row["arm"]) for row in summary["rows"]} == {
        ("sac-pixels", "sparse"), ("sac-pixels", "value_gated"),
    }  # fmt: skip
    made = json.loads((tmp_path / "results/cells/reach-sac-pixels-value_gated-seed0.json").read_text())["result"]
    assert made["curve"][-1]["step"] == 80 and made["value"]["frames"] > 0


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("study.arms=[magic]", "choose from sparse"),
        ("agent.algorithm=dqn", "choose sac or ppo"),
        ("+agent.settings.gamma=0.5", "set agent.gamma"),
        ("study.every=0", "every=0"),
        ("valuefn=constant", "cannot be read online"),
        ("study.seeds=[100]", "data seed must be 0..99"),
        ("task=lift", "lift needs the gripper; use agent=sac_grasp"),
        ("task=simpler/pick_coke_can", "choose task=lift"),
        ("agent=sac_pixels", "task.image_size=32: agent.pixels needs at least 36"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_made(tmp_path: Path, word: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        run(tmp_path, word)
    assert not (tmp_path / "cache").exists()

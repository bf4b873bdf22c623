"""The commands people run, against a real HTTP server: ranking datasets and proposing segments."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from episodes.store import EpisodeStore
from experiments.data import propose, rank
from experiments.loop.schemas import CONF, register
from tests.helpers.some_episodes import make_spec
from tests.helpers.vlm_server import Server, made_episode, serving, truthful


def run(experiment: str, *overrides: str) -> Path:
    """The experiment in this process, in the current folder, with a command line's overrides."""
    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        config = compose(experiment, overrides=list(overrides))
    return {"rank_datasets": rank.run_all, "propose_segments": propose.run_all}[experiment](config)


def endpoint(server: Server, key: str = "") -> list[str]:
    prefix = "valuefn.backend"
    return [f"{prefix}.url={server.url}", f"{prefix}.model=tiny", f"{prefix}.key_env={key}", f"{prefix}.backoff=0.01"]


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A store whose episodes make progress, and one in which half of them lose it again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    up = [made_episode(i, T=12) for i in range(4)]
    down = [made_episode(9 + i, T=12, success=False, curve=np.linspace(1, 0, 13)) for i in range(2)]
    for name, episodes in (("bad", up[:2] + down), ("good", up)):
        with EpisodeStore.create(tmp_path / name, make_spec(hz=10.0)) as store:
            store.append(episodes)
    return ["stores=[bad,good]", "valuefn.frames=8"]


def test_ranking(
    tmp_path: Path, stores: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "sk-very-secret-9876543210"
    monkeypatch.setenv("MY_KEY", key)
    with serving(truthful) as server:
        first = run("rank_datasets", *stores, *endpoint(server, "MY_KEY"))
        asked = len(server.bodies)
        assert asked == 6  # the two stores share two episodes: asked about once
        second = run("rank_datasets", *stores, *endpoint(server, "MY_KEY"), "per_store=0", "seed=1")
        assert len(server.bodies) == asked and server.headers[0]["Authorization"].endswith(key)
    out = capsys.readouterr()
    with open(first / "ranking.csv") as file:
        rows = list(csv.DictReader(file))
    assert [r["store"] for r in rows] == ["good", "bad"]
    assert (first / "ranking.csv").read_text() == (second / "ranking.csv").read_text()
    assert float(rows[0]["voc"]) == pytest.approx(1) and float(rows[1]["voc"]) == pytest.approx(0)
    assert [float(rows[1][k]) for k in ("accuracy", "precision", "recall")] == [1, 1, 1]
    kept = json.loads((first / "kept.json").read_text())
    assert kept["bad"]["kept"] == {"-1": [0, 1, 2, 3], "0": [0, 1], "0.25": [0, 1], "0.5": [0, 1], "0.75": [0, 1]}
    usage = json.loads((first / "usage.json").read_text())
    assert (usage["answers"], usage["cached"], usage["prompt_tokens"]) == (6, 2, 600)
    assert json.loads((second / "usage.json").read_text())["answers"] == 0
    assert len((first / "episodes.csv").read_text().splitlines()) == 9 and "| good | 1.00 |" in out.out
    everywhere = [p.read_text() for p in tmp_path.rglob("*") if p.suffix in (".json", ".yaml", ".csv", ".md")]
    assert len(everywhere) > 10 and not any(key in t for t in [*everywhere, *out])


def test_other_values_and_bad_input_in_one_line(
    tmp_path: Path, stores: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("rank_datasets", stores[0], "valuefn=oracle", "per_store=3")
    assert "| good | 1.00 |" in capsys.readouterr().out
    model = "valuefn.backend.model=x"
    for overrides, message in [
        ([model], "OPENAI_API_KEY is not set; export your key"),
        (["valuefn.backend.key_env="], r"backend\.model is empty"),
        (["backend=vllm", model, "valuefn.backend.url=http://127.0.0.1:9/v1"], "Connection refused.*check the url"),
        (["valuefn=viva"], "would learn from what it ranks: .* valuefn=FOLDER"),
    ]:
        with pytest.raises(ValueError, match=message) as error:
            run("rank_datasets", stores[0], *overrides)
        assert "\n" not in str(error.value)


def test_proposing_segments(tmp_path: Path, stores: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    said = json.dumps(
        {"non_progress_segments": [{"start_frame": 3, "end_frame": 6, "type": "retry"}], "summary": "Up."}
    )
    with serving(lambda parts: said) as server:
        run("propose_segments", "store=bad", *endpoint(server))
    proposals = json.loads((tmp_path / "bad" / "proposals.json").read_text())
    assert list(proposals) == ["0", "1", "2", "3"] and proposals["0"]["segments"][0]["m"] == 3
    assert "4 intervals in 4 episodes" in capsys.readouterr().out

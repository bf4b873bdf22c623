"""The value benchmark: real episodes of the generator, truths, scores of values that are known, and bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from episodes.annotations import Segment, read_annotations, write_annotations
from episodes.intervals import bootstrap_strata
from episodes.store import EpisodeStore
from episodes.types import SEGMENTS, Episode
from experiments.bench.stages import training_episodes
from tests.helpers.made_lift import made_episode, made_store
from valuefns.bench import metrics, probes
from valuefns.bench.annotations import Annotation, annotate, read_csv, truths, write_csv
from valuefns.bench.generate import Bench
from valuefns.bench.plan import GROUPS, SPLITS, TASKS, BenchConfig, Counts, Pace, trial_of, trial_seed
from valuefns.bench.scorecard import headline_row, predict, rows_of, score_episode, score_model
from valuefns.protocol import ValueFunction

T = 40
NONE = Counts(0, 0, 0, 0, 0)


def episode(kind: str, seed: int = 0) -> Episode:
    """40 steps; a hesitation or a retry of the steps 10..19, a failure from step 10 on."""
    made = made_episode(seed, T, success=kind != "failure")
    segments = np.zeros(T, np.int8)
    if kind != "expert":
        segments[10 : T if kind == "failure" else 20] = SEGMENTS.index(kind)
    return replace(made, segments=segments)


def annotation(kind: str, index: int = 0) -> Annotation:
    e = episode(kind)
    group = "drop" if kind == "failure" else kind
    return annotate(index, e.segments, e.success, group, task="lift")


KINDS = ("hesitation", "retry", "expert", "failure")


def bench(folder: Path) -> tuple[EpisodeStore, list[Annotation]]:
    store = made_store(folder, 0, 0)
    store = EpisodeStore.open(folder, "a")
    store.append(episode(kind, i) for i, kind in enumerate(KINDS * 2))
    store.close()
    return EpisodeStore.open(folder), [annotation(kind, i) for i, kind in enumerate(KINDS * 2)]


class Truth(ValueFunction):
    """Knows WVM's curve."""

    name = "truth"

    def fit(self, store, folder=None):  # type: ignore[no-untyped-def]
        return self

    def score(self, e: Episode, causal: bool = False) -> np.ndarray:
        kind = next((SEGMENTS[s] for s in e.segments if s), "expert")
        curve = truths(e, annotation(kind))["annotated"] if e.success else np.linspace(0, 0.2, T)
        return (1 + np.append(curve, curve[-1])) / 2


class Broken(Truth):
    """Fails on one episode and is not a number on another."""

    name = "broken"

    def score(self, e: Episode, causal: bool = False) -> np.ndarray:
        if e.provenance.seed == 0:
            raise ValueError("the model ran out of luck")
        values = super().score(e)
        values[7] = np.nan if e.provenance.seed == 1 else values[7]
        return values


def test_seeds_say_what_a_trial_is_and_never_meet() -> None:
    seeds = {}
    for split in SPLITS:
        for task in TASKS:
            for group in GROUPS:
                for k in (0, 249):
                    seeds[trial_seed(split, task, group, k)] = (split, task, group, k)
    assert len(seeds) == 2 * 6 * 5 * 2 and all(trial_of(s) == trial for s, trial in seeds.items())
    with pytest.raises(ValueError, match="not one of the benchmark's trials"):
        trial_of(5)


@pytest.mark.slow
def test_the_generator_makes_what_it_promises_and_grows(tmp_path: Path) -> None:
    """Real physics: a hesitation and a retry of Lift at the oracle's own pace."""
    pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
    from valuefns.bench.generate import generate

    config = BenchConfig(
        tasks=["lift"], image_size=32, cameras=["agentview"], train=NONE, pace={"lift": Pace(1.0, 4.5)},
        test=Counts(hesitation=1, retry=0, expert=0, drop=0, wrong_object=3),
    )  # fmt: skip
    (first,) = generate(config, tmp_path / "bench").annotations
    assert first.kind == "hesitation" and first.split == "test", "Lift has one object: no wrong one was recorded"
    more = generate(replace(config, test=Counts(1, 1, 0, 1, 0)), tmp_path / "bench")
    assert [a.kind for a in more.annotations] == ["hesitation", "retry", "failure"] and more.annotations[0] == first
    assert len(more.store) - sum(more.rejected.values()) == 3, "nothing was recorded twice"
    again = generate(config, tmp_path / "bench")
    assert again.annotations == [first] and len(again.store) == len(more.store)
    for a in more.annotations:
        e = more.store[a.episode]
        known = truths(e, a)
        assert e.success == (a.kind != "failure") and e.provenance.env_id == "foresight/Lift-v0"
        assert e.images["agentview"].shape[1:] == (32, 32, 3) and e.images["agentview"].std() > 10
        if a.kind == "hesitation":
            assert 0.05 <= (a.n - a.m) / len(e) <= 0.6
            assert np.ptp(known["annotated"][a.m : a.n + 1]) < 1e-12 and np.ptp(known["oracle"][a.m : a.n + 1]) == 0
            assert np.linalg.norm(e.proprio[a.m : a.n, :3] - e.proprio[a.m, :3], axis=1).max() < 0.05, "it waits"
        if a.kind == "retry":
            assert (np.diff(known["annotated"][a.m : a.n + 1]) < 0).all() or known["annotated"][a.n] == 0
        if a.kind == "failure":
            assert a.n == len(e) - 1 and e.progress[-1] < 0.9
            assert e.progress[a.m : a.m + 25].min() < e.progress[a.m] - 0.1, "the cube is dropped after its frame m"


def test_a_group_that_never_comes_out_is_named(tmp_path: Path) -> None:
    pytest.importorskip("robosuite", reason="pip install -e .[robosuite]")
    from valuefns.bench.generate import generate

    hopeless = Pace(slowness=1.0, seconds=0.5)  # 0.6 s and the episode is cut off
    config = BenchConfig(
        tasks=["lift"], image_size=32, cameras=["agentview"], train=NONE, pace={"lift": hopeless}, limit=1.2,
        test=Counts(0, 0, 1, 0, 0),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"bench: lift expert: 0 of \d+ came out as planned \(\d+ did not succeed\)"):
        generate(config, tmp_path / "bench")


def test_an_episode_that_broke_its_promise_is_left_out() -> None:
    two = episode("hesitation").segments.copy()
    two[30:33] = SEGMENTS.index("hesitation")
    late = np.zeros(T, np.int8)
    late[14:34] = SEGMENTS.index("retry")
    for segments, success, group, why in (
        (two, True, "hesitation", "not one hesitation"),
        (np.zeros(T, np.int8), True, "retry", "mistakes are none"),
        (two, True, "expert", "made a mistake"),
        (np.zeros(T, np.int8), False, "expert", "did not succeed"),
        (np.zeros(T, np.int8), True, "drop", "succeeded"),
        (late, True, "retry", r"T-2x = 0; drop it"),
    ):
        with pytest.raises(ValueError, match=why):
            annotate(0, segments, success, group)
    made = annotation("hesitation")
    assert (made.m, made.n) == (10, 20), "the value stands from frame 10 to frame 20, the end of step 19"


def test_truths_agree_on_what_a_mistake_does() -> None:
    for kind, sign in (("hesitation", 0), ("retry", -1)):
        known = truths(episode(kind), annotation(kind))
        for name in ("annotated", "oracle"):
            assert (np.sign(np.round(np.diff(known[name][10:21]), 9)) == sign).all(), (kind, name)
            assert (np.diff(known[name][:11]) > 0).all() and (np.diff(known[name][20:]) > 0).all()
    assert np.isnan(truths(episode("failure"), annotation("failure"))["annotated"]).all()


def test_the_truth_is_perfect_and_the_probes_are_what_they_are(tmp_path: Path) -> None:
    store, known = bench(tmp_path / "s")

    def scores(value: ValueFunction) -> dict[str, float]:
        result = score_model(value.name, value, store, known, probe_experts=1)
        assert not result.failures
        return headline_row(result, rows_of(result)) | {r["name"] + "*": r["mean"] for r in rows_of(result)}

    truth, clock = scores(Truth()), scores(probes.ClockValue())
    assert truth["hesitation_rmse"] == pytest.approx(0, abs=1e-6) and truth["hesitation_drift"] == pytest.approx(0)
    assert truth["retry_voc"] == truth["expert_voc"] == truth["defined"] == pytest.approx(1)
    assert truth["success_gap"] == pytest.approx(0.8) and truth["error_drop*"] == pytest.approx(0.5)
    assert clock["retry_voc"] == pytest.approx(-1) and clock["expert_voc"] == pytest.approx(1)
    assert clock["hesitation_drift"] == pytest.approx(10 / 39) and clock["error_rank*"] == pytest.approx(0.5, abs=0.5)
    assert clock["reversed_voc*"] == pytest.approx(1) and clock["success_gap"] == pytest.approx(0)
    from valuefns.constant import ConstantValue

    constant, oracle = scores(ConstantValue()), scores(probes.ProgressValue())
    assert math.isnan(constant["retry_voc"]) and math.isnan(constant["expert_voc"]) and constant["defined"] == 0
    zero = [r["mean_as_zero"] for r in rows_of(score_model("c", ConstantValue(), store, known)) if "voc" in r["name"]]
    assert set(zero) == {0.0}, "no order is neither right nor wrong"
    assert oracle["reversed_voc*"] == pytest.approx(-1) and math.isnan(oracle["static_voc*"])


def test_one_bad_episode_never_stops_a_run(tmp_path: Path) -> None:
    store, known = bench(tmp_path / "s")
    known[2] = Annotation(2, "hesitation", 30, 50, "lift")  # outside its episode
    known[5] = Annotation(5, "retry", 10, 35, "lift")  # T - 2x = -10
    result = score_model("broken", Broken(), store, known)
    assert {f.episode: f.reason for f in result.failures} == {
        0: "the model ran out of luck",
        1: "the value of frame 7 is nan; fix the model",
        2: "episode 2: segment [30, 50] of 40 frames; it needs 0 < m < n < 39",
        5: "episode 5: annotated_return: retry [10, 35] of 40 frames has T-2x = -10; drop it",
    }
    assert [s.annotation.episode for s in result.episodes] == [3, 4, 6, 7]
    assert headline_row(result, rows_of(result))["failed"] == 4


def test_a_missing_camera_and_a_wrong_length_are_named() -> None:
    e = episode("expert")
    model = Truth()
    model.spec = replace_cameras("side")  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"x: no camera 'side', there are front, wrist; record it"):
        predict(model, e, "x", 100)
    short = Truth()
    short.score = lambda e, causal=False: np.zeros(3)  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"x: \(3,\) values for 41 frames"):
        predict(short, e, "x", 100)


def replace_cameras(*names: str):  # type: ignore[no-untyped-def]
    from tests.helpers.made_lift import SPEC

    return replace(SPEC, cameras=names)


def test_annotation_files(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    made = [annotation(kind, i) for i, kind in enumerate(KINDS)]
    made[0] = replace(made[0], task='lift, then "place"', group="two\nlines")
    write_csv(path, made)
    assert read_csv(path, 4) == made
    for text, why in (
        ("episode,type,m\n0,retry,1\n", "no column 'n'"),
        ("episode,type,m,n\n0,pause,1,2\n", "line 2: pause,1,2 is no type,m,n"),
        ("episode,type,m,n\n0,retry,1,x\n", "line 2: retry,1,x is no type,m,n"),
        ("episode,type,m,n\n0,retry,,\n", "line 2: retry,, is no type,m,n"),
        ("episode,type,m,n\n9,expert,,\n", "episode 9 of 4"),
        ("episode,type,m,n\n0,expert,,\n0,expert,,\n", "episode 0 has 2 rows, and one of them says expert"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=why):
            read_csv(path, 4)


def test_several_segments_of_the_review_page_are_one_annotation(tmp_path: Path) -> None:
    """What the page saves is what the benchmark reads; a curve of several segments is that of their labels."""
    path = tmp_path / "annotations.csv"
    write_annotations(path, {0: (Segment("hesitation", 5, 10), Segment("retry", 20, 26)), 1: ()})
    both, expert = read_csv(path, 2)
    assert (both.kind, both.m, both.n, both.further) == ("hesitation", 5, 10, (Segment("retry", 20, 26),))
    assert expert.kind == "expert" and expert.segments == ()
    made = replace(episode("expert"), segments=np.zeros(T, np.int8))
    known = truths(made, both)
    assert np.ptp(known["annotated"][5:11]) == 0 and known["annotated"][26] < known["annotated"][20]
    scores = score_episode(known["annotated"], known, both, 10.0)
    assert scores["hesitation_rmse"] == 0 and scores["retry_voc"] == pytest.approx(1) and scores["error_drop"] == 1
    write_csv(path, [both, expert])
    assert read_csv(path, 2) == [both, expert] and read_annotations(path)[0] == both.segments
    with pytest.raises(ValueError, match=r"episode 0: segment \[8, 26\] overlaps the one before"):
        replace(both, further=(Segment("retry", 8, 26),)).require_within(T)
    path.write_text("episode,type,m,n\n0,failure,,\n")
    assert read_annotations(path) == {0: (Segment("failure", -1, -1),)} and read_csv(path, 1)[0].m == -1


def test_metrics_at_the_models_rate_and_of_errors() -> None:
    assert metrics.sampled(25, 10.0, 2.0).tolist() == [0, 5, 10, 15, 20] and len(metrics.sampled(25, 10.0, None)) == 25
    rising = np.linspace(0, 1, T)
    falls = rising.copy()
    falls[20:] -= 0.4
    advancing = np.ones(T, bool)
    advancing[20:30] = False
    assert metrics.error_change(falls, 19, 5) < 0 and metrics.error_rank(falls, 19, 5, advancing) == 1
    assert metrics.error_rank(np.zeros(T), 19, 5, advancing) == 0.5 and math.isnan(metrics.error_change(falls, 38, 5))
    assert math.isnan(metrics.tau_b(np.zeros(T))) and metrics.tau_b(rising) == pytest.approx(1)


def test_models_learn_from_named_types_or_groups(tmp_path: Path) -> None:
    store, known = bench(tmp_path / "store")
    known = [replace(a, split="train", group="retry_miss" if a.kind == "retry" else a.group) for a in known]
    made = Bench(store, known, {})
    for names, found in ((["expert"], [2, 6]), (["retry", "drop"], [1, 3, 5, 7]), (["retry_miss"], [1, 5])):
        chosen = training_episodes(made, names, [])
        assert [row["episode_index"] for row in chosen.index] == found
    with pytest.raises(ValueError, match=r"retry_drop.*drop.*expert.*hesitation.*retry.*retry_miss"):
        training_episodes(made, ["retry_drop"], [])


def test_strata_weigh_tasks_not_episodes() -> None:
    mean, low, high = bootstrap_strata([[0.0] * 90 + [1.0] * 10, [1.0] * 5])
    assert mean == pytest.approx(0.55) and 0.5 < low < mean < high < 0.6
    gap = bootstrap_strata([[1.0, 3.0], []], [[0.0, 0.0], [9.0]])
    assert gap[0] == 2.0 and gap[1] == 1.0 and gap[2] == 3.0, "a task without successes has no gap"
    assert all(math.isnan(x) for x in bootstrap_strata([[], []]))
    with pytest.raises(ValueError, match="1 of 2 values are NaN"):
        bootstrap_strata([[1.0, math.nan]])


@pytest.mark.slow
def test_own_data_through_the_command(tmp_path: Path) -> None:
    """A store and a csv of one's own: a scorecard, its page, the bad row listed, and a second run that resumes."""
    from hydra import compose, initialize_config_dir

    from experiments.bench import run as value_bench
    from experiments.bench import schemas as bench_schemas
    from experiments.loop.schemas import CONF

    store, known = bench(tmp_path / "mine")
    write_csv(tmp_path / "a.csv", [*known[:6], Annotation(6, "hesitation", 3, 99, "lift"), known[7]])
    bench_schemas.register()
    overrides = [
        f"data.path={store.path}", f"data.annotations={tmp_path}/a.csv", f"runs={tmp_path}/runs",
        f"cache={tmp_path}/cache", "models=[clock,oracle]", "videos=1",
    ]  # fmt: skip
    with initialize_config_dir(CONF, version_base="1.3"):
        value_bench.run_all(compose("value_bench", overrides=overrides))
        with pytest.raises(ValueError, match=r"models=\['vivo'\]: name some of viva"):
            value_bench.run_all(compose("value_bench", overrides=["models=[vivo]"]))
        with pytest.raises(ValueError, match="no episode of the train split"):
            value_bench.run_all(compose("value_bench", overrides=[*overrides, "models=[constant]"]))
    runs = sorted((tmp_path / "runs" / "value_bench").iterdir())
    summary = json.loads((runs[0] / "summary.json").read_text())
    assert [row["model"] for row in summary["rows"]] == ["clock", "oracle"]
    for name in ("hesitation_rmse", "hesitation_drift", "retry_voc", "expert_voc", "defined", "success_gap"):
        assert {name, f"{name}_low", f"{name}_high"} <= set(summary["rows"][0])
    assert [row["n"] for row in summary["rows"]] == [7, 7] and summary["rows"][0]["failed"] == 1
    page = (runs[0] / "report.html").read_text()
    assert page.count('<img class="wide" src="data:image/png;base64,') == 4, "both values on an episode of each kind"
    assert "<video" in page and "segment [3, 99] of 40 frames" in page and "Worst episodes first" in page
    assert "clock, episode 6: episode 6: segment [3, 99] of 40 frames" in (runs[0] / "table.md").read_text()


def test_a_vision_language_model_alone_through_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """valuefn=gvl backend=vllm on a server that knows the truth; a second run asks nothing."""
    from hydra import compose, initialize_config_dir

    from experiments.bench import run as value_bench
    from experiments.bench import schemas as bench_schemas
    from experiments.loop.schemas import CONF
    from tests.helpers import vlm_server
    from tests.helpers.some_episodes import make_spec

    monkeypatch.chdir(tmp_path)
    made = [vlm_server.made_episode(i, T=T) for i in range(2)]
    with EpisodeStore.create(tmp_path / "store", make_spec(hz=10.0)) as store:
        store.append(made)
    (tmp_path / "own.csv").write_text("episode,type,m,n\n0,expert,,\n1,expert,,\n")
    bench_schemas.register()
    own = ["data.path=store", "data.annotations=own.csv", "probe_experts=0", "videos=0"]
    with vlm_server.serving(vlm_server.truthful) as server, initialize_config_dir(CONF, version_base="1.3"):
        vlm = ["valuefn=gvl", "backend=vllm", f"valuefn.backend.url={server.url}"]
        with pytest.raises(ValueError, match="model"):
            value_bench.run_all(compose("value_bench", overrides=[*own, *vlm]))
        vlm += ["valuefn.backend.model=tiny"]
        value_bench.run_all(compose("value_bench", overrides=[*own, *vlm]))
        asked = len(server.bodies)
        value_bench.run_all(compose("value_bench", overrides=[*own, *vlm, "seed=1"]))
    assert asked == 2 == len(server.bodies)
    for run in (tmp_path / "runs" / "value_bench").iterdir():
        (row,) = json.loads((run / "summary.json").read_text())["rows"]
        assert row["model"] == "gvl" and row["expert_voc"] == pytest.approx(1) and row["failed"] == 0


def test_labels_of_any_store_and_a_ranking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from episodes.labels import Labels
    from experiments.data import labelling
    from tests.helpers.commands import foresight

    store, _ = bench(tmp_path / "a")
    made_store(tmp_path / "b", 3, 1)
    labelling.BLOCK, block = 3, labelling.BLOCK
    try:
        assert foresight("label", tmp_path / "a", tmp_path / "b", "value=clock") == 0
        (path,) = (tmp_path / "a" / "labels").glob("*.parquet")
        labels = Labels.load(path, store)
        assert labels.column("value", 0) == pytest.approx((1 + np.arange(T) / (T - 1)) / 2)
        assert "1     1.000" in capsys.readouterr().out
        made, failed = labelling.label(store, Broken(), "x")[::2]
        assert failed[0] == "the model ran out of luck" and set(failed) == {0, 1} and len(made.episodes) == 6
        assert EpisodeStore.open(store.path, "a").close() is None, "labels beside the data do not disturb the store"
        assert labelling.label(store, Broken(), "x")[2] == failed
    finally:
        labelling.BLOCK = block
    with pytest.raises(SystemExit, match="holds no learned value; name a folder"):
        foresight("label", tmp_path / "a", f"value={tmp_path}")


def test_ablation_rows_are_checked_and_the_table_comes_from_cells(tmp_path: Path) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from experiments.bench import schemas as bench_schemas
    from experiments.loop.schemas import CONF
    from experiments.studies.ablation_table import table
    from experiments.studies.engine import make
    from experiments.studies.value_ablation import changed, check, row_cell, run_all

    bench_schemas.register()
    with initialize_config_dir(CONF, version_base="1.3"):
        settings = OmegaConf.to_object(compose("value_ablation"))
        assert changed(settings, "k_40").horizon == 40 and not changed(settings, "no_proprio").predict_proprio
        check(settings)
        wrong = OmegaConf.to_object(compose("value_ablation", overrides=["+ablation.rows.full.set.horizn=3"]))
    with pytest.raises(ValueError, match=r"ablation row 'full': .*horizn"):
        check(wrong)

    foreign = replace(row_cell(settings, "no_proprio", 0), key="full-seed0")
    make([foreign], [{}], dict, tmp_path / "ablation_viva")
    with initialize_config_dir(CONF, version_base="1.3"):
        one = compose("value_ablation", overrides=["rows=[full]", "seeds=[0]", f"results={tmp_path}"])
    with pytest.raises(ValueError, match=r"full-seed0\.json: made with value.predict_proprio=False, now True"):
        run_all(one)

    def cell(row: str, seed: int, score: float) -> dict:
        scores = [{"retry_voc": score + 0.1 * i, "expert_voc": None} for i in range(4)]
        episodes = [{"episode": i, "task": "ab"[i // 2], "kind": "retry", "scores": s} for i, s in enumerate(scores)]
        result = {"train_seconds": 60.0, "episodes": episodes, "failures": []}
        return {"about": {"row": row, "seed": seed}, "command": "python x.py", "result": result}

    rows = {"full": ("all", []), "less": ("fewer", ["b"])}
    text = table(rows, [cell("full", 0, 0.5), cell("full", 1, 0.5), cell("less", 0, 0.2)])
    assert "| full |" in text and "-0.300" in text and "less, on those" in text and "full, on those" in text
    assert "| less | undefined | undefined | 0.350" in text

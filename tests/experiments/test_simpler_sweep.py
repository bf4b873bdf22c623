"""The SIMPLER sweep: its tables, ranking figures by hand, errors that are no failures, and the original's worker."""

import json
import os
import sys
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

import experiments.simpler.original as original_backend
from envs.simpler.protocol import trials
from episodes.wire import pack, unpack
from experiments.simpler import ranking
from experiments.simpler.original import Door, asked, observation_of, offered
from experiments.simpler.plan import planned
from experiments.simpler.sweep import folder_of
from experiments.simpler.tables import markdown, show, summary
from experiments.simpler.worker import row_of
from tests.helpers.commands import foresight, settings_of
from tests.helpers.served import Running


def rows(task, setting, variant, finals, errors=0):
    made = [{"final": f, "any": True, "error": ""} for f in finals] + [{"final": None, "error": "x"}] * errors
    return [r | {"task": task, "setting": setting, "variant": variant} for r in made]


def test_a_task_is_the_mean_of_its_variants_and_errors_do_not_count():
    own = rows("move_near", "variant_aggregation", "a", [True] * 3 + [False], errors=2)
    own += rows("move_near", "variant_aggregation", "b", [False])
    (found,) = summary(own)
    assert (found["n"], found["errors"], found["trials"]) == (5, 2, 600)
    assert found["final"] == pytest.approx((0.75 + 0) / 2) and found["low"] < 0.6 < found["high"]  # pooled: 3 of 5
    assert "5 of 600" in show([found]) and "2 without a result" in show([found])


def test_a_block_has_an_average_once_all_its_tasks_have_results():
    tasks = ("widowx_spoon_on_towel", "widowx_carrot_on_plate", "widowx_stack_cube", "widowx_eggplant_in_basket")
    own = [r for k, t in enumerate(tasks) for r in rows(t, "visual_matching", "only", [True] * k + [False] * (4 - k))]
    assert "WidowX, Visual Matching: average 0.375 over 4 tasks" in show(summary(own))
    table = markdown("mine", summary(own))
    assert "| Spoon on Towel | Carrot on Plate |" in table and "| 37.5 |" in table
    assert "average" not in show(summary(own[4:]))
    assert summary(rows(tasks[0], "visual_matching", "only", [], errors=1))[0]["final"] is None


def test_mmrv_by_hand():
    # real .9 .5 .1; simulated .2 .6 .1: only the first two are swapped, by .4; the third is in order with both
    assert ranking.mmrv([0.2, 0.6, 0.1], [0.9, 0.5, 0.1]) == pytest.approx((0.4 + 0.4 + 0) / 3)
    assert ranking.mmrv([0.1, 0.2, 0.3], [0.2, 0.5, 0.9]) == 0.0
    assert ranking.mmrv([0.5, 0.5], [0.2, 0.6]) == pytest.approx(0.2)  # a tie violates for the policy below: .4 / 2
    with pytest.raises(ValueError, match="two or more"):
        ranking.mmrv([0.5], [0.5])


def test_pearson_by_hand():
    assert ranking.pearson([0.1, 0.2, 0.3], [0.2, 0.4, 0.6]) == pytest.approx(1.0)
    assert ranking.pearson([0.0, 1.0, 0.0], [0.0, 0.5, 1.0]) == pytest.approx(0.0)
    assert np.isnan(ranking.pearson([0.5, 0.5], [0.1, 0.9]))


def test_the_published_figures_of_the_coke_can_come_out():
    # SIMPLER, Visual Matching: simulated rates and MMRV .031, r .976 as published
    simulated = {"rt-1-converged": 0.857, "rt-1-15pct": 0.710, "rt-1-x": 0.567, "rt-2-x": 0.787, "octo-base": 0.170,
                 "rt-1-begin": 0.027}  # fmt: skip
    sweeps = {
        policy: [{"task": "pick_coke_can", "setting": "visual_matching", "n": 300, "trials": 300, "final": rate}]
        for policy, rate in simulated.items()
    }
    (row,) = ranking.ranked(sweeps)
    assert row["policies"] == 6 and round(row["mmrv"], 3) == 0.031 and row["pearson"] == pytest.approx(0.976, abs=0.012)
    sweeps["rt-1-x"][0]["n"] = 299  # an unfinished sweep ranks nothing
    assert ranking.ranked(sweeps)[0]["policies"] == 5


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["policy=ws://a:1", "images=false"], "images=false"),
        (["policy=random", "adapter=bridge"], "adapters are for servers"),
        (["backend=mujoco"], "backend"),
        (["backend=simpler_env", "workers=2"], "one worker"),
        (["slots=0"], "slots"),
        (["video=3"], "no setting of sweep; did you mean videos"),
    ],
)
def test_bad_settings_are_refused(words, named):
    with pytest.raises(ValueError, match=named):
        settings_of("sweep", *words)


# --- the original, as far as it can be without its package ------------------------------------------------------------

FAKE = """
import numpy as np
class Env:
    robot_uid = "widowx"
    def reset(self, seed=None, options=None):
        self.k = options["obj_init_options"]["episode_id"]
        self.t, self.sum, self.final = 0, 0.0, False
        if self.k == 2:
            raise RuntimeError("no such layout")
        return self.obs(), {}
    def obs(self):
        turned = np.sqrt(0.5)
        return {"image": np.full((480, 640, 3), self.t, np.uint8),
                "agent": {"base_pose": np.array([1, 2, 0, turned, 0, 0, turned]), "qpos": np.arange(8.0)},
                "extra": {"tcp_pose": np.array([1, 2.5, 1, turned, 0, 0, turned])}}
    def step(self, action):
        assert action.shape == (7,) and action.dtype == np.float64
        self.t, self.sum = self.t + 1, self.sum + action[0]
        return self.obs(), 0.0, self.sum > 2.4 and self.k != 1, self.t >= 5, {}
    def is_final_subtask(self):
        return True
    def get_language_instruction(self):
        return "stack the blocks"
    def close(self):
        pass
def make(name):
    assert name == "widowx_stack_cube"
    return Env()
"""
UTILS = "def get_image_from_maniskill2_obs_dict(env, obs):\n    return obs['image']\n"


@pytest.fixture
def original(tmp_path, monkeypatch):
    """A package `simpler_env` of the documented interface; the real one needs Python 3.10 and SAPIEN 2."""
    place = tmp_path / "site" / "simpler_env" / "utils" / "env"
    place.mkdir(parents=True)
    for folder in (place, place.parent):
        (folder / "__init__.py").write_text("")
    (place.parent.parent / "__init__.py").write_text(FAKE)
    (place / "observation_utils.py").write_text(UTILS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return tmp_path


def sweep(folder, *words):
    foresight("sweep", "backend=simpler_env", f"simpler_python={sys.executable}", f"runs={folder}",
              "tasks=[widowx_stack_cube]", "settings=[visual_matching]", *words)  # fmt: skip
    (place,) = (folder / "simpler_sweep").iterdir()
    return pq.read_table(place / "episodes.parquet").to_pylist(), place


def test_the_worker_gets_its_actions_and_its_rows_come_back(original, capsys):
    asked_for = []

    async def openpi(socket):
        await socket.send(pack({}))
        async for data in socket:
            asked_for.append(unpack(data))
            await socket.send(pack({"actions": np.full((3, 7), 0.5)}))

    with Running(handler=openpi) as running:
        found, place = sweep(original, f"policy={running.url}", "adapter=bridge", "execute=2", "limit=8")
    numbers = [t.placement.episode for t in planned(settings_of("sweep", "tasks=[widowx_stack_cube]", "limit=8"))]
    assert [r["final"] for r in found] == [k not in (1, 2) if k != 2 else None for k in numbers]
    assert all(r["steps"] == 5 and r["instruction"] == "stack the blocks" for r in found if not r["error"])
    assert [r["variant"] for r in found] == ["prepackaged"] * 8
    request = asked_for[1]
    assert (
        request["observation/image"].shape == (256, 256, 3) and (request["observation/image"] == 2).all()
    )  # execute=2
    assert len(asked_for) == 3 * sum(not r["error"] for r in found)
    assert (place / "table.md").is_file() and "8 of 24" in capsys.readouterr().out


def test_a_trial_without_an_answer_is_tried_again_and_then_an_error(original, capsys):
    answers = []

    async def dies(socket):
        await socket.send(pack({}))
        async for _ in socket:
            answers.append(1)
            if len(answers) > 4:  # the first trial is one of three requests
                socket.transport.abort()
                return
            await socket.send(pack({"actions": np.full((2, 7), 0.5)}))

    words = ["adapter=bridge", "execute=2", "limit=6", "give_up=3"]
    with Running(handler=dies) as running:
        found, _ = sweep(original, f"policy={running.url}", *words)
    said = capsys.readouterr().out
    assert [bool(r["error"]) for r in found] == [False, True, True, True]
    assert all(r["final"] is None and "connection broke" in r["error"] for r in found[1:])
    assert "the sweep ends: 3 trials in a row without an answer" in said
    assert "5 of 6 trials have no result" in said

    async def recovers(socket):
        await socket.send(pack({}))
        async for _ in socket:
            again.append(1)
            await socket.send(pack({"actions": np.full((2, 7), 0.5)}))

    again = []
    with Running(handler=recovers, port=running.port):  # the same command
        found, _ = sweep(original, f"policy={running.url}", *words)
    assert [r["error"] for r in found] == [""] * 6
    assert len(again) == 3 * 5  # the first is not repeated


def test_the_original_is_asked_for_what_it_offers():
    kept, rest = offered(trials("pick_coke_can", "visual_matching") + trials("pick_coke_can", "variant_aggregation"))
    assert (len(kept), len(rest)) == (75, 300 - 75 + 825)
    first = asked(kept[0], 7)
    assert first["make"] == "google_robot_pick_horizontal_coke_can" and first["seed"] == 7
    assert first["options"] == {"obj_init_options": {"init_xy": list(kept[0].placement.xy)}}
    drawer = asked(trials("open_close_drawer", "visual_matching")[0], 0)
    assert drawer["make"] == "google_robot_open_top_drawer" and drawer["options"] == {}


def test_the_hand_is_seen_from_the_base():
    turned = np.sqrt(0.5)
    message = {
        "image": np.zeros((480, 640, 3), np.uint8),
        "prompt": "stack",
        "base_pose": np.array([1, 2, 0, turned, 0, 0, turned]),
        "tcp_pose": np.array([1, 2.5, 1, turned, 0, 0, turned]),
        "qpos": np.arange(8.0),
    }
    seen = observation_of(message, "widowx", (64, 64))
    assert np.allclose(seen.proprio, [0.5, 0, 1, 1, 0, 0, 0, 1, 0, 7, 6], atol=1e-6)
    assert seen.images["3rd_view_camera"].shape == (64, 64, 3)


# --- a worker that is broken or hostile -------------------------------------------------------------------------------

ROW = {"final": True, "any": True, "steps": 5, "instruction": "stack"}
SEEN = {
    "image": np.zeros((48, 64, 3), np.uint8),
    "prompt": "x",
    "tcp_pose": np.array([0, 0, 0, 1.0, 0, 0, 0]),
    "base_pose": np.array([0, 0, 0, 1.0, 0, 0, 0]),
    "qpos": np.zeros(8),
}
POSE = np.zeros(7)
MESSAGES = {
    "a list": [1],
    "nothing": {},
    "row a list": {"row": [1]},
    "row empty": {"row": {}},
    "row of another trial": {"key": "evil", "row": ROW},
    "row of no trial": {"row": ROW},
    **{f"{k}={v!r:.20}": {"row": ROW | {k: v}} for k, v in [
        ("final", "yes"), ("final", 7), ("final", float("nan")), ("final", None), ("any", False), ("steps", 1e30),
        ("steps", -1), ("steps", 0), ("steps", True), ("steps", 10**9), ("instruction", np.zeros(3)),
        ("instruction", "x" * 10_000)]},
    "observation empty": {"observation": {}},
    "observation a list": {"observation": [1]},
    **{f"{k}={v!r:.20}": {"observation": SEEN | {k: v}} for k, v in [
        ("image", "x"), ("image", np.zeros((4, 4, 3))), ("image", np.zeros((0, 4, 3), np.uint8)),
        ("tcp_pose", POSE * np.nan), ("tcp_pose", POSE), ("tcp_pose", POSE[:3]), ("base_pose", POSE + 1e300),
        ("base_pose", "x"), ("qpos", np.zeros(2)), ("qpos", np.zeros((8, 8))), ("prompt", np.zeros(3))]},
    "text": "hello",
    "error with lines": {"error": "a\nb\x1b[31m"},
    "error of another kind": {"error": [[1]]},
    "observations without end": "again",
}  # fmt: skip


@pytest.mark.parametrize("part", [slice(0, 20), slice(20, None)], ids=["first half", "second half"])
def test_what_a_hostile_worker_says_is_an_error_and_never_a_row(part, tmp_path, monkeypatch, capsys):
    """Nothing of it reaches the ledger, and an honest worker then ends the sweep with the same command."""
    messages = list(MESSAGES.values())[part]
    monkeypatch.setattr(original_backend, "START", 5.0)
    words = ["policy=random", "backend=simpler_env", f"runs={tmp_path}", "tasks=[widowx_stack_cube]",
             "settings=[visual_matching]", f"limit={len(messages)}", "attempts=1", "give_up=100"]  # fmt: skip

    def sweep_with(speak):
        class Met(Door):
            def __init__(self, port):
                super().__init__(port)
                threading.Thread(target=knock, args=(self.url, speak), daemon=True).start()

        monkeypatch.setattr(original_backend, "Door", Met)
        foresight("sweep", *words)

    def knock(url, speak):
        key = ""
        for _ in range(2 * len(messages)):
            try:
                with connect(url, compression=None, ping_interval=None, proxy=None) as socket:
                    socket.send(pack({"ready": True}))
                    while "done" not in (told := unpack(socket.recv(timeout=10))):
                        key = told["trial"]["key"] if "trial" in told else key
                        answer = speak(key)
                        socket.send(answer if isinstance(answer, str) else pack(answer))
                    return
            except (OSError, WebSocketException):
                pass

    def hostile(key):
        message = messages[keys.setdefault(key, len(keys))]
        if message == "again":
            return {"observation": SEEN}
        if isinstance(message, dict) and "row" in message and "key" not in message and message["row"] is not ROW:
            return {"key": key} | message
        return message

    keys: dict[str, int] = {}
    sweep_with(hostile)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no result:")]
    assert len(said) == len(messages) and all("simpler_env" in line for line in said)
    assert not list(tmp_path.rglob("ledger.jsonl"))
    sweep_with(lambda key: {"key": key, "row": ROW})
    (table,) = tmp_path.rglob("episodes.parquet")
    assert [r["final"] for r in pq.read_table(table).to_pylist()] == [True] * len(messages)


@pytest.mark.parametrize(
    "column", ["task", "setting", "policy", "final", "any", "steps", "progress", "instruction", "error"]
)
def test_a_ledger_that_somebody_else_wrote_gives_no_figures(column, tmp_path, capsys):
    """A row that cannot be, or of another task or policy, ends the sweep in one line, before any trial."""
    words = ["policy=random", "backend=simpler_env", f"runs={tmp_path}", "tasks=[widowx_stack_cube]",
             "settings=[visual_matching]", "limit=1"]  # fmt: skip
    settings = settings_of("sweep", *words)
    (trial,), _ = offered(planned(settings))
    place = folder_of(settings)
    place.mkdir(parents=True)
    row = row_of(trial, settings) | ROW | {"progress": 1.0}
    for value in (
        None,
        float("nan"),
        float("inf"),
        10**30,
        -1,
        7,
        "yes",
        "x" * 5000,
        "\ud800",
        [0] * 10**5,
        {"a": [[]]},
    ):
        if (column, value) in [("steps", 7), ("progress", 7), ("instruction", "yes")]:
            continue
        (place / "ledger.jsonl").write_text(json.dumps(row | {column: value}) + "\n")
        with pytest.raises(SystemExit, match=f"{column} is ") as refused:
            foresight("sweep", *words)
        assert len(str(refused.value)) < 500 and "\n" not in str(refused.value)
    (place / "ledger.jsonl").write_text(json.dumps(row) + "\n")
    foresight("sweep", *words)
    assert "1 of 1 trials are done" in capsys.readouterr().out


MOVED = b'{"rows": [{"task": "move_near", "setting": "visual_matching", "n": 1, "trials": 1, "final": %s}]}'
SUMMARIES = [
    b"", b"{", b"[" * 100_000, b"[]", b'{"rows": 1}', b'{"rows": [1]}', b'{"rows": [{}]}',
    b'{"rows": [{"task": [], "setting": "x", "n": 1, "trials": 1, "final": 1}]}', MOVED % b'"x"', MOVED % b"NaN",
    MOVED % b"7", MOVED % b"1e999",
]  # fmt: skip


@pytest.mark.parametrize("content", SUMMARIES)
def test_a_damaged_summary_is_not_ranked(content, tmp_path):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(ValueError, match=f"^{tmp_path}/summary.json: ") as refused:
        ranking.run([f"rt-1-x={tmp_path}", f"octo-base={tmp_path}"])
    assert "\n" not in str(refused.value)

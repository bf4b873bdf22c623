"""Data that do not fit are refused by everything that reads them: in one line with both sides, before any work."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.extraction import bc
from agents.flow import FlowPolicy
from agents.make import continued_policy
from agents.remote import RemoteActor
from agents.requests import Refused, read_request
from agents.serve import PolicyServer
from agents.settings import ExtractionConfig
from episodes.store import EpisodeStore
from episodes.types import EnvSpec, Episode
from experiments.bench.schemas import OwnDataConfig
from experiments.bench.stages import own_data
from experiments.loop.stages import make_actor
from tests.helpers import tiny
from tests.helpers.commands import foresight
from tests.helpers.foreign_datasets import H, W, truths, write_v3
from tests.helpers.made_lift import SPEC, made_episode, made_store
from tests.helpers.served import FLOW, Running
from valuefns.crossfit import cross_fit
from valuefns.shaping.readers import StreamReader
from valuefns.viva import ViVa

LARGE = (64, 64)
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"image_size": LARGE}, r"64x64, it was made for 32x32; .*image_size="),
    "camera": ({"cameras": ("front", "side")}, r"sees the cameras front, wrist, the data has front, side"),
    "state": ({"proprio_names": tuple("bacdefghijk")}, r"reads the state a, b, .*, the data has b, a, "),
    "rate": ({"hz": 5.0}, r"made at 10 Hz, the data has 5 Hz"),
}
"""What differs from the data that a value was made for, and the line that says so."""


def _misfit(spec: dict[str, Any], episode: Episode) -> Episode:
    """The same episode as its EnvSpec would have it."""
    images = dict(episode.images)
    if "image_size" in spec:
        images = {c: x.repeat(2, 1).repeat(2, 2) for c, x in images.items()}
    if "cameras" in spec:
        images = dict(zip(spec["cameras"], images.values(), strict=True))
    return dataclasses.replace(episode, images=images, hz=spec.get("hz", episode.hz))


def _store(path: Path, **spec: Any) -> Path:
    with EpisodeStore.create(path, dataclasses.replace(SPEC, **spec)) as store:
        store.append(_misfit(spec, made_episode(i, 12)) for i in range(2))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: v, a trained value; p, a trained policy; small, what both learned from; one store of each misfit."""
    root = tmp_path_factory.mktemp("made")
    small = made_store(root / "small", 2, 1)
    ViVa(tiny.viva(2), tiny.PCA).fit(small).save(root / "v")
    config = dataclasses.replace(FLOW, training=tiny.training(2))
    FlowPolicy(config, SPEC).fit(small, bc(small, [], ExtractionConfig())).save(root / "p")
    for name, (spec, _) in MISFITS.items():
        _store(root / name, **spec)
    return root


def _rank(root: Path, store: Path) -> None:
    foresight("rank", store, f"checkpoint={root / 'v'}")


def _bench(root: Path, store: Path) -> None:
    table = store.parent / "annotations.csv"
    table.write_text("episode,type,m,n\n0,expert,,\n1,expert,,\n")
    own = [f"data.path={store}", f"data.annotations={table}"]
    foresight("bench", *own, f"checkpoints={{mine: {root / 'v'}}}", "models=[mine]", "videos=0")


COMMANDS: dict[str, Callable[[Path, Path], None]] = {
    "label": lambda root, store: foresight("label", store, f"value={root / 'v'}") and None,
    "rank": _rank,
    "bench": _bench,
}


@pytest.mark.parametrize("misfit", MISFITS)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_read_a_store_with_a_value(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, misfit: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=MISFITS[misfit][1]) as caught:
        COMMANDS[command](made, made / misfit)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("ranking.csv")) + list(tmp_path.rglob("scores*")) + list(made.rglob("labels"))


@pytest.mark.parametrize("command", ["label image_size", "rank image_size", "bench data.image_size"])
def test_reading_at_the_size_that_the_line_names_works(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    name, setting = command.split()
    store = _store(tmp_path / "large", image_size=LARGE)
    real = foresight
    monkeypatch.setitem(globals(), "foresight", lambda *words: real(*words, f"{setting}=[32,32]"))
    COMMANDS[name](made, store)


@pytest.mark.parametrize("misfit", MISFITS)
def test_python_with_a_store(made: Path, misfit: str) -> None:
    value = ViVa.load(made / "v")
    with pytest.raises(ValueError, match=MISFITS[misfit][1]):
        value.score_all(EpisodeStore(made / misfit))
    assert len(value.score_all(EpisodeStore(made / "small"))) == 3


def test_own_data_are_imported_once_and_read_at_any_size(tmp_path: Path) -> None:
    write_v3(tmp_path / "d", truths())
    (tmp_path / "a.csv").write_text("episode,type,m,n\n0,expert,,\n")
    data = OwnDataConfig(str(tmp_path / "d"), str(tmp_path / "a.csv"))
    for size in ([], [32, 32]):
        store = own_data(dataclasses.replace(data, image_size=size), str(tmp_path / "c")).store
        assert (
            store.spec.image_size == (tuple(size) or (H, W))
            and len(list((tmp_path / "c/datasets").glob("own-*/"))) == 1
        )


@pytest.mark.parametrize("misfit", MISFITS)
def test_cross_fitting_that_finds_a_model_of_other_data(made: Path, tmp_path: Path, misfit: str) -> None:
    ViVa.load(made / "v").save(tmp_path / "fold-0")
    with pytest.raises(ValueError, match=MISFITS[misfit][1]):
        cross_fit(tiny.viva(2), tiny.PCA, EpisodeStore(made / misfit), 1, tmp_path)


EPISODE = made_episode(0, 6)
ARRAYS: dict[str, tuple[Callable[[Episode], Episode], str]] = {
    "size": (lambda e: _misfit({"image_size": LARGE}, e), r"64x64, it was made for 32x32; .*image_size="),
    "type": (
        lambda e: dataclasses.replace(e, images={c: x.repeat(4, 3)[..., :12] for c, x in e.images.items()}),
        r"\(\S+, 32, 32, 12\)|\(32, 32, 12\), it was made for \(32, 32, 3\)",
    ),
    "camera": (lambda e: _misfit({"cameras": ("front", "side")}, e), r"'wrist' is missing among \['front', 'side'\]"),
    "state": (
        lambda e: dataclasses.replace(e, proprio=e.proprio[:, :9]), r"shape \(\S*9,?\), it was made for 11 numbers"
    ),
}  # fmt: skip


@pytest.mark.parametrize("misfit", ARRAYS)
@pytest.mark.parametrize("reads", ["score", "stream", "act"])
def test_python_with_arrays(made: Path, misfit: str, reads: str) -> None:
    change, line = ARRAYS[misfit]
    episode = change(EPISODE)
    if reads == "act":
        policy = FlowPolicy.load(made / "p")
        policy.reset(np.ones(1, bool), np.zeros(1, int), ["raise it"])
        with pytest.raises(ValueError, match=line.replace(r"\S*", ".*")):
            policy.act([episode.observation(0)])
        return
    value = ViVa.load(made / "v")
    with pytest.raises(ValueError, match=line.replace(r"\S*", ".*")):
        value.score(episode) if reads == "score" else value.stream(1).step([episode.observation(0)])


def test_python_at_another_rate(made: Path) -> None:
    with pytest.raises(ValueError, match="made at 10 Hz, the episode has 5 Hz"):
        ViVa.load(made / "v").score(_misfit({"hz": 5.0}, EPISODE))


ACTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "action names": ({"action_names": ("x", "y")}, r"action_names is \('x', 'y'\), expected \('dx', 'dy'\)"),
    "bounds": ({"action_high": (2.0, 2.0)}, r"action_high is \(2.0, 2.0\), expected \(1.0, 1.0\)"),
    "rotation": ({"rotation": "euler_xyz"}, "rotation is 'euler_xyz', expected '"),
    "gripper": ({"gripper_close": -1.0}, "gripper_close is -1.0, expected "),
    "units": ({"action_units": ("mm", "mm")}, r"action_units is \('mm', 'mm'\), expected "),
}
BOTH = ACTIONS | {
    "size": ({"image_size": LARGE}, r"image_size is \(64, 64\), expected \(32, 32\)"),
    "camera": ({"cameras": ("front", "side")}, r"cameras is \('front', 'side'\), expected \('front', 'wrist'\)"),
    "state": (MISFITS["state"][0], r"proprio_names is \('b', 'a', .*, expected \('a', 'b', "),
    "rate": ({"hz": 5.0}, r"hz is 5.0, expected 10.0"),
}
"""A policy's EnvSpec has to be the very same: what differs, and how it is said."""


def _swapped(line: str) -> str:
    """The line as the other side says it: found and expected change places."""
    name, found, expected = line.partition(" is ")[0], *line.partition(" is ")[2].split(", expected ")
    return f"{name} is .*{expected}.*, expected {found}"


@pytest.mark.parametrize("misfit", BOTH)
def test_training_of_a_policy(made: Path, tmp_path: Path, misfit: str) -> None:
    change, line = BOTH[misfit]
    store = EpisodeStore(_store(tmp_path / "s", **change))
    with pytest.raises(ValueError, match=line):
        FlowPolicy.load(made / "p").fit(store, bc(store, [], ExtractionConfig()))
    with pytest.raises(ValueError, match=line):  # recap's next iteration
        continued_policy(made / "p", FLOW, store.spec)


def test_training_on_actions_that_a_policy_would_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with EpisodeStore.create(tmp_path / "s", SPEC) as store:
        store.append([dataclasses.replace(EPISODE, actions=EPISODE.actions * 9)])
    with pytest.raises(
        SystemExit, match=r"actions dx are -4.5..*, its EnvSpec says -1..1, to which a policy would clip"
    ):
        foresight("train", "s", "out=o", "part=policy", "policy=flow_tiny", "cache=c")


def test_training_with_labels_of_another_store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small, other = EpisodeStore(made / "small"), EpisodeStore(_store(tmp_path / "other"))
    bc(other, [], ExtractionConfig()).save(tmp_path / "l.parquet")
    with pytest.raises(SystemExit, match=r"made for episodes \S+, not for .*small .*; label this store"):
        foresight("train", small.path, "out=o", "part=policy", "policy=flow_tiny", "labels=l.parquet", "cache=c")


class _Env:
    def __init__(self, spec: EnvSpec) -> None:
        self.spec_ = spec


@pytest.mark.parametrize("misfit", BOTH)
def test_rolling_a_policy_out(made: Path, misfit: str) -> None:
    change, line = BOTH[misfit]
    with pytest.raises(ValueError, match=line):
        make_actor(made / "p", "cpu", None, [_Env(dataclasses.replace(SPEC, **change))])


@pytest.mark.parametrize("misfit", BOTH)
def test_shaping_with_a_value(made: Path, misfit: str) -> None:
    change, line = BOTH[misfit]
    line = r"sees the cameras front, wrist, the environment has front, side" if misfit == "camera" else line
    with pytest.raises(ValueError, match=line):
        StreamReader(ViVa.load(made / "v"), dataclasses.replace(SPEC, **change), 1)


def test_the_handshake_with_a_policy_server(made: Path) -> None:
    server = PolicyServer(FlowPolicy.load(made / "p"), port=0, slots=2)
    with Running(server) as running:
        for change, line in BOTH.values():
            with pytest.raises(ValueError, match=_swapped(line)):
                RemoteActor(running.url, dataclasses.replace(SPEC, **change))
        RemoteActor(running.url, SPEC).close()


SEEN = EPISODE.observation(0)
REQUEST = {f"observation/{c}": x for c, x in SEEN.images.items()} | {
    "observation/state": SEEN.proprio, "prompt": SEEN.instruction
}  # fmt: skip
LARGER = REQUEST | {"observation/wrist": SEEN.images["wrist"].repeat(2, 0)}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (LARGER, r"observation/wrist is 64x32, the policy was made for 32x32; .*resize=true"),
        (REQUEST | {"observation/wrist": np.zeros((8, 8, 3), np.float32)}, r"is float32 \(8, 8, 3\), expected uint8"),
        (REQUEST | {"observation/wrist": np.zeros((3, 8, 8), np.uint8)}, r"is uint8 \(3, 8, 8\), expected uint8 \(H"),
        (REQUEST | {"observation/state": np.zeros(9, np.float32)}, r"is float32 \(9,\), expected float \(11,\)"),
        ({k: v for k, v in REQUEST.items() if "wrist" not in k},
         "observation/wrist is missing, the request has observation/front, observation/state, prompt"),
    ],
)  # fmt: skip
def test_the_requests_to_a_policy_server(change: dict[str, Any], line: str) -> None:
    with pytest.raises(Refused, match=line):
        read_request(change, SPEC)


def test_a_server_that_was_told_to_fits_pictures_and_keeps_their_shape(made: Path) -> None:
    seen, _ = read_request(LARGER, SPEC, resize=True)
    assert seen.images["wrist"].shape == (32, 32, 3)
    assert not seen.images["wrist"][:, :8].any() and seen.images["wrist"][:, 8:24].any()
    np.testing.assert_array_equal(seen.images["front"], SEEN.images["front"])

    async def asked(resize: bool) -> Any:
        from websockets.asyncio.client import connect

        from episodes.wire import pack, unpack

        with Running(PolicyServer(FlowPolicy.load(made / "p"), port=0, slots=1, resize=resize)) as running:
            async with connect(running.url) as socket:
                await socket.recv()
                await socket.send(pack(LARGER))
                answer = await socket.recv()
                return answer if isinstance(answer, str) else unpack(answer)["actions"].shape

    assert asyncio.run(asked(True))[1] == SPEC.action_dim
    assert "start the server with resize=true" in asyncio.run(asked(False))

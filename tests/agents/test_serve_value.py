"""A value behind a websocket: clients get what they would get here, and a bad one harms nobody else."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.serve_value import ValueServer
from agents.serving import server_of
from agents.settings import ServeConfig
from episodes.connection import ServerError, connect
from episodes.types import Observation
from episodes.wire import pack
from experiments.loop.pinned import pin
from networks.hub import model_content
from tests.helpers import tiny
from tests.helpers.commands import foresight
from tests.helpers.made_lift import SPEC, made_episode, made_store
from tests.helpers.served import Running
from valuefns.make import load_value, make_value
from valuefns.protocol import ValueFunction
from valuefns.reward_server import RewardServer
from valuefns.served import ServedValue
from valuefns.settings import RewardServerConfig, ServedConfig
from valuefns.shaping.readers import require_fit, version_of


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("served")
    store = made_store(place / "store", successes=3, failures=1)
    for config in (tiny.viva(2), tiny.wvm(2)):
        make_value(config, tiny.PCA).fit(store).save(place / config.name)
    return place


def serving(place: Path, kind: str, **changes: Any) -> Running:
    return Running(server_of(ServeConfig(value=str(place / kind), port=0, **changes)))


def frame(episode: Any, t: int) -> Observation:
    return Observation({c: x[t] for c, x in episode.images.items()}, episode.proprio[t], episode.instruction)


@pytest.mark.parametrize("kind", ["viva", "wvm"])
def test_eight_clients_get_what_they_would_get_here_bit_for_bit(place: Path, kind: str) -> None:
    local = load_value(place / kind)
    episodes = [made_episode(20 + i, 16 + i, i % 2 == 0) for i in range(8)]
    with serving(place, kind) as server:

        def client(i: int) -> tuple[np.ndarray, np.ndarray, list[float]]:
            value = ServedValue(ServedConfig(url=server.url))
            whole, causal = value.score(episodes[i]), value.score(episodes[i], causal=True)
            stream = value.stream(1)
            stream.reset(np.ones(1, bool), [episodes[i].instruction])
            return whole, causal, [float(stream.step([frame(episodes[i], t)])[0]) for t in range(10)]

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(client, range(8)))
    for episode, (whole, causal, online) in zip(episodes, answers, strict=True):
        np.testing.assert_array_equal(whole, local.score(episode))
        np.testing.assert_array_equal(causal, local.score(episode, causal=True))
        stream = local.stream(1)
        stream.reset(np.ones(1, bool), [episode.instruction])
        assert online == [float(stream.step([frame(episode, t)])[0]) for t in range(10)]


def test_together_the_frames_of_all_clients_are_read_in_one_call(place: Path) -> None:
    local, episodes = load_value(place / "viva"), [made_episode(i, 20) for i in range(8)]
    running = serving(place, "viva", batch="together")
    with running as server:
        stream = ServedValue(ServedConfig(url=server.url)).stream(8)
        stream.reset(np.ones(8, bool), [e.instruction for e in episodes])
        for t in range(5):
            seen: list[Observation | None] = [frame(e, t) for e in episodes]
            seen[3] = None if t == 2 else seen[3]
            values = stream.step(seen)
            expected = [np.nan if o is None else local.score(e)[t] for e, o in zip(episodes, seen, strict=True)]
            np.testing.assert_allclose(values, expected, atol=1e-5)
    assert running.server.largest > 1


def test_a_bad_request_ends_its_own_connection_alone(place: Path) -> None:
    local, episode = load_value(place / "viva"), made_episode(5, 18)
    good = {f"clip/{c}": x for c, x in episode.images.items()} | {"clip/state": episode.proprio, "prompt": "raise it"}
    bad = [
        (b"no msgpack", "not msgpack"),
        (pack(3), "request is int"),
        (pack({k: v for k, v in good.items() if k != "clip/wrist"}), "clip/wrist is missing"),
        (pack(good | {"clip/front": episode.images["front"][:3]}), "as many of every camera"),
        (pack(good | {"clip/front": episode.images["front"][:, :8]}), "32x32"),
        (pack(good | {"clip/front": episode.images["front"] / 255}), "uint8"),
        (pack(good | {"clip/state": episode.proprio[:, :3]}), "proprioception has shape"),
        (pack(good | {"clip/state": episode.proprio * np.nan}), "finite floats"),
        (pack(good | {"causal": 1}), "causal"),
        (pack(good | {"hz": 3.0}), "10 Hz"),
        (pack({"observation/front": episode.images["front"][0]}), "observation/wrist"),
    ]
    with serving(place, "viva") as server:
        value = ServedValue(ServedConfig(url=server.url))
        stop = threading.Event()
        seen: list[np.ndarray] = []

        def ask_on() -> None:
            while not stop.is_set():
                seen.append(value.score(episode))

        other = threading.Thread(target=ask_on)
        other.start()
        for message, said in bad:
            opened, _ = connect(server.url, 10)
            opened.send(message)
            answer = opened.recv(timeout=20)
            assert isinstance(answer, str) and said in answer and "\n" not in answer, (said, answer)
            with suppress(Exception):
                opened.close()
        stop.set()
        other.join()
    assert seen and all(np.array_equal(x, local.score(episode)) for x in seen)


class Counting(ValueFunction):
    """A value with a history: how many frames its stream has seen since the episode began."""

    name, history, spec = "counting", 100, SPEC

    def fit(self, store: Any, folder: Any = None) -> Counting:
        return self

    def score(self, episode: Any, causal: bool = False) -> np.ndarray:
        return np.arange(len(episode) + 1, dtype=np.float32)

    def stream(self, n: int) -> Any:
        seen = np.zeros(n, np.float32)

        class Stream:
            def reset(self, mask: np.ndarray, instructions: Any) -> None:
                seen[mask] = 0

            def step(self, observations: Any) -> np.ndarray:
                seen[:] += 1
                return seen.copy()

        return Stream()


def test_a_slot_that_changes_hands_forgets() -> None:
    """A new client in the same slot, or a new episode of a client, must not see what came before."""
    episode = made_episode(1, 20)
    with Running(ValueServer(Counting(), port=0, slots=1)) as server:
        for _ in range(2):
            stream: Any = ServedValue(ServedConfig(url=server.url)).stream(1)
            for _ in range(2):
                stream.reset(np.ones(1, bool), [episode.instruction])
                assert [float(stream.step([frame(episode, t)])[0]) for t in range(4)] == [1, 2, 3, 4]
            stream.sockets[0].close()


def test_it_is_an_ingredient_where_a_value_is_read(place: Path, tmp_path: Path) -> None:
    store, local = made_store(tmp_path / "store", 2, 1), load_value(place / "viva")
    with serving(place, "viva") as server:
        pinned, facts = pin({"valuefn": ServedConfig(url=server.url)})
        assert pinned["valuefn"].content == model_content(place / "viva")
        value = ServedValue(pinned["valuefn"])
        require_fit(value, SPEC, every=1)
        assert version_of(value) == value.content[:16] and facts["valuefn.url"]["source"] == server.url
        foresight("label", store.path, f"value={server.url}")
        from episodes.labels import Labels

        (path,) = (store.path / "labels").glob("viva-*.parquet")
        np.testing.assert_array_equal(Labels.load(path, store).column("value", 0), local.score(store[0])[:-1])
        with pytest.raises(ValueError, match="serves another value than before"):
            ServedValue(ServedConfig(url=server.url, content="0" * 64))
    with pytest.raises(ValueError, match="cannot be reached"):
        ServedValue(ServedConfig(url=server.url, connect=0.1))


def test_a_server_that_falls_silent_or_serves_something_else_is_told(place: Path) -> None:
    async def silent(socket: Any) -> None:
        own = ValueServer(load_value(place / "viva"), content="a" * 64).metadata()
        await socket.send(pack(own))
        await asyncio.sleep(60)

    async def policy(socket: Any) -> None:
        await socket.send(pack({"foresight": {}}))

    with Running(handler=silent) as server:
        value = ServedValue(ServedConfig(url=server.url, timeout=0.3))
        with pytest.raises(ServerError, match=r"no answer within 0\.3 s"):
            value.score(made_episode(0))
    with Running(handler=policy) as server, pytest.raises(ValueError, match="serves no value of this project"):
        ServedValue(ServedConfig(url=server.url))


class Robometer(ThreadingHTTPServer):
    """A stand-in that speaks Robometer's interface: the progress of a frame is its mean brightness."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.broken = ""
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Robometer

    def do_POST(self) -> None:
        from email.parser import BytesParser

        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            p.get_param("name", header="content-disposition"): p
            for p in BytesParser().parsebytes(head + body).get_payload()
        }
        sample = json.loads(parts["sample_0"].get_payload(decode=True))
        file = parts[sample["trajectory"]["frames"]["__numpy_file__"]]
        assert file.get_filename().endswith(".npy") and self.path == "/evaluate_batch_npy"
        frames = np.load(io.BytesIO(file.get_payload(decode=True)), allow_pickle=False)
        steps = parts["use_frame_steps"].get_payload(decode=True) == b"true"
        self.server.asked.append({"frames": frames, "task": sample["trajectory"]["task"], "steps": steps})
        progress = (frames.mean((1, 2, 3)) / 255).tolist()
        said = {"outputs_preference": None, "outputs_progress": {"progress_pred": [progress]}}
        if self.server.broken == "short":
            said["outputs_progress"]["progress_pred"] = [progress[1:]]
        content = b"{}" if self.server.broken == "empty" else json.dumps(said).encode()
        self.send_response(500 if self.server.broken == "status" else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture()
def robometer() -> Any:
    server = Robometer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_a_reward_server_of_others_is_a_value(robometer: Robometer, tmp_path: Path) -> None:
    episode = made_episode(3, 20)
    value = RewardServer(RewardServerConfig(url=robometer.url, frames=5))
    scored = value.score(episode)
    (asked,) = robometer.asked
    assert asked["task"] == "raise it" and not asked["steps"] and asked["frames"].dtype == np.uint8
    np.testing.assert_array_equal(asked["frames"], episode.images["front"][[0, 5, 10, 15, 20]])
    brightness = episode.images["front"].mean((1, 2, 3)) / 255
    np.testing.assert_allclose(scored[::5], (1 + brightness[::5]) / 2, atol=1e-6)
    causal = value.score(episode, causal=True)
    assert robometer.asked[-1]["steps"] and causal[4] == causal[0] and causal[5] == scored[5]
    stream = value.stream(2)
    stream.reset(np.ones(2, bool), ["a", "b"])
    for t in range(8):
        values = stream.step([frame(episode, t), None])
    assert values[0] == pytest.approx((1 + brightness[7]) / 2) and np.isnan(values[1])
    assert robometer.asked[-1]["frames"].shape[0] <= 5 and robometer.asked[-1]["task"] == "a"
    store = made_store(tmp_path / "store", 2, 1)
    foresight("label", store.path, f"value={robometer.url}")
    assert len(list((store.path / "labels").glob("reward_server-*.parquet"))) == 1


@pytest.mark.parametrize(
    ("broken", "said"),
    [("short", "numbers for 21 frames"), ("empty", "answers without outputs_progress"), ("status", "status 500")],
)
def test_a_broken_reward_server_is_told(robometer: Robometer, broken: str, said: str) -> None:
    robometer.broken = broken
    with pytest.raises(ServerError, match=said):
        RewardServer(RewardServerConfig(url=robometer.url, frames=30)).score(made_episode(0, 20))
    with pytest.raises(ValueError, match="is not http"):
        RewardServer(RewardServerConfig(url="file:///etc/passwd"))

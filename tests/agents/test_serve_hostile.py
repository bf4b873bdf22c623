"""A policy server with clients that send nonsense, too much, nothing, or no seed: the others hear the same."""

from __future__ import annotations

import asyncio
import socket as sockets
import struct
import threading
import time
import tracemalloc
import urllib.request
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from agents.door import guard, is_own, named
from agents.flow import FlowPolicy
from agents.remote import RemoteActor, ServerError, served
from agents.requests import decode
from agents.serve import GATHER, PolicyServer
from episodes.wire import MAX_VALUES, pack, unpack
from tests.helpers.made_lift import SPEC, made_episode
from tests.helpers.served import FLOW, Running


class Fragile(FlowPolicy):
    """Cannot stand one prompt, as a tokenizer of limited length cannot."""

    def act(self, observations: Any) -> np.ndarray:
        chunks = super().act(observations)  # it has drawn its noise by then
        if any(o is not None and o.instruction == "too much" for o in observations):
            raise ValueError("prompt is too long")
        return chunks


@pytest.fixture(scope="module")
def policy() -> FlowPolicy:
    return Fragile(FLOW, SPEC, seed=3).eval()


def opened(running: Running, **more: Any) -> Any:
    client = connect(
        running.url, compression=None, ping_interval=None, proxy=None, close_timeout=0.2, **more
    ).__enter__()
    unpack(client.recv(timeout=10))
    return client


def request(t: int = 0, episode: int = 0, **changes: Any) -> dict[str, Any]:
    seen = made_episode(episode, T=6).observation(t)
    words = {f"observation/{name}": image for name, image in seen.images.items()}
    return words | {"observation/state": seen.proprio, "prompt": seen.instruction} | changes


def asked(client: Any, message: Any) -> Any:
    client.send(message if isinstance(message, bytes) else pack(message))
    answer = client.recv(timeout=20)
    return answer if isinstance(answer, str) else unpack(answer)["actions"]


def test_clients_without_a_seed_are_answered_by_a_fresh_server(policy: FlowPolicy) -> None:
    """Each has noise of its own: not that of another client, nor what a former one left in its slot."""
    alone = []
    for others in (False, True):
        fresh = Fragile(FLOW, SPEC, seed=3).eval()
        with Running(PolicyServer(fresh, port=0, slots=3)) as running:
            if others:
                before = opened(running)
                for t in range(3):
                    asked(before, request(t, 5, **({"seed": 9} if t == 0 else {})))
                before.close()
                time.sleep(0.1)
                neighbour = opened(running)
                asked(neighbour, request(0, 4))
            client = opened(running)
            alone.append([asked(client, request(t)) for t in range(3)])
            twin = opened(running)
            assert not np.allclose(asked(twin, request(0)), alone[-1][0])  # the same picture, noise of its own
    for without, beside in zip(*alone, strict=True):
        np.testing.assert_array_equal(without, beside)


TOO_MUCH = pack(request(prompt="too much", seed=1))
EXTREME = pack(request(**{"observation/state": np.full(SPEC.proprio_dim, 3e38)}))
HEALTHY = pack(request(1, 9, seed=77))


def together(server: PolicyServer, running: Running, eighth: bytes | None) -> list[Any]:
    """What 7 clients hear that ask one after the other and are answered together, with an eighth in their midst."""
    clients = [opened(running) for _ in range(7)]
    other = opened(running) if eighth is not None else None
    for i, client in enumerate(clients):
        if other is not None and i == 4:
            other.send(eighth)
            time.sleep(0.3)  # it is refused by now, or waits for the others
        taken = len(server._free)
        client.send(pack(request(1, i, seed=70 + i)))
        while len(server._free) == taken:  # then it has its place in the batch
            time.sleep(0.002)
    found = [unpack(client.recv(timeout=20))["actions"] for client in clients]
    if other is not None and eighth is not HEALTHY:
        with pytest.raises(ConnectionClosed):
            assert isinstance(other.recv(timeout=20), str)
            other.recv(timeout=20)
    return found


@pytest.mark.parametrize(
    "hostile",
    [
        TOO_MUCH,
        pack(request(prompt="x" * 5000, seed=1)),
        pack(request(**{"observation/state": np.full(SPEC.proprio_dim, 1e300)})),
        EXTREME,
        b"\xdd" + struct.pack(">I", 1 << 20) + b"\x90" * (1 << 20),
        b"nonsense",
    ],
    ids=["a prompt the policy cannot read", "a long prompt", "1e300", "3e38", "a million lists", "nonsense"],
)
def test_one_hostile_client_of_eight_changes_no_bit_of_the_others_answers(
    hostile: bytes, policy: FlowPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are one batch in both runs: of seven, or of eight where the hostile observation is answered, too."""
    answered = (TOO_MUCH, EXTREME)  # the policy is asked; the first makes it fail, and the seven are asked again
    sleep, answers = asyncio.sleep, []
    for eighth in (HEALTHY if hostile is EXTREME else None, hostile):
        server = PolicyServer(policy, port=0, slots=8)
        wanted = 8 if eighth is HEALTHY or eighth in answered else 7

        async def gathered(seconds: float, server: PolicyServer = server, wanted: int = wanted) -> None:
            while seconds == GATHER and server._queue.qsize() < wanted - 1:  # one is taken out of it already
                await sleep(0.002)
            await sleep(0 if seconds == GATHER else seconds)

        monkeypatch.setattr(asyncio, "sleep", gathered)
        with Running(server) as running:
            answers.append(together(server, running, eighth))
        assert server.largest == wanted
    for without, beside in zip(*answers, strict=True):
        np.testing.assert_array_equal(without, beside)


def test_a_policy_that_fails_for_all_says_so_to_all() -> None:
    class Broken(FlowPolicy):
        def act(self, observations: Any) -> np.ndarray:
            raise RuntimeError("no memory")

    with Running(PolicyServer(Broken(FLOW, SPEC, seed=3).eval(), port=0)) as running:
        client = opened(running)
        assert "the policy failed: RuntimeError: no memory" in asked(client, request(seed=1))


def test_messages_of_many_values_are_refused_before_they_are_made() -> None:
    n = 8 << 20
    for kind, after in ((b"\xdd", b"\x90"), (b"\xdf", b"\x80"), (b"\xdd", b"\xa0")):
        message = kind + struct.pack(">I", n) + after * n
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"more than {MAX_VALUES} values"):
            unpack(message)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 1 << 20, f"{most} bytes"
    for message in ([[]] * 2000, {"a": [1.5, None, True, "text" * 99, b"x" * 70_000, -5, 2**40, -(2**40)]}):
        assert unpack(pack(message)) == message
    for depth in (500, 5000):  # msgpack refuses the deep ones itself
        try:
            unpack(b"\x91" * depth + b"\x90")
        except ValueError as error:
            assert "msgpack" in str(error)


def test_large_pictures_do_not_keep_the_others_waiting(policy: FlowPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, read_on = threading.Event(), threading.Event()

    def takes_long(data: bytes, *more: Any) -> Any:
        if len(data) > 1 << 20:
            reading.set()
            assert read_on.wait(60)
        return decode(data, *more)

    monkeypatch.setattr("agents.serve.decode", takes_long)
    with Running(PolicyServer(policy, port=0, resize=True)) as running:
        small, large = opened(running), opened(running)
        asked(small, request(seed=1))
        camera = np.zeros((8192, 1000, 3), np.uint8)
        large.send(pack(request(**{f"observation/{name}": camera for name in SPEC.cameras})))
        assert reading.wait(60)
        for t in range(3):
            asked(small, request(t))
        read_on.set()
        assert unpack(large.recv(timeout=30))["actions"].shape == (4, SPEC.action_dim)


def test_connections_that_ask_nothing_lock_nobody_out(policy: FlowPolicy) -> None:
    server = PolicyServer(policy, port=0, slots=2)
    with Running(server) as running:
        idle = [opened(running) for _ in range(6)]
        first, second = opened(running), opened(running)
        asked(first, request(seed=1))
        asked(second, request(seed=2))
        third = opened(running)
        assert "all 2 slots are taken" in asked(third, request(seed=3))
        server.patience = 0.0
        assert asked(opened(running), request(seed=3)).shape == (4, SPEC.action_dim)
        with pytest.raises(ConnectionClosed):  # it was silent longest
            asked(first, request(t=1))
        assert asked(second, request(t=1)).shape == (4, SPEC.action_dim)
        assert len(idle) == 6


def test_a_flood_of_pings_keeps_nobody_waiting(policy: FlowPolicy) -> None:
    with Running(PolicyServer(policy, port=0)) as running:
        healthy, hostile = opened(running), opened(running)
        asked(healthy, request(0))
        hostile.socket.settimeout(0.5)
        with suppress(OSError):  # until it is cut, or nobody reads any more
            for _ in range(100):
                hostile.socket.sendall(b"\x89\x80\0\0\0\0" * 2000)
        asked(healthy, request(1))
        with pytest.raises(ConnectionClosed):
            hostile.recv(timeout=1)
        healthy.ping().wait(5)  # a few are answered


def test_more_connections_than_a_server_can_bear_end_the_oldest(
    policy: FlowPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.serve.WAITING", 3)
    with Running(PolicyServer(policy, port=0, slots=1)) as running:
        clients = [opened(running) for _ in range(9)]
        assert asked(clients[-1], request(seed=1)).shape == (4, SPEC.action_dim)
        with pytest.raises(ConnectionClosed):
            clients[0].recv(timeout=10)


# --- web pages --------------------------------------------------------------------------------------------------------


def test_pages_and_foreign_names_are_refused_at_both_doors(policy: FlowPolicy) -> None:
    from experiments.simpler.original import Door

    door = Door(0)
    try:
        with Running(PolicyServer(policy, port=0)) as running:
            for url in (running.url, door.url):
                for origin in ("http://evil.example", "null", "http://localhost:8000"):
                    with pytest.raises(InvalidStatus, match="403"):
                        connect(url, additional_headers={"Origin": origin}, proxy=None)
                port = int(url.rpartition(":")[2])
                with sockets.create_connection(("127.0.0.1", port)) as plain:
                    plain.sendall(
                        b"GET / HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
                    )
                    assert b"403" in plain.recv(100)
                connect(f"ws://localhost:{port}", proxy=None).__enter__().close()
            with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/healthz", timeout=30) as answer:
                assert answer.read() == b"OK\n"
    finally:
        door.close()


def test_names_of_this_machine() -> None:
    own = ("localhost:8000", "127.0.0.1", "127.0.0.2:1", "[::1]:80", "LOCALHOST")
    assert all(is_own(named(host)) for host in own)
    assert not any(is_own(named(h)) for h in ("", "evil.example:8000", "10.0.0.1", "localhost.evil.example", "[::2]"))
    assert callable(guard("0.0.0.0"))


# --- hostile servers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [{"execute": v} for v in (float("inf"), float("nan"), 0, -5, 10**9, [1], None, True)]
    + [{"content": v} for v in (5, "x", "a" * 65)]
    + [{"spec": v} for v in (None, "{", "[" * 100_000, b"{}", 5)],
    ids=repr,
)
def test_metadata_of_a_hostile_server_is_refused_in_one_line(changes: dict[str, Any]) -> None:
    own = {"spec": SPEC.to_json(), "execute": 2} | changes

    async def answers(client: Any) -> None:
        await client.send(pack({"foresight": own}))
        await asyncio.sleep(1)

    with Running(handler=answers) as running, pytest.raises(ValueError, match="its metadata is damaged") as caught:
        served(running.url)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("foresight", [[1], "x", 5])
def test_metadata_that_is_no_map_is_refused(foresight: Any) -> None:
    async def answers(client: Any) -> None:
        await client.send(pack({"foresight": foresight}))
        await asyncio.sleep(1)

    with Running(handler=answers) as running, pytest.raises(ValueError, match="its metadata is damaged"):
        served(running.url)


def slow(how: str) -> tuple[Any, str]:
    """A TCP server that shakes hands and then takes no request, or gives its answer byte by byte."""
    import base64
    import hashlib

    listening = sockets.create_server(("127.0.0.1", 0))
    spec = {"foresight": {"spec": SPEC.to_json(), "execute": 2}}

    def frame(data: bytes) -> bytes:
        return b"\x82\x7e" + struct.pack(">H", len(data)) + data

    def serve() -> None:
        client, _ = listening.accept()
        client.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n\r\n" + frame(pack(spec))
        )  # fmt: skip
        if how == "drips":
            client.recv(10)
            try:
                for byte in frame(pack({"actions": np.zeros((4, SPEC.action_dim), np.float32)})):
                    client.sendall(bytes([byte]))
                    time.sleep(0.1)
            except OSError:
                pass
        else:
            time.sleep(6)

    threading.Thread(target=serve, daemon=True).start()
    return listening, f"ws://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("how", ["drips", "takes no request"])
def test_a_server_that_is_slow_on_purpose_has_no_more_time_than_others(how: str) -> None:
    listening, url = slow(how)
    with listening:
        actor = RemoteActor(url, SPEC, timeout=0.7)
        actor.reset(np.array([True]), np.array([1]), [""])
        seen = made_episode(1).observation(0)
        if how != "drips":
            actor._request = lambda i, o: {"x": np.zeros(30 << 20, np.uint8)}  # type: ignore[method-assign]
        with pytest.raises(ServerError, match=r"no answer within 0\.7 s"):  # "drips" would have answered in the end
            actor.act([seen])


def test_answers_that_only_a_float64_can_hold_are_refused() -> None:
    async def answers(client: Any) -> None:
        await client.send(pack({"foresight": {"spec": SPEC.to_json(), "execute": 2}}))
        async for _ in client:
            await client.send(pack({"actions": np.full((4, SPEC.action_dim), 1e300)}))

    with Running(handler=answers) as running:
        actor = RemoteActor(running.url, SPEC)
        actor.reset(np.array([True]), np.array([1]), [""])
        with pytest.raises(ServerError, match="not finite"):
            actor.act([made_episode(1).observation(0)])

"""A policy that is asked over the network: an Actor over the openpi websocket protocol (see agents/serve.py).

Our own servers say for which environment their policy is, and every field is checked at the handshake. For others an
adapter says which keys and conventions their policy speaks (agents/adapters).
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.adapter import Adapter, Gripper
from episodes.connection import CONNECT, ServerError, connect
from episodes.files import one_line
from episodes.types import EnvSpec, Observation
from episodes.wire import pack, unpack

MAX_EXECUTE = 1000  # steps of a chunk


def _own(metadata: Any, url: str) -> tuple[EnvSpec, int, str] | None:
    """What one of our own servers sends: EnvSpec, executed steps, hash of the policy; None from a foreign one."""
    own = metadata.get("foresight") if isinstance(metadata, dict) else None
    if own is None:
        return None
    try:
        spec, execute, content = EnvSpec.from_json(own["spec"]), own["execute"], own.get("content", "")
        if type(execute) is not int or not 1 <= execute <= MAX_EXECUTE:
            raise ValueError(f"execute is {execute!r:.40}, expected 1 to {MAX_EXECUTE}")
        if not isinstance(content, str) or not re.fullmatch("[0-9a-f]{0,64}", content):
            raise ValueError(f"content is {content!r:.80}, expected a SHA-256")
        return spec, execute, content
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"policy server {url}: its metadata is damaged ({one_line(error)})") from error


def served(url: str, seconds: float = CONNECT) -> tuple[EnvSpec | None, str]:
    """For which environment the server's policy is, and its content hash; None and "" where it does not say."""
    opened, metadata = connect(url, seconds)
    opened.close()
    own = _own(metadata, url)
    return (None, "") if own is None else (own[0], own[2])


def served_spec(url: str, seconds: float = CONNECT) -> EnvSpec | None:
    """For which environment the server's policy is; None where it does not say."""
    return served(url, seconds)[0]


class RemoteActor:
    """n slots of a remote policy, one connection each; the requests of all slots are sent before an answer is awaited.

    spec: that of the environments. timeout: seconds that an answer may take. execute: steps of an answer that are
    executed (0: the server's, or the adapter's). connect_seconds: for which a server is tried. content: the hash that a
    policy of our own servers must have ("": that of the first connection). ValueError: the server's policy is for
    another environment (the first field that differs is named) or another one, a foreign server without an adapter, one
    of our own with one. ServerError: see there; the next `reset` connects anew.
    """

    def __init__(
        self,
        url: str,
        spec: EnvSpec,
        slots: int = 1,
        adapter: Adapter | None = None,
        timeout: float = 60.0,
        execute: int = 0,
        connect_seconds: float = CONNECT,
        content: str = "",
    ) -> None:
        self.content = content
        self.url, self.spec, self.adapter = url, spec, adapter
        self.timeout, self.connect_seconds = timeout, connect_seconds
        if adapter is not None:
            adapter.check(spec)
        self._sockets: list[Any] = [None] * slots
        self._seeds: list[int | None] = [None] * slots  # of an episode whose first request is still to come
        self._grippers = [Gripper(adapter) for _ in range(slots)] if adapter is not None else []
        self._wanted = execute
        self.execute = execute or (1 if adapter is None else adapter.execute)
        self._sockets[0] = self._connect()

    def _connect(self) -> Any:
        opened, metadata = connect(self.url, self.connect_seconds)
        try:
            own = _own(metadata, self.url)
            if own is None and self.adapter is None:
                raise ValueError(
                    f"policy server {self.url} does not say for which environment its policy is; give adapter=bridge "
                    "or adapter=fractal, or an adapter file"
                )
            if own is not None:
                if self.adapter is not None:
                    raise ValueError(f"policy server {self.url} speaks our own keys; leave the adapter out")
                self.spec.require_same(own[0], f"policy server {self.url}")
                if self.content not in ("", own[2]):
                    raise ValueError(
                        f"policy server {self.url} has another policy than before (its content is {own[2][:12]}, was "
                        f"{self.content[:12]}); start that one again, or begin anew"
                    )
                self.content = own[2]
                self.execute = self._wanted or own[1]
        except ValueError:
            opened.close()
            raise
        return opened

    def reset(self, mask: npt.NDArray[np.bool_], seeds: npt.NDArray[np.int64], instructions: Sequence[str]) -> None:
        """Begin episodes: a connection for each slot, and the seed its first request sends."""
        for i in np.flatnonzero(mask):
            if self._sockets[i] is None:
                self._sockets[i] = self._connect()
            self._seeds[i] = int(seeds[i])
            if self.adapter is not None:
                self._grippers[i].reset()

    def act(self, observations: Sequence[Observation | None]) -> npt.NDArray[np.float32]:
        """Chunks of actions float32 (n, K, A) from the server; an answer that fails or fits not is a
        ConnectionError or ValueError.
        """
        from websockets.exceptions import WebSocketException

        asked = [i for i, o in enumerate(observations) if o is not None]
        deadline = time.monotonic() + self.timeout
        answers = {}
        # a server that takes no request, or gives its answer byte by byte, has until then, too
        alarm = threading.Timer(self.timeout + 0.05, self._cut)
        alarm.start()
        try:
            for i in asked:
                self._sockets[i].send(pack(self._request(i, observations[i])))  # type: ignore[arg-type]
            for i in asked:
                answers[i] = self._chunk(self._sockets[i].recv(timeout=max(deadline - time.monotonic(), 0.001)))
        except (ServerError, ValueError) as error:
            self.close()
            raise ServerError(f"{self.url}: {one_line(error)}") from error
        except (OSError, WebSocketException) as error:
            self.close()
            if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
                raise ServerError(f"{self.url}: no answer within {self.timeout:g} s") from error
            raise ServerError(f"{self.url}: the connection broke ({error or type(error).__name__})") from error
        finally:
            alarm.cancel()
        lengths = {len(chunk) for chunk in answers.values()}
        K = min(lengths, default=1)
        if self.adapter is not None:
            K = min(K, self.execute)
        chunks = np.zeros((len(observations), K, self.spec.action_dim), np.float32)
        for i, chunk in answers.items():
            chunks[i] = chunk[:K] if self.adapter is None else self._grippers[i].actions(chunk[:K])
        return chunks

    def _cut(self) -> None:
        """End every connection below the protocol, whatever its thread waits for."""
        for connection in self._sockets:
            if connection is not None:
                with suppress(OSError):
                    connection.socket.shutdown(socket.SHUT_RDWR)

    def _request(self, i: int, observation: Observation) -> dict[str, Any]:
        if self.adapter is not None:
            return self.adapter.request(observation, self.spec)
        request: dict[str, Any] = {f"observation/{name}": image for name, image in observation.images.items()}
        request |= {"observation/state": observation.proprio, "prompt": observation.instruction}
        if self._seeds[i] is not None:
            request["seed"], self._seeds[i] = self._seeds[i], None
        return request

    def _chunk(self, data: str | bytes) -> npt.NDArray[np.float32]:
        if isinstance(data, str):
            raise ServerError(f"the server refused: {data.strip().splitlines()[-1] if data.strip() else data!r}")
        answer = unpack(data)
        key = "actions" if self.adapter is None else self.adapter.actions_key
        actions = answer.get(key) if isinstance(answer, dict) else None
        width = self.spec.action_dim
        if not isinstance(actions, np.ndarray) or actions.ndim != 2 or actions.dtype.kind != "f" or len(actions) < 1:
            found = f"{actions.dtype} {actions.shape}" if isinstance(actions, np.ndarray) else type(actions).__name__
            raise ServerError(f"the answer's {key!r} is {found}, expected float (K, {width})")
        with np.errstate(over="ignore"):
            numbers: npt.NDArray[np.float32] = actions[:, :width].astype(np.float32)
        if actions.shape[1] < width or not np.isfinite(numbers).all():
            raise ServerError(f"the answer's {key!r} {actions.shape} is too narrow for {width} numbers, or not finite")
        if self.execute > len(actions):
            raise ServerError(f"{len(actions)} actions, fewer than the {self.execute} to execute")
        return numbers

    def close(self) -> None:
        """End every connection; the next `reset` opens them anew."""
        from websockets.exceptions import WebSocketException

        for i, connection in enumerate(self._sockets):
            if connection is not None:
                try:
                    connection.close()
                except (OSError, WebSocketException):
                    pass  # it is gone either way
            self._sockets[i] = None

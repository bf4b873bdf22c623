"""A value that is asked over the network: what `foresight serve value=FOLDER` serves, read as if it were here.

Messages are those of agents/serve_value.py. Every client of a stream has a connection of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from episodes.connection import ServerError, connect
from episodes.files import one_line
from episodes.store import Episodes
from episodes.types import EnvSpec, Episode, Observation
from episodes.wire import MAX_MESSAGE, pack, unpack
from networks.settings import LatentsConfig
from valuefns.protocol import ValueFunction, ValueStream
from valuefns.settings import ServedConfig
from valuefns.views import require_store


@dataclass(frozen=True)
class Told:
    """What a value server says of its value when a client connects."""

    spec: EnvSpec
    name: str
    scale: str
    history: int
    fps: float | None
    reads_proprio: bool
    streams: bool
    content: str

    @classmethod
    def read(cls, metadata: Any, url: str) -> Told:
        """From the server's first message; a server of something else is a ValueError."""
        own = metadata.get("foresight_value") if isinstance(metadata, dict) else None
        if not isinstance(own, dict):
            raise ValueError(f"value server {url}: serves no value of this project; start foresight serve value=FOLDER")
        try:
            fps = None if own["fps"] is None else float(own["fps"])
            facts = (str(own["name"]), str(own["scale"]), int(own["history"]), fps, bool(own["reads_proprio"]))
            return cls(EnvSpec.from_json(own["spec"]), *facts, bool(own["streams"]), str(own["content"]))
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"value server {url}: its metadata is damaged ({one_line(error)})") from error


def told_by(url: str, seconds: float) -> Told:
    """What the value behind an address is; ServerError where it cannot be reached."""
    opened, metadata = connect(url, seconds)
    with suppress(OSError):
        opened.close()
    return Told.read(metadata, url)


class ServedValue(ValueFunction):
    """The value behind `config.url`: its scores are those of the value there, bit for bit where it is read exactly.

    EnvSpec, scale, history and rate are the server's, and compared with the data as those of a value here.
    Errors: no server, or none of a value, or another value than `config.content`: ValueError. A server that falls
    silent or refuses: ServerError (a ConnectionError), so that a labelling stops and goes on later.
    """

    name = ServedConfig.name
    settings = ServedConfig

    def __init__(self, config: ServedConfig) -> None:
        if not config.url:
            raise ValueError("valuefn=served: name the server: valuefn.url=ws://host:port")
        self.config = config
        try:
            self.told = told_by(config.url, config.connect)
        except ServerError as error:
            raise ValueError(f"value server {error}; start foresight serve value=FOLDER there") from error
        if config.content not in ("", self.told.content):
            raise ValueError(
                f"value server {config.url}: serves another value than before ({self.told.content[:12]}, was "
                f"{config.content[:12]}); start that one again, or begin anew"
            )
        told = self.told
        self.name, self.scale, self.history, self.fps = told.name, told.scale, told.history, told.fps
        self.spec, self.content, self.reads_proprio = told.spec, told.content, told.reads_proprio
        self._socket: Any = None

    @classmethod
    def make(cls, config: Any, latents: LatentsConfig, seed: int = 0, device: str = "cpu") -> ServedValue:
        """Connect once, to learn what the value is."""
        return cls(config)

    def fit(self, store: Episodes, folder: Any = None) -> ServedValue:
        """Only compare the server's EnvSpec with the store's: what is served is trained."""
        require_store(self, store)
        return self

    def score(self, episode: Episode, causal: bool = False) -> np.ndarray:
        """The values (T + 1,) of one episode, sent whole."""
        if self._socket is None:
            self._socket = self._open()
        message = self._clip(episode, causal)
        try:
            answer = ask(self._socket, message, self.config)
        except ConnectionError:
            self.close()
            raise
        values = answer.get("values")
        if not isinstance(values, np.ndarray) or values.shape != (len(episode) + 1,) or values.dtype.kind != "f":
            raise ServerError(f"{self.config.url}: its answer holds no {len(episode) + 1} values")
        return values.astype(np.float32)

    def score_all(self, episodes: Iterable[Episode], causal: bool = False) -> list[np.ndarray]:
        """The values of several episodes; a store that does not fit is refused before the first (ValueError)."""
        if isinstance(episodes, Episodes):
            require_store(self, episodes)
        return super().score_all(episodes, causal)

    def stream(self, n: int) -> ValueStream:
        """A reader of n environments, each a client of the server."""
        if not self.told.streams:
            return super().stream(n)
        return _ServedStream(self, n)

    def close(self) -> None:
        """End the connection that whole episodes go through; the next score opens it anew."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None

    def _open(self) -> Any:
        opened, metadata = connect(self.config.url, self.config.connect)
        if Told.read(metadata, self.config.url).content != self.content:
            opened.close()
            raise ValueError(f"value server {self.config.url}: serves another value than before; begin anew")
        return opened

    def _clip(self, episode: Episode, causal: bool) -> bytes:
        message: dict[str, Any] = {f"clip/{camera}": episode.images[camera] for camera in self.spec.cameras}
        message |= {"clip/state": episode.proprio, "prompt": episode.instruction, "causal": bool(causal)}
        message |= {"hz": float(episode.hz), "seed": int(episode.provenance.seed)}
        packed = pack(message)
        if len(packed) > MAX_MESSAGE:
            raise ValueError(
                f"value server {self.config.url}: an episode of {len(packed) >> 20} MB, at most {MAX_MESSAGE >> 20} go "
                "into one message; read the store smaller with image_size=[H,W]"
            )
        return packed


class _ServedStream:
    """n clients of the server; what each has seen before is known there."""

    def __init__(self, value: ServedValue, n: int) -> None:
        self.value = value
        self.sockets: list[Any] = [None] * n
        self.instructions, self.fresh = [""] * n, [True] * n

    def reset(self, mask: np.ndarray, instructions: Sequence[str]) -> None:
        for i in np.flatnonzero(mask):
            self.instructions[i], self.fresh[i] = instructions[i], True

    def step(self, observations: Sequence[Observation | None]) -> np.ndarray:
        config, spec = self.value.config, self.value.spec
        values = np.full(len(observations), np.nan, np.float32)
        asked = [(i, o) for i, o in enumerate(observations) if o is not None]
        for i, observation in asked:  # all requests before the first answer: the server reads them together
            if self.sockets[i] is None:
                self.sockets[i] = self.value._open()
            message: dict[str, Any] = {f"observation/{camera}": observation.images[camera] for camera in spec.cameras}
            message |= {"observation/state": observation.proprio, "prompt": self.instructions[i]}
            send(self.sockets[i], pack(message | {"first": self.fresh[i]}), config)
            self.fresh[i] = False
        for i, _ in asked:
            value = receive(self.sockets[i], config).get("value")
            if not isinstance(value, np.floating):
                raise ServerError(f"{config.url}: its answer holds no value")
            values[i] = value
        return values


def ask(connection: Any, message: bytes, config: ServedConfig) -> dict[str, Any]:
    """The answer to one message; ServerError: none came, or it was refused (in the server's words)."""
    send(connection, message, config)
    return receive(connection, config)


def send(connection: Any, message: bytes, config: ServedConfig) -> None:
    """Send one message; a connection that is gone is a ServerError."""
    from websockets.exceptions import WebSocketException

    try:
        connection.send(message)
    except (OSError, WebSocketException) as error:
        raise ServerError(f"{config.url}: the connection broke ({error or type(error).__name__})") from error


def receive(connection: Any, config: ServedConfig) -> dict[str, Any]:
    """Receive one answer within the time the settings give."""
    from websockets.exceptions import WebSocketException

    started = time.monotonic()
    try:
        data = connection.recv(timeout=config.timeout)
        answer = unpack(data) if isinstance(data, bytes) else None
    except ValueError as error:
        raise ServerError(f"{config.url}: {one_line(error)}") from error
    except (OSError, WebSocketException) as error:
        if time.monotonic() - started >= config.timeout:
            raise ServerError(f"{config.url}: no answer within {config.timeout:g} s") from error
        raise ServerError(f"{config.url}: the connection broke ({error or type(error).__name__})") from error
    if not isinstance(answer, dict):
        said = data.strip().splitlines()[-1] if isinstance(data, str) and data.strip() else "with no message"
        raise ServerError(f"{config.url}: the server refused: {said}")
    return answer

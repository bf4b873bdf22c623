"""A policy server over the openpi websocket protocol; several clients are answered in one batch.

    python -m agents.serve policy=FOLDER port=8000
    python -m agents.serve policy=FOLDER indicator=positive guidance=1.5 device=cuda

On connect it sends metadata: {"foresight": {"spec": EnvSpec json, "execute": steps of a chunk that are executed,
"content": SHA-256 of the policy}}. A request is {"observation/<camera>": uint8 (H, W, 3), "observation/state": float32
(P,), "prompt": str} and, at the first step of an episode, "seed": int, which restarts the policy's noise. The answer is
{"actions": float32 (K, A)}. A picture of another size is resized. What is refused is answered by a text message, and
the connection ends. There is no password: the server listens on this machine alone unless `host` says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from http import HTTPStatus
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from agents.make import load_policy, policy_content
from agents.wire import MAX_MESSAGE, REMOTE_EXTRA, pack, unpack
from episodes.images import resized
from episodes.settings import require, require_one_of
from episodes.types import MAX_PIXELS, EnvSpec, Observation

GATHER = 0.004  # s that a request waits for those of the other clients
INDICATORS = {"negative": 0, "positive": 1, "null": 2}  # episodes.labels


@dataclass
class ServeConfig:
    """python -m agents.serve"""

    policy: str = ""  # folder of a saved policy
    host: str = "127.0.0.1"  # 0.0.0.0: every network of this machine
    port: int = 8000  # 0: any free one
    indicator: str = "own"  # advantage token to act with: negative, positive, null; own: the checkpoint's
    guidance: float = 0.0  # classifier-free guidance weight; 1: none, 0: the checkpoint's
    slots: int = 64  # clients at a time
    device: str = "cpu"

    def __post_init__(self) -> None:
        require(self, port=(0, 65535), guidance=(0, inf), slots=(1, 4096))
        require_one_of(self, indicator=("own", *INDICATORS))


class Refused(Exception):
    """A request that cannot be answered; its text goes to the client."""


def read_request(message: Any, spec: EnvSpec) -> tuple[Observation, int | None]:
    """The observation of a request, and the seed where an episode begins; Refused: what is missing or wrong."""
    if not isinstance(message, dict):
        raise Refused(f"request is {type(message).__name__}, expected a dict")
    images = {}
    for camera in spec.cameras:
        image = message.get(f"observation/{camera}")
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise Refused(f"observation/{camera} is {_described(image)}, expected uint8 (H, W, 3)")
        if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_PIXELS:
            raise Refused(f"observation/{camera} is {_described(image)}; sides of 1 to {MAX_PIXELS} pixels are read")
        images[camera] = resized(image, spec.image_size)
    state = message.get("observation/state")
    if not isinstance(state, np.ndarray) or state.dtype.kind != "f" or state.shape != (spec.proprio_dim,):
        raise Refused(f"observation/state is {_described(state)}, expected float ({spec.proprio_dim},)")
    if not np.isfinite(state).all():
        raise Refused("observation/state is not finite")
    prompt, seed = message.get("prompt"), message.get("seed")
    if not isinstance(prompt, str):
        raise Refused(f"prompt is {_described(prompt)}, expected text")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        raise Refused(f"seed is {seed!r:.40}, expected a whole number from 0")
    return Observation(images, state.astype(np.float32), prompt), seed


def _described(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


class PolicyServer:
    """Answers websocket clients with a policy's action chunks; each connection is one slot of the policy.

    Usage: asyncio.run(PolicyServer(policy, port=8000).run())
    """

    def __init__(
        self, policy: Any, host: str = "127.0.0.1", port: int = 8000, slots: int = 64, content: str = ""
    ) -> None:
        self.content = content
        self.policy, self.host, self.port, self.slots = policy, host, port, slots
        self.largest = 0  # requests answered by one call of the policy so far
        self._free = list(range(slots))
        self._thread = ThreadPoolExecutor(1)  # the policy is asked by one thread, the connections stay alive meanwhile

    async def run(self, ready: Any = None) -> None:
        """Serve until cancelled; `ready(port)` is called once clients can connect."""
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise ImportError(f"a policy server needs websockets; install it with: {REMOTE_EXTRA}") from error

        self._queue: asyncio.Queue[tuple[int, Observation, int | None, asyncio.Future[Any]]] = asyncio.Queue()
        batches = asyncio.ensure_future(self._batches())
        try:
            async with serve(
                self._client,
                self.host,
                self.port,
                compression=None,
                max_size=MAX_MESSAGE,
                process_request=_health,
            ) as server:
                if ready is not None:
                    ready(next(iter(server.sockets)).getsockname()[1])
                await server.serve_forever()
        finally:
            batches.cancel()
            self._thread.shutdown(wait=False)

    def metadata(self) -> dict[str, Any]:
        own = {"spec": self.policy.spec.to_json(), "execute": int(self.policy.execute), "content": self.content}
        return {"foresight": own}

    async def _client(self, socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        if not self._free:
            await socket.close(1013, f"all {self.slots} slots are taken")
            return
        slot = self._free.pop(0)
        try:
            await socket.send(pack(self.metadata()))
            async for data in socket:
                try:
                    observation, seed = read_request(unpack(data), self.policy.spec)
                    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                    await self._queue.put((slot, observation, seed, answer))
                    await socket.send(pack({"actions": await answer}))
                except (Refused, ValueError) as error:
                    await socket.send(str(error))
                    await socket.close(1008, "request refused")
                    return
                except ConnectionClosed:
                    return
                except Exception as error:  # the policy's own; the client is told, the server goes on
                    await socket.send(f"the policy failed: {type(error).__name__}: {error}")
                    await socket.close(1011, "the policy failed")
                    return
        finally:
            self._free.append(slot)
            self._free.sort()

    async def _batches(self) -> None:
        while True:
            waiting = [await self._queue.get()]
            if self.slots - len(self._free) > 1:
                await asyncio.sleep(GATHER)
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            try:
                chunks = await asyncio.get_running_loop().run_in_executor(self._thread, self._act, waiting)
            except Exception as error:  # every client that waits is told, and who runs the server sees where it failed
                traceback.print_exc()
                for *_, answer in waiting:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for slot, _, _, answer in waiting:
                if not answer.done():  # its client may have gone
                    answer.set_result(chunks[slot])

    def _act(self, waiting: Sequence[tuple[int, Observation, int | None, Any]]) -> Any:
        observations: list[Observation | None] = [None] * self.slots
        mask, seeds, prompts = np.zeros(self.slots, bool), np.zeros(self.slots, np.int64), [""] * self.slots
        for slot, observation, seed, _ in waiting:
            observations[slot], prompts[slot] = observation, observation.instruction
            if seed is not None:
                mask[slot], seeds[slot] = True, seed
        if mask.any():
            self.policy.reset(mask, seeds, prompts)
        self.largest = max(self.largest, len(waiting))
        return self.policy.act(observations)


def _health(connection: Any, request: Any) -> Any:
    """GET /healthz is answered OK, as openpi's server does."""
    return connection.respond(HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None


def load(settings: ServeConfig) -> Any:
    """The policy to serve, with the token and the guidance that the settings ask for."""
    if not settings.policy:
        raise ValueError("policy=: name the folder of a saved policy")
    policy = load_policy(Path(settings.policy), settings.device)
    if settings.indicator != "own":
        policy.indicator = INDICATORS[settings.indicator]
    if settings.guidance:
        policy.guidance = settings.guidance
    return policy


def parse(arguments: Sequence[str]) -> ServeConfig:
    """Settings from key=value words; ValueError naming an unknown key or a bad value."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(OmegaConf.structured(ServeConfig), OmegaConf.from_dotlist(list(arguments)))
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        known = ", ".join(f.name for f in fields(ServeConfig))
        raise ValueError(f"{str(error).splitlines()[0]}; the settings are {known}") from error
    assert isinstance(settings, ServeConfig)
    return settings


def main(arguments: Sequence[str] | None = None) -> None:
    try:
        settings = parse(sys.argv[1:] if arguments is None else arguments)
        policy = load(settings)
        content = policy_content(Path(settings.policy), settings.indicator, settings.guidance)
        server = PolicyServer(policy, settings.host, settings.port, settings.slots, content)

        def ready(port: int) -> None:
            print(f"serving {settings.policy} for {policy.spec.env_id} on ws://{settings.host}:{port}", flush=True)

        asyncio.run(server.run(ready))
    except KeyboardInterrupt:
        pass
    except OSError as error:
        sys.exit(f"serve: {settings.host}:{settings.port}: {error.strerror or error}; choose another port or host")
    except (ValueError, ImportError) as error:
        sys.exit(f"serve: {error}")


if __name__ == "__main__":
    main()

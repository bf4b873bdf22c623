"""A policy server over the openpi websocket protocol; several clients are answered in one batch.

    foresight serve FOLDER port=8000
    foresight serve FOLDER indicator=positive guidance=1.5 device=cuda

On connect it sends metadata: {"foresight": {"spec": EnvSpec json, "execute": steps of a chunk that are executed,
"content": SHA-256 of the policy}}. A request is {"observation/<camera>": uint8 (H, W, 3), "observation/state": float32
(P,), "prompt": str} and, at the first step of an episode, "seed": int, which restarts the policy's noise (clients that
know of no seed, as openpi's own, need not send one). The answer is
{"actions": float32 (K, A)}. A picture of another size is refused, or fitted with `resize=true`. What is refused is
answered by a text message, and the connection ends. There is no password: the server listens on this machine alone
unless `host` says otherwise.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from bisect import insort
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agents.door import guard, unflooded
from agents.requests import FirstSeeds, Refused, decode
from episodes.types import Observation
from episodes.wire import MAX_MESSAGE, REMOTE_EXTRA, pack

GATHER = 0.004  # s that a request waits for those of the other clients
READERS = 2  # threads that read requests, so that a large one keeps nobody else waiting
SEND = 30.0  # s in which a client has to take its answer
IDLE = 60.0  # s of silence after which a client's slot may be given to another one
WAITING = 256  # connections besides the slots, which have asked nothing yet


_Request = tuple[int, Observation, int | None, "asyncio.Future[Any]"]  # slot, observation, seed, its answer


@dataclass(eq=False)
class _Client:
    """A connection; it has a slot of the policy from its first request on."""

    socket: Any
    slot: int | None = None
    busy: bool = False
    heard: float = field(default_factory=time.monotonic)
    closing: Any = None


class PolicyServer:
    """Answers websocket clients with a policy's action chunks; each connection that asks is one slot of the policy.

    The noise of a client that sends no seed comes from its first request (FirstSeeds). A request that the policy cannot
    answer ends its own client's connection only. Where all slots are taken, one silent for IDLE seconds makes room.

    Usage: asyncio.run(PolicyServer(policy, port=8000).run())
    """

    noun = "policy"

    def __init__(
        self,
        policy: Any,
        host: str = "127.0.0.1",
        port: int = 8000,
        slots: int = 64,
        content: str = "",
        resize: bool = False,
    ) -> None:
        self.policy, self.host, self.port, self.slots, self.content = policy, host, port, slots, content
        self.resize = resize
        self.largest = 0  # requests answered by one call of the policy so far
        self.patience = IDLE
        self._free = list(range(slots))
        self._clients: set[_Client] = set()
        self._first = FirstSeeds()
        self._thread = ThreadPoolExecutor(1)  # the policy is asked by one thread, the connections stay alive meanwhile
        self._readers = ThreadPoolExecutor(READERS)

    async def run(self, ready: Any = None) -> None:
        """Serve until cancelled; `ready(port)` is called once clients can connect."""
        try:
            from websockets.asyncio.server import serve
        except ImportError as error:
            raise ImportError(f"a policy server needs websockets; install it with: {REMOTE_EXTRA}") from error

        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        batches = asyncio.ensure_future(self._batches())
        try:
            async with serve(
                self._client,
                self.host,
                self.port,
                compression=None,
                max_size=MAX_MESSAGE,
                max_queue=1,  # messages of a client that are kept while another of it is answered
                process_request=guard(self.host),
                create_connection=unflooded(),
            ) as server:
                if ready is not None:
                    ready(next(iter(server.sockets)).getsockname()[1])
                await server.serve_forever()
        finally:
            batches.cancel()
            self._thread.shutdown(wait=False)
            self._readers.shutdown(wait=False)

    def metadata(self) -> dict[str, Any]:
        """What a client is told when it connects."""
        own = {"spec": self.policy.spec.to_json(), "execute": int(self.policy.execute), "content": self.content}
        return {"foresight": own}

    async def _client(self, socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        client = _Client(socket)
        if len(self._clients) >= self.slots + WAITING and not self._part(without_slot=True):
            await socket.close(1013, "too many connections")
            return
        self._clients.add(client)
        try:
            await self._say(socket, pack(self.metadata()))
            async for data in socket:
                client.busy = True
                await self._answer(client, data)
                client.busy, client.heard = False, time.monotonic()
        except (Refused, ValueError) as error:
            await self._end(socket, 1008, "request refused", str(error))
        except (ConnectionClosed, TimeoutError):
            pass
        except Exception as error:  # the policy's own; the client is told, the server goes on
            await self._end(
                socket, 1011, f"the {self.noun} failed", f"the {self.noun} failed: {type(error).__name__}: {error}"
            )
        finally:
            self._clients.discard(client)
            if client.slot is not None:
                insort(self._free, client.slot)

    async def _answer(self, client: _Client, data: str | bytes) -> None:
        loop = asyncio.get_running_loop()
        observation, seed = await loop.run_in_executor(self._readers, decode, data, self.policy.spec, self.resize)
        if client.slot is None:  # only now: a connection that asks nothing takes no slot from one that does
            client.slot = self._slot()
            if seed is None:
                seed = self._first.seed(data)
        answer: asyncio.Future[Any] = loop.create_future()
        await self._queue.put((client.slot, observation, seed, answer))
        await self._say(client.socket, pack({"actions": await answer}))

    def _slot(self) -> int:
        if not self._free:
            self._part(without_slot=False)
        if not self._free:
            raise Refused(f"all {self.slots} slots are taken; try again later, or start the server with more slots")
        return self._free.pop(0)

    def _part(self, without_slot: bool) -> bool:
        """End the connection that has been silent longest, if it may be ended; its slot is free then."""
        silent = [c for c in self._clients if not c.busy and (c.slot is None) == without_slot]
        oldest = min(silent, key=lambda c: c.heard, default=None)
        if oldest is None or (not without_slot and time.monotonic() - oldest.heard < self.patience):
            return False
        self._clients.discard(oldest)
        if oldest.slot is not None:
            insort(self._free, oldest.slot)
            oldest.slot = None
        oldest.closing = asyncio.ensure_future(oldest.socket.close(1013, "silent for long while others waited"))
        return True

    async def _say(self, socket: Any, message: str | bytes) -> None:
        """Send within SEND seconds: a client that never reads is left."""
        await asyncio.wait_for(socket.send(message), SEND)

    async def _end(self, socket: Any, code: int, reason: str, text: str) -> None:
        from websockets.exceptions import ConnectionClosed

        with suppress(ConnectionClosed, TimeoutError):
            await self._say(socket, text)
            await socket.close(code, reason)

    async def _batches(self) -> None:
        while True:
            waiting = [await self._queue.get()]
            if len(self._clients) > 1:
                await asyncio.sleep(GATHER)
            while not self._queue.empty():
                waiting.append(self._queue.get_nowait())
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._act, waiting)
            for slot, _, _, answer in waiting:
                if answer.done():  # its client has gone
                    continue
                if isinstance(found[slot], Exception):
                    answer.set_exception(found[slot])
                else:
                    answer.set_result(found[slot])

    def _act(self, waiting: Sequence[_Request]) -> dict[int, Any]:
        """The chunk of each request, by slot, or the exception that only this request is to blame for."""
        try:
            mask, seeds, prompts = np.zeros(self.slots, bool), np.zeros(self.slots, np.int64), [""] * self.slots
            for slot, observation, seed, _ in waiting:
                prompts[slot] = observation.instruction
                if seed is not None:
                    mask[slot], seeds[slot] = True, seed
            if mask.any():
                self.policy.reset(mask, seeds, prompts)
            self.largest = max(self.largest, len(waiting))
            return self._each(waiting)
        except Exception as error:  # every client that waits is told, and who runs the server sees where it failed
            traceback.print_exc()
            return {slot: error for slot, *_ in waiting}

    def _each(self, waiting: Sequence[_Request]) -> dict[int, Any]:
        """One call of the policy for all; where it fails, those it fails for alone are left out and the rest asked."""
        noise = self._noise_of(waiting)
        try:
            return self._asked(waiting)
        except Exception as error:
            if len(waiting) == 1:
                if not isinstance(error, ValueError):
                    traceback.print_exc()
                return {waiting[0][0]: error}
        failed: dict[int, Exception] = {}
        for request in waiting:
            self._restore(noise)
            failed |= {k: v for k, v in self._each([request]).items() if isinstance(v, Exception)}
        self._restore(noise)
        others = [request for request in waiting if request[0] not in failed]
        if len(others) == len(waiting):  # it is only together that they are too much
            return {k: v for request in waiting for k, v in self._each([request]).items()}
        return failed | (self._each(others) if others else {})

    def _asked(self, waiting: Sequence[_Request]) -> dict[int, Any]:
        observations: list[Observation | None] = [None] * self.slots
        for slot, observation, *_ in waiting:
            observations[slot] = observation
        chunks = self.policy.act(observations)
        wrong = ValueError("the policy's answer to this observation is not finite")
        return {slot: chunks[slot] if np.isfinite(chunks[slot]).all() else wrong for slot, *_ in waiting}

    def _noise_of(self, waiting: Sequence[_Request]) -> dict[int, Any]:
        generators = getattr(self.policy, "_noise", None)  # of any Actor: those without noise have none
        return {slot: generators[slot].bit_generator.state for slot, *_ in waiting} if generators else {}

    def _restore(self, noise: dict[int, Any]) -> None:
        for slot, state in noise.items():
            self.policy._noise[slot].bit_generator.state = state


if __name__ == "__main__":
    sys.exit("agents.serve is now: foresight serve FOLDER port=8000")

"""A value server: `foresight serve value=FOLDER`; read back with valuefn=ws://host:port.

On connect it sends {"foresight_value": {"spec": EnvSpec json, name, scale, history, fps, reads_proprio, streams,
"content": SHA-256 of the value}}. A request is one frame,

    {"observation/<camera>": uint8 (H, W, 3), "observation/state": float32 (P,), "prompt": str, "first": bool}
    -> {"value": float32}                    first: an episode begins; what this client saw before is forgotten

or a whole clip of N frames,

    {"clip/<camera>": uint8 (N, H, W, 3), "clip/state": float32 (N, P), "prompt": str, "causal": bool, "hz": float}
    -> {"values": float32 (N,)}

What is refused is answered by a text message, and the connection ends; the others go on. Doors, slots and patience are
the policy server's (agents/serve.py). exact: every client is read by itself, so that its answers are those of the same
value here, bit for bit on the CPU. Else the frames of all clients that wait are read in one call where the value needs
no history: faster, and equal but for the last bits that a larger matrix product rounds otherwise.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from agents.requests import MAX_PROMPT, Refused, read_request
from agents.serve import PolicyServer
from episodes.fit import require_episode
from episodes.types import SEGMENTS, EnvSpec, Episode, Observation, Provenance
from episodes.wire import pack, unpack
from valuefns.protocol import ValueFunction

LONGEST = 100_000  # frames of a clip


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of one client; `first` where an episode begins."""

    observation: Observation
    first: bool


@dataclass(frozen=True, eq=False)
class Clip:
    """A whole clip."""

    episode: Episode
    causal: bool


def read_value_request(data: str | bytes, spec: EnvSpec, proprio: bool, resize: bool = False) -> Frame | Clip:
    """The request in one message; Refused or ValueError: what is wrong with it."""
    message = unpack(data)
    if isinstance(message, dict) and any(isinstance(key, str) and key.startswith("clip/") for key in message):
        return _clip(message, spec, proprio)
    if isinstance(message, dict) and not proprio:
        message.setdefault("observation/state", np.zeros(spec.proprio_dim, np.float32))
    observation, _ = read_request(message, spec, resize)
    first = message.get("first", False)
    if not isinstance(first, bool):
        raise Refused(f"first is {type(first).__name__}, expected true or false")
    return Frame(observation, first)


def _clip(message: dict[str, Any], spec: EnvSpec, proprio: bool) -> Clip:
    images: dict[str, Any] = {camera: message.get(f"clip/{camera}") for camera in spec.cameras}
    if missing := [camera for camera, frames in images.items() if not isinstance(frames, np.ndarray)]:
        raise Refused(f"clip/{missing[0]} is missing, expected uint8 (N, H, W, 3)")
    lengths = {len(frames) if frames.ndim else 0 for frames in images.values()}
    N = min(lengths)
    if len(lengths) > 1 or not 2 <= N <= LONGEST:
        raise Refused(f"clips of {sorted(lengths)} frames; send 2 to {LONGEST}, as many of every camera")
    state = message.get("clip/state", None if proprio else np.zeros((N, spec.proprio_dim), np.float32))
    if not isinstance(state, np.ndarray) or state.dtype.kind != "f" or len(state) != N or not np.isfinite(state).all():
        raise Refused(f"clip/state: expected finite floats ({N}, {spec.proprio_dim})")
    prompt, causal = message.get("prompt", ""), message.get("causal", False)
    hz, seed = message.get("hz", spec.hz), message.get("seed", -1)
    if not isinstance(prompt, str) or len(prompt) > MAX_PROMPT or not isinstance(causal, bool):
        raise Refused(f"prompt or causal: expected text of at most {MAX_PROMPT} characters, and true or false")
    if not isinstance(hz, float) or type(seed) is not int:
        raise Refused("hz or seed: expected a number and a whole number")
    nothing = np.zeros(N - 1, np.float32)
    episode = Episode(
        images=images,
        proprio=state.astype(np.float32),
        actions=np.zeros((N - 1, spec.action_dim), np.float32),
        rewards=nothing,
        terminated=nothing.astype(bool),
        truncated=nothing.astype(bool),
        success=False,
        segments=np.full(N - 1, SEGMENTS.index("unlabelled"), np.int8),
        progress=np.full(N, np.nan, np.float32),
        intervention=nothing.astype(bool),
        instruction=prompt,
        provenance=Provenance(spec.env_id, seed, "client"),
        hz=hz,
    )
    require_episode(episode, spec, "clip", proprio)
    return Clip(episode, causal)


class ValueServer(PolicyServer):
    """Answers websocket clients with the values of their frames and clips; each connection that asks is one slot.

    Usage: asyncio.run(ValueServer(value, port=8000).run())
    """

    noun = "value"

    def __init__(
        self,
        value: ValueFunction,
        host: str = "127.0.0.1",
        port: int = 8000,
        slots: int = 64,
        content: str = "",
        resize: bool = False,
        exact: bool = True,
    ) -> None:
        super().__init__(value, host, port, slots, content, resize)
        self.value, self.exact = value, exact
        spec = getattr(value, "spec", None)
        assert isinstance(spec, EnvSpec), "a saved value has the EnvSpec it was trained on"
        self.spec = spec
        self._streams: dict[int, Any] = {}  # of the slots, where each is read by itself
        self._together: Any = None  # of all slots

    def metadata(self) -> dict[str, Any]:
        """What a client is told when it connects."""
        value = self.value
        own = {"spec": self.spec.to_json(), "name": value.name, "scale": value.scale, "history": int(value.history)}
        own |= {"fps": value.fps, "reads_proprio": value.reads_proprio, "content": self.content}
        return {"foresight_value": own | {"streams": type(value).stream is not ValueFunction.stream}}

    async def _answer(self, client: Any, data: str | bytes) -> None:
        loop = asyncio.get_running_loop()
        read = partial(read_value_request, data, self.spec, self.value.reads_proprio, self.resize)
        request = await loop.run_in_executor(self._readers, read)
        begins = client.slot is None
        if begins:
            client.slot = self._slot()
        answer: asyncio.Future[Any] = loop.create_future()
        await self._queue.put((client.slot, request, int(begins), answer))  # type: ignore[arg-type]
        await self._say(client.socket, pack(await answer))

    def _act(self, waiting: Sequence[Any]) -> dict[int, Any]:
        """The answer to each request, by slot, or the exception that only this request is to blame for."""
        found: dict[int, Any] = {}
        frames = []
        for slot, request, begins, _ in waiting:
            if begins:
                self._streams.pop(slot, None)
            if isinstance(request, Frame):
                frames.append((slot, request, bool(begins) or request.first))
            else:
                found[slot] = self._tried(self._scored, request)
        together = not self.exact and self.value.history == 1 and len(frames) > 1
        self.largest = max(self.largest, len(frames) if together else 1)
        if together:
            try:
                return found | self._read_together(frames)
            except Exception:
                pass  # each by itself tells whose fault it is
        for slot, request, fresh in frames:
            found[slot] = self._tried(self._read, slot, request, fresh)
        return found

    def _tried(self, call: Any, *given: Any) -> Any:
        try:
            return call(*given)
        except Exception as error:
            if not isinstance(error, ValueError):
                traceback.print_exc()
            return error

    def _scored(self, clip: Clip) -> dict[str, Any]:
        values = np.asarray(self.value.score(clip.episode, clip.causal), np.float32)
        if not np.isfinite(values).all():
            raise ValueError("the value of this clip is not finite")
        return {"values": values}

    def _read(self, slot: int, frame: Frame, fresh: bool) -> dict[str, Any]:
        if slot not in self._streams:
            self._streams[slot] = self.value.stream(1)
            fresh = True
        if fresh:
            self._streams[slot].reset(np.ones(1, bool), [frame.observation.instruction])
        value = np.float32(self._streams[slot].step([frame.observation])[0])
        if not np.isfinite(value):
            raise ValueError("the value of this frame is not finite")
        return {"value": value}

    def _read_together(self, frames: Sequence[tuple[int, Frame, bool]]) -> dict[int, Any]:
        if self._together is None:
            self._together = self.value.stream(self.slots)
        mask, prompts = np.zeros(self.slots, bool), [""] * self.slots
        observations: list[Observation | None] = [None] * self.slots
        for slot, frame, _ in frames:  # it remembers instructions alone, which every request brings
            mask[slot], prompts[slot], observations[slot] = True, frame.observation.instruction, frame.observation
        self._together.reset(mask, prompts)
        values = self._together.step(observations)
        wrong = ValueError("the value of this frame is not finite")
        return {s: {"value": np.float32(values[s])} if np.isfinite(values[s]) else wrong for s, _, _ in frames}

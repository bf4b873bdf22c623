"""A real HTTP server that speaks the OpenAI protocol, for tests: what it answers, and how it misbehaves, is given."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

from episodes import Episode
from tests.helpers.some_episodes import make_episode, make_spec

Parts = list[Any]
"""A prompt as the server reads it: texts and images uint8 (H, W, 3)."""
Reply = Callable[["Handler", Parts, dict[str, Any]], None]


@dataclass
class Server:
    url: str
    answer: Callable[[Parts], Any]  # a text, or a whole message
    script: list[Reply] = field(default_factory=list)  # the first requests are answered by these instead
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    at_once: int = 0  # the most requests under way together
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Server

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        served = self.served
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with served._lock:
            served.bodies.append(body)
            served.headers.append(dict(self.headers))
            served.times.append(time.monotonic())
            served._now += 1
            served.at_once = max(served.at_once, served._now)
            reply = served.script.pop(0) if served.script else well
        try:
            if self.path != "/v1/chat/completions":
                self.send(404, {"error": {"message": "no such page"}})
            else:
                reply(self, read_parts(body), body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with served._lock:
                served._now -= 1

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) - cut])
        if cut:
            self.close_connection = True


def well(handler: Handler, parts: Parts, body: dict[str, Any]) -> None:
    """The answer as it should be."""
    handler.send(200, completion(handler.served.answer(parts)))


def completion(said: Any, finish: str = "stop") -> dict[str, Any]:
    choice = said if isinstance(said, dict) else {"message": {"role": "assistant", "content": said}}
    choice = {"index": 0, "finish_reason": finish} | choice
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}


def status(http: int, message: str = "", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    return lambda h, parts, body: h.send(http, {"error": {"message": message, **error}}, headers)


def said(message: Any, finish: str = "stop") -> Reply:
    return lambda h, parts, body: h.send(200, completion(message, finish))


def cut_json(h: Handler, parts: Parts, body: dict[str, Any]) -> None:
    """A complete HTTP reply whose JSON ends too early."""
    h.send(200, json.dumps(completion("Frame 1: 9")).encode()[:-25])


def cut_body(h: Handler, parts: Parts, body: dict[str, Any]) -> None:
    """A connection that falls in the middle of the reply."""
    h.send(200, completion("Frame 1: 9"), cut=25)


def hang_up(h: Handler, parts: Parts, body: dict[str, Any]) -> None:
    h.close_connection = True


def slow(seconds: float) -> Reply:
    def reply(h: Handler, parts: Parts, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        well(h, parts, body)

    return reply


def read_parts(body: dict[str, Any]) -> Parts:
    parts: Parts = []
    for part in body["messages"][0]["content"]:
        if part["type"] == "text":
            parts.append(part["text"])
        else:
            data = part["image_url"]["url"].split("base64,")[1]
            parts.append(np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")))
    return parts


@contextmanager
def serving(answer: Callable[[Parts], Any], script: Sequence[Reply] = ()) -> Iterator[Server]:
    """Run a server on a free port of this machine."""
    handler = type("OneServer", (Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.served = Server(f"http://127.0.0.1:{server.server_port}/v1", answer, list(script))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield handler.served
    finally:
        server.shutdown()
        server.server_close()


def made_episode(seed: int = 0, T: int = 30, success: bool = True, curve: Any = None, **changes: Any) -> Episode:
    """An episode whose pictures tell its progress: brightness rises from 20 to 230 with `curve` (t / T without one)."""
    progress = np.linspace(0, 1, T + 1) if curve is None else np.asarray(curve, float)
    spec = make_spec(hz=10.0)
    level = (20 + 210 * progress).round().astype(np.uint8)
    image = np.broadcast_to(level[:, None, None, None], (T + 1, *spec.image_size, 3)).copy()
    images = {c: image for c in spec.cameras}
    return make_episode(seed, T, success, spec=spec, images=images, progress=progress.astype(np.float32), **changes)


def seen_progress(image: np.ndarray) -> float:
    return float(np.clip((image.astype(float).mean() - 20) / 210, 0, 1))


def asked_frames(parts: Parts) -> dict[int, np.ndarray]:
    """{number: image} of the frames a GVL prompt asks about."""
    found = {}
    for before, part in itertools.pairwise(parts):
        number = re.search(r"^Frame (\d+):\s*$", before) if isinstance(before, str) else None
        if number:
            found[int(number[1])] = part
    return found


def truthful(parts: Parts) -> str:
    """Knows the truth: reads each frame's progress off its brightness, and writes it in many ways and orders."""
    forms = (
        "Frame {i}: the arm moves; Task completion: {p:.1f}%",
        "**Frame {i}**: Frame Description: like frame 1, but later. **Task Completion Percentages: {p:.2f} %**",
        "- Frame {i} - gripper above the cube, about 5 cm; progress {p:.1f} percent",
        "Frame #{i}: {low:.1f}-{high:.1f}%",
    )
    frames = list(asked_frames(parts).items())
    lines = []
    for k, (i, image) in enumerate(frames[::-1]):
        p = 100 * seen_progress(image)
        d = min(p, 100 - p, 0.5)
        lines.append(forms[k % len(forms)].format(i=i, p=p, low=p - d, high=p + d))
    return "Here is my judgement.\n" + "\n".join(lines)

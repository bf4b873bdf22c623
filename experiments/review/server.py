"""What the review page asks for: episodes, pictures, truth curves, and saving; bound to 127.0.0.1."""

from __future__ import annotations

import io
import json
import threading
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from episodes.annotations import Segment, check_segments, read_annotations, truth_curve, write_annotations
from episodes.store import Episodes
from episodes.store_index import named
from episodes.types import Episode

PROPOSALS = "proposals.json"
"""Name of the file of proposals in a store's folder: {episode: {segments: [{type, m, n, note}], summary, ...}}."""
_PAGE = Path(__file__).with_name("page.html")
_INSIDE = (
    "default-src 'self'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "frame-ancestors 'none'"
)
_MOST = 1 << 20  # bytes of a request


class Review:
    """The state behind the page: a store, the proposals, and the annotations with their file.

    Errors: a proposal or annotation file that cannot be read, or speaks of other episodes, is a ValueError.
    """

    def __init__(self, store: Episodes, annotations: Path, proposals: Path) -> None:
        self.store, self.path = store, annotations
        self.rows = {row["episode_index"]: (i, row) for i, row in enumerate(store.index)}
        self._saved = _bytes(annotations)
        self.annotations = read_annotations(annotations) if annotations.exists() else {}
        self.proposals = _read_proposals(proposals) if proposals.exists() else {}
        for path, known in ((annotations, self.annotations), (proposals, self.proposals)):
            if unknown := sorted(set(known) - set(self.rows)):
                raise ValueError(f"{path}: speaks of episode {unknown[0]}, which {store.path} lacks; use its own file")
        self._lock = threading.Lock()
        self._episode = lru_cache(maxsize=3)(lambda i: store[i])

    def overview(self) -> dict[str, Any]:
        """What the page needs to begin with."""
        rows = []
        for number, (_, row) in self.rows.items():
            segments = self.annotations.get(number)
            rows.append(
                {
                    "episode": number, "T": row["length"], "instruction": row["tasks"][0], "success": row["success"],
                    "proposal": self.proposals.get(number),
                    "segments": None if segments is None else [_plain(s) for s in segments],
                }
            )  # fmt: skip
        spec = self.store.spec
        return {"store": str(self.store.path), "hz": spec.hz, "cameras": list(spec.cameras), "episodes": rows}

    def picture(self, number: int, camera: str, t: int) -> bytes:
        """One frame as JPEG."""
        with self._lock:  # one decoding at a time; the store's files are not for many threads
            episode: Episode = self._episode(self._row(number)[0])
        if camera not in episode.images or not 0 <= t < len(episode):
            raise ValueError(f"episode {number} has no frame {t} of {camera!r}")
        out = io.BytesIO()
        Image.fromarray(episode.images[camera][t]).save(out, "jpeg", quality=92)
        return out.getvalue()

    def curve(self, number: int, segments: list[Segment]) -> dict[str, Any]:
        """The truth that the segments give, one value per frame, or why they give none."""
        T = self._row(number)[1]["length"]
        try:
            return {"curve": [float(v) for v in truth_curve(segments, T)]}
        except ValueError as error:  # a late retry, a failure: a person may mark them all the same
            return {"why": str(error)}

    def save(self, number: int, segments: list[Segment]) -> None:
        """Write the segments of one episode, an empty list too: it was looked at.

        Errors (ValueError): they do not fit, or another program has written the file since.
        """
        check_segments(segments, self._row(number)[1]["length"])
        with self._lock:
            changed = self.annotations | {number: tuple(sorted(segments, key=lambda s: s.m))}
            if _bytes(self.path) != self._saved:
                raise ValueError(f"{self.path} was changed by another program; start the review again to go on from it")
            write_annotations(self.path, changed)
            self.annotations, self._saved = changed, _bytes(self.path)

    def _row(self, number: int) -> tuple[int, dict[str, Any]]:
        if number not in self.rows:
            raise ValueError(f"{self.store.path}: no episode {number}")
        return self.rows[number]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    review: Review

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        if not self._ours():
            return
        url = urlsplit(self.path)
        try:
            if url.path == "/":
                self._send(200, _PAGE.read_bytes(), "text/html; charset=utf-8")
            elif url.path == "/api/episodes":
                self._json(200, self.review.overview())
            elif url.path == "/api/frame":
                asked = {k: v[0] for k, v in parse_qs(url.query).items()}
                data = self.review.picture(int(asked["episode"]), asked["camera"], int(asked["t"]))
                self._send(200, data, "image/jpeg", {"Cache-Control": "private, max-age=3600"})
            else:
                self._json(404, {"error": "no such page"})
        except (ValueError, KeyError) as error:
            self._json(400, {"error": str(error)})

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not self._ours():
            return
        if self.headers.get_content_type() != "application/json" or not length.isdecimal() or int(length) > _MOST:
            self.close_connection = True
            self._json(400, {"error": "send json"})
            return
        try:
            asked = json.loads(self.rfile.read(int(length)))
            number, segments = int(asked["episode"]), [_segment(s) for s in asked["segments"]]
            if self.path == "/api/save":
                self.review.save(number, segments)
                self._json(200, {"saved": len(segments)})
            elif self.path == "/api/curve":
                self._json(200, self.review.curve(number, segments))
            else:
                self._json(404, {"error": "no such page"})
        except (ValueError, KeyError, TypeError) as error:
            self._json(400, {"error": str(error)})

    def _ours(self) -> bool:
        """Whether the page itself asks: another site's page, or a name that was bent to this address, does not."""
        host = f"127.0.0.1:{cast(ThreadingHTTPServer, self.server).server_port}"
        origin = self.headers.get("Origin")
        if self.headers.get("Host") == host and origin in (None, f"http://{host}"):
            return True
        self.close_connection = True
        self._json(403, {"error": f"open http://{host}/"})
        return False

    def _json(self, status: int, content: Any) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {"Cache-Control": "no-store"}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _INSIDE)
        self.end_headers()
        self.wfile.write(data)


def make_server(review: Review, port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1; a port that is taken is a ValueError."""
    handler = type("ReviewHandler", (_Handler,), {"review": review})
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except (OSError, OverflowError) as error:
        raise ValueError(f"port {port}: {error}; choose another with port=N, or port=0 for a free one") from error


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _plain(segment: Segment) -> dict[str, Any]:
    return {"type": segment.type, "m": segment.m, "n": segment.n, "note": segment.note}


def _segment(raw: Any) -> Segment:
    if not isinstance(raw, dict) or type(raw.get("m")) is not int or type(raw.get("n")) is not int:
        raise ValueError("a segment has a type and whole numbers m and n")
    return Segment(str(raw.get("type")), raw["m"], raw["n"], str(raw.get("note", "")))


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON number, and the page could not read it")


def _read_proposals(path: Path) -> dict[int, dict[str, Any]]:
    found = {}
    with named(path, "propose the segments again"):
        raw = json.loads(path.read_bytes(), parse_constant=_no_number)
        if not isinstance(raw, dict):
            raise ValueError("holds no object of episodes")
        for number, proposal in raw.items():
            if not number.isdecimal() or not isinstance(proposal, dict):
                raise ValueError(f"entry {number!r} is no episode's proposal")
            segments = proposal.get("segments")
            if segments is not None:
                proposal["segments"] = [_plain(_segment(s)) for s in segments]
            found[int(number)] = proposal
    return found

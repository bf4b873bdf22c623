"""Proposals of non-progress intervals by a vision-language model, for people to check (WVM appendix B)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from episodes.annotations import Segment
from episodes.types import Episode
from valuefns.gvl.backend import Backend
from valuefns.gvl.frames import at_rate, camera_of, limited
from valuefns.gvl.parsing import parse_json
from valuefns.gvl.prompts import segments_tail
from valuefns.gvl.questions import Part, Question


@dataclass(frozen=True)
class SegmentQuestion:
    """How the intervals are asked for."""

    fps: float = 2.0  # frames per second shown
    frames: int = 60  # at most
    camera: str = ""
    image_size: int = 0
    attempts: int = 3
    max_tokens: int = 2048


@dataclass(frozen=True)
class Proposal:
    """What the model proposes for one episode; segments None: no readable answer."""

    segments: tuple[Segment, ...] | None
    dropped: int = 0  # intervals of the answer that lie outside the episode or are no intervals
    completed: bool | None = None
    summary: str = ""


def propose(backend: Backend, episodes: Iterable[Episode], config: SegmentQuestion | None = None) -> list[Proposal]:
    """Ask for each episode's intervals [m, n] without progress; frames are shown with their numbers in the episode.

    Intervals outside 0 < m < n < T are dropped and counted, never moved. An answer that is not the JSON asked for is
    asked for again, then the episode's proposal is None: a person still sees it.
    """
    config = config or SegmentQuestion()
    asked: list[tuple[tuple[Part, ...], int]] = []
    for episode in episodes:
        T, images = len(episode), episode.images[camera_of(episode, config.camera)]
        parts: list[Part] = []
        for t in at_rate(T - 1, episode.hz, config.fps, config.frames):
            parts += [f"[frame={t}]", limited(images[t], config.image_size)]
        asked.append(((*parts, segments_tail(episode.instruction, T - 1, episode.hz)), T))
    proposals: list[Proposal] = [Proposal(None)] * len(asked)
    for attempt in range(config.attempts):
        missing = [i for i, p in enumerate(proposals) if p.segments is None]
        questions = [Question(asked[i][0], config.max_tokens, attempt) for i in missing]
        for i, answer in zip(missing, backend.ask(questions), strict=True):
            if answer.finish == "stop":
                proposals[i] = read_proposal(answer.said, asked[i][1])
    return proposals


def read_proposal(text: str, T: int) -> Proposal:
    """The intervals in an answer about an episode of T steps."""
    raw = parse_json(text)
    if not isinstance(raw, dict) or not isinstance(raw.get("non_progress_segments"), list):
        return Proposal(None)
    segments, dropped = [], 0
    for entry in raw["non_progress_segments"]:
        m, n = (entry.get("start_frame"), entry.get("end_frame")) if isinstance(entry, dict) else (None, None)
        if type(m) is not int or type(n) is not int or not 0 < m < n < T - 1:
            dropped += 1
            continue
        kind = str(entry.get("type", "")).lower()
        segments.append(
            Segment(
                kind if kind in ("hesitation", "retry") else "hesitation", m, n, str(entry.get("description", ""))[:300]
            )
        )
    completed = raw.get("task_completed")
    segments.sort(key=lambda s: (s.m, s.n))
    return Proposal(
        tuple(segments), dropped, completed if isinstance(completed, bool) else None, str(raw.get("summary", ""))[:500]
    )

"""Intervals without progress, as a vision-language model proposes them, written for people to review."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from episodes.files import write_atomic
from episodes.store import EpisodeStore
from experiments.loop.schemas import ProposeSegmentsConfig
from experiments.review.server import PROPOSALS
from valuefns.gvl.backends import make_backend
from valuefns.gvl.frames import batches
from valuefns.gvl.segments import Proposal, SegmentQuestion, propose


def run_all(config: DictConfig) -> Path:
    """Ask about every episode, write the file, say what came of it; return the file."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ProposeSegmentsConfig)
    store = EpisodeStore.open(settings.store)
    value = settings.valuefn
    backend = make_backend(value.backend, settings.device)
    question = SegmentQuestion(
        settings.fps, settings.frames, value.camera, value.image_size, value.attempts, value.max_tokens
    )
    found: list[Proposal] = []
    for some in batches(store, backend.together):
        found += propose(backend, some, question)
    numbers = [row["episode_index"] for row in store.index]
    out = Path(settings.out) if settings.out else store.path / PROPOSALS
    content = {str(number): asdict(proposal) for number, proposal in zip(numbers, found, strict=True)}
    write_atomic(out, json.dumps(content, indent=1) + "\n")
    told = [p for p in found if p.segments is not None]
    print(
        f"{out}: {sum(len(p.segments or ()) for p in told)} intervals in {len(told)} episodes, "
        f"{len(found) - len(told)} episodes without a readable answer, {sum(p.dropped for p in told)} dropped\n"
        + json.dumps({k: v for k, v in backend.report().items() if v not in (0, None, {})}),
        flush=True,
    )
    return out

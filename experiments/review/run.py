"""The review page, until Ctrl-C."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from episodes.annotations import ANNOTATIONS
from episodes.files import writer_lock
from episodes.store import EpisodeStore
from experiments.data.schemas import ReviewConfig
from experiments.review.server import PROPOSALS, Review, make_server


def run_all(config: DictConfig) -> None:
    """Show the page of a store; the rows are saved as they are drawn."""
    settings = OmegaConf.to_object(config)
    assert isinstance(settings, ReviewConfig)
    store = EpisodeStore.open(Path(settings.store))
    annotations = Path(settings.annotations) if settings.annotations else store.path / ANNOTATIONS
    proposals = Path(settings.proposals) if settings.proposals else store.path / PROPOSALS
    lock = writer_lock(annotations.with_name(f"{annotations.name}.lock"), str(annotations))
    try:
        review = Review(store, annotations, proposals)
        with make_server(review, settings.port) as server:
            address = f"http://127.0.0.1:{server.server_port}/"
            print(f"{len(store)} episodes of {store.path}; saving to {annotations}", flush=True)
            print(f"{address}   (Ctrl-C ends)", flush=True)
            if settings.browser:
                webbrowser.open(address)
            server.serve_forever()
    finally:
        lock.release()

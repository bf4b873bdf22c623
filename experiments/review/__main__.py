"""Review an episode store's segments in the browser, on this machine alone.

    python -m experiments.review STORE [--annotations FILE] [--proposals FILE] [--port 8321] [--no-browser]

Shows each episode with the intervals proposed by `experiments/propose_segments.py` (STORE/proposals.json, if there) and
saves rows (episode, type, m, n) to STORE/annotations.csv. The page's keys are listed on it. docs/gvl.md has a picture.
"""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from episodes.annotations import ANNOTATIONS
from episodes.files import writer_lock
from episodes.stopping import refusing
from episodes.store import EpisodeStore
from experiments.review.server import PROPOSALS, Review, make_server


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="folder of an episode store")
    parser.add_argument("--annotations", type=Path, help=f"csv file to read and save; default STORE/{ANNOTATIONS}")
    parser.add_argument("--proposals", type=Path, help=f"json file of proposals; default STORE/{PROPOSALS}")
    parser.add_argument("--port", type=int, default=8321, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    with refusing("review"):
        serve(args)
    return 0


def serve(args: argparse.Namespace) -> None:
    """Show the page until Ctrl-C."""
    store = EpisodeStore.open(args.store)
    annotations = args.annotations or args.store / ANNOTATIONS
    lock = writer_lock(annotations.with_name(f"{annotations.name}.lock"), str(annotations))
    try:
        review = Review(store, annotations, args.proposals or args.store / PROPOSALS)
        with make_server(review, args.port) as server:
            address = f"http://127.0.0.1:{server.server_port}/"
            print(
                f"{len(store)} episodes of {store.path}; saving to {annotations}\n{address}   (Ctrl-C ends)", flush=True
            )
            if not args.no_browser:
                webbrowser.open(address)
            server.serve_forever()
    finally:
        lock.release()


if __name__ == "__main__":
    raise SystemExit(main())

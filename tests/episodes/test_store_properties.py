"""Whatever fails, wherever: a store opens with exactly its committed episodes, whole, in order, and goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from episodes.files import TEMPORARY
from episodes.store import EpisodeStore
from episodes.types import Episode
from tests.helpers.some_episodes import assert_same, make_episode, make_spec

SPEC = make_spec(image_size=(4, 4), cameras=("front",))
POINTS = {  # everything that reaches the disk on the way of an append or an opening
    "fsync": (os, "fsync"),
    "rename": (os, "replace"),
    "unlink": (os, "unlink"),
    "open": (os, "open"),
    "rows": (pq.ParquetWriter, "write_table"),
    "table": (pq, "write_table"),
    "bytes": (Path, "write_bytes"),
}


class Crash(BaseException):
    """The process is gone: nothing it would do after this point reaches the disk."""


@dataclass
class Fault:
    """Fail at the `at`-th operation: before it takes effect or after, once or from then on, as an error or a crash."""

    at: int
    after: bool
    lasting: bool
    crash: bool

    seen: int = 0
    happened: bool = False

    def around(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            self.seen += 1
            now = self.seen == self.at or (self.happened and (self.crash or self.lasting))
            first, self.happened = not self.happened, self.happened or now
            if not now:
                return real(*args, **kwargs)
            if self.after and first:
                real(*args, **kwargs)
            raise Crash if self.crash else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return operation

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for place, name in POINTS.values():
                stack.enter_context(mock.patch.object(place, name, self.around(getattr(place, name))))
            yield


FAULTS = st.builds(Fault, st.integers(1, 24), st.booleans(), st.booleans(), st.booleans())
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 3), st.none() | FAULTS),
        st.tuples(st.just("reopen"), st.just(0), st.none() | FAULTS),
    ),
    min_size=1,
    max_size=8,
)


@pytest.fixture(autouse=True, scope="module")
def _no_waiting_for_the_disk() -> Iterator[None]:
    with mock.patch.object(os, "fsync", lambda handle: None):
        yield


def episodes_from(first: int, n: int) -> list[Episode]:
    return [make_episode(first + i, 1 + (first + i) % 3, spec=SPEC) for i in range(n)]


def holds(path: Path, expected: list[Episode], decode: bool = False) -> bool:
    """Whether a fresh reader finds exactly these episodes; anything but a whole append more or less is a failure."""
    store = EpisodeStore(path)
    if len(store) != len(expected):
        return False
    for row, mine, rewards in zip(store.index, expected, store.column("rewards"), strict=True):
        assert row["seed"] == mine.provenance.seed
        np.testing.assert_array_equal(rewards, mine.rewards)
    for mine, theirs in zip(expected, store) if decode else ():
        assert_same(mine, theirs)
    return True


def scramble(path: Path, draw: Callable[[int], int]) -> None:
    """What a crash may do to files that were not yet synced and renamed."""
    for file in sorted(path.rglob(f"{TEMPORARY}*")):
        what = draw(3)
        if what == 0:
            file.unlink()
        elif what == 1:
            os.truncate(file, draw(file.stat().st_size + 1))


def play(path: Path, operations: list[tuple[str, int, Fault | None]], draw: Callable[[int], int]) -> None:
    """Run the operations; after each, the store on disk holds `committed` and nothing else."""
    EpisodeStore.create(path, SPEC).close()
    writer, committed, made = EpisodeStore(path, "a"), [], 0
    for what, n, fault in operations:
        fresh = episodes_from(made, n)
        made += n
        outcome = "done"
        if what == "reopen":
            writer.close()
        try:
            with fault.armed() if fault else contextlib.nullcontext():
                if what == "append":
                    writer.append(fresh)
                else:
                    writer = EpisodeStore(path, "a")
        except Crash:
            outcome = "crash"
        except (ValueError, OSError) as error:
            assert fault and fault.happened, f"nothing failed, yet {error!r}"
            assert isinstance(error, ValueError) and "\n" not in str(error) and str(path) in str(error), repr(error)
            outcome = "error"
        dead = outcome == "crash" or writer._lock is None
        if outcome == "done" or (dead and what == "append" and holds(path, committed + fresh)):
            committed += fresh  # a crash after the rename is a commit; an error is none while the writer lives
        assert holds(path, committed)
        if dead:
            writer.close()
            scramble(path, draw)
            assert holds(path, committed)
            writer = EpisodeStore(path, "a")
            assert not list(path.rglob(f"{TEMPORARY}*"))
        assert len(writer) == len(committed)
    last = episodes_from(made, 2)
    if writer._lock is None:
        writer = EpisodeStore(path, "a")
    writer.append(last)
    writer.close()
    assert holds(path, committed + last, decode=True)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(OPERATIONS, st.randoms(use_true_random=False))
def test_committed_episodes_survive_any_failure(operations: list[Any], random: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder, "store"), operations, random.randrange)


@pytest.mark.parametrize(
    ("kind", "after"), [("crash", False), ("crash", True), ("error once", True), ("error that lasts", False)]
)
def test_every_single_operation_of_an_append_may_fail(tmp_path: Path, kind: str, after: bool) -> None:
    for at in range(1, 40):
        fault = Fault(at, after, kind != "error once", kind == "crash")
        play(tmp_path / f"{at}", [("append", 2, None), ("append", 1, fault), ("append", 1, None)], lambda n: n // 2)
        if not fault.happened:
            assert at > 15, "an append has more operations than that"
            return
    pytest.fail("an append has fewer operations than that")


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.data())
def test_orphans_are_ignored_and_removed(groups: list[int], data: Any) -> None:
    """Files without an index row (and temporary ones) change nothing for readers; the next writer clears them away."""
    with tempfile.TemporaryDirectory() as folder:
        path, committed = Path(folder, "store"), []
        with EpisodeStore.create(path, SPEC) as writer:
            for n in groups:
                committed += (fresh := episodes_from(len(committed), n))
                writer.append(fresh)
        for part in ("data", "foresight/final"):
            number = data.draw(st.integers(len(groups), 2500))
            orphan = path / part / f"chunk-{number // 1000:03d}" / f"file-{number % 1000:03d}.parquet"
            orphan.parent.mkdir(parents=True, exist_ok=True)
            orphan.write_bytes(data.draw(st.binary(max_size=20)))
        kept = path / "data" / "notes.parquet"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(b"not ours")
        assert holds(path, committed) and orphan.exists()
        EpisodeStore(path, "a").close()
        assert holds(path, committed) and not orphan.exists() and kept.exists()

"""Progress: lines in a file, bars on a terminal, and what worker processes say of theirs."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import textwrap

import pytest

from episodes import progress as module
from episodes.progress import advance, along, progress, under
from episodes.workers import map_jobs
from tests import ROOT


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Everything that would be drawn."""
    said: list[dict] = []

    class Board:
        def draw(self, one: dict) -> None:
            said.append(one)

        def forget_workers(self) -> None:
            said.append({"forgotten": True})

    monkeypatch.setattr(module, "_board", Board())
    monkeypatch.setattr(module, "SENT_EVERY", 0.0)
    return said


def test_a_bar_says_its_name_and_its_count(drawn: list[dict]) -> None:
    with under("awr"), progress("policy", total=3, done=1) as bar:
        bar.advance()
        advance("awr: policy")
        advance("nobody's")
    assert [(one["name"], one["done"], one["ended"]) for one in drawn] == [
        ("awr: policy", 1, False), ("awr: policy", 2, False), ("awr: policy", 3, False), ("awr: policy", 3, True),
    ]  # fmt: skip
    assert all(one["total"] == 3 and one["first"] == 1 for one in drawn)


def test_a_quiet_bar_and_a_finished_one_say_nothing(drawn: list[dict]) -> None:
    for bar_of in (progress("a", 2, quiet=True), progress("b", 2, done=2), progress("c", 0)):
        with bar_of as bar:
            bar.advance()
    assert not drawn


def test_a_file_gets_whole_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    lines = module._Lines()
    for done, since in ((0, 0.0), (10, 10.0), (31, 31.0), (40, 40.0), (62, 62.0)):
        lines.draw({"key": "1", "name": "viva", "done": done, "total": 100, "ended": False, "since": since, "first": 0})
    lines.draw({"key": "1", "name": "viva", "done": 100, "total": 100, "ended": True, "since": 100.0, "first": 0})
    lines.draw({"key": "2", "name": "short", "done": 5, "total": 5, "ended": True, "since": 2.0, "first": 0})
    assert out.getvalue().splitlines() == [
        "  viva: 31 of 100, about 1:09 left", "  viva: 62 of 100, about 0:38 left", "  viva: 100 of 100, 1:40",
    ]  # fmt: skip


def test_the_time_left_leaves_out_what_was_there_before(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    said = {"key": "1", "name": "viva", "done": 60, "total": 100, "ended": False, "since": 40.0, "first": 50}
    module._Lines().draw(said)
    assert out.getvalue() == "  viva: 60 of 100, about 2:40 left\n"


def counted(job: int) -> int:
    with under(f"arm {job}"), progress("policy", total=2) as bar:
        bar.advance(2)
        advance("trials")
    return os.getpid()


def test_workers_are_heard_and_forgotten(drawn: list[dict]) -> None:
    with progress("trials", total=4):
        pids = set(map_jobs(counted, range(4), workers=2))
    assert os.getpid() not in pids
    heard = [one for one in drawn if "name" in one]
    assert {one["name"] for one in heard} == {"trials", *(f"arm {job}: policy" for job in range(4))}
    assert max(one["done"] for one in heard if one["name"] == "trials") == 4
    assert {"forgotten": True} in drawn and module.SOCKET not in os.environ


SCRIPT = textwrap.dedent("""
    import sys, time
    from episodes.progress import progress
    print("before", flush=True)
    with progress("collect", total=3) as bar:
        for _ in range(3):
            time.sleep(0.35)
            bar.advance()
    print("rich" in sys.modules, flush=True)
""")


def test_in_a_file_nothing_is_drawn_and_rich_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("before\nFalse\n", "")


def test_on_a_terminal_a_named_bar_is_drawn_and_output_in_a_file_stays_there() -> None:
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert done.stdout == "before\nTrue\n"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert "collect" in plain and re.search(r"[123]/3", plain) and "left" in plain
    assert "\x1b[?25h" in shown  # the cursor is back


def test_items_are_counted_along_the_way(drawn: list[dict]) -> None:
    assert list(along("scoring", ["a", "b"])) == ["a", "b"]
    assert [(one["done"], one["ended"]) for one in drawn] == [(0, False), (1, False), (2, False), (2, True)]


def test_what_got_lost_on_the_way_is_made_up_for_and_nothing_is_counted_past_the_end(drawn: list[dict]) -> None:
    with progress("episodes", total=5) as bar:
        bar.advance()
        bar.reach(3)
        bar.reach(2)
        assert bar.done == 3
        bar.advance(9)
        assert bar.done == 5

"""Marked segments: the csv file, proposals of a model, and the truth curves they give."""

import json
from pathlib import Path

import numpy as np
import pytest

from episodes.annotations import Segment, check_segments, read_annotations, truth_curve, write_annotations
from episodes.returns import annotated_return, progress_return
from tests.helpers.vlm_server import made_episode, read_parts, said, serving
from valuefns.gvl.backends import make_backend
from valuefns.gvl.segments import Proposal, SegmentQuestion, propose, read_proposal
from valuefns.gvl.settings import BackendConfig


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    known = {3: (Segment("hesitation", 4, 9), Segment("retry", 12, 20)), 0: (), 7: (Segment("failure", 5, 5),)}
    write_annotations(path, known)
    assert path.read_text() == (
        "episode,type,m,n\n0,expert,,\n3,hesitation,4,9\n3,retry,12,20\n7,failure,5,5\n"
    )  # fmt: skip
    assert read_annotations(path) == {0: (), 3: known[3], 7: known[7]}


def test_further_columns_stay(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    path.write_text("episode,type,m,n,task,split\n0,retry,4,9,lift,test\n1,expert,-1,-1,stack,train\n")
    known = read_annotations(path)
    assert known == {0: (Segment("retry", 4, 9),), 1: ()}
    write_annotations(path, known | {0: (Segment("hesitation", 5, 9),), 2: (Segment("retry", 1, 2),)})
    assert path.read_text().splitlines()[1:] == [
        "0,hesitation,5,9,lift,test",
        "1,expert,,,stack,train",
        "2,retry,1,2,,",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'episode'"),
        ("episode,type,m\n", "no column 'n'"),
        ("episode,type,m,n\n0,pause,1,2\n", "line 2: pause,1,2 is no type,m,n"),
        ("episode,type,m,n\n0,retry,1,2\n0,retry,9,2\n", "line 3: retry,9,2"),
        ("episode,type,m,n\nx,retry,1,2\n", "line 2: episode is 'x'"),
        ("episode,type,m,n\n0,retry,1\n", "line 2 has another number of fields"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"a.csv: .*{message}"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([Segment("hesitation", 0, 5)], r"\[0, 5\] of 20 frames; it needs 0 < m < n < 19"),
        ([Segment("retry", 5, 19)], "it needs 0 < m < n < 19"),
        ([Segment("pause", 5, 9)], "type is 'pause'"),
        ([Segment("retry", 5, 9), Segment("hesitation", 9, 12)], r"\[9, 12\] overlaps"),
        ([Segment("failure", 5, 20)], "failure"),
    ],
)
def test_segments_must_fit(segments: list[Segment], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_segments(segments, 20)


def test_truth_curves() -> None:
    np.testing.assert_array_equal(truth_curve([Segment("retry", 8, 12)], 40), annotated_return(40, 8, 12, "retry"))
    np.testing.assert_allclose(truth_curve([], 40), progress_return(40))
    many = truth_curve([Segment("retry", 20, 25), Segment("hesitation", 8, 12)], 40)
    assert many.shape == (40,) and many[0] == 0 and many[-1] == 1
    assert np.ptp(many[8:13]) == 0 and (np.diff(many[20:26]) < 0).all() and many[7] < many[8]
    with pytest.raises(ValueError, match="failure has no progress"):
        truth_curve([Segment("failure", 8, 12)], 40)


def reply(*segments: object, **more: object) -> str:
    return json.dumps({"non_progress_segments": segments, "task_completed": True, "summary": "Lifts it.", **more})


def test_proposals_are_taken_as_said_or_not_at_all() -> None:
    good = {"start_frame": 12, "end_frame": 20, "type": "Retry", "description": "misses"}
    first = {"start_frame": 3, "end_frame": 8, "description": "waits"}
    bad = [{"start_frame": 0, "end_frame": 4}, {"start_frame": 9, "end_frame": 9}, {"start_frame": 5, "end_frame": 29}]
    bad += [{"start_frame": "5", "end_frame": 6}, 7]  # type: ignore[list-item]
    found = read_proposal(f"```json\n{reply(good, *bad, first)}\n```", 30)
    assert found == Proposal(
        (Segment("hesitation", 3, 8, "waits"), Segment("retry", 12, 20, "misses")), 5, True, "Lifts it."
    )
    assert read_proposal(reply(), 30).segments == ()
    for unreadable in ("I see no problem.", '{"segments": []}', reply(good)[:-30], "[1, 2]"):
        assert read_proposal(unreadable, 30).segments is None


def test_proposals_over_http(tmp_path: Path) -> None:
    good = {"start_frame": 12, "end_frame": 20, "type": "retry", "description": "misses"}
    script = [said(reply(good)[:-20]), said(reply(good), "length")]
    with serving(lambda parts: reply(good), script) as server:
        backend = make_backend(BackendConfig(model="tiny", url=server.url, key_env="", cache="", concurrency=1))
        (proposal,) = propose(backend, [made_episode(0, T=40)], SegmentQuestion(fps=2.0))
        assert proposal.segments == (Segment("retry", 12, 20, "misses"),) and len(server.bodies) == 3
        labels = [p for p in read_parts(server.bodies[0]) if isinstance(p, str)]
        assert labels[:3] == ["[frame=0]", "[frame=6]", "[frame=11]"] and labels[-2] == "[frame=39]"
        assert "40 frames at 10 frames per second" in labels[-1]
    with serving(lambda parts: "no") as server:
        backend = make_backend(BackendConfig(model="tiny", url=server.url, key_env="", cache=""))
        assert propose(backend, [made_episode(0)], SegmentQuestion(attempts=2)) == [Proposal(None)]
        assert len(server.bodies) == 2

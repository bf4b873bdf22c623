"""What models really write, read without inventing a number."""

import numpy as np
import pytest

from valuefns.gvl.parsing import parse_choice, parse_json, parse_percentages
from valuefns.gvl.prefixes import parse_score

N = None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Frame 1: Frame Description: up, Task Completion Percentages:30%\nFrame 2: x; Completion: 45.5%", [30, 45.5]),
        ("Frame 3: c; Task completion: 9%\nFrame 1: a; Task completion: 1%", [1, N, 9]),  # reordered, one missing
        ("**Frame 2**: d; **Task completion**: 40-50%\n- **Frame 1:** like frame 2; Task completion: N/A", [N, 45]),
        ("Frame 1: open, Task completion: between 30% and 40%\nFrame 2: 10% to 20%", [35, 15]),
        ("Frame 1: Task completion: 12,5 %\nFrame 2: Task completion: -5%\nFrame 3: 120%", [12.5, N, N]),
        ("Frame 1: 0.35\nFrame 2: 0.9\nFrame 3: 0", [35, 90, 0]),  # shares
        ("Frame 1: 0.35%\nFrame 2: 0.9%", [0.35, 0.9]),  # not shares
        ("Frame 1: 0\nFrame 2: 1", [0, 1]),  # could be either: as written
        ('```json\n[{"frame": 1, "seen": "a", "completion": 30}, {"frame": 2, "progress": "45%"}]\n```', [30, 45]),
        ('{"1": 10, "2": null, "3": 30.5}', [10, N, 30.5]),
        ('{"frames": [{"frame": "Frame 2", "percentage": 7}]}', [N, 7]),
        ('{"frames": {"frame_1": {"completion": 3}, "frame_2": true}}', [3, N]),
        ("1. 30%\n2. 45%", [30, 45]),
        ("| Frame | Seen | % |\n|--|--|--|\n| 1 | arm | 30% |\n| 2 | cube | 31% |", [30, 31]),
        ("Frames 1-3: about 20 percent\nFrame 4: the cube is 5 cm up; Task completion: ~60%", [20, 20, 20, 60]),
        ("Frame 1: x, completion: 50%. Frame 2: y, completion: 60%. Frame 3: z", [50, 60, N]),
        ("Frame 1: 80% open drawer; task completion: unknown", [N]),
        ("Frame 1: drawer 80% open, the rest is unknown", [N]),
        ("Frame 1: 2 of 4 steps. Task completion: 50% (so 50 % done, 3 left)", [50]),
        ("Frame 1: the robot moved 3 blocks", [N]),
        ("Frame 1 - gripper closed - 35%\nFrame 2 – open – 10%", [35, 10]),
        ("Task completion percentages:\nFrame 1: 5 %\nFrame 2: 50 %", [5, 50]),
        ("First I think frame 1 is like frame 2.\nFrame 1: 10%\nFrame 2: 20%\nCorrected:\nFrame 1: 15%", [15, 20]),
        ("Frame 0: 3%\nFrame 3: 4%", [N, N]),  # frames nobody asked about
        ("Frame 2: like frame 1, but later, 7%\nFrame 1: unlike frame 3 - it is open; completion: 5%", [5, 7, N]),
        ("I'm sorry, I can't help with that.", [N, N]),
        ("", [N]),
        ("Frames 1-99999999: 10%", [N]),
    ],
)  # fmt: skip
def test_percentages(text: str, expected: list[float | None]) -> None:
    np.testing.assert_allclose(parse_percentages(text, len(expected)), [np.nan if e is N else e for e in expected])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Frame 1: Task completion: 30%\nFrame 2: Task completion: 4", [30, N]),  # perhaps 40
        ("Frame 1: Task completion: 30%\nFrame 2: Task completion: 40%", [30, 40]),
        ('[{"frame": 1, "completion": 30}, {"frame": 2, "completion": 4', [30, N]),
        ("Frame 1: 30%\nFrame 2: 4", [30, N]),
    ],
)
def test_an_answer_that_was_cut_off_loses_its_last_number(text: str, expected: list[float | None]) -> None:
    np.testing.assert_allclose(parse_percentages(text, 2, cut=True), [np.nan if e is N else e for e in expected])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Yes", True), ("**No.**", False), ("It lifts the cube, so yes it moves.\nBut it falls.\n\nNo", False),
     ("Yes or No", None), ("perhaps", None), ("", None), ("Notable", None)],
)  # fmt: skip
def test_choices(text: str, expected: bool | None) -> None:
    assert parse_choice(text, {"Yes": True, "No": False}) is expected


@pytest.mark.parametrize(
    ("text", "score"),
    [("Score: 4", 4), ("4", 4), ("**5/5**", 5), ("The score is 3.", 3), ("Score: 45", N), ("Score: 2\nScore: 3", 3),
     ("6", N), ("Score: 3.5", N), ("Score: **1**", 1), ("no idea", N)],
)  # fmt: skip
def test_scores(text: str, score: float | None) -> None:
    np.testing.assert_equal(parse_score(text), np.nan if score is N else score)


def test_json_with_words_around_it() -> None:
    assert parse_json('Sure [1]!\n```json\n{"a": [1, 2]}\n``` done') == [1]
    assert parse_json('Sure!\n```json\n{"a": [1, 2]}\n``` done') == {"a": [1, 2]}
    assert parse_json('{"a": [1, 2') is None
    assert parse_json("none") is None

"""Chains of thought are no answers, used-up budgets stop paying, and every provider's error keeps its words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.some_episodes import make_episode
from tests.helpers.vlm_server import completion, said, serving
from valuefns.gvl.backends import make_backend
from valuefns.gvl.method import GVL
from valuefns.gvl.parsing import parse_percentages, without_reasoning
from valuefns.gvl.questions import Question
from valuefns.gvl.settings import BackendConfig, GVLConfig

DRAFT = "Frame 1: maybe 90%? Frame 2: 20%, not sure"
ANSWER = "Frame 1: 11%\nFrame 2: 12%"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"<think>{DRAFT}</think>\n{ANSWER}", ANSWER),
        (f"{DRAFT}</think>\n{ANSWER}", ANSWER),  # the template opened it
        (f"<think>{DRAFT}", ""),
        (f"<thinking>{DRAFT}", ""),
        (f"[THINK]{DRAFT}[/THINK]{ANSWER}", ANSWER),
        (f"[THINK]{DRAFT}", ""),
        (f"<seed:think>{DRAFT}</seed:think>{ANSWER}", ANSWER),
        (f"<seed:think>{DRAFT}", ""),
        (f"<|begin_of_thought|>{DRAFT}<|end_of_thought|>{ANSWER}", ANSWER),
        (f"<|begin_of_thought|>{DRAFT}", ""),
        (f"<|channel|>commentary<|message|>{DRAFT}", ""),
        (f"<|channel|>analysis<|message|>{DRAFT}<|channel|>final<|message|>{ANSWER}", ANSWER),
        (f"<|channel|>analysis<|message|>{DRAFT}", ""),
        (ANSWER, ANSWER),
    ],
)
def test_what_stands_in_a_chain_of_thought_is_no_answer(text: str, left: str) -> None:
    assert without_reasoning(text).strip() == left
    values = parse_percentages(without_reasoning(text), 2)
    assert np.isnan(values).all() if not left else values.tolist() == [11.0, 12.0]


def _gvl(url: str, tmp_path: Path, **changes: Any) -> GVL:
    backend = BackendConfig(model="tiny", url=url, key_env="", cache=str(tmp_path / "c"), tries=1, concurrency=1)
    return GVL(GVLConfig(frames=4, backend=backend, **changes))


@pytest.mark.parametrize("message", [{"content": f"<think>{DRAFT}"}, {"content": None, "reasoning_content": DRAFT}])
def test_a_budget_used_up_by_reasoning_stops_paying_and_says_so(tmp_path: Path, message: dict[str, Any]) -> None:
    with serving(lambda parts: {"message": message, "finish_reason": "length"}) as server:
        value = _gvl(server.url, tmp_path, max_tokens=64)
        episodes = [make_episode(seed, 6) for seed in range(5)]
        for _ in range(2):  # the second time from the cache, for nothing
            with pytest.raises(ValueError, match=r"max_tokens=64 was used up by its reasoning.*raise max_tokens"):
                value.score_all(episodes)
        assert len(server.bodies) == 1
        server.answer = lambda parts: "\n".join(f"Frame {i}: {10 * i}%" for i in range(1, 5))
        more = _gvl(server.url, tmp_path, max_tokens=128)  # the way out works
        assert np.isfinite(more.score(episodes[0])).all()


def test_an_answer_that_is_cut_off_is_not_asked_for_again(tmp_path: Path) -> None:
    with serving(lambda parts: "", [said("Frame 1: 5%\nFrame 2: 3", "length")]) as server:
        value = _gvl(server.url, tmp_path)
        told = next(iter(value.predict([make_episode(0, 6)])))
        assert len(server.bodies) == told.asked == 1 and value.backend.usage.cut == 1
        assert np.isfinite(told.progress).sum() == 1


BODIES: dict[str, tuple[Any, str]] = {
    "a list (Google)": ([{"error": {"code": 400, "message": "Bad argument: frames"}}], "Bad argument: frames"),
    "flat (vLLM)": ({"object": "error", "message": "Bad argument: frames", "code": 400}, "Bad argument: frames"),
    "detail (FastAPI)": ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
    "errors (Cloudflare)": ({"errors": [{"message": "Bad argument: frames"}]}, "Bad argument: frames"),
    "upstream (OpenRouter)": (
        {"error": {"message": "Provider returned error", "metadata": {"raw": "no such tool"}}},
        "Provider returned error.*no such tool",
    ),
    "Message (AWS)": ({"Message": "Bad argument: frames"}, "Bad argument: frames"),
    "a text": (b"Bad argument: frames", "Bad argument: frames"),
    "a key": ([{"error": {"message": "API key not valid."}}], "API key not valid.*check the key"),
}


@pytest.mark.parametrize("shape", BODIES)
def test_an_error_keeps_its_words_whatever_its_shape(tmp_path: Path, shape: str) -> None:
    body, words = BODIES[shape]
    with serving(lambda parts: "", [lambda h, parts, b: h.send(400, body)]) as server:
        with pytest.raises(ValueError, match=words):
            make_backend(BackendConfig(model="m", url=server.url, key_env="", cache="", tries=1)).ask(
                [Question(("q",))]
            )


@pytest.mark.parametrize(
    "words",
    [
        "At most 3 image(s) may be provided in one prompt.",
        "Too many images provided. This model supports up to 3 images",
        "The maximum number of images is 3",
        "more than 3 images are not supported",
    ],
)
def test_a_limit_of_pictures_is_named_and_keeping_to_it_works(tmp_path: Path, words: str) -> None:
    """The stub counts the pictures as such a server does; asking with as many fewer as the message says succeeds."""

    def limited(handler: Any, parts: list[Any], body: dict[str, Any]) -> None:
        n = sum(not isinstance(p, str) for p in parts)
        if n > 3:
            handler.send(400, {"object": "error", "message": words, "code": 400})
        else:
            handler.send(200, completion("ok"))

    picture = np.zeros((4, 4, 3), np.uint8)
    with serving(lambda parts: "", [limited] * 2) as server:
        backend = make_backend(BackendConfig(model="m", url=server.url, key_env="", cache="", tries=1))
        with pytest.raises(ValueError, match=r"at most 3 pictures in a prompt, this one has 5 .*2 fewer: lower frames"):
            backend.ask([Question((*[picture] * 5, "q"))])
        assert backend.ask([Question((*[picture] * 3, "q"))])[0].text == "ok"

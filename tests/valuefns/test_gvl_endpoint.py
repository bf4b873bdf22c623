"""The OpenAI-compatible backend against a real HTTP server: nothing lost, nothing invented, nothing paid twice."""

import json
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests import ROOT
from tests.helpers.vlm_server import Server, cut_body, cut_json, hang_up, said, serving, slow, status, well
from valuefns.gvl.backends import make_backend
from valuefns.gvl.questions import Question
from valuefns.gvl.settings import BackendConfig

KEY = "sk-secret-0123456789"


def config(server: Server | str, tmp_path: Path, **changes: object) -> BackendConfig:
    url = server if isinstance(server, str) else server.url
    settings = {"model": "tiny", "url": url, "key_env": "", "cache": str(tmp_path / "cache"), "backoff": 0.01}
    return BackendConfig(**(settings | changes))  # type: ignore[arg-type]


def questions(n: int) -> list[Question]:
    return [Question((f"question {i}", np.full((4, 6, 3), i, np.uint8)), 50) for i in range(n)]


def echo(parts: list) -> str:
    return f"answer to {parts[0]}"


def test_bad_answers_are_asked_for_again_and_none_is_lost_or_invented(tmp_path: Path) -> None:
    script = [status(429, "slow down", {"Retry-After": "0.2"}), status(500), cut_json, cut_body, hang_up, slow(0.6)]
    script += [status(503), status(200, "upstream is down", code=502), said(None), said("a web page", "strange")]
    with serving(echo, [well, *script]) as server:
        backend = make_backend(config(server, tmp_path, timeout=0.3, concurrency=4))
        answers = backend.ask(questions(12))
    assert len(server.bodies) == 12 + 8
    texts = [a.text for a in answers]
    assert sum(t == "" for t in texts) == 1 and sum(t == "a web page" for t in texts) == 1  # as they were said
    assert all(t in ("", "a web page", f"answer to question {i}") for i, t in enumerate(texts))
    assert backend.usage.retries == {"busy": 1, "broken": 5, "slow": 1, "unreachable": 1}
    assert server.at_once <= 4
    assert (answers[0].prompt_tokens, answers[0].completion_tokens) == (100, 10)
    report = backend.report()
    assert (report["answers"], report["cached"], report["prompt_tokens"], report["dollars"]) == (12, 0, 1200, None)


def test_the_cache_makes_a_second_run_free_and_equal_questions_are_asked_once(tmp_path: Path) -> None:
    asked = [*questions(3), *questions(3)]
    with serving(echo) as server:
        settings = config(server, tmp_path, price_in=2.0, price_out=10.0)
        first = make_backend(settings)
        a = first.ask(asked)
        assert len(server.bodies) == 3 and first.report()["dollars"] == pytest.approx((300 * 2 + 30 * 10) / 1e6)
        second = make_backend(settings)
        b = second.ask(asked)
        assert len(server.bodies) == 3 and a == b
        report = second.report()
        assert (report["answers"], report["dollars"], report["cached_prompt_tokens"]) == (0, 0.0, 300)
        # everything that makes an answer makes another question
        brighter = Question((asked[0].parts[0], asked[0].parts[1] + 1), 50)
        others = [brighter, Question(asked[0].parts, 51), Question(asked[0].parts, 50, attempt=1)]
        second.ask(others)
        make_backend(config(server, tmp_path, model="other")).ask(asked[:1])
        make_backend(config(server, tmp_path, temperature=0.5)).ask(asked[:1])
        assert len(server.bodies) == 3 + 5


def test_an_interrupted_run_keeps_what_it_got_and_continues_with_the_rest(tmp_path: Path) -> None:
    with serving(echo, [*[well] * 5, *[status(500)] * 3]) as server:
        settings = config(server, tmp_path, tries=3, concurrency=1)
        with pytest.raises(ValueError, match=r"HTTP 500 after 3 tries; run the same command again later") as error:
            make_backend(settings).ask(questions(9))
        assert "\n" not in str(error.value) and len(server.bodies) == 5 + 3
        backend = make_backend(settings)
        answers = backend.ask(questions(9))
        assert [a.text for a in answers] == [f"answer to question {i}" for i in range(9)]
        assert len(server.bodies) == 5 + 3 + 4 and backend.usage.cached == 5


def test_answers_under_way_when_another_fails_are_kept(tmp_path: Path) -> None:
    with serving(echo, [slow(0.3), status(400, "unknown parameter")]) as server:
        backend = make_backend(config(server, tmp_path, concurrency=2))
        with pytest.raises(ValueError, match="refuses the request"):
            backend.ask(questions(8))
        assert len(server.bodies) <= 4 and backend.usage.answers >= 1
        assert len(list((tmp_path / "cache").rglob("*.json"))) == backend.usage.answers


def test_a_failure_ends_a_long_list_of_questions_at_once(tmp_path: Path) -> None:
    with serving(echo, [status(401)] * 8) as server, pytest.raises(ValueError, match="refuses a request"):
        make_backend(config(server, tmp_path, concurrency=4)).ask(questions(200))
    assert len(server.bodies) <= 8


def test_a_damaged_answer_is_named_and_not_believed(tmp_path: Path) -> None:
    with serving(echo) as server:
        make_backend(config(server, tmp_path)).ask(questions(1))
        (file,) = (tmp_path / "cache").rglob("*.json")
        file.write_text(file.read_text().replace("answer to question", "answer to no question"))
        with pytest.raises(ValueError, match=rf"{file.name}: its answer is not what was written.*remove this file"):
            make_backend(config(server, tmp_path)).ask(questions(1))
        file.write_text("{")
        with pytest.raises(ValueError, match=file.name):
            make_backend(config(server, tmp_path)).ask(questions(1))


def test_refusals_and_cut_answers_are_told_apart(tmp_path: Path) -> None:
    refusal = {"message": {"content": None, "refusal": "I will not."}}
    script = [said(refusal), said("", "content_filter"), said("Frame 1: 4", "length")]
    thought = {"type": "reasoning", "text": "Frame 1: 90%?"}
    parts = [thought, {"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]
    script.append(said({"message": {"content": parts}}))
    with serving(echo, script) as server:
        backend = make_backend(config(server, tmp_path, concurrency=1))
        answers = backend.ask(questions(4))
    assert [(a.finish, a.text) for a in answers] == [
        ("refusal", "I will not."), ("refusal", ""), ("length", "Frame 1: 4"), ("stop", "in parts")
    ]  # fmt: skip
    assert backend.usage.refusals == 2


def test_rate_limit_and_retry_after_hold_everybody(tmp_path: Path) -> None:
    with serving(echo) as server:
        make_backend(config(server, tmp_path, per_minute=1200, concurrency=8)).ask(questions(5))
        assert np.ptp(server.times) > 0.15, "five at 20 a second take 0.2 s; one may reach a busy server late"
    with serving(echo, [status(429, "", {"Retry-After": "0.4"})]) as server:
        make_backend(config(server, tmp_path / "b", concurrency=1)).ask(questions(2))
        assert server.times[1] - server.times[0] > 0.38


def test_what_is_sent(tmp_path: Path) -> None:
    with serving(echo) as server:
        settings = config(server, tmp_path, token_limit="max_completion_tokens", temperature=None, image_format="png")
        image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
        make_backend(settings).ask([Question(("a", image, "b"), 77, first_token=True)])
        (body,) = server.bodies
    content = body.pop("messages")[0]["content"]
    assert body == {"model": "tiny", "max_completion_tokens": 77, "logprobs": True, "top_logprobs": 20}
    assert [c["type"] for c in content] == ["text", "image_url", "text"]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert "Authorization" not in server.headers[0]


def test_the_key_comes_from_the_environment_and_shows_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    netrc = tmp_path / "netrc"  # an entry for the host must not replace the key
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    caplog.set_level(logging.DEBUG)
    shown = []
    script = [well, status(400, f"bad request with key {KEY}"), status(401, f"Incorrect API key provided: {KEY}")]
    with serving(lambda parts: f"I know {KEY}", [*script, *[status(500, f"{KEY} failed")] * 2]) as server:
        settings = config(server, tmp_path, key_env="MY_KEY", tries=2)
        for i in range(4):
            backend = make_backend(settings)
            try:
                backend.ask(questions(4)[i : i + 1])
            except ValueError as error:
                shown.append(f"{error}{error.__cause__}{error.__context__}")
            shown += [repr(backend), str(vars(backend.config)), json.dumps(backend.report())]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert len(shown) == 4 * 3 + 3
    files = [p.read_text() for p in tmp_path.rglob("*.json")]
    assert files and not any(KEY in text for text in [*shown, *files, caplog.text, *capfd.readouterr()])
    assert any("[key]" in text for text in shown)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (status(401, "bad key"), r"refuses a request without a key.*check the key"),
        (status(404, "no model tiny"), r"no model 'tiny'.*check backend.url"),
        (status(400, "tiny is not a multimodal model"), "takes no images.*choose a vision-language model"),
        (status(400, "This model's maximum context length is 4096 tokens"), "does not fit the context.*lower frames"),
        (status(400, "x", code="context_length_exceeded"), "does not fit the context"),
        (status(413, "too large"), "does not fit the context"),
        (status(429, "You exceeded your quota", code="insufficient_quota"), "no credit left.*top it up"),
        (status(400, "logprobs are not supported"), "no log probabilities"),
        (status(301), "redirect"),
        (status(400, "two\nlines " + 999 * "x"), "refuses the request"),
    ],
)
def test_what_asking_again_cannot_mend_is_one_line_at_once(tmp_path: Path, reply: object, message: str) -> None:
    with serving(echo, [reply]) as server:  # type: ignore[list-item]
        with pytest.raises(ValueError, match=message) as error:
            make_backend(config(server, tmp_path)).ask(questions(1))
        assert "\n" not in str(error.value) and len(str(error.value)) < 500 and len(server.bodies) == 1


def test_wrong_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"127.0.0.1:9.*cannot be reached \(Connection refused\); check the url"):
        make_backend(config("http://127.0.0.1:9/v1", tmp_path, backoff=60)).ask(questions(1))
    with serving(echo) as server:
        with pytest.raises(ValueError, match=r"check backend\.url"):
            make_backend(config(server.url.removesuffix("/v1"), tmp_path)).ask(questions(1))
    page = [lambda h, parts, body: h.send(200, b"<html>Welcome</html>")] * 2
    with serving(echo, page) as server, pytest.raises(ValueError, match="answers with a web page; check the url"):
        make_backend(config(server, tmp_path, tries=2)).ask(questions(1))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ValueError, match="OPENAI_API_KEY is not set; export your key"):
        make_backend(config("http://127.0.0.1:9/v1", tmp_path, key_env="OPENAI_API_KEY"))
    with pytest.raises(ValueError, match=r"backend.model is empty"):
        make_backend(config("http://127.0.0.1:9/v1", tmp_path, model=""))


@pytest.mark.parametrize(
    "field", [{"key_env": KEY}, {"url": f"https://host/v1?key={KEY}"}, {"url": f"https://{KEY}@h"}]
)
def test_a_key_in_the_settings_is_refused_without_repeating_it(field: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="key") as error:
        BackendConfig(**field)  # type: ignore[arg-type]
    assert KEY not in str(error.value)


def test_an_interrupt_keeps_what_came(tmp_path: Path) -> None:
    """Ctrl-C while requests wait for a busy endpoint: the process ends soon, the answers it has are on disk."""
    import signal
    import subprocess
    import sys
    import time
    from functools import partial

    code = (
        "import sys\n"
        "import numpy as np\n"
        "from valuefns.gvl.backends import make_backend\n"
        "from valuefns.gvl.questions import BackendConfig, Question\n"
        "c = BackendConfig(model='tiny', url=sys.argv[1], key_env='', cache=sys.argv[2], concurrency=2, backoff=60)\n"
        "qs = [Question((f'question {i}', np.full((4, 6, 3), i, np.uint8)), 50) for i in range(6)]\n"
        "make_backend(c).ask(qs)\n"
    )
    with serving(echo, [well, well, *[status(503)] * 9]) as server:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, server.url, str(tmp_path / "cache")]
        heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background inherits "ignore"
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, preexec_fn=heeds)
        until = time.monotonic() + 60
        while len(server.bodies) < 4 and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=28)  # the pauses under way are of 30 s or more
        assert process.returncode != 0 and b"KeyboardInterrupt" in errors
        kept = list((tmp_path / "cache").rglob("*.json"))
        assert len(kept) == 2 and all(re.fullmatch(r"[0-9a-f]{64}", p.stem) for p in kept)
        server.script.clear()
        backend = make_backend(config(server, tmp_path))
        assert [a.text for a in backend.ask(questions(6))] == [f"answer to question {i}" for i in range(6)]
        assert backend.usage.cached == 2


# --- an endpoint that means no good -----------------------------------------------------------------------------------


def test_replies_are_bounded_in_time_and_size(tmp_path: Path) -> None:
    """A reply given byte by byte, one that unpacks to a gigabyte, one nested without end."""
    import gzip
    import threading
    import time

    from tests.helpers.vlm_server import Handler

    given_up = threading.Event()

    def drips(h: Handler, parts: list, body: dict) -> None:
        h.send_response(200)
        h.send_header("Content-Length", "100000")
        h.end_headers()
        try:
            for _ in range(600):  # each byte comes in time, the reply does not
                h.wfile.write(b" ")
                time.sleep(0.1)
        except OSError:
            given_up.set()

    packed = gzip.compress(bytes(100 << 20))

    def bomb(h: Handler, parts: list, body: dict) -> None:
        h.send(200, packed, {"Content-Encoding": "gzip"})

    def deep(h: Handler, parts: list, body: dict) -> None:
        h.send(200, b"[" * 100_000)

    def false_gzip(h: Handler, parts: list, body: dict) -> None:
        h.send(200, b"no gzip", {"Content-Encoding": "gzip"})

    for reply, seconds, words in (
        (drips, 0.5, r"no answer within 0\.5 s"),
        (bomb, 20, "answers with more than 16 MB"),
        (deep, 20, "its answers are not readable json"),
        (false_gzip, 20, "its answers break off"),
    ):
        with serving(echo, [reply] * 2) as server:
            with pytest.raises(ValueError, match=words):
                make_backend(config(server, tmp_path, timeout=seconds, tries=2)).ask(questions(1))
            assert reply is not drips or given_up.wait(50)


def test_a_key_that_comes_back_as_a_token_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    tokens = [{"token": KEY, "logprob": -0.1, "top_logprobs": [{"token": f"x{KEY}", "logprob": -0.5}]}]
    message = {"message": {"content": "yes"}, "logprobs": {"content": tokens}}
    with serving(lambda parts: message) as server:
        backend = make_backend(config(server, tmp_path, key_env="MY_KEY"))
        (answer,) = backend.ask([Question(("q",), 5, first_token=True)])
    assert answer.first_token == {"[key]": -0.1, "x[key]": -0.5}
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY in p.read_text()]

"""Any OpenAI-compatible endpoint: concurrent requests, a rate limit, back-off, and errors that say what to do."""

from __future__ import annotations

import base64
import io
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import Any

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from episodes.files import one_line
from valuefns.gvl.backend import Backend, Keep
from valuefns.gvl.pace import RateLimiter, Stopped
from valuefns.gvl.questions import Answer, Part, Question
from valuefns.gvl.replies import Again, read_reply
from valuefns.gvl.settings import BackendConfig

MOST = 16 << 20  # bytes of an answer, unpacked


class Endpoint(Backend):
    """POST {url}/chat/completions, images as data URLs, the key from the environment variable `key_env` alone.

    Busy (429), broken (5xx, connections that fall, bodies cut short) and slow answers are asked for again, at most
    `tries` times, with growing pauses or the one the endpoint names. The key is in no message, file or report.
    Errors: ValueError at once for what asking again cannot fix, and when the tries are used up: the answers that came
    are kept, the same command continues with the rest.
    """

    def __init__(self, config: BackendConfig) -> None:
        super().__init__(config)
        if not config.model:
            raise ValueError("vision-language model: backend.model is empty; name the model of the endpoint")
        self._key = os.environ.get(config.key_env, "").strip() if config.key_env else ""
        if config.key_env and not self._key:
            raise ValueError(
                f"vision-language model: the environment variable {config.key_env} is not set; export your key in it, "
                "or set backend.key_env='' for an endpoint that wants none"
            )
        if not (self._key.isascii() and self._key.isprintable()):
            raise ValueError(
                f"vision-language model: the key in {config.key_env} has characters no key has; copy it again"
            )
        self._url = config.url.rstrip("/") + "/chat/completions"
        self._pace = RateLimiter(config.per_minute)
        self._local = threading.local()
        self._reached = False

    @property
    def identity(self) -> dict[str, Any]:
        config = self.config
        facts = {"kind": "openai", "url": config.url.rstrip("/"), "model": config.model}
        return facts | {"temperature": config.temperature, "image_format": config.image_format}

    @property
    def together(self) -> int:
        return 2 * self.config.concurrency

    def _answers(self, questions: Sequence[Question], keep: Keep) -> None:
        self._pace.resume()
        with ThreadPoolExecutor(self.config.concurrency, "vlm") as pool:
            try:
                futures = [pool.submit(self._answered, i, q, keep) for i, q in enumerate(questions)]
                for future in as_completed(futures):
                    with suppress(Stopped):  # because of another one, whose error comes
                        future.result()
            finally:  # an error or an interrupt waits for what is under way, which is paid for, and for nothing else
                self._pace.stop()
                pool.shutdown(wait=True, cancel_futures=True)

    def _answered(self, i: int, question: Question, keep: Keep) -> None:
        try:
            keep(i, self._answer(question))
        except ValueError:
            self._pace.stop()  # before this thread takes the next question
            raise

    def _answer(self, question: Question) -> Answer:
        body = self._body(question)
        for attempt in range(self.config.tries):
            if attempt:
                self._pace.back_off(self.config.backoff, attempt)
            self._pace.wait()
            try:
                answer = self._post(body, sum(not isinstance(part, str) for part in question.parts))
                self._reached = True
                return answer
            except Again as reason:
                last = reason
                self._retried(reason.kind)
                self._pace.hold(reason.seconds)
                if reason.kind == "unreachable" and not self._reached:
                    break  # nobody has answered yet: most likely the address is wrong
        raise ValueError(self._clean(f"{self.config.url}: {last.message}; {last.remedy}"))

    def _post(self, body: dict[str, Any], pictures: int) -> Answer:
        try:
            reply = self._session().post(
                self._url, json=body, timeout=(10.0, self.config.timeout), allow_redirects=False, auth=self._sign,
                stream=True,
            )  # fmt: skip
            with reply:
                self._read(reply, time.monotonic() + self.config.timeout)
        except requests.Timeout:
            raise Again("slow", f"no answer within {self.config.timeout:g} s", _LATER) from None
        except requests.exceptions.SSLError as error:
            raise ValueError(
                self._clean(f"{self.config.url}: no trusted connection ({error}); check the url")
            ) from None
        except requests.exceptions.ChunkedEncodingError:
            raise Again("broken", "its answers break off", _LATER) from None
        except requests.ConnectionError as error:
            reason = _root(error)
            raise Again(
                "unreachable", f"cannot be reached ({reason})", "check the url and that it is running"
            ) from None
        return read_reply(reply, self.config, self._hide, pictures)

    def _read(self, reply: requests.Response, deadline: float) -> None:
        """Read the reply's body, unpacked, for a limited time and up to MOST bytes: whatever an endpoint sends."""
        parts, size = [], 0
        try:
            while part := reply.raw.read1(1 << 16, decode_content=True):
                parts.append(part)
                size += len(part)
                if size > MOST:
                    raise ValueError(f"{self.config.url}: answers with more than {MOST >> 20} MB; check the url")
                if time.monotonic() > deadline:
                    raise requests.Timeout
        except ReadTimeoutError:
            raise requests.Timeout from None
        except HTTPError as error:  # urllib3's: cut off, or not packed as it says
            raise requests.exceptions.ChunkedEncodingError(error) from None
        # where `reply.content` and `reply.text` look for it; what is read whole leaves the connection open
        reply._content, reply._content_consumed = b"".join(parts), True  # type: ignore[attr-defined]

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        session: requests.Session = self._local.session
        return session

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # as an auth object: a header alone would lose to a .netrc entry for the host
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request

    def _body(self, question: Question) -> dict[str, Any]:
        content = [self._part(p) for p in question.parts]
        body: dict[str, Any] = {"model": self.config.model, "messages": [{"role": "user", "content": content}]}
        body[self.config.token_limit] = question.max_tokens
        if self.config.temperature is not None:
            body["temperature"] = self.config.temperature
        if question.first_token:
            body |= {"logprobs": True, "top_logprobs": 20}
        return body

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        from PIL import Image

        buffer = io.BytesIO()
        options: dict[str, Any] = {"quality": 92} if self.config.image_format == "jpeg" else {"compress_level": 4}
        Image.fromarray(part).save(buffer, self.config.image_format, **options)
        data = base64.b64encode(buffer.getvalue()).decode()
        return {"type": "image_url", "image_url": {"url": f"data:image/{self.config.image_format};base64,{data}"}}

    def _clean(self, message: str) -> str:
        return one_line(self._hide(message))

    def _hide(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


_LATER = "run the same command again later, the answers that came are kept"


def _root(error: BaseException) -> str:
    """The innermost reason of a connection error, in words."""
    inner: Any = error
    while isinstance(inner, BaseException):
        found = inner
        reason = getattr(inner, "reason", None)
        inner = reason if isinstance(reason, BaseException) else inner.__cause__ or inner.__context__ or None
    return getattr(found, "strerror", None) or type(found).__name__

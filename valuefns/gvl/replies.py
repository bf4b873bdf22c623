"""Reading what an endpoint sent: an answer, a reason to ask again, or an error that says what to do."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from episodes.files import one_line
from valuefns.gvl.questions import Answer
from valuefns.gvl.settings import BackendConfig

_LONGEST_HOLD = 120.0  # seconds; an endpoint that asks for more is tried again before
_BUSY = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_LONG = ("context_length", "context length", "maximum context", "context window", "too many tokens", "too long",
         "max_model_len", "maximum number of tokens", "input length")  # fmt: skip
_LIMIT = re.compile(  # "At most 8 image(s) may be provided in one prompt", "supports up to 5 images"
    r"at most (\d+) (?:image|picture)|up to (\d+) (?:image|picture)"
    r"|(?:max\w*|limit)[^.\d]*(?:image|picture)[^.\d]*(\d+)"
    r"|(?:max\w*|limit)[^.\d]*(\d+) (?:image|picture)|more than (\d+) (?:image|picture)"
)
_TOO_MANY = ("too many image", "too many picture", "number of images", "image count")
_KEY = re.compile(r"api[ _-]?key|credential|unauthenticated")
_NO_IMAGES = ("image", "multimodal", "multi-modal", "vision", "content must be a string", "expected a string")


class Again(Exception):
    """A reason to make the request again: kind for the count, words for the message, seconds to hold everybody."""

    def __init__(self, kind: str, message: str, remedy: str, seconds: float = 0.0) -> None:
        super().__init__(message)
        self.kind, self.message, self.remedy, self.seconds = kind, message, remedy, seconds


def read_reply(
    reply: requests.Response, config: BackendConfig, hide: Callable[[str], str], pictures: int = 0
) -> Answer:
    """The answer in a reply of {url}/chat/completions; raises Again, or ValueError where asking again is no use.

    `hide` takes secrets out of what the endpoint says; pictures: how many the prompt has.
    """
    status = reply.status_code
    raw = _json(reply)
    if isinstance(raw, list) and raw and isinstance(raw[0], dict) and "error" in raw[0]:
        raw = raw[0]  # Google's endpoint puts the error into a list
    error = raw.get("error") if isinstance(raw, dict) else None
    if isinstance(raw, dict) and raw.get("object") == "error":  # vLLM's older form
        error = error or raw
    if status != 200 or error:
        _refuse(status, error, raw, reply, config, hide, pictures)
    if raw is None:
        html = reply.text.lstrip()[:1] == "<"
        message = "answers with a web page" if html else "its answers are not readable json"
        remedy = "check the url (it usually ends in /v1)" if html else "run the same command again later"
        raise Again("broken", message, remedy)
    try:
        answer = _answer(raw)
        first = {hide(token): chance for token, chance in answer.first_token.items()}
        return replace(answer, text=hide(answer.text), first_token=first)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise Again("broken", "its answers are no chat completions", "check the url (it usually ends in /v1)") from None


def _json(reply: requests.Response) -> Any:
    try:
        return json.loads(reply.content)
    except (ValueError, RecursionError):
        return None


def _answer(raw: Any) -> Answer:
    choice = raw["choices"][0]
    message = choice["message"]
    content = message.get("content")
    if isinstance(content, list):
        parts = [p for p in content if isinstance(p, dict) and p.get("type", "text") in ("text", "output_text")]
        content = "".join(p.get("text", "") for p in parts)  # the others are its reasoning
    if content is not None and not isinstance(content, str):
        raise ValueError
    reason = choice.get("finish_reason")
    refused = bool(message.get("refusal")) or reason == "content_filter"
    text = content or (message.get("refusal") if refused else "") or ""
    usage = raw.get("usage") if isinstance(raw.get("usage"), dict) else {}
    return Answer(
        text,
        "refusal" if refused else "length" if reason == "length" else "stop",
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _first_token(choice.get("logprobs")),
    )


def _first_token(logprobs: Any) -> dict[str, float]:
    entries = (logprobs or {}).get("content") or []
    if not entries:
        return {}
    listed = [*(entries[0].get("top_logprobs") or []), entries[0]]
    return {str(e["token"]): float(e["logprob"]) for e in reversed(listed)}


def _count(value: Any) -> int:
    return value if type(value) is int and value >= 0 else -1


def _refuse(
    status: int,
    error: Any,
    raw: Any,
    reply: requests.Response,
    config: BackendConfig,
    hide: Callable[[str], str],
    pictures: int,
) -> None:
    """Raise what an error reply means."""
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
    said = one_line(hide(_message(error) or _message(raw) or _plain(reply)))[:300]
    if status == 200:  # some gateways put the upstream's failure into a success
        number = error.get("code") if isinstance(error, dict) else None
        status = number if isinstance(number, int) and 400 <= number < 600 else 502
    low = f"{code} {said}".lower()
    quoted = f': "{said}"' if said else ""
    where = config.url
    if "insufficient_quota" in low:
        raise ValueError(f"{where}: the account has no credit left{quoted}; top it up, the answers that came are kept")
    if status in _BUSY or status >= 500:
        busy = "run the same command again later, the answers that came are kept"
        kind = "busy" if status == 429 else "broken"
        raise Again(kind, f"HTTP {status}{quoted} after {config.tries} tries", busy, _hold(reply))
    if status in (401, 403) or (status == 400 and _KEY.search(low)):
        holder = f"the key in {config.key_env}" if config.key_env else "a request without a key (set backend.key_env)"
        raise ValueError(f"{where}: refuses {holder} (HTTP {status}{quoted}); check the key and what it may use")
    if 300 <= status < 400:
        raise ValueError(f"{where}: answers with a redirect (HTTP {status}); give the final url in backend.url")
    if status in (404, 405):
        raise ValueError(
            f"{where}: no chat completions or no model {config.model!r} there (HTTP {status}{quoted}); check "
            "backend.url (it usually ends in /v1) and backend.model"
        )
    if status == 413 or any(word in low for word in _LONG):
        raise ValueError(
            f"{where}: the prompt does not fit the context of {config.model!r} (HTTP {status}{quoted}); lower frames, "
            "shots or image_size, or choose a model with a longer context"
        )
    if "logprob" in low:
        raise ValueError(f"{where}: {config.model!r} tells no log probabilities{quoted}; use valuefn=gvl or roboreward")
    if (limit := _LIMIT.search(low)) is not None:
        n = next(group for group in limit.groups() if group)
        fewer = f"ask with {pictures - int(n)} fewer: " if pictures > int(n) else ""
        raise ValueError(
            f"{where}: {config.model!r} takes at most {n} pictures in a prompt, this one has {pictures} "
            f"(HTTP {status}{quoted}); {fewer}lower frames (or shots), or raise the server's own limit"
        )
    if any(word in low for word in _TOO_MANY):
        raise ValueError(
            f"{where}: {pictures} pictures in a prompt are too many for {config.model!r} (HTTP {status}{quoted}); "
            "lower frames (or shots), or raise the server's own limit"
        )
    if any(word in low for word in _NO_IMAGES):
        raise ValueError(
            f"{where}: {config.model!r} takes no images (HTTP {status}{quoted}); choose a vision-language model"
        )
    raise ValueError(
        f"{where}: refuses the request (HTTP {status}{quoted}); see backend.token_limit, backend.temperature and "
        "backend.model"
    )


_TEXTS = ("message", "detail", "msg", "error", "errors", "error_description", "title", "reason")


def _message(said: Any, depth: int = 0) -> str:
    """The words of an error in whatever shape a provider sends it, with the upstream's where a gateway adds them."""
    if isinstance(said, str):
        return said.strip()
    if depth > 4:
        return ""
    if isinstance(said, list):
        return "; ".join(text for text in (_message(part, depth + 1) for part in said[:3]) if text)
    if not isinstance(said, dict):
        return ""
    lower = {str(key).lower(): value for key, value in said.items()}
    found = next((text for key in _TEXTS if (text := _message(lower.get(key), depth + 1))), "")
    metadata = lower.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    return f"{found} ({raw.strip()})" if isinstance(raw, str) and raw.strip() else found


def _plain(reply: requests.Response) -> str:
    """The first line of a body that is neither JSON nor a web page."""
    text = reply.text.strip()
    return "" if text[:1] in ("<", "{", "[") else text.partition("\n")[0]


def _hold(reply: requests.Response) -> float:
    """Seconds the Retry-After header asks for, a number or a date."""
    header = reply.headers.get("Retry-After", "")
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except (TypeError, ValueError):
            return 0.0
    return min(max(seconds, 0.0), _LONGEST_HOLD) if seconds == seconds else 0.0

"""A connection to a server of this project, or to another one that speaks openpi's websocket protocol."""

from __future__ import annotations

import time
from typing import Any

from episodes.wire import MAX_MESSAGE, REMOTE_EXTRA, unpack

CONNECT = 10.0  # s, for which a server is tried
RETRY = 0.5  # s between two tries


class ServerError(ConnectionError):
    """The server does not answer, or not as agreed: nothing is known about what it serves."""


def connect(url: str, seconds: float) -> tuple[Any, Any]:
    """A connection and what the server says first, its metadata; tried again while `seconds` last.

    ServerError: it cannot be reached, or sends no metadata. ValueError: the address is none.
    """
    try:
        from websockets.exceptions import InvalidURI, WebSocketException
        from websockets.sync.client import connect as opened
    except ImportError as error:
        raise ImportError(f"servers are asked through websockets; install it with: {REMOTE_EXTRA}") from error
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), 0.1)
        try:
            connection = opened(
                url,
                open_timeout=left,
                compression=None,
                max_size=MAX_MESSAGE,
                ping_interval=None,  # a server that thinks for long is no dead one; timeouts are our own
                proxy=None,
                close_timeout=1.0,
            ).__enter__()
            break
        except InvalidURI as error:
            raise ValueError(f"server {url!r}: give ws://host:port") from error
        except (OSError, WebSocketException) as error:
            if time.monotonic() + RETRY > deadline:
                raise ServerError(f"{url}: cannot be reached ({error or type(error).__name__})") from error
            time.sleep(RETRY)  # it may be starting
    try:
        return connection, unpack(connection.recv(timeout=max(deadline - time.monotonic(), 0.1)))
    except (OSError, ValueError, WebSocketException) as error:
        connection.close()
        raise ServerError(f"{url}: sent no metadata ({error or type(error).__name__})") from error

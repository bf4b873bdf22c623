"""Who may knock at a server of this project: programs, no web pages, and on this machine's own address under its name.

A browser sends the Origin of the page it shows with every websocket; programs send none. A page whose name was bent to
this machine (DNS rebinding) still says its own name as Host.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

PINGS = 100  # control frames a second that a client may send


def guard(host: str) -> Callable[[Any, Any], Any]:
    """What `websockets` asks before a handshake: None to go on, else the response that refuses it.

    GET /healthz is answered OK, as openpi's server does. A server that listens on this machine alone is asked for by an
    address or as localhost.
    """

    def process_request(connection: Any, request: Any) -> Any:
        if request.headers.get("Origin") is not None:
            return connection.respond(HTTPStatus.FORBIDDEN, "web pages are not served\n")
        if is_own(host) and not is_own(named(request.headers.get("Host", ""))):
            return connection.respond(HTTPStatus.FORBIDDEN, "this server is for its own machine: ask for 127.0.0.1\n")
        return connection.respond(HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None

    return process_request


def unflooded() -> Any:
    """The connections of a `websockets` server, each ended where it sends more than PINGS control frames a second.

    They are answered in the loop that all clients share, so that a flood of them would keep everybody else waiting.
    """
    from websockets.asyncio.server import ServerConnection
    from websockets.frames import CTRL_OPCODES, Frame

    class Connection(ServerConnection):
        second, heard = 0.0, 0

        def process_event(self, event: Any) -> None:
            super().process_event(event)
            if isinstance(event, Frame) and event.opcode in CTRL_OPCODES:
                now = time.monotonic()
                if now > self.second + 1.0:
                    self.second, self.heard = now, 0
                self.heard += 1
                if self.heard > PINGS:
                    self.transport.abort()

    return Connection


def named(host: str) -> str:
    """The name or address of a Host header, without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def is_own(name: str) -> bool:
    """Whether a name or address is that of this machine for itself."""
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

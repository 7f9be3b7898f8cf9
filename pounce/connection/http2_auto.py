"""`--http2`: HTTP/2 or HTTP/1.1 for each new connection, by ALPN over TLS, else by the first bytes.

Runs on the worker's loop, until the choice is made. An HTTP/1.1 `Upgrade: h2c` plays no part in it: RFC 9113 has
dropped it. Implements RFC 9113 sections 3.2 and 3.3; compatible with uvicorn's AutoZttpProtocol.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, ClassVar

from pounce.connection.base import HttpConnection, Phase
from pounce.connection.flow import FlowControl
from pounce.connection.http2 import HTTP2Protocol
from pounce.connection.peer import is_ssl
from pounce.connection.state import ServerState
from pounce.contracts import ConfigView
from pounce.wire.http2_frames import PREFACE


class Negotiator(HttpConnection):
    """A connection whose protocol is not known yet. Subclasses (`negotiator`) name the class for HTTP/1.1."""

    alpn_protocols: ClassVar[list[str]] = ["h2", "http/1.1"]
    http1_class: ClassVar[type[Any]]

    def __init__(
        self,
        config: ConfigView,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """See `HttpConnection`."""
        super().__init__(config, server_state, app_state, _loop)
        self._first_bytes = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; over TLS it has said already what it wants."""
        self.transport = transport
        if is_ssl(transport):
            ssl_object = transport.get_extra_info("ssl_object")
            self._become(ssl_object is not None and ssl_object.selected_alpn_protocol() == "h2")
            return
        self.flow = FlowControl(transport)  # for whoever looks after connections: nothing is sent here
        self.connections.add(self)
        if self.sweeps_idle:
            self.phase = Phase.NEWLY_IDLE
        else:
            self.start_keepalive()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone before it said anything."""
        self._leave()

    def data_received(self, data: bytes) -> None:
        """The first bytes: HTTP/2's preface, a part of it, or something else."""
        self._first_bytes += data
        first = self._first_bytes
        if len(first) < len(PREFACE) and PREFACE.startswith(first):
            return
        self._become(_is_http2(first), first)

    def close(self) -> None:
        """There is nothing to finish."""
        if not self.transport.is_closing():
            self.transport.close()

    def shutdown(self) -> None:
        """Asked by the server."""
        self.close()

    def shutdown_when_idle(self) -> None:
        """Asked by a worker that is replaced: the first request may be on its way, and ends the connection."""
        self.retiring = True

    def _leave(self) -> None:
        self.connections.discard(self)
        self.unset_keepalive()

    def _become(self, http2: bool, first_bytes: bytes = b"") -> None:
        self._leave()
        protocol_class: type[Any] = HTTP2Protocol if http2 else self.http1_class
        protocol = protocol_class(
            config=self.config, server_state=self.server_state, app_state=self.app_state, _loop=self.loop
        )
        protocol.accepted_at = self.accepted_at
        if self.retiring:
            protocol.retiring = True
        if self.origin is not None:
            protocol.origin = self.origin
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if first_bytes:
            protocol.data_received(first_bytes)


def _is_http2(first: bytes) -> bool:
    """Whether the peer speaks HTTP/2, be it wrongly: then it gets its answer in frames (RFC 9113 section 3.4).

    A first line that is no request line of HTTP/1.1 is an invalid preface, and so is one that begins like the real one.
    """
    if first.startswith(PREFACE[:4]):
        return True
    line, line_end, _ = first.partition(b"\n")
    return bool(line_end) and bool(line.strip()) and b" HTTP/" not in line


@cache
def negotiator(http1_class: type[Any]) -> type[Negotiator]:
    """The class that chooses between HTTP/2 and this class for HTTP/1.1; always the same one for the same class."""
    return type(f"Http2Or{http1_class.__name__}", (Negotiator,), {"http1_class": http1_class})

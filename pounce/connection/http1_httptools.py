"""`--http httptools`: HTTP/1.1 on httptools. Knows only which wire to use."""

from __future__ import annotations

from pounce.connection.http1 import HTTP1Protocol
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http1_httptools import HttpToolsWire
from pounce.wire.response_fields import STATUS_LINE

__all__ = ["STATUS_LINE", "HttpToolsProtocol", "RequestResponseCycle"]


class HttpToolsProtocol(HTTP1Protocol):
    """HTTP/1.1 parsed by httptools."""

    wire_class = HttpToolsWire
    sends_length_of_500 = True
    holds_requests_back = False

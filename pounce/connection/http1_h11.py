"""`--http h11`: HTTP/1.1 on h11. Knows only which wire to use."""

from __future__ import annotations

from pounce.connection.http1 import HTTP1Protocol
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http1_h11 import H11Wire
from pounce.wire.response_fields import STATUS_PHRASES

__all__ = ["STATUS_PHRASES", "H11Protocol", "RequestResponseCycle"]


class H11Protocol(HTTP1Protocol):
    """HTTP/1.1 parsed by h11."""

    wire_class = H11Wire

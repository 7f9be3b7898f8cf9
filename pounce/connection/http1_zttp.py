"""`--http zttp`: HTTP/1.1 on zttp. Knows only which wire to use."""

from __future__ import annotations

from pounce.connection.http1 import HTTP1Protocol
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http1_zttp import ZttpWire

__all__ = ["RequestResponseCycle", "ZttpProtocol"]


class ZttpProtocol(HTTP1Protocol):
    """HTTP/1.1 parsed by zttp."""

    wire_class = ZttpWire

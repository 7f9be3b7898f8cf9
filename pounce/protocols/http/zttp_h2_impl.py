"""uvicorn's path for HTTP/2, which needs zttp there, and here hpack."""

from pounce.connection.http2 import HTTP2Protocol as ZttpH2Protocol
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http2_requests import CONNECTION_FIELDS as FORBIDDEN_HEADERS

__all__ = ["FORBIDDEN_HEADERS", "RequestResponseCycle", "ZttpH2Protocol"]

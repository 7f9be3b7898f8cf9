"""What the wires have in common whose library writes the responses too: `http1_h11` and `http1_zttp`."""

from __future__ import annotations

from typing import Any

from pounce.wire.http1 import Http1Sink
from pounce.wire.response_fields import ResponseBody
from pounce.wire.strictness import Headers, Rules


class LibraryWire:
    """A wire that is its own encoder, on a library that keeps the state of both sides (`conn`)."""

    def __init__(self, sink: Http1Sink, conn: Any, rules: Rules) -> None:
        self.sink = sink
        self.rules = rules
        self.encoder: Any = self
        self.conn = conn
        self.counter = ResponseBody()

    def origin_form(self, method: str, target: bytes, headers: Headers) -> bytes:
        """See `Http1Wire.origin_form`. uvicorn: the target is taken as it is."""
        path = self.rules.origin_form(method, target, headers)
        return target if path is None else path

    def body(self, data: bytes, more_body: bool) -> bytes:
        """See `Http1Encoder.body`."""
        raise NotImplementedError

    def large_body(self, data: bytes, more_body: bool) -> list[bytes]:
        """See `Http1Encoder.large_body`."""
        return [self.body(data, more_body)]

    def takes(self, size: int) -> bool:
        """See `Http1Encoder.takes`."""
        return self.counter.takes(size)

    def around(self, size: int) -> tuple[bytes, bytes] | None:
        """See `Http1Encoder.around`. A library that counts the bytes itself has to see them."""
        return None

    @property
    def is_short(self) -> bool:
        """See `Http1Encoder.is_short`."""
        return self.counter.is_short

    @property
    def dropped_body(self) -> bool:
        """See `Http1Encoder.dropped_body`."""
        return self.counter.dropped

    @dropped_body.setter
    def dropped_body(self, dropped: bool) -> None:
        self.counter.dropped = dropped

    def closed(self) -> None:
        """See `Http1Wire.closed`."""
        self.sink = self.encoder = None  # type: ignore[assignment]  # no reference cycle is left

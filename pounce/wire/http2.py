"""The contract between HTTP/2's wires and their connection: bytes in become sink calls, answers become frames.

One wire serves one connection. It knows no transport, no clock and no app. There are two: `http2_native`, which is
fast, and `http2_h2`, which is small, the h2 library doing the work. Answers to: RFC 9113, RFC 8441 section 3, RFC 9218
section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from pounce.settings import Http2
from pounce.wire.http2_limits import Budget
from pounce.wire.http2_requests import RequestHead
from pounce.wire.http2_scheduler import Http2Stream
from pounce.wire.response_fields import Headers


class Http2Sink(Protocol):
    """What a wire tells about the bytes it was fed, in the order of the bytes."""

    @property
    def stream_class(self) -> Callable[[Any, int, int, int], Http2Stream]:
        """Makes the object of a stream: from the sink, the stream's id, and its windows to send and receive."""

    def on_request(self, stream: Any, head: RequestHead) -> None:
        """A request's head. It is the whole request where `stream.remote_open` is false."""

    def on_body(self, stream: Any, data: bytes) -> None:
        """A part of its body: call `consumed` when the app has read it."""

    def on_end(self, stream: Any) -> None:
        """The request is complete."""

    def on_reset(self, stream: Any) -> None:
        """The stream is over before its time: reset by the client, or by us because the client broke the protocol."""

    def on_goaway(self) -> None:
        """The client opens no more streams."""


class Http2Wire(Protocol):
    """The server's end of one HTTP/2 connection. Begin with `start`."""

    #: What is to be written, in pieces; `has_large` says that joining them would copy much.
    out: list[Any]
    has_large: bool
    #: Bytes of bodies in `out`. `paused`: the transport takes no more, so bodies are queued. Set by the connection.
    out_size: int
    paused: bool
    #: The streams that are open, or half closed. While a request is told, the connection may put another object in
    #: the place of its stream.
    streams: dict[int, Http2Stream]
    #: Bytes of bodies that wait for the client or for `pump`, and of those that were sent so far.
    queued_size: int
    sent_size: int
    #: Apps that still run although their streams were reset. Set by the connection.
    lingering: int
    #: What the client may still ask for. The connection tells them the time, unless their `spent` is 0.
    control: Budget
    resets: Budget

    def __init__(self, sink: Http2Sink, limits: Http2, allows_connect_protocol: bool) -> None:
        """`allows_connect_protocol`: extended CONNECT (RFC 8441) is announced and taken."""

    def start(self) -> None:
        """The server's preface: its settings (RFC 9113 section 3.4)."""

    def feed(self, data: bytes) -> None:
        """Take bytes from the peer. Raises ConnectionFault, after which the wire must not be fed again: `end` it.

        A stream's fault is answered here and told as `on_reset`. The order of checks follows RFC 9113.
        """

    def closed(self) -> None:
        """The connection is gone. Breaks the cycles of references that would keep it in memory."""

    def take_out(self) -> list[Any]:
        """The pieces to write, which are then no longer in `out`."""

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """The app has read `size` bytes: the client may send as many more, and is told so in good time."""

    def send_head(
        self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
    ) -> int | None:
        """Send a response's head; returns the Content-Length it declares.

        Raises MisusedByApp for what no response may carry (`response_fields`), before anything has changed.
        """

    def send_informational(self, stream: Http2Stream, status: int, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Send an interim response (RFC 9113 section 8.1). Raises MisusedByApp."""

    def send_data(
        self,
        stream: Http2Stream,
        data: bytes,
        end: bool,
        trailers: Headers | None = None,
        breaks_off: bool = False,
    ) -> None:
        """Send a part of the body, as far as windows and order allow, and queue the rest for `pump`.

        With `end`, the stream ends after it: with `trailers` if there are any (they must have been checked). Where the
        body `breaks_off`, it is reset after it instead: the client must not take a part for the whole (RFC 9113
        section 8.1.1).
        """

    @property
    def has_ready(self) -> bool:
        """Whether `pump` would find something to do. Not where `queued_size` is 0."""

    def pump(self, room: int) -> None:
        """Move up to `room` bytes of queued bodies (and a frame more) to `out`, in the order of their priorities."""

    def reset(self, stream_id: int, code: int) -> None:
        """End a stream from our side, whatever its state."""

    def announce_end(self) -> None:
        """A first GOAWAY: streams that are on their way are still answered (RFC 9113 section 6.8)."""

    def end(self, code: int = 0, reason: str = "") -> None:
        """The last GOAWAY: it names the last stream that was taken; later ones are not."""

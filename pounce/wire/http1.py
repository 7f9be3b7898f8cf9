"""The contract between an HTTP/1.1 parser and its connection: bytes in become sink calls, messages in become bytes.

One wire serves one connection. It knows no transport, no clock and no app. Implements RFC 9112.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from pounce.wire.strictness import Headers, Rules


def error_fields(defaults: Iterable[tuple[bytes, bytes]] = (), length: int | None = None) -> Headers:
    """The fields of a response to what could not be parsed."""
    declared = [] if length is None else [(b"content-length", b"%d" % length)]
    return [*defaults, (b"content-type", b"text/plain; charset=utf-8"), *declared, (b"connection", b"close")]


class Http1Sink(Protocol):
    """What a wire tells about the bytes it was fed, in the order of the bytes."""

    def on_request(
        self,
        method: str,
        target: bytes,
        http_version: str,
        headers: Headers,
        keep_alive: bool,
        expect_continue: bool,
        has_body: bool,
        upgrade: bytes | None,
    ) -> bool:
        """A request head is complete. Header names are in lower case, `upgrade` too (None: no upgrade asked for).

        With `has_body`, `on_body` and `on_end` follow (it may turn out to be empty); else the request is complete.

        Returns True where the connection leaves HTTP/1.1 with this request (a WebSocket upgrade that is taken): the
        wire then stops parsing, and what followed the head is in `trailing_data`.
        """

    def on_body(self, data: bytes) -> None:
        """Decoded body bytes of the latest request."""

    def on_end(self, trailers: int) -> None:
        """The latest request is complete; so many trailers were dropped."""

    def on_pause(self) -> None:
        """Bytes of a further request are waiting for `start_next()`."""


class Http1Encoder(Protocol):
    """Messages in, bytes out, for the responses of one connection. Only what differs between parsers, dialect included
    (uvicorn's differ, and users see it)."""

    #: A body was sent with a 204 or 304, which have none: it was left out. Whoever reports it sets it back to False.
    dropped_body: bool

    @property
    def is_short(self) -> bool:
        """Whether the body of the response that was begun last ended before its Content-Length; then the connection
        ends with it (`close_after_response`), which is how the client learns of it (RFC 9112 section 8)."""

    @property
    def close_after_response(self) -> bool:
        """Whether the connection ends with the response that was begun last (it says so, or the request did)."""

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """Bytes of a response head. Raises MisusedByApp for what no response may carry (`response_fields`), before
        anything has changed: another head, of a 500, can be sent in its place."""

    def body(self, data: bytes, more_body: bool) -> bytes:
        """Bytes of a part of the response body; all of them, also where more were declared (`is_short`).

        Raises MisusedByApp for more bytes than were declared. What is sent as the body of a response that has none is
        left out: to HEAD, as it must be, without a word, with 204 and 304 `dropped_body` says so.
        """

    def large_body(self, data: bytes, more_body: bool) -> list[bytes]:
        """As `body`, in pieces: so that a large part need not be copied between its frame."""

    def takes(self, size: int) -> bool:
        """Whether a part of the body of so many bytes, at least one, is to be sent: not where the response has none.
        Raises as `body` does; nothing has changed then, nor is the part counted yet."""

    def around(self, size: int) -> tuple[bytes, bytes] | None:
        """The bytes before and behind a part of the body that is written past the encoder and that it `takes`, and
        behind which more may follow. None: the encoder has to see the part itself (`body`)."""

    def continue_100(self) -> bytes:
        """Bytes of `100 Continue` (RFC 9110 section 15.2.1)."""

    def early_hint(self, fields: Headers) -> bytes:
        """Bytes of a `103 Early Hints` with these fields (RFC 8297), before the head of a response."""

    def end(self, trailers: Headers) -> bytes:
        """Bytes that end a body, `is_short` as behind `body`: with trailers where it is chunked, else without."""


class Http1Wire(Protocol):
    """Bytes in, sink calls out."""

    #: Writes what answers them.
    encoder: Http1Encoder
    #: What requests may say.
    rules: Rules

    def feed(self, data: bytes) -> object:
        """Take bytes from the peer, one or more. True, or like it: they may end in the middle of a request.

        Raises BadRequest.
        """

    def origin_form(self, method: str, target: bytes, headers: Headers) -> bytes:
        """The path and query of a request target that is not in origin form (RFC 9112 section 3.2); what it says of the
        host may take Host's place in `headers`. Raises BadRequest."""

    @property
    def trailing_data(self) -> bytes:
        """After a taken upgrade: the bytes behind its request head."""

    def start_next(self) -> None:
        """The response is complete: parse what was held back. Raises as `feed` does."""

    def error_response(self, status: int, message: str, defaults: Headers) -> bytes:
        """Bytes of a whole response to a request that could not be parsed; the connection is closed after it."""

    def closed(self) -> None:
        """The connection is gone, or the server closes it now. Nothing is parsed or told after this."""

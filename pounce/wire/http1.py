"""The contract between an HTTP/1.1 parser and its connection: bytes in become sink calls, messages in become bytes.

One wire serves one connection. It knows no transport, no clock and no app. Answers to: RFC 9112.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

Headers = list[tuple[bytes, bytes]]


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
        upgrade: bytes | None,
    ) -> bool:
        """A request head is complete. Header names are in lower case, `upgrade` too (None: no upgrade asked for).

        Returns True where the connection leaves HTTP/1.1 with this request (a WebSocket upgrade that is taken): the
        wire then stops parsing, and what followed the head is in `trailing_data()`.
        """

    def on_body(self, data: bytes) -> None:
        """Decoded body bytes of the latest request."""

    def on_end(self) -> None:
        """The latest request is complete."""

    def on_pause(self) -> None:
        """Bytes of a further request are waiting for `start_next()`."""

    def body_framing(self) -> Headers:
        """The fields of the latest request that delimit its body (RFC 9112 section 6); none: it has no body."""

    def on_body_follows(self) -> None:
        """`on_end` was told too early: the latest request has a body after all."""


class Http1Wire(Protocol):
    """Sans-IO HTTP/1.1. Only what differs between parsers, dialect included (uvicorn's differ, and users see it)."""

    #: Takes bytes from the peer. Whatever it raises goes to `recover`.
    feed: Callable[[bytes], None]
    #: Non-empty while a request head is incomplete, where the parser itself sets no limit to its size.
    target: bytes

    @property
    def close_after_response(self) -> bool:
        """Whether the connection ends with the response that was begun last (it says so, or the request did)."""

    def recover(self, exc: Exception, data: bytes) -> None:
        """Told what `feed(data)` raised. Returns where parsing goes on or the upgrade was taken; raises BadRequest."""

    def split_target(self, target: bytes) -> tuple[bytes, bytes]:
        """Path and query of a request target that is not in origin form. Raises BadRequest."""

    def trailing_data(self) -> bytes:
        """After a taken upgrade: the bytes behind its request head."""

    def start_next(self) -> None:
        """The response is complete: parse what was held back. Raises as `feed` does."""

    def head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], defaults: Headers, is_head: bool, keep_alive: bool
    ) -> bytes:
        """Bytes of a response head. Raises MisusedByApp for a name or value that would break the framing."""

    def body(self, data: bytes, more_body: bool) -> bytes:
        """Bytes of a part of the response body. Raises MisusedByApp where it breaks the declared length."""

    def continue_100(self) -> bytes:
        """Bytes of `100 Continue` (RFC 9110 section 15.2.1)."""

    def error_response(self, status: int, message: str, defaults: Headers) -> bytes:
        """Bytes of a whole response to a request that could not be parsed; the connection is closed after it."""

    def closed(self) -> None:
        """The connection is gone, or the server closes it now."""

"""HTTP/1.1 parsed by httptools (llhttp), responses written by `ResponseEncoder`. The fast path of most servers.

httptools calls back per field and parses a whole segment ahead, pipelined requests included. Knows no transport.
Answers to: RFC 9112; uvicorn's httptools implementation for what is accepted and how an error looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

from pounce.errors import BadRequest
from pounce.wire.http1 import INVALID_REQUEST, Headers, Http1Sink, refuse_ambiguous
from pounce.wire.http1_head import STATUS_LINE, HeaderCache, ResponseEncoder

#: Methods as the scope shows them; anything else is decoded.
_METHODS = {
    name.encode("ascii"): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
}

#: Fields of a request that are more than something for the app.
_NOTED = frozenset((b"host", b"transfer-encoding", b"expect", b"upgrade"))


class HttpToolsWire(ResponseEncoder):
    """See `Http1Wire`. The object itself is httptools' protocol: the names of its callbacks are httptools' own."""

    __slots__ = (
        "_doubtful",
        "_expect_continue",
        "_ignore_head",
        "_late_host",
        "_sink",
        "_taken",
        "_trailing",
        "_upgrade",
        "feed",
        "headers",
        "on_body",
        "on_message_complete",
        "parser",
        "target",
    )

    feed: Callable[[bytes], None]

    def __init__(self, sink: Http1Sink, header_cache: HeaderCache, max_incomplete_size: int | None = None) -> None:
        """`max_incomplete_size` is h11's limit and unused here: the connection limits the head (`target`)."""
        super().__init__(header_cache)
        self._sink = sink
        self.target = b""
        self.headers: Headers = []
        self._expect_continue = False
        self._upgrade: bytes | None = None
        self._taken = False
        self._ignore_head = False
        self._trailing = b""
        self._doubtful = False
        self._late_host: Headers | None = None  # the list of fields that a Host is in, but not as its first
        self.parser: Any = None
        self.feed = self._feed_first  # many a connection ends without it: repeated requests are not parsed

    def _make_parser(self) -> None:
        # Body and end need nothing from this layer, so the parser calls the connection for them.
        self.on_body = self._sink.on_body
        self.on_message_complete = self._sink.on_end
        self.parser = httptools.HttpRequestParser(self)
        # uvicorn: a request pipelined behind `Connection: close` is read and left unanswered, not a parse error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.feed = self.parser.feed_data

    def _feed_first(self, data: bytes) -> None:
        self._make_parser()
        self.feed(data)

    # Told by httptools

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self.headers
        if name in _NOTED:
            if name == b"host":
                if headers:
                    if self._late_host is headers or headers[0][0] == b"host":
                        self._doubtful = True
                    self._late_host = headers
            elif name == b"expect":
                self._expect_continue = b"100-continue" in [token.strip() for token in value.lower().split(b",")]
            elif name == b"upgrade":
                self._upgrade = value.lower()
            else:
                self._doubtful = True
        headers.append((name, value))

    def on_chunk_complete(self) -> None:
        # Fields behind the last chunk are trailers: dropped (RFC 9112 section 7.1.2), and no part of the next request.
        self.headers = []
        self._doubtful = self._expect_continue = False
        self._upgrade = None

    def on_headers_complete(self) -> None:
        parser = self.parser
        method = parser.get_method()
        version = parser.get_http_version()
        target = self.target
        headers = self.headers
        self.target = b""
        self.headers = []
        if self._ignore_head:
            self._ignore_head = False
            return
        if version == "1.1" and not self._doubtful:
            keep_alive = parser.should_keep_alive()
        else:
            self._check(method, version, headers)
            keep_alive = version != "1.0" and parser.should_keep_alive()
        expect_continue = self._expect_continue
        upgrade = self._upgrade
        if expect_continue:
            self._expect_continue = False
        if upgrade is not None:
            self._upgrade = None
            if not parser.should_upgrade():
                upgrade = None
        self._taken = self._sink.on_request(
            _METHODS.get(method) or method.decode("ascii"),
            target,
            version,
            headers,
            keep_alive,
            expect_continue,
            upgrade,
        )

    def _check(self, method: bytes, version: str, headers: Headers) -> None:
        """The head is not of the plain kind: refuse it, or prepare for what its kind needs."""
        self._doubtful = False
        refuse_ambiguous(method.decode("ascii"), version, headers)
        if version == "1.0":
            self.until_close = True
        for name, _ in headers:
            if name == b"transfer-encoding":
                self.feed = self._feed_chunked

    def _feed_chunked(self, data: bytes) -> None:
        """`feed` while a chunked body arrives: llhttp sets no limit to chunk extensions and trailers."""
        self.parser.feed_data(data)
        if not self._sink.on_chunked_input(len(data)):
            self.feed = self.parser.feed_data

    # Told by the connection

    def recover(self, exc: Exception, data: bytes) -> None:
        """See `Http1Wire.recover`."""
        while isinstance(exc, httptools.HttpParserUpgrade):
            data = data[exc.args[0] :]
            if self._taken:
                self._trailing = data
                return
            self._parse_anew()
            if not data:
                return
            try:
                self.feed(data)
            except Exception as next_exc:
                exc = next_exc
            else:
                return
        cause = exc.__context__ if isinstance(exc, httptools.HttpParserCallbackError) else exc
        if isinstance(cause, BadRequest):
            raise cause
        raise BadRequest(INVALID_REQUEST) from exc

    def _parse_anew(self) -> None:
        """An upgrade that nobody takes is no upgrade (RFC 9110 section 7.8): llhttp has stopped, so parse on anew."""
        framing = self._sink.body_framing()
        self._make_parser()
        if framing:
            # The head was reported already; the new parser needs it only to know how the body is delimited.
            self._ignore_head = True
            self._sink.on_body_follows()
            self.feed(b"POST / HTTP/1.1\r\n" + b"".join([b"%b: %b\r\n" % field for field in framing]) + b"\r\n")

    def split_target(self, target: bytes) -> tuple[bytes, bytes]:
        """See `Http1Wire.split_target`."""
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError as exc:
            raise BadRequest(INVALID_REQUEST) from exc
        if url.path is None:
            raise BadRequest(INVALID_REQUEST)
        return url.path, url.query or b""

    def trailing_data(self) -> bytes:
        """See `Http1Wire.trailing_data`."""
        return self._trailing

    def start_next(self) -> None:
        """See `Http1Wire.start_next`. Nothing is held back: the connection queues what was parsed ahead."""

    def continue_100(self) -> bytes:
        """See `Http1Wire.continue_100`."""
        return b"HTTP/1.1 100 Continue\r\n\r\n"

    def error_response(self, status: int, message: str, defaults: Headers) -> bytes:
        """See `Http1Wire.error_response`. This dialect sends the default fields and a length."""
        body = message.encode("ascii")
        fields = [
            *defaults,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        return b"".join([STATUS_LINE[status], *[b"%b: %b\r\n" % field for field in fields], b"\r\n", body])

    def closed(self) -> None:
        """See `Http1Wire.closed`. Breaks the reference cycles with the parser and the connection."""
        self.parser = None
        self._sink = None  # type: ignore[assignment]
        self.target = b""
        self.feed = self.on_body = _ignore
        self.on_message_complete = _ignore_end


def _ignore(data: bytes) -> None:
    """What arrives behind the end of a connection is dropped."""


def _ignore_end() -> None:
    """Nor does it end anything."""

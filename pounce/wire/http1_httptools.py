"""HTTP/1.1 parsed by httptools (llhttp), responses written by `ResponseEncoder`. The fast path of most servers.

httptools calls back per field and parses a whole segment ahead, pipelined requests included. Knows no transport.
Answers to: RFC 9112; uvicorn's httptools implementation for what is accepted and how an error looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httptools

from pounce.errors import BadRequest
from pounce.wire.http1 import Headers, Http1Sink
from pounce.wire.http1_head import STATUS_LINE, HeaderCache, ResponseEncoder

#: Methods as the scope shows them; anything else is decoded.
_METHODS = {
    name.encode("ascii"): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT")
}


class HttpToolsWire(ResponseEncoder):
    """See `Http1Wire`. The object itself is httptools' protocol: the names of its callbacks are httptools' own."""

    __slots__ = (
        "_expect_continue",
        "_ignore_head",
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
        # Body and end need nothing from this layer, so the parser calls the connection for them.
        self.on_body = sink.on_body
        self.on_message_complete = sink.on_end
        self.target = b""
        self.headers: Headers = []
        self._expect_continue = False
        self._upgrade: bytes | None = None
        self._taken = False
        self._ignore_head = False
        self._trailing = b""
        self._make_parser()

    def _make_parser(self) -> None:
        self.parser: Any = httptools.HttpRequestParser(self)
        # uvicorn: a request pipelined behind `Connection: close` is read and left unanswered, not a parse error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.feed = self.parser.feed_data

    # Told by httptools

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"expect":
            self._expect_continue = value.lower() == b"100-continue"
        elif name == b"upgrade":
            self._upgrade = value.lower()
        self.headers.append((name, value))

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
            version != "1.0" and parser.should_keep_alive(),
            expect_continue,
            upgrade,
        )

    # Told by the connection

    def recover(self, exc: Exception, data: bytes) -> None:
        """See `Http1Wire.recover`."""
        if isinstance(exc, httptools.HttpParserUpgrade):
            rest = data[exc.args[0] :]
            if self._taken:
                self._trailing = rest
            else:
                self._read_on(rest)
            return
        cause = exc.__context__ if isinstance(exc, httptools.HttpParserCallbackError) else None
        if isinstance(cause, BadRequest):
            raise cause
        raise BadRequest("Invalid HTTP request received.") from exc

    def _read_on(self, rest: bytes) -> None:
        """An upgrade that nobody takes is no upgrade (RFC 9110 section 7.8): llhttp has stopped, so parse on anew."""
        framing = self._sink.body_framing()
        self._make_parser()
        if framing:
            # The head was reported already; the new parser needs it only to know how the body is delimited.
            self._ignore_head = True
            self._sink.on_body_follows()
            self.feed(b"POST / HTTP/1.1\r\n" + b"".join([b"%b: %b\r\n" % field for field in framing]) + b"\r\n")
        if rest:
            try:
                self.feed(rest)
            except Exception as exc:
                self.recover(exc, rest)

    def split_target(self, target: bytes) -> tuple[bytes, bytes]:
        """See `Http1Wire.split_target`."""
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError as exc:
            raise BadRequest("Invalid HTTP request received.") from exc
        if url.path is None:
            raise BadRequest("Invalid HTTP request received.")
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
        """See `Http1Wire.closed`. Breaks the reference cycle between this object and its parser."""
        self.parser = None
        self.feed = _ignore


def _ignore(data: bytes) -> None:
    """What arrives behind the end of a connection is dropped."""

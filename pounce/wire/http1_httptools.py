"""HTTP/1.1 parsed by httptools (llhttp), responses written by `ResponseEncoder`. The fast path of most servers.

httptools calls back per field and parses a whole segment ahead, pipelined requests included. Knows no transport.
Implements RFC 9112; what is accepted, and how an error looks, is as with uvicorn on httptools.
"""

from __future__ import annotations

from typing import Any

import httptools

from pounce.errors import BadRequest
from pounce.wire.header_cache import HeaderCache
from pounce.wire.http1 import Http1Sink, error_fields
from pounce.wire.http1_writer import ResponseEncoder
from pounce.wire.response_fields import STATUS_LINE
from pounce.wire.strictness import INVALID_REQUEST, MAX_LENGTH_DIGITS, Headers, Rules

#: Methods as the scope shows them; anything else is decoded, and looked at.
_METHODS = {
    name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
}

#: Fields of a request that are more than something for the app.
_NOTED = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))

#: Those that say how its body is delimited (RFC 9112 section 6).
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))

#: How the parser stops: at what is no request, and behind a head that asks for an upgrade.
_STOPS = (httptools.HttpParserError, httptools.HttpParserUpgrade)


class HttpToolsWire:
    """See `Http1Wire`. The object itself is httptools' protocol: the names of its callbacks are httptools' own."""

    __slots__ = (
        "_doubtful",
        "_end_is_due",
        "_expect_continue",
        "_has_body",
        "_ignored_upgrade",
        "_late_host",
        "_sink",
        "_skips_head",
        "_taken",
        "_target",
        "_trailers",
        "_upgrade",
        "encoder",
        "headers",
        "parser",
        "rules",
        "trailing_data",
    )

    def __init__(
        self, sink: Http1Sink, header_cache: HeaderCache, rules: Rules, max_incomplete_size: int | None = None
    ) -> None:
        """`max_incomplete_size` is h11's limit and unused here."""
        self.encoder = ResponseEncoder(header_cache)
        self._sink = sink
        self.rules = rules
        self._target = b""  # not empty while a head is incomplete
        self.headers: Headers = []
        self._expect_continue = False
        self._has_body = False
        self._trailers = 0
        self._upgrade: bytes | None = None
        self._doubtful = False
        self._late_host: Headers | None = None  # the list of fields that a Host is in, but not as its first

        # Upgrades: one that is taken ends parsing, one that is not is no upgrade
        self._taken = False
        self.trailing_data = b""
        self._ignored_upgrade: Headers | None = None  # the framing of a request that asks for it, and has a body
        self._end_is_due = False  # of that request
        self._skips_head = False
        self.parser: Any = None
        self._make_parser()

    def _make_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        # uvicorn: a request pipelined behind `Connection: close` is read and left unanswered, not a parse error.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed(self, data: bytes) -> object:
        """See `Http1Wire.feed`. Of a method alone nothing is known."""
        rest = b""
        try:
            self.parser.feed_data(data)
        except _STOPS as exc:
            rest = self._recover(exc, data)
        while rest:
            rest = self._parse(rest)
        if self._end_is_due:
            self._tell_end()
        return self._has_body or self._target

    def _parse(self, data: bytes) -> bytes:
        try:
            self.parser.feed_data(data)
        except _STOPS as exc:
            return self._recover(exc, data)
        return b""

    def _recover(self, exc: Exception, data: bytes) -> bytes:
        """The parser has stopped: what is to be parsed behind an upgrade that nobody takes. Raises BadRequest."""
        if not isinstance(exc, httptools.HttpParserUpgrade):
            cause = exc.__context__ if isinstance(exc, httptools.HttpParserCallbackError) else None
            raise cause if isinstance(cause, BadRequest) else BadRequest(INVALID_REQUEST) from exc
        rest = data[exc.args[0] :]
        if self._taken:
            self.trailing_data = rest
            return b""
        self._ignore_upgrade()
        return rest

    # Told by httptools

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self.headers
        if name in _NOTED:
            if name == b"host":
                if headers or value not in self.rules.hosts:
                    self._note_host(headers, value)
            elif name == b"content-length":
                self._has_body = value != b"0"
                if len(value) > MAX_LENGTH_DIGITS:
                    self._doubtful = True
            elif name == b"expect":
                if b"100-continue" in [token.strip() for token in value.lower().split(b",")]:
                    self._expect_continue = True
            elif name == b"upgrade":
                self._upgrade = value.lower()
            else:
                self._has_body = self._doubtful = True
        headers.append((name, value))

    def _note_host(self, headers: Headers, value: bytes) -> None:
        """It is not the first field, or not known to be valid."""
        if headers:
            if self._late_host is headers or headers[0][0] == b"host":
                self._doubtful = True
            self._late_host = headers
        if value not in self.rules.hosts:
            self._doubtful = True

    def on_chunk_complete(self) -> None:
        # Fields behind the last chunk are trailers: dropped (RFC 9112 section 7.1.2), and no part of the next request.
        if self.headers:
            self.rules.check_trailers(self.headers)
            self._trailers = len(self.headers)
            self.headers = []
        self._doubtful = self._expect_continue = False
        self._upgrade = None

    def on_headers_complete(self) -> None:
        if self._skips_head:
            self._skips_head = False
            self._target = b""
            self.headers = []
            return
        if self._end_is_due:
            self._tell_end()
        parser = self.parser
        method = parser.get_method()
        version = parser.get_http_version()
        target = self._target
        headers = self.headers
        self._target = b""
        self.headers = []
        if (
            version == "1.1"
            and not self._doubtful
            and headers
            and (headers[0][0] == b"host" or self._late_host is headers)
        ):
            keep_alive = parser.should_keep_alive()
        else:
            self._check(method, target, version, headers)
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
            _METHODS.get(method) or self.rules.method(method.decode("ascii")),
            target,
            version,
            headers,
            keep_alive,
            expect_continue,
            self._has_body,
            upgrade,
        )
        if upgrade is not None and self._has_body and not self._taken:
            self._ignored_upgrade = [field for field in headers if field[0] in _FRAMING]

    def _check(self, method: bytes, target: bytes, version: str, headers: Headers) -> None:
        """The head is not of the plain kind: refuse it, or prepare for what its kind needs."""
        self._doubtful = False
        if version == "1.0":
            self._expect_continue = False  # RFC 9110 section 10.1.1: such a client would not understand the answer
        self.rules.check(method.decode("ascii"), target, version, headers)
        if version == "1.0":
            self.encoder.until_close = True

    def on_body(self, data: bytes) -> None:
        self._sink.on_body(data)

    def on_message_complete(self) -> None:
        if self._ignored_upgrade is not None:
            self._end_is_due = True  # if llhttp has not stopped at the head: `feed` knows
        elif self._has_body:
            self._tell_end()

    def _tell_end(self) -> None:
        self._has_body = self._end_is_due = False
        self._ignored_upgrade = None
        trailers = self._trailers
        if trailers:
            self._trailers = 0
        self._sink.on_end(trailers)

    def _ignore_upgrade(self) -> None:
        """An upgrade that nobody takes is no upgrade (RFC 9110 section 7.8): llhttp has stopped, so parse on anew."""
        framing, self._ignored_upgrade = self._ignored_upgrade, None
        self._end_is_due = False
        self._make_parser()
        if framing:
            # The head was reported already; the new parser needs it only to know how the body is delimited.
            self._skips_head = True
            fields = b"".join([b"%b: %b\r\n" % field for field in framing])
            self.parser.feed_data(b"POST / HTTP/1.1\r\n" + fields + b"\r\n")
            self._doubtful = False

    def origin_form(self, method: str, target: bytes, headers: Headers) -> bytes:
        """See `Http1Wire.origin_form`. uvicorn: the host is not looked at, and a fragment is left out."""
        path = self.rules.origin_form(method, target, headers)
        if path is not None:
            return path
        try:
            url = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError as exc:
            raise BadRequest(INVALID_REQUEST) from exc
        if url.path is None:
            raise BadRequest(INVALID_REQUEST)
        return url.path if url.query is None else url.path + b"?" + url.query

    def start_next(self) -> None:
        """See `Http1Wire.start_next`. Nothing is held back: the connection queues what was parsed ahead."""

    def error_response(self, status: int, message: str, defaults: Headers) -> bytes:
        """See `Http1Wire.error_response`. This dialect sends the default fields and a length."""
        body = message.encode("ascii")
        fields = [b"%b: %b\r\n" % field for field in error_fields(defaults, len(body))]
        return b"".join([STATUS_LINE[status], *fields, b"\r\n", body])

    def closed(self) -> None:
        """See `Http1Wire.closed`. Breaks the reference cycles with the parser and the connection."""
        self.parser = _CLOSED
        self._sink = None  # type: ignore[assignment]
        self._target = b""
        self._end_is_due = False


class _Closed:
    """What a closed wire has for a parser: what arrives behind the end of a connection is dropped."""

    def feed_data(self, data: bytes) -> None:
        """Drop it."""


_CLOSED = _Closed()

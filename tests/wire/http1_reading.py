"""What an HTTP/1.1 parser makes of bytes, and bytes to try it with: requests as clients write them, and nearly so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from pounce.errors import BadRequest
from pounce.wire.header_cache import HeaderCache
from pounce.wire.strictness import Rules
from tests.fakes import DEFAULT_HEADERS, WIRES, RecordingSink


class Request(NamedTuple):
    """A request as the connection was told of it. `body` is None where it broke off: how much of it comes is chance."""

    method: str
    target: bytes
    version: str
    fields: list[tuple[bytes, bytes]]
    body: bytes | None
    complete: bool
    expects_continue: bool
    upgrade: bytes | None


class Reading(NamedTuple):
    """Requests, each answered when it is complete, and then `refused`, `closed` behind an answer, or still `open`."""

    requests: list[Request]
    end: str


class _Sink(RecordingSink):
    """Looks at targets as a connection does."""

    wire: Any

    def on_request(self, method: str, target: bytes, version: str, headers: Any, *rest: Any) -> bool:
        if target[:1] != b"/" or b"#" in target:
            target = self.wire.origin_form(method, target, headers)
        return super().on_request(method, target, version, headers, *rest)


def read(parser: str, pieces: Iterable[bytes], rules: type[Rules] = Rules) -> Reading:
    """Feed the pieces to a wire of its own as a connection does."""
    sink = _Sink()
    sink.wire = wire = WIRES[parser](sink, HeaderCache(), rules())
    answered, end = 0, "open"

    def answer() -> bool:
        """Answer what is complete. Returns True where the connection ends with an answer."""
        nonlocal answered
        while answered < len(sink.requests) and sink.requests[answered][5]:
            fields, is_head = [(b"content-length", b"2")], sink.requests[answered][0] == "HEAD"
            wire.encoder.head(404, fields, DEFAULT_HEADERS, is_head, sink.details[answered][0])
            wire.encoder.body(b"no", False)
            answered += 1
            if wire.encoder.close_after_response:
                return True
            wire.start_next()
        return False

    try:
        for piece in pieces:
            wire.feed(piece)
            if answer():
                end = "closed"
                break
    except BadRequest:
        end = "closed" if answer() else "refused"
    told = zip(sink.requests, sink.details, strict=True)
    requests = [_request(request, details, end) for request, details in told]
    return Reading(requests[: answered + (end != "closed")], end)


def _request(request: list[Any], details: tuple[bool, bool, bytes | None], end: str) -> Request:
    method, target, version, fields, body, complete = request
    kept = bytes(body) if complete or end == "open" else None
    return Request(method, target, version, fields, kept, complete, *details[1:])


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The same bytes in pieces that end at these places."""
    inner = sorted({place % len(data) for place in places} - {0})
    return [data[a:b] for a, b in zip([0, *inner], [*inner, len(data)], strict=True)]


PLACES = st.lists(st.integers(0, 10_000), max_size=12)

METHODS = (
    b"GET", b"GET", b"POST", b"POST", b"HEAD", b"OPTIONS", b"CONNECT", b"M-SEARCH", b"get", b"FOO", b"PRI", b"QUERY",
)  # fmt: skip
TARGETS = (
    b"/", b"/", b"/a?b=c", b"/%61;x", b"*", b"http://a.example/x?y", b"a.example:80", b"/\xe9", b"/?\xe9", b"//x",
    b"/a#b", b"", b"?x", b"x", b"/a b", b"/\x00", b'/"<>\\^`{|}',
)  # fmt: skip
VERSIONS = (
    *(b"HTTP/1.1",) * 12,
    b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/1.10", b"HTTP/0.9",
)  # fmt: skip
FIELDS = (
    b"X: y", b"X:y", b"X:", b"X: \t a b \t", b"!#$%&'*+-.^_`|~9: y", b"Cookie: caf\xe9", b"Connection: close",
    b"Connection: keep-alive", b"Connection: x, close", b"Connection: Upgrade", b"connection: upgrade, close",
    b"Upgrade: websocket", b"Upgrade: h2c", b"Expect: 100-continue", b"Expect: 200-maybe", b"Expect: 100-Continue, x",
    b"Host: b", b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: 05", b"Content-Length: x",
    b"Content-Length: -1", b"Content-Length: 5, 5", b"Content-Length:", b"Content-Length: 5 ",
    b"Content-Length: 99999999999999999999", b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: CHUNKED", b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding:", b"X : y", b" folded", b"\tfolded", b"x(y: z", b"no colon", b"X: a\x00b", b"X: a\x01b",
    b"X: \x7f", b"X: a\x0bb", b"X: a\rb", b": v", b"Trailer: X", b"Keep-Alive: 5", b"TE: trailers",
    b"Proxy-Connection: close", b"X\xe9: y", b"Content_Length: 5",
)  # fmt: skip
ENDS = (*(b"\r\n",) * 40, b"\n", b"\r")
CHUNKS = (
    *(b"3\r\nabc\r\n",) * 6,
    b"a\r\n0123456789\r\n", b"A\r\n0123456789\r\n", b"0003\r\nabc\r\n", b"3;x=y\r\nabc\r\n", b"3 ;x\r\nabc\r\n",
    b'3;x="a;b"\r\nabc\r\n', b'3;x="a\\"b"\r\nabc\r\n', b"3; x = y\r\nabc\r\n", b"3;\r\nabc\r\n", b"3;;\r\nabc\r\n",
    b"3\nabc\n", b"3\r\nabc\n", b"g\r\nabc\r\n", b"-3\r\nabc\r\n", b"3\r\nabcd\r\n", b"0x3\r\nabc\r\n",
    b"3 \r\nabc\r\n", b"3\t\r\nabc\r\n", b"fffffffffffffffff\r\nabc\r\n",
    b"3;\x00\r\nabc\r\n", b"3;\xe9\r\nabc\r\n", b"\r\nabc\r\n",
)  # fmt: skip
LAST_CHUNKS = (
    *(b"0\r\n\r\n",) * 8,
    b"0\r\nX: y\r\n\r\n", b"000\r\n\r\n", b"0;x\r\n\r\n", b"0\r\nContent-Length: 3\r\n\r\n", b"0\n\n", b"0\r\n",
    b"0\r\nbad\r\n\r\n", b"0\r\nX: y\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX : y\r\n\r\n", b"0\r\nX: a\x00\r\n\r\n",
    b"0 \r\n\r\n", b"0\r\nHost: b\r\n\r\n",
)  # fmt: skip
ODD_BYTES = [bytes((number,)) for number in b"\x00\x01\x0b\x1b \t\r\n:;,/a0\x7f\x80\xff"]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """One request of any kind, in which now and then a byte is changed, missing or too much."""

    def pick(pool: Sequence[bytes]) -> bytes:
        return draw(st.sampled_from(pool))

    kind = draw(st.sampled_from(("none", "length", "chunked", "any")))
    line = b" ".join((pick(METHODS), pick(TARGETS), pick(VERSIONS)))
    lines = [line, *draw(st.lists(st.sampled_from(FIELDS), max_size=3))]
    if draw(st.integers(0, 9)):
        lines.insert(draw(st.integers(1, len(lines))), b"Host: a")
    body = b""
    if kind == "length":
        lines.append(b"Content-Length: 5")
        body = b"hello"
    elif kind == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(draw(st.lists(st.sampled_from(CHUNKS), max_size=3))) + pick(LAST_CHUNKS)
    elif kind == "any":
        body = draw(st.sampled_from((b"", b"hello", b"3\r\nabc\r\n0\r\n\r\n")))
    raw = draw(st.sampled_from((b"",) * 16 + (b"\r\n", b"\n", b"\r\n\r\n", b" ")))
    raw += b"".join(line + pick(ENDS) for line in (*lines, b"")) + body
    if not draw(st.integers(0, 5)):
        place, odd = draw(st.integers(0, len(raw) - 1)), pick(ODD_BYTES)
        raw = raw[:place] + draw(st.sampled_from((odd, b"", odd + raw[place : place + 1]))) + raw[place + 1 :]
    return raw

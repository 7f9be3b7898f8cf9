"""Connections that are opened for one request and closed, each in one of the ways that clients have of leaving.

Half of them wait for their answer and close. The others: ask the server to close; are reset within the head, within
the body, with the request sent and no answer read; are closed with nothing sent. Each sends a header field and a
cookie that no other has. HTTP/2 frames are written and read here (RFC 9113 section 4.1, RFC 7541 section 6.2.1).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from benchmarks.load.outcome import LoadError

WAIT = 10.0  # seconds for the server's next bytes
WAYS = ("answered",) * 5 + ("ended", "within head", "within body", "unread", "silent")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4


def way_of(number: int) -> str:
    """How that visit goes."""
    return WAYS[number % len(WAYS)]


def visit(port: int, number: int, http2: bool = False) -> None:
    """Make one. Raises LoadError where an answer that is waited for does not come, or is wrong."""
    way = way_of(number)
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
        if way != "silent":
            request = frames(number, way) if http2 else message(number, way)
            sock.sendall(request[: len(request) - 20] if way == "within head" else request)
        if way in ("answered", "ended"):
            try:
                (read_frames if http2 else read_message)(sock, way == "ended")
            except OSError as exc:
                raise LoadError(f"no answer on a new connection: {exc}") from None
        if way in ("within head", "within body", "unread"):
            # Closed with a linger time of 0, a connection is reset.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def message(number: int, way: str) -> bytes:
    """The request over HTTP/1.1; `within body` begins a body that never ends."""
    begins = "POST /echo" if way == "within body" else "GET /fields"
    last = {"ended": "Connection: close\r\n", "within body": "Content-Length: 1000\r\n"}.get(way, "")
    return (
        f"{begins}?n=v{number} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Visit-{number}: {number}\r\n"
        f"Cookie: visit={number}\r\n{last}\r\n{'a part' if way == 'within body' else ''}"
    ).encode()


def read_message(sock: socket.socket, ends: bool) -> None:
    """Until the answer is complete, and the server has closed where it was asked to."""
    answer = b""
    while True:
        part = sock.recv(65536)
        answer += part
        if answer.endswith(b"\r\n\r\nHello, world!") and not ends:
            break
        if not part:
            break
    if not answer.startswith(b"HTTP/1.1 200 ") or not answer.endswith(b"\r\n\r\nHello, world!"):
        raise LoadError(f"the wrong answer on a new connection: {answer[:100]!r}")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return struct.pack("!IBI", len(payload) << 8 | kind, flags, stream) + payload


def field(name: str, value: str) -> bytes:
    """A header field as a literal that the decoder is to remember. Both shorter than 127 bytes."""
    return b"\x40" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


def frames(number: int, way: str) -> bytes:
    """The same request over HTTP/2 by prior knowledge. `ended`: the client says that it will ask nothing more."""
    posts = way == "within body"
    fields = {
        ":method": "POST" if posts else "GET", ":scheme": "http", ":authority": "127.0.0.1",
        ":path": f"/{'echo' if posts else 'fields'}?n=v{number}",
        f"x-visit-{number}": str(number), "cookie": f"visit={number}",
    }  # fmt: skip
    block = b"".join(field(name, value) for name, value in fields.items())
    sent = PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS | (0 if posts else END_STREAM), 1, block)
    if posts:
        sent += frame(DATA, 0, 1, b"a part")
    return sent + frame(GOAWAY, 0, 0, bytes(8)) if way == "ended" else sent


def read_frames(sock: socket.socket, ends: bool) -> None:
    """Until the stream's end, and the server has closed where it was told that nothing more comes."""
    with sock.makefile("rb") as stream:
        body = b""
        while head := stream.read(9):
            size_and_kind, flags, number = struct.unpack("!IBI", head)
            payload = stream.read(size_and_kind >> 8)
            kind = size_and_kind & 0xFF
            if kind == RST_STREAM:
                raise LoadError("a stream on a new connection was reset")
            if kind == DATA and number == 1:
                body += payload
            if number == 1 and flags & END_STREAM and not ends:
                break
        if body != b"Hello, world!":
            raise LoadError(f"the wrong body on a new connection: {body[:100]!r}")


def visits(port: int, first: int, count: int, http2: bool, done: Callable[[int], None] = lambda _: None) -> None:
    """Make so many, one after the other."""
    for number in range(first, first + count):
        visit(port, number, http2)
        done(1)

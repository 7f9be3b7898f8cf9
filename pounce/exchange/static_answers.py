"""The answers to a request for a file: the whole of it, parts of it, or none, and what they say of it.

Messages of ASGI, with a file's bytes read where there are few, and as a range of its descriptor where there are many.
Implements RFC 9110 sections 13.2, 14.2 and 15.3.7.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pounce.errors import ClientDisconnected, MisusedByApp
from pounce.exchange.files import ZEROCOPYSEND, FileBecameShorter
from pounce.exchange.ranges import (
    Outcome,
    Span,
    UnsatisfiableRange,
    Validators,
    evaluate,
    range_applies,
    ranges_of,
)
from pounce.exchange.server_responses import send_text

Fields = tuple[tuple[bytes, bytes], ...]

#: Up to here a body is read and sent with its head; above, the file itself is sent.
SMALL = 64 * 1024

NO_SNIFFING = (b"x-content-type-options", b"nosniff")


class Representation(NamedTuple):
    """One state of a file as it is served: what its answers say, of the whole."""

    fields: Fields
    #: Those that 304 has, too.
    kept_fields: Fields
    media_type: bytes
    validators: Validators
    size: int


class OpenFile(NamedTuple):
    """A representation, and the descriptor that its bytes come from."""

    descriptor: int
    representation: Representation


class CutShort(Exception):
    """A part of the answer was sent, and the file doesn't give the rest: it has become shorter, or can't be read."""


async def answer(send: Any, file: OpenFile, asked: Mapping[bytes, bytes], is_head: bool) -> bool:
    """Answer with a file, or a part of it. Returns False where nothing was sent, since it shrank meanwhile.

    Raises CutShort; OSError where the file can't be read and nothing was sent; and what `send` raises.
    """
    what = file.representation
    spans: list[Span] | None = None
    if asked:
        now = time.time()
        outcome = evaluate(asked, what.validators, now)
        if outcome is Outcome.NOT_MODIFIED:
            await send({"type": "http.response.start", "status": 304, "headers": what.kept_fields})
            await send({"type": "http.response.body", "body": b""})
            return True
        if outcome is Outcome.FAILED:
            await refuse(send, 412, b"Precondition Failed")
            return True
        # RFC 9110 section 14.2: of all methods, GET has ranges.
        if not is_head and b"range" in asked and range_applies(asked, what.validators, now):
            try:
                spans = ranges_of(asked[b"range"], what.size)
            except UnsatisfiableRange:
                await refuse(send, 416, b"Range Not Satisfiable", (b"content-range", b"bytes */%d" % what.size))
                return True
    media_type = what.media_type
    fields: list[tuple[bytes, bytes]] = []
    parts: list[bytes | Span]
    if spans is None:
        parts = [Span(0, what.size)]
    elif len(spans) == 1:
        parts = [*spans]
        fields = [(b"content-range", _content_range(spans[0], what.size))]
    else:
        boundary = secrets.token_hex(16).encode()
        parts = _multipart(spans, what, boundary)
        media_type = b"multipart/byteranges; boundary=" + boundary
    length = sum(len(part) if isinstance(part, bytes) else part.stop - part.start for part in parts)
    start = {
        "type": "http.response.start",
        "status": 200 if spans is None else 206,
        "headers": [
            (b"content-type", media_type),
            (b"content-length", b"%d" % length),
            *fields,
            *what.fields,
        ],
    }
    if is_head:
        await send(start)
        await send({"type": "http.response.body", "body": b""})
    elif length <= SMALL:
        body = _read(file.descriptor, parts)
        if len(body) != length:
            return False
        await send(start)
        await send({"type": "http.response.body", "body": body})
    else:
        await send(start)
        await _send_parts(send, file.descriptor, parts)
    return True


def _content_range(span: Span, size: int) -> bytes:
    return b"bytes %d-%d/%d" % (span.start, span.stop - 1, size)


def _multipart(spans: Sequence[Span], what: Representation, boundary: bytes) -> list[bytes | Span]:
    """What the body of several parts consists of (RFC 9110 section 14.6)."""
    parts: list[bytes | Span] = []
    for span in spans:
        parts.append(
            b"\r\n--%b\r\nContent-Type: %b\r\nContent-Range: %b\r\n\r\n"
            % (boundary, what.media_type, _content_range(span, what.size))
        )
        parts.append(span)
    parts.append(b"\r\n--%b--\r\n" % boundary)
    return parts


def _read(descriptor: int, parts: Sequence[bytes | Span]) -> bytes:
    """All of it, or less where the file is too short by now."""
    read = [
        part if isinstance(part, bytes) else os.pread(descriptor, part.stop - part.start, part.start) for part in parts
    ]
    return read[0] if len(read) == 1 else b"".join(read)


async def _send_parts(send: Any, descriptor: int, parts: Sequence[bytes | Span]) -> None:
    last = len(parts) - 1
    for place, part in enumerate(parts):
        message: dict[str, Any] = {"type": "http.response.body", "body": part, "more_body": place != last}
        if isinstance(part, Span):
            message = {
                "type": ZEROCOPYSEND,
                "file": descriptor,
                "offset": part.start,
                "count": part.stop - part.start,
                "more_body": place != last,
            }
        try:
            await send(message)
        except ClientDisconnected:
            raise
        except OSError as exc:
            raise CutShort(exc) from exc
        except MisusedByApp as exc:  # of what there is of it by now, less was sent than the head says
            raise CutShort(FileBecameShorter()) from exc


async def refuse(send: Any, status: int, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    """Answer without a file."""
    await send_text(send, status, body, NO_SNIFFING, *fields)

"""Files that the server itself serves (`--static PREFIX=DIR`): which file, which answer. The app is not asked.

`StaticFiles` is a feature: it puts itself in the place of the app for what is below one of its prefixes. Answers GET
and HEAD with conditions and ranges (`ranges`), from files that are opened below their directory (`static_paths`), or
from a compressed one beside it that the client takes. Runs on the worker's loop: opening and looking at a file takes
microseconds, a turn through a thread more than all of it.

Implements RFC 9110 sections 8.8, 13, 14 and 15.3.7 for bytes; compatible with Starlette's `StaticFiles` in media types.
"""

from __future__ import annotations

import functools
import logging
import mimetypes
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import quote

from pounce.exchange.extensions import with_extensions
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.exchange.ranges import (
    CONDITIONS,
    RANGES,
    Outcome,
    Span,
    UnsatisfiableRange,
    Validators,
    evaluate,
    range_applies,
    ranges_of,
)
from pounce.exchange.server_responses import SERVER_ANSWERS
from pounce.exchange.static_paths import IsDirectory, NotServed, open_file, segments_of
from pounce.settings import Static

#: Which coding of those for which there is a file the client wants most, by its Accept-Encoding; None: the plain one.
Choose = Callable[[bytes | None, Sequence[str]], str | None]

Fields = tuple[tuple[bytes, bytes], ...]

#: Up to here a body is read and sent with its head; above, the file itself is sent.
SMALL = 64 * 1024

INDEX = "index.html"

_SUFFIXES = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}

#: Of files that are compressed as such, by what `mimetypes` calls their encoding.
_COMPRESSED_TYPES = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}

#: What stays as it is in a query (RFC 3986 section 3.4), with the sign of what is quoted already.
_IN_QUERY = "/?:@!$&'()*+,;=%"

_ASKED = CONDITIONS | RANGES | {b"accept-encoding"}

#: How many answers are kept per worker, ready but for the body.
_MAX_KEPT = 512

#: How often an answer is begun again where the file shrank while it was read.
_ATTEMPTS = 3

_NO_SNIFFING = (b"x-content-type-options", b"nosniff")


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


class StaticFiles:
    """The feature of one worker."""

    def __init__(self, settings: Static, codings: Sequence[str], choose: Choose | None, logger: logging.Logger) -> None:
        """`codings`: those of files beside the one asked for, which `choose` decides between."""
        #: The longest prefix first.
        self._mounts = [
            (mount.prefix, f"{mount.prefix}/", mount.directory)
            for mount in sorted(settings.dirs, key=lambda mount: -len(mount.prefix))
        ]
        self._max_age = settings.max_age
        self._has_index = settings.index
        self._codings = tuple(codings) if choose else ()
        self._choose = choose
        self._logger = logger
        self._kept: dict[Any, Representation] = {}
        if not mimetypes.inited:
            mimetypes.init()  # reads files of the system

    def __call__(self, cycle: RequestResponseCycle) -> None:
        """Take the exchange over if its path is below a prefix, and the server has not refused it."""
        path: str = cycle.scope["path"]
        if root_path := cycle.scope["root_path"]:
            path = path.removeprefix(root_path)
        for prefix, with_slash, directory in self._mounts:
            if path.startswith(with_slash) or path == prefix:
                if not any(cycle.app is answer for answer in SERVER_ANSWERS):
                    below = None if prefix and path == prefix else path[len(with_slash) :]
                    cycle.app = functools.partial(self._serve, directory, below)
                    cycle.messages = _MESSAGES
                return

    async def _serve(self, directory: str, path: str | None, scope: Any, _receive: Any, send: Any) -> None:
        """Answer as an ASGI app. `path` is below the directory; None is that itself, without a slash at the end."""
        is_head = scope["method"] == "HEAD"
        if not is_head and scope["method"] != "GET":
            await _refuse(send, 405, b"Method Not Allowed", (b"allow", b"GET, HEAD"))
            return
        asked = _asked(scope["headers"])
        for _ in range(_ATTEMPTS):
            try:
                file = self._find(directory, path, asked.get(b"accept-encoding"))
            except IsDirectory:
                # Relative, so that it leads to no other host, and through proxies that take a part of the path away.
                location = f"./{quote(scope['path'].rpartition('/')[2], safe='')}/"
                if scope["query_string"]:
                    location += f"?{quote(scope['query_string'], safe=_IN_QUERY)}"
                await _refuse(send, 307, b"", (b"location", location.encode()))
                return
            except NotServed:
                await _refuse(send, 404, b"Not Found")
                return
            except OSError as exc:
                self._logger.warning("Cannot serve a file below '%s': %s", directory, exc)
                break
            try:
                if await _answer(send, file, asked, is_head):
                    return
            finally:
                os.close(file.descriptor)
        await _refuse(send, 503, b"Service Unavailable")

    def _find(self, directory: str, path: str | None, accepted: bytes | None) -> OpenFile:
        """The file, opened. Raises NotServed, OSError; IsDirectory only where there is an index to be led to."""
        segments = segments_of(path) if path is not None else [""]
        if path is not None and not segments[-1]:
            if not self._has_index:
                raise NotServed(path)
            segments[-1] = INDEX
        try:
            descriptor, found = open_file(directory, segments)
        except IsDirectory as exc:
            if not self._has_index:
                raise NotServed(path) from exc
            self._check_index(directory, segments)
            raise
        try:
            coding = None
            if self._codings:
                coding, descriptor, found = self._coded(directory, segments, accepted, descriptor, found)
            return OpenFile(descriptor, self._representation(segments[-1], coding, found))
        except BaseException:
            os.close(descriptor)
            raise

    def _check_index(self, directory: str, segments: list[str]) -> None:
        """Raise NotServed where a directory has no index."""
        try:
            os.close(open_file(directory, [*segments, INDEX])[0])
        except IsDirectory as exc:
            raise NotServed(*segments) from exc

    def _coded(
        self, directory: str, segments: list[str], accepted: bytes | None, descriptor: int, found: os.stat_result
    ) -> tuple[str | None, int, os.stat_result]:
        """The compressed file beside the plain one that the client likes best, if it is not older; else the plain one.

        The descriptor that is not returned is closed.
        """
        available = list(self._codings)
        while self._choose is not None and available:
            coding = self._choose(accepted, available)
            if coding is None:
                break
            try:
                beside, stat = open_file(directory, [*segments[:-1], segments[-1] + _SUFFIXES[coding]])
            except (NotServed, OSError):
                available.remove(coding)
                continue
            if stat.st_mtime_ns >= found.st_mtime_ns:
                os.close(descriptor)
                return coding, beside, stat
            os.close(beside)
            available.remove(coding)
        return None, descriptor, found

    def _representation(self, name: str, coding: str | None, found: os.stat_result) -> Representation:
        key = (name, coding, found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._kept.get(key)
        if known is None:
            known = self._made(name, coding, found)
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            if known.validators.modified <= time.time():
                self._kept[key] = known
        return known

    def _made(self, name: str, coding: str | None, found: os.stat_result) -> Representation:
        modified = found.st_mtime_ns // 1_000_000_000
        suffix = f"-{coding}" if coding else ""
        etag = f'"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}{suffix}"'.encode()
        kept: list[tuple[bytes, bytes]] = [
            (b"etag", etag),
            # RFC 9110 section 8.8.2.1: never later than the answer itself.
            (b"last-modified", formatdate(min(modified, int(time.time())), usegmt=True).encode()),
            _NO_SNIFFING,
        ]
        if self._max_age is not None:
            kept.append((b"cache-control", b"max-age=%d" % self._max_age))
        if self._codings:
            kept.append((b"vary", b"Accept-Encoding"))
        media_type = media_type_of(name)
        fields = [*kept, (b"accept-ranges", b"bytes")]
        if coding:
            fields.append((b"content-encoding", coding.encode()))
        return Representation(tuple(fields), tuple(kept), media_type, Validators(etag, modified), found.st_size)


def media_type_of(name: str) -> bytes:
    """By the end of a file's name; texts count as UTF-8, as with Starlette."""
    # With a slash, no name is taken for a URL of some scheme.
    media_type, encoding = mimetypes.guess_type(f"./{name}")
    if encoding is not None:
        media_type = _COMPRESSED_TYPES.get(encoding)
    if media_type is None:
        return b"application/octet-stream"
    return (f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type).encode()


def _asked(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields of a request that count here, several lines of one joined (RFC 9110 section 5.3)."""
    asked: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ASKED:
            value = value.strip(b" \t")
            asked[name] = b"%b, %b" % (asked[name], value) if name in asked else value
    return asked


async def _answer(send: Any, file: OpenFile, asked: Mapping[bytes, bytes], is_head: bool) -> bool:
    """Answer with a file, or a part of it. Returns False where nothing was sent, since it shrank meanwhile."""
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
            await _refuse(send, 412, b"Precondition Failed")
            return True
        # RFC 9110 section 14.2: of all methods, GET has ranges.
        if not is_head and b"range" in asked and range_applies(asked, what.validators, now):
            try:
                spans = ranges_of(asked[b"range"], what.size)
            except UnsatisfiableRange:
                await _refuse(send, 416, b"Range Not Satisfiable", (b"content-range", b"bytes */%d" % what.size))
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
                "type": "http.response.zerocopysend",
                "file": descriptor,
                "offset": part.start,
                "count": part.stop - part.start,
                "more_body": place != last,
            }
        await send(message)


async def _refuse(send: Any, status: int, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        _NO_SNIFFING,
        *fields,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


#: What a file's answer consists of, on every channel.
_MESSAGES = with_extensions()

"""Files that the server itself serves (`--static PREFIX=DIR`): which file, which answer. The app is not asked.

`StaticFiles` is a feature: it puts itself in the place of the app for what is below one of its prefixes. Answers GET
and HEAD (`static_answers`) with a file that is opened below its directory (`static_paths`), or a compressed one beside
it that the client takes. Runs on the worker's loop: opening a file and looking at it takes microseconds, the way
through a thread more than the whole answer.

Implements RFC 9110 section 8.8 for a file's validators; compatible with Starlette's `StaticFiles` in media types.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import mimetypes
import os
import re
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import quote, unquote

from pounce.errors import ClientDisconnected
from pounce.exchange.files import ZEROCOPYSEND, with_files
from pounce.exchange.http_cycle import MESSAGES, RequestResponseCycle
from pounce.exchange.ranges import CONDITIONS, RANGES, Validators
from pounce.exchange.server_responses import SERVER_ANSWERS
from pounce.exchange.static_answers import (
    NO_SNIFFING,
    CutShort,
    OpenFile,
    Representation,
    answer,
    refuse,
)
from pounce.exchange.static_paths import IsDirectory, NotServed, open_file, segments_of
from pounce.exchange.turns import AppGivenUp
from pounce.settings import Static

INDEX = "index.html"

#: Of files that are compressed as such, by what `mimetypes` calls their encoding.
_COMPRESSED_TYPES = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
}

#: What stays as it is in a component of a path, and in a query (RFC 3986 sections 3.3 and 3.4), with the sign of what
#: is quoted already.
_IN_PATH = ":@!$&'()*+,;=%"
_IN_QUERY = "/?:@!$&'()*+,;=%"

_ASKED = CONDITIONS | RANGES | {b"accept-encoding"}

#: What a target in absolute form (RFC 9112 section 3.2.2) has before its path.
_AUTHORITY = re.compile(rb"^[A-Za-z][A-Za-z0-9+.-]*://[^/]*")

#: How many answers are kept per worker, ready but for the body.
_MAX_KEPT = 512

#: How often an answer is begun again where the file shrank while it was read.
_ATTEMPTS = 3


class StaticFiles:
    """The feature of one worker."""

    def __init__(self, settings: Static, codings: tuple[str, ...], logger: logging.Logger) -> None:
        """`codings`: those of the setting, in which there may be files beside the one asked for."""
        #: The longest prefix first.
        self._mounts = [
            (mount.prefix, f"{mount.prefix}/", mount.directory)
            for mount in sorted(settings.dirs, key=lambda mount: -len(mount.prefix))
        ]
        self._max_age = settings.max_age
        self._has_index = settings.index
        #: From an Accept-Encoding field to suffixes of files and their codings, the best one for the client first.
        self._suffixes = _suffixes_by_field(codings) if codings else None
        self._logger = logger
        self._kept: dict[Any, Representation] = {}
        if not mimetypes.inited:
            mimetypes.init()  # reads files of the system

    def __call__(self, cycle: RequestResponseCycle) -> None:
        """Take the exchange over if its path is below a prefix, and the server has not refused it."""
        path: str = cycle.scope["path"]
        if root_path := cycle.scope["root_path"]:
            path = path.removeprefix(root_path)
        if path[:1] != "/" or "#" in path:
            path = _path_of_target(cycle.scope)
        for prefix, with_slash, directory in self._mounts:
            if path.startswith(with_slash) or path == prefix:
                if not any(cycle.app is answer for answer in SERVER_ANSWERS):
                    below = None if prefix and path == prefix else path[len(with_slash) :]
                    cycle.app = functools.partial(self._serve, directory, below)
                    cycle.messages = _MESSAGES
                return

    async def _serve(self, directory: str, path: str | None, scope: Any, _receive: Any, send: Any) -> None:
        """Answer as an ASGI app. `path` is below the directory; None is that itself, without a slash at the end."""
        # What can't be answered as it should be is no exception of an app: none has run.
        try:
            await self._answer(directory, path, scope, send)
        except CutShort as exc:
            self._warn(directory, exc)
            raise AppGivenUp from exc
        except asyncio.CancelledError as exc:  # whoever has done this says so
            raise AppGivenUp from exc

    async def _answer(self, directory: str, path: str | None, scope: Any, send: Any) -> None:
        is_head = scope["method"] == "HEAD"
        if not is_head and scope["method"] != "GET":
            await refuse(send, 405, b"Method Not Allowed", (b"allow", b"GET, HEAD"))
            return
        asked = _asked(scope["headers"])
        for _ in range(_ATTEMPTS):
            try:
                file = self._find(directory, path, asked.get(b"accept-encoding"))
            except IsDirectory:
                # Relative, so that it leads to no other host, and through proxies that take a part of the path away.
                # From the path as it came: a slash that is quoted in it is none to a client.
                name = scope["raw_path"].partition(b"#")[0].rpartition(b"/")[2]
                location = f"./{quote(name, safe=_IN_PATH)}/"
                if scope["query_string"]:
                    location += f"?{quote(scope['query_string'], safe=_IN_QUERY)}"
                await refuse(send, 307, b"", (b"location", location.encode()))
                return
            except NotServed:
                await refuse(send, 404, b"Not Found")
                return
            except OSError as exc:
                self._warn(directory, exc)
                break
            try:
                if await answer(send, file, asked, is_head):
                    return
            except (ClientDisconnected, ConnectionError):
                raise
            except OSError as exc:
                self._warn(directory, exc)
                break
            finally:
                os.close(file.descriptor)
        await refuse(send, 503, b"Service Unavailable")

    def _warn(self, directory: str, why: Exception) -> None:
        self._logger.warning("Cannot serve a file below '%s': %s", directory, why)

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
            if self._suffixes is not None:
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
        for suffix, coding in self._suffixes(accepted) if self._suffixes and accepted else ():
            try:
                beside, stat = open_file(directory, [*segments[:-1], segments[-1] + suffix])
            except (NotServed, OSError):
                continue
            if stat.st_mtime_ns >= found.st_mtime_ns:
                os.close(descriptor)
                return coding, beside, stat
            os.close(beside)
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
        # A digest, since the number of an inode is nobody else's business.
        state = f"{found.st_mtime_ns} {found.st_size} {found.st_ino} {coding}"
        etag = f'"{hashlib.blake2b(state.encode(), digest_size=12).hexdigest()}"'.encode()
        kept: list[tuple[bytes, bytes]] = [
            (b"etag", etag),
            # RFC 9110 section 8.8.2.1: never later than the answer itself. Nor what has no date there.
            (b"last-modified", formatdate(max(0, min(modified, int(time.time()))), usegmt=True).encode()),
            NO_SNIFFING,
        ]
        if self._max_age is not None:
            kept.append((b"cache-control", b"max-age=%d" % self._max_age))
        if self._suffixes is not None:
            kept.append((b"vary", b"Accept-Encoding"))
        media_type = media_type_of(name)
        fields = [*kept, (b"accept-ranges", b"bytes")]
        if coding:
            fields.append((b"content-encoding", coding.encode()))
        return Representation(tuple(fields), tuple(kept), media_type, Validators(etag, modified), found.st_size)


def _path_of_target(scope: Any) -> str:
    """The decoded path of a target in absolute form, or with a fragment: parsers differ in what of it they take off."""
    raw: bytes = scope["raw_path"].removeprefix(scope["root_path"].encode()).partition(b"#")[0]
    return unquote((_AUTHORITY.sub(b"", raw, 1) or b"/").decode())


def media_type_of(name: str) -> bytes:
    """By the end of a file's name; texts count as UTF-8, as with Starlette."""
    # With a slash, no name is taken for a URL of some scheme.
    media_type, encoding = mimetypes.guess_type(f"./{name}")
    if encoding is not None:
        media_type = _COMPRESSED_TYPES.get(encoding)
    if media_type is None:
        return b"application/octet-stream"
    return (f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type).encode()


def _suffixes_by_field(codings: tuple[str, ...]) -> Callable[[bytes], list[tuple[str, str]]]:
    """Which files beside another one a client takes, by its Accept-Encoding: nothing has to be installed for them."""
    from pounce.exchange.content_codings import MAX_FIELD_SIZE, SUFFIXES, Choice

    names = tuple(SUFFIXES) if codings == ("auto",) else codings

    @functools.lru_cache(_MAX_KEPT)
    def suffixes(accepted: bytes) -> list[tuple[str, str]]:
        return [(SUFFIXES[name], name) for name in Choice([accepted], names).codings]

    return lambda accepted: suffixes(accepted if len(accepted) <= MAX_FIELD_SIZE else b"")


def _asked(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The fields of a request that count here, several lines of one joined (RFC 9110 section 5.3)."""
    asked: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ASKED:
            value = value.strip(b" \t")
            asked[name] = b"%b, %b" % (asked[name], value) if name in asked else value
    return asked


#: What a file's answer consists of, on every channel.
_MESSAGES = with_files(MESSAGES, (ZEROCOPYSEND,))

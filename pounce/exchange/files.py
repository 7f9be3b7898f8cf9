"""Files as parts of responses: the ASGI extensions `http.response.pathsend` and `http.response.zerocopysend`.

Rows for the table of an exchange, where the settings advertise them. Knows no transport: the writer sends
(`ExtendedWriter.send_file`). A file is never closed before the writer is done with it, and always then, if opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pounce.errors import ClientDisconnected, MisusedByApp
from pounce.exchange.extensions import DerivedTables, ExtendedWriter
from pounce.exchange.http_cycle import Handler, Messages, RequestResponseCycle, ResponseState

PATHSEND, ZEROCOPYSEND = "http.response.pathsend", "http.response.zerocopysend"

#: Opening never waits (for the writer of a pipe), and no child process inherits the descriptor.
_FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY", "O_BINARY"))


class FileBecameShorter(OSError):
    """A file has fewer bytes than it had when it was begun to be sent."""

    def __str__(self) -> str:
        return "The file has become shorter while it was sent."


def check_regular(file: int, name: object) -> int:
    """The size of an open file. Raises OSError for what is none: a directory, a pipe, a device."""
    status = os.fstat(file)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", name)
    return status.st_size


@contextmanager
def opened(path: Any) -> Iterator[tuple[int, int]]:
    """A regular file's descriptor and size. Raises OSError."""
    file = os.open(path, _FLAGS)
    try:
        yield file, check_regular(file, path)
    finally:
        os.close(file)


def read_at(file: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes from `offset` on."""
    if hasattr(os, "pread"):
        return os.pread(file, size, offset)
    position = os.lseek(file, 0, os.SEEK_CUR)
    try:
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)
    finally:
        os.lseek(file, position, os.SEEK_SET)


async def send_part(cycle: RequestResponseCycle, file: int, offset: int, count: int, more_body: bool) -> bool:
    """Send a part of a file as a part of the response's body. Returns whether the app may go on.

    Where that can't be done to its end, the exchange ends: what there is of the response can't be completed any more.
    """
    writer: ExtendedWriter = cycle.writer  # type: ignore[assignment]
    before, record = cycle.state, cycle.record
    has_trailers = before is ResponseState.HEAD_OF_TRAILERS
    cycle.state = ResponseState.FILE
    if record is not None:
        record.bytes_out += count
    try:
        await writer.send_file(file, offset, count, more_body or has_trailers)
    except MisusedByApp:
        cycle.state = before
        if record is not None:
            record.bytes_out -= count
        raise
    except ClientDisconnected:
        cycle.abandon()
        return False
    except BaseException:
        cycle.abandon()
        raise
    if cycle.disconnected:
        return False
    if more_body:
        cycle.state = before
    elif has_trailers:
        cycle.state = ResponseState.BODY
    else:
        cycle.state = ResponseState.ALL
        cycle.finish_record()
        cycle.channel.on_response_complete(cycle)
    return more_body


async def _send_path(cycle: RequestResponseCycle, path: Any) -> bool:
    path_for = getattr(cycle.writer, "path_for", None)  # what has been compressed before
    with opened(path if path_for is None else path_for(path)) as (file, size):
        return await send_part(cycle, file, 0, size, False)


async def _send_descriptor(cycle: RequestResponseCycle, message: Any) -> bool:
    given = message["file"]
    file = given if isinstance(given, int) else given.fileno()
    size = check_regular(file, getattr(given, "name", file))
    offset, count = message.get("offset"), message.get("count")
    for name, value in (("offset", offset), ("count", count)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise MisusedByApp(f"Invalid {name} of {ZEROCOPYSEND}: {value!r}.")
    moves = offset is None
    if offset is None:
        offset = os.lseek(file, 0, os.SEEK_CUR) if isinstance(given, int) else given.tell()
    left = max(size - offset, 0)
    count = left if count is None else min(count, left)
    goes_on = await send_part(cycle, file, offset, count, bool(message.get("more_body", False)))
    if moves:
        if isinstance(given, int):
            os.lseek(file, offset + count, os.SEEK_SET)
        else:
            given.seek(offset + count)
    return goes_on


def _on_pathsend(cycle: RequestResponseCycle, message: Any) -> Awaitable[bool]:
    return _send_path(cycle, message["path"])


def _on_zerocopysend(cycle: RequestResponseCycle, message: Any) -> Awaitable[bool]:
    return _send_descriptor(cycle, message)


_HANDLERS: Mapping[str, Handler] = {PATHSEND: _on_pathsend, ZEROCOPYSEND: _on_zerocopysend}


def with_files(messages: Messages, names: Iterable[str] = (PATHSEND, ZEROCOPYSEND)) -> Messages:
    """A table with these extensions as well: wherever a part of the body may come, a part of a file may."""
    rows = {name: _HANDLERS[name] for name in names}
    return [{**row, **rows} if "http.response.body" in row else row for row in messages]


class FileMessages:
    """A feature: exchanges take these messages, whatever else their channels take, and their scopes say so."""

    def __init__(self, names: Iterable[str] = (PATHSEND, ZEROCOPYSEND)) -> None:
        self._names = tuple(names)
        self._tables = DerivedTables(lambda messages: with_files(messages, self._names))

    def __call__(self, cycle: RequestResponseCycle) -> None:
        """See `Feature`."""
        cycle.messages = self._tables.of(cycle.messages)
        for name in self._names:
            cycle.scope["extensions"][name] = {}

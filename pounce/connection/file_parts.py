"""Parts of files read and written like any other part of a body: over TLS and HTTP/2, and where there is no `sendfile`.

Runs on the worker's loop. What is in memory already is read at once (Linux), all else on a thread, in bounded parts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from pounce.errors import ClientDisconnected
from pounce.exchange.channel import Flow
from pounce.exchange.files import FileBecameShorter, read_at

#: Bytes that are read at once.
PART_SIZE = 128 * 1024

_NO_WAIT = getattr(os, "RWF_NOWAIT", 0)


def _read_now(file: int, offset: int, size: int) -> bytes:
    """What of it can be had without waiting for a disk; nothing, where that is not known."""
    if not _NO_WAIT:
        return b""
    part = bytearray(size)
    try:
        length = os.preadv(file, [part], offset, _NO_WAIT)
    except OSError:
        return b""
    return bytes(part) if length == size else bytes(memoryview(part)[:length])


async def _read(file: int, offset: int, size: int) -> bytes:
    """Up to `size` bytes, at least one. Raises FileBecameShorter."""
    part = _read_now(file, offset, size)
    if not part:
        reading = asyncio.get_running_loop().run_in_executor(None, read_at, file, offset, size)
        try:
            part = await asyncio.shield(reading)
        except asyncio.CancelledError:
            await asyncio.wait([reading])  # the thread has the descriptor, which will be closed
            raise
    if not part:
        raise FileBecameShorter
    return part


async def send_in_parts(
    file: int, offset: int, count: int, flow: Flow, is_gone: Callable[[], bool], send: Callable[[bytes, bool], None]
) -> None:
    """Give `count` bytes of a file to `send`, which is told with each part whether it is the last.

    Raises ClientDisconnected, FileBecameShorter, and what reading raises.
    """
    while count:
        part = await _read(file, offset, min(count, PART_SIZE))
        if is_gone():
            raise ClientDisconnected("the client has left")
        offset += len(part)
        count -= len(part)
        send(part, not count)
        if flow.write_paused:
            await flow.drain()
        elif count:
            await asyncio.sleep(0)

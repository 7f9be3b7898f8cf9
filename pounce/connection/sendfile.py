"""Files to a socket by the kernel (`sendfile`), on asyncio's loops and uvloop, where nothing has to see the bytes.

Runs on the worker's loop. The transport must have nothing to write meanwhile, and neither loop lets anybody wait on a
transport's own descriptor: a duplicate of it is waited on. What is sent at once is bounded, so that everybody else has
their turn. Implements no part of HTTP.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from pounce.connection.flow import FlowControl
from pounce.connection.peer import is_ssl
from pounce.errors import ClientDisconnected

#: Bytes in one turn of the loop, which take the kernel 20 to 50 us. A reader on the same machine that takes little at
#: once makes larger amounts dearer: 28 us a turn for 128 KiB, 280 for 1 MiB.
_TURN_SIZE = 128 * 1024

_HAS_SENDFILE = hasattr(os, "sendfile")


def can_sendfile(transport: asyncio.Transport) -> bool:
    """Whether the bytes that a transport is given go to its socket as they are."""
    return _HAS_SENDFILE and not is_ssl(transport) and transport.get_extra_info("socket") is not None


class _Transfer:
    """A part of a file on its way to a socket."""

    def __init__(self, flow: FlowControl, sock: int, file: int, offset: int, count: int) -> None:
        self._flow = flow
        self._socket = sock
        self._file = file
        self.offset = offset
        self.left = count
        self.is_over = False
        self.client_left = False

    def step(self) -> None:
        """The socket takes more."""
        try:
            sent = os.sendfile(self._socket, self._file, self.offset, min(self.left, _TURN_SIZE))
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionError:
            self.client_left = True
            sent = 0
        except OSError:  # not from this file system; or the file can't be read, as whoever reads the rest will find
            sent = 0
        self.offset += sent
        self.left -= sent
        if not sent or not self.left:
            self.is_over = True
            self._flow.resume_writing()


async def sendfile(transport: asyncio.Transport, flow: FlowControl, file: int, offset: int, count: int) -> int:
    """Send `count` bytes of a file behind what was written. Returns how many were not sent: they have to be read.

    Raises ClientDisconnected. `flow` says that writing is paused until it is done.
    """
    await _emptied(transport, flow)
    if transport.is_closing():
        raise ClientDisconnected("the client has left")
    sock: Any = transport.get_extra_info("socket")
    try:
        duplicate = os.dup(sock.fileno())
    except OSError:  # no descriptor is left; to read the file takes none
        return count
    flow.pause_reading()
    transfer = _Transfer(flow, duplicate, file, offset, count)
    loop = asyncio.get_running_loop()
    flow.pause_writing()
    try:
        transfer.step()
        if not transfer.is_over:
            loop.add_writer(duplicate, transfer.step)
        await flow.drain()  # resumed by the transfer, and by the end of the connection
    finally:
        loop.remove_writer(duplicate)
        os.close(duplicate)
        flow.resume_writing()
    if transfer.client_left or not transfer.is_over:
        raise ClientDisconnected("the client has left")
    return transfer.left


async def _emptied(transport: asyncio.Transport, flow: FlowControl) -> None:
    """Wait until the socket has all that was written to the transport, or the connection is lost."""
    if not transport.get_write_buffer_size():
        return
    low, high = transport.get_write_buffer_limits()
    transport.set_write_buffer_limits(0)
    try:
        while transport.get_write_buffer_size() and not transport.is_closing():
            if flow.write_paused:
                await flow.drain()
            else:  # uvloop looks at its limits only when it writes
                await asyncio.sleep(0)
    finally:
        if not transport.is_closing():  # uvloop's raises when it is closed
            transport.set_write_buffer_limits(high, low)

"""Waiting for what a client sends first, on an accepted socket that has no transport: nothing is read by the loop.

Runs on the worker's loop, which has to have readers (asyncio's selector loops, libuv).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable


async def until(sock: socket.socket, is_enough: Callable[[], bool], seconds: float, late: OSError) -> None:
    """Wait until `is_enough()`, which is asked at once, and then whenever the socket is readable.

    It looks at the socket, and what it raises is raised here. `late` is raised after so many seconds; 0 is no limit.
    """
    if is_enough():
        return
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def on_readable() -> None:
        try:
            if not is_enough():
                return
        except Exception as exc:
            if not done.done():
                done.set_exception(exc)
        else:
            if not done.done():
                done.set_result(None)
        loop.remove_reader(sock)

    def on_late() -> None:
        if not done.done():
            done.set_exception(late)

    loop.add_reader(sock, on_readable)
    timer = loop.call_later(seconds, on_late) if seconds else None
    try:
        await done
    finally:
        loop.remove_reader(sock)
        if timer is not None:
            timer.cancel()

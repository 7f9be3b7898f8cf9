"""An app that does not let its process end: `$HOLD` says where ("startup", "request", "shutdown") and how."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import os
import sys
import threading
import time
from typing import Any

WHERE, _, HOW = os.environ["HOLD"].partition(" ")


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")  # one write, so that workers do not cut into each other's lines


def sleeps() -> None:
    time.sleep(1000)


def spins() -> None:
    while True:
        pass


def in_c() -> None:
    """Give the GIL back, and wait for what no signal ends: no handler runs on this thread any more."""
    libc = ctypes.CDLL(None)
    mutex = (ctypes.c_char * 64)()
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


async def awaits() -> None:
    await asyncio.sleep(1000)


async def stubborn() -> None:
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass


async def hold() -> None:
    say("in flight")
    kind, _, how = HOW.rpartition(" ")
    held: Any = {"sleeps": sleeps, "spins": spins, "in_c": in_c, "awaits": awaits, "stubborn": stubborn}[how]
    if kind == "executor":
        await asyncio.to_thread(held)
    elif kind == "thread":
        threading.Thread(target=held, name="the culprit").start()
    elif kind == "atexit":
        atexit.register(held)
    elif asyncio.iscoroutinefunction(held):
        await held()
    else:
        held()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The app."""
    if scope["type"] == "lifespan":
        await receive()
        if WHERE == "startup":
            await hold()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("lifespan ends")
        if WHERE == "shutdown":
            await hold()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if WHERE == "request":
        await hold()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

"""The app that hostile clients visit: what each of them wants by path, and `/vitals`, what the process has by now.

`/vitals` answers with JSON: of all workers' loops the tasks, the timers that are still to come (asyncio's own by its
list, uvloop's by its live objects), connections, and of the process its threads and the objects that the garbage
collector knows, with the types of them for who looks for a leak. `/trim` gives free memory back to the system.
"""

from __future__ import annotations

import asyncio
import collections
import ctypes
import gc
import json
import threading
import weakref
from typing import Any

HELLO = b"Hello, world!"
PART = b"x" * 65536
LARGE = 4 * PART
HUGE = 64 * len(LARGE)  # bytes: more than kernels take for a client that reads nothing
LATER = 0.2  # seconds

#: The loop of each worker that is up.
_loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """See the module."""
    match scope["type"]:
        case "lifespan":
            await _lifespan(receive, send)
        case "websocket":
            await _websocket(scope, receive, send)
        case _:
            await _PATHS.get(scope["path"], _hello)(receive, send)


async def _lifespan(receive: Any, send: Any) -> None:
    await receive()
    _loops.add(asyncio.get_running_loop())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Any, body: bytes) -> None:
    length = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


async def _hello(receive: Any, send: Any) -> None:
    """Also the answer to an upload that the app does not read."""
    await _answer(send, HELLO)


async def _upload(receive: Any, send: Any) -> None:
    """The size of the body, read to its end."""
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        if not message["more_body"]:
            return await _answer(send, b"%d" % size)


async def _later(receive: Any, send: Any) -> None:
    await asyncio.sleep(LATER)
    await _answer(send, HELLO)


async def _wait(receive: Any, send: Any) -> None:
    """No answer, until the client has left: a task with a timer."""
    async with asyncio.timeout(3600):
        while (await receive())["type"] != "http.disconnect":
            pass


async def _part(receive: Any, send: Any) -> None:
    await _answer(send, PART)


async def _large(receive: Any, send: Any, size: int = 4 * len(LARGE)) -> None:
    """1 MiB in four parts, with its length."""
    length = [(b"content-length", b"%d" % size)]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    for left in reversed(range(size // len(LARGE))):
        await send({"type": "http.response.body", "body": LARGE, "more_body": left > 0})


async def _huge(receive: Any, send: Any) -> None:
    await _large(receive, send, HUGE)


async def _websocket(scope: Any, receive: Any, send: Any) -> None:
    """An echo; `/sink` takes and says nothing, `/source` sends 16 MiB."""
    await receive()
    await send({"type": "websocket.accept"})
    try:
        if scope["path"] == "/source":
            for _ in range(HUGE // len(LARGE)):
                await send({"type": "websocket.send", "bytes": LARGE})
        while (message := await receive())["type"] == "websocket.receive":
            if scope["path"] == "/":
                await send({"type": "websocket.send", "bytes": message.get("bytes") or b""})
    except OSError:
        pass  # the client has left


async def _vitals(receive: Any, send: Any) -> None:
    gc.collect()
    objects = gc.get_objects()
    # `type(x)`, not `x.__class__`: nothing of the objects runs.
    types = collections.Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in objects)
    loops = list(_loops)
    from pounce.connection.base import Connection  # here: the server has it, whoever reads the module need not

    found = {
        "tasks": sum(len(asyncio.all_tasks(loop)) for loop in loops),
        "timers": sum(map(_timers, loops)) + types["uvloop.loop.TimerHandle"],
        "connections": sum(issubclass(type(thing), Connection) for thing in objects),
        "threads": len(threading.enumerate()),
        "objects": len(objects),
        "types": types,
    }
    del objects
    await _answer(send, json.dumps(found).encode())


async def _trim(receive: Any, send: Any) -> None:
    """Give back to the system what glibc's malloc keeps free."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    await _answer(send, HELLO)


def _timers(loop: Any) -> int:
    """Those of an asyncio loop that have not been cancelled; 0 on another."""
    return sum(not handle.cancelled() for handle in list(getattr(loop, "_scheduled", ())))


_PATHS = {
    "/upload": _upload,
    "/later": _later,
    "/wait": _wait,
    "/part": _part,
    "/large": _large,
    "/huge": _huge,
    "/vitals": _vitals,
    "/trim": _trim,
}

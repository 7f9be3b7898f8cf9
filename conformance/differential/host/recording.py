"""What the app behind a server is told, and what the server logs, as lines of text. Knows no server's internals.

The recorder belongs to one server: its calls run on that server's loop, its commands come from a control thread.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Any

import apps_http  # noqa: F401
import apps_websocket  # noqa: F401
from stage import APPS, Stage

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

#: Rounds of the loop, each with a pause, in which nothing may happen before it counts as quiet.
QUIET_ROUNDS = 4
TURNS = 4
PAUSE = 0.003


class Call:
    """One call of the app."""

    def __init__(self, task: asyncio.Task[Any] | None) -> None:
        self.task = task
        self.lines: list[str] = []
        self.body: bytes | None = None
        self.over = False

    def note(self, line: str) -> None:
        self._flush()
        self.lines.append(line)

    def note_body(self, message: Message) -> None:
        """Parts of a request's body count together: where the reads cut it is chance."""
        self.body = (self.body or b"") + message.get("body", b"")
        extra = sorted(set(message) - {"type", "body", "more_body"})
        if extra or not message.get("more_body", False):
            self.note(f"received http.request, the end{' ' + ' '.join(extra) if extra else ''}")

    def _flush(self) -> None:
        if self.body is not None:
            body, self.body = self.body, None
            self.lines.append(f"received http.request {shown(body)}")

    def finished_lines(self) -> list[str]:
        self._flush()
        return self.lines if self.over else [*self.lines, "still running"]


class Recorder:
    """The app of one server."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.changes = 0
        self.begin("hello")

    # On the control thread

    def begin(self, app: str) -> None:
        """Forget what was; the next calls go to this app."""
        self.app = APPS[app]
        self.calls: list[Call] = []
        self.logs: list[str] = []
        self.points: dict[str, tuple[threading.Event, threading.Event]] = {}
        self.lock = threading.Lock()

    def wait_reached(self, point: str, seconds: float) -> bool:
        return self._point(point)[0].wait(seconds)

    def release(self, point: str) -> None:
        self._point(point)[1].set()

    def settle(self, seconds: float) -> None:
        """Return when the server has nothing more to do but to wait."""
        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(self._quiet(), self.loop).result(seconds)

    def collect(self, seconds: float) -> dict[str, Any]:
        """What was recorded since `begin`. Calls that still run are cancelled."""
        self.settle(seconds)
        found = {"calls": [call.finished_lines() for call in self.calls], "logs": self.logs}
        self.logs = []
        for call in self.calls:
            if not call.over and call.task is not None:
                assert self.loop is not None
                self.loop.call_soon_threadsafe(call.task.cancel)
                self.settle(seconds)
        return found

    def _point(self, point: str) -> tuple[threading.Event, threading.Event]:
        with self.lock:
            return self.points.setdefault(point, (threading.Event(), threading.Event()))

    # On the server's loop

    async def _quiet(self) -> None:
        quiet = 0
        while quiet < QUIET_ROUNDS:
            seen = self.changes
            for _ in range(TURNS):
                await asyncio.sleep(0)
            await asyncio.sleep(PAUSE)
            quiet = quiet + 1 if seen == self.changes else 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.changes += 1
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        call = Call(asyncio.current_task())
        self.calls.append(call)
        for line in scope_lines(scope):
            call.note(line)

        async def recorded_receive() -> Message:
            try:
                message = await receive()
            except BaseException as exc:
                call.note(f"receive raised {described(exc)}")
                raise
            finally:
                self.changes += 1
            if message["type"] == "http.request":
                call.note_body(message)
            else:
                call.note(f"received {message_line(message)}")
            return message

        async def recorded_send(message: Message) -> None:
            try:
                await send(message)
            except BaseException as exc:
                call.note(f"send {message.get('type')} raised {described(exc)}")
                raise
            finally:
                self.changes += 1
            call.note(f"sent {message.get('type')}")

        try:
            await self.app(Stage(scope, recorded_receive, recorded_send, self._reach, self._wait_release))
        except BaseException as exc:
            call.note(f"raised {described(exc)}")
            raise
        else:
            call.note("returned")
        finally:
            call.over = True
            self.changes += 1

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        self.loop = asyncio.get_running_loop()
        await receive()
        await send({"type": "lifespan.startup.complete"})
        self.started.set()
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _reach(self, point: str) -> None:
        self._point(point)[0].set()

    async def _wait_release(self, point: str) -> None:
        while not self._point(point)[1].is_set():
            await asyncio.sleep(0.001)
        self.changes += 1


class LogHandler(logging.Handler):
    """Gives each record to the recorder of the thread on which it was logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.recorders: dict[int, Recorder] = {}

    def listen(self, recorder: Recorder) -> None:
        """What the current thread logs is this recorder's."""
        self.recorders[threading.get_ident()] = recorder

    def emit(self, record: logging.LogRecord) -> None:
        recorder = self.recorders.get(threading.get_ident())
        # What the garbage collector finds comes at any time.
        if recorder is None or "was never retrieved" in record.getMessage():
            return
        message = record.getMessage().partition("Traceback (most recent call last)")[0].strip()
        if record.name == "asyncio":  # the lines behind the first are reprs
            message = message.partition("\n")[0]
        line = f"{record.name} {record.levelname} {without_ports(message)!r}"
        if record.exc_info and record.exc_info[1] is not None:
            line += f" with {described(record.exc_info[1])}"
        recorder.logs.append(line)
        recorder.changes += 1


def scope_lines(scope: Message) -> list[str]:
    """A scope, a key per line, a header field per line. Ports are left out."""
    lines = []
    for key in sorted(scope):
        value = scope[key]
        if key == "headers":
            value = [*value]
            lines += [f"scope header {name!r}: {shown(content)}" for name, content in value]
        elif key in ("client", "server"):
            value = value and (value[0], "port" if value[1] and value[1] > 1024 else value[1])
            lines.append(f"scope {key}={value!r}")
        else:
            lines.append(f"scope {key}={shown(value)}")
    return lines


def message_line(message: Message) -> str:
    """A message the app got, but for a body."""
    rest = [f"{key}={shown(message[key])}" for key in sorted(message) if key != "type"]
    return " ".join([message["type"], *rest])


def described(exc: BaseException) -> str:
    """An exception's type, or of which built-in type it is a kind, and its text, on one line."""
    name = next(kind.__name__ for kind in type(exc).__mro__ if kind.__module__ == "builtins")
    return f"{name}({without_ports(str(exc))!r})"


def shown(value: Any) -> str:
    """A value's repr; of a long one its beginning and size."""
    text = repr(int(value) if isinstance(value, IntEnum) else value)
    return text if len(text) <= 200 else f"{text[:60]}… ({len(value)} of {type(value).__name__})"


def without_ports(text: str) -> str:
    """The text with each port of an address on this machine, and each address of an object, left out."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:port", text)
    text = re.sub(r"'127\.0\.0\.1', \d+", "'127.0.0.1', port", text)
    return re.sub(r"0x[0-9a-f]{6,}", "…", text)

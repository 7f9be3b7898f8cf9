"""An HTTP/1.1 connection without sockets: a fake transport below the protocol class, bytes by hand in front of it.

`Connection` runs any of pounce's HTTP/1.1 classes on the running loop, on a loop with a task factory (no eager tasks),
or on a double that has no more than `create_task` and `call_later`. `RecordingSink` is what a wire alone talks to.
"""

from __future__ import annotations

import asyncio
import functools
import math
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

from pounce.connection.deadlines import INTERVAL, Deadlines, limits_of
from pounce.connection.http1 import HTTP1Protocol
from pounce.connection.http1_h11 import H11Protocol
from pounce.connection.http1_httptools import HttpToolsProtocol
from pounce.connection.http1_zttp import ZttpProtocol
from pounce.connection.state import ServerState
from pounce.settings import Settings
from pounce.wire.strictness import Headers, Rules


def _wire(wire_class: Any, sink: Any, header_cache: Any, rules: Rules | None = None) -> Any:
    return wire_class(sink, header_cache, Rules() if rules is None else rules)


PROTOCOLS: dict[str, type[HTTP1Protocol]] = {
    "h11": H11Protocol,
    "httptools": HttpToolsProtocol,
    "zttp": ZttpProtocol,
}
#: By parser, what makes a wire: strict, unless other rules are given.
WIRES: dict[str, Any] = {name: functools.partial(_wire, protocol.wire_class) for name, protocol in PROTOCOLS.items()}

DEFAULT_HEADERS = [(b"server", b"pounce")]


def get(path: str = "/", *fields: str, version: str = "1.1", method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: example.org", *fields, "", ""]).encode("latin-1")


def post(body: bytes, path: str = "/", *fields: str) -> bytes:
    """A request with a body of a declared length."""
    return get(path, f"Content-Length: {len(body)}", *fields, method="POST") + body


def chunked(*chunks: bytes, path: str = "/", trailers: bytes = b"", fields: tuple[str, ...] = ()) -> bytes:
    """A request with a chunked body."""
    data = b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])
    return get(path, "Transfer-Encoding: chunked", *fields, method="POST") + data + b"0\r\n" + trailers + b"\r\n"


def cuts(data: bytes, seed: int | None = None) -> Iterator[list[bytes]]:
    """The same bytes whole, byte by byte, and cut at random."""
    yield [data]
    yield [data[i : i + 1] for i in range(len(data))]
    dice = random.Random(20 if seed is None else seed)
    for _ in range(5):
        places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 9)))
        yield [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if a < b]


class Response(NamedTuple):
    """One response as a client reads it. `complete` is False where its body ended too early."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    complete: bool = True


def responses(data: bytes, *, heads: tuple[int, ...] = (), closed: bool = False) -> list[Response]:
    """Parse what a client reads, strictly. `heads`: the places of answers to HEAD; `closed`: the connection ended."""
    found: list[Response] = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        if not separator:
            raise AssertionError(f"not a response: {head!r}")
        line, *lines = head.split(b"\r\n")
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1", line
        fields: dict[bytes, bytes] = {}
        for field in lines:
            name, separator, value = field.partition(b": ")
            assert separator, field
            name = name.lower()
            assert name not in fields, f"{name!r} twice"
            fields[name] = value
        code, complete = int(status), True
        if code < 200 or code in (204, 304) or len(found) in heads:
            body = b""
        elif fields.get(b"transfer-encoding") == b"chunked":
            body, data, complete = _dechunk(data)
        elif b"content-length" in fields:
            length = int(fields[b"content-length"])
            body, data = data[:length], data[length:]
            complete = len(body) == length
        else:
            assert closed, "a body without an end"
            body, data = data, b""
        found.append(Response(code, fields, body, complete))
    return found


def _dechunk(data: bytes) -> tuple[bytes, bytes, bool]:
    body = b""
    while True:
        size, separator, rest = data.partition(b"\r\n")
        if not separator:
            return body, b"", False
        length = int(size, 16)
        if len(rest) < length + 2:
            return body + rest, b"", False
        assert rest[length : length + 2] == b"\r\n", rest[length : length + 2]
        body += rest[:length]
        data = rest[length + 2 :]
        if not length:
            return body, data, True


class FakeTransport:
    """Collects what is written. Delivers only while reading is not paused, and nothing after `close()`.

    `limit`: so many bytes that the client has not taken make it pause its protocol, as asyncio's do. With `tells_end`
    it is closed once, and its protocol told so in the loop's next turn; else `lose()` tells it, when the test says so.
    """

    def __init__(self, limit: float = math.inf, *, tells_end: bool = True) -> None:
        self.protocol: Any = None
        self.written = bytearray()
        self.writes = 0
        self.vectors: list[list[bytes]] = []
        self.limit = limit
        self.full = False
        self.closed = False
        self.reading = True
        self.pauses = 0
        self.undelivered: list[bytes] = []
        self.lost = False
        self.extra: dict[str, Any] = {"sockname": ("127.0.0.1", 8000), "peername": ("127.0.0.2", 9000)}
        self._tells_end = tells_end

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.extra.get(name, default)

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        assert not self.closed, "written after close"
        self.written += data
        self.writes += 1
        if len(self.written) > self.limit and not self.full:
            self.full = True
            self.protocol.pause_writing()

    def writelines(self, pieces: list[Any]) -> None:
        assert all(pieces), "asyncio spins on an empty piece"
        self.vectors.append(pieces)
        self.write(b"".join(pieces))

    def take(self) -> bytes:
        """What was written since the last call, as a client that reads all of it."""
        data = bytes(self.written)
        self.written.clear()
        if self.full:
            self.full = False
            self.protocol.resume_writing()
        return data

    def close(self) -> None:
        if self._tells_end:
            assert not self.closed, "closed twice"
            asyncio.get_running_loop().call_soon(self.lose)
        self.closed = True

    def abort(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return len(self.written)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert not self.closed, "uvloop raises here"
        self.reading = False
        self.pauses += 1

    def resume_reading(self) -> None:
        assert not self.closed, "uvloop raises here"
        self.reading = True
        if self.undelivered:
            asyncio.get_running_loop().call_soon(self.deliver)

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self.undelivered.append(data)
        self.deliver()

    def deliver(self) -> None:
        while self.undelivered and self.reading and not self.closed:
            self.protocol.data_received(self.undelivered.pop(0))

    def lose(self, exc: Exception | None = None) -> None:
        """The connection ends, once."""
        self.closed = True
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(exc)


class Clock:
    """The passes of a worker's deadlines over its connections, whose time is this clock's."""

    def __init__(self, state: ServerState, **deadlines: float) -> None:
        """`deadlines`: the settings. Of the keep-alive time it is uvicorn's."""
        self.now = 1000.0
        self.deadlines = Deadlines(state, 5, limits_of(Settings.of({"deadlines": deadlines})))
        self.deadlines.sweep(self.now)

    def run(self, seconds: float) -> None:
        """Let this time pass."""
        end = self.now + seconds
        while self.now < end:
            self.now += INTERVAL
            self.deadlines.sweep(self.now)

    @property
    def held(self) -> int:
        """How many debts are noted."""
        return len(self.deadlines._owed)


class LoopDouble:
    """As little of a loop as uvicorn's tests have."""

    def __init__(self) -> None:
        self.timers: list[Any] = []

    def create_task(self, coro: Any) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(coro)

    def call_later(self, delay: float, callback: Any, *args: Any) -> Any:
        handle = asyncio.get_running_loop().call_later(delay, callback, *args)
        self.timers.append(handle)
        return handle


class FakeTimer:
    """A `call_later` that has not happened yet."""

    def __init__(self, delay: float, callback: Any) -> None:
        self.delay = delay
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class StandingLoop(LoopDouble):
    """The same, with a clock that stands still until told to go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *args: Any) -> FakeTimer:
        self.timers.append(FakeTimer(delay, functools.partial(callback, *args)))
        timer: FakeTimer = self.timers[-1]
        return timer

    def fire(self) -> float:
        """Run the only timer there is; returns its delay."""
        return self.fire_at(None)

    def fire_at(self, when: float | None) -> float:
        """Run the only timer there is at that time, whenever it was set (None: when it is due)."""
        [timer] = [timer for timer in self.timers if not timer.cancelled]
        self.timers.clear()
        self.now = self.now + timer.delay if when is None else when
        timer.callback()
        delay: float = timer.delay
        return delay

    @property
    def pending(self) -> int:
        return sum(not timer.cancelled for timer in self.timers)


class HurryingLoop(asyncio.SelectorEventLoop):
    """asyncio's loop with a clock of its own: it goes on to the next timer as soon as there is nothing else to do."""

    __module__ = "asyncio.hurrying"  # tasks start eagerly, as on asyncio's own

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[has-type]
            timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
            self._now = max(self._now, min(timers, default=self._now))
        super()._run_once()  # type: ignore[misc]


def hurry(main: Any) -> Any:
    """`asyncio.run` on a `HurryingLoop`."""
    with asyncio.Runner(loop_factory=HurryingLoop) as runner:
        return runner.run(main)


def plain_task_factory(loop: Any, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    """A factory that does what the loop would do; that there is one is enough to rule out eager tasks."""
    return asyncio.Task(coro, loop=loop, **kwargs)


def plain_config(app: Any, **settings: Any) -> Any:
    """As much of a configuration as an HTTP/1.1 connection reads."""
    config = SimpleNamespace(
        loaded=True,
        loaded_app=app,
        ws_protocol_class=None,
        root_path="",
        asgi_version="3.0",
        limit_concurrency=None,
        timeout_keep_alive=5,
        h11_max_incomplete_event_size=None,
        reset_contextvars=False,
        settings=Settings.of({}),
    )
    vars(config).update(settings)
    return config


class Connection:
    """A protocol object with its app, and what its client sees. At the end of an `async with` it waits for the app."""

    def __init__(
        self,
        parser: str,
        app: Any,
        *,
        loop: Any = None,
        sweeps: bool = False,
        state: ServerState | None = None,
        client: str = "127.0.0.2",
        **settings: Any,
    ) -> None:
        config = plain_config(app, **settings)
        self.config = config
        self.state = ServerState() if state is None else state
        self.state.sweeps_idle = sweeps
        self.state.default_headers = list(DEFAULT_HEADERS)
        self.app_state: dict[str, Any] = {"seen": 1}
        loop = asyncio.get_running_loop() if loop is None else loop
        self.protocol = PROTOCOLS[parser](config, self.state, self.app_state, _loop=loop)
        self.transport = FakeTransport()
        self.transport.extra["peername"] = (client, 9000)
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, exc_type: object, *exc_info: object) -> None:
        self.transport.lose()
        if exc_type is None:
            await self.apps_done()
            await settle()
            assert not self.state.tasks
            assert self.protocol not in self.state.connections

    @property
    def closed(self) -> bool:
        return self.transport.closed

    async def apps_done(self) -> None:
        """Wait until every app has returned."""
        async with asyncio.timeout(5):
            while self.state.tasks:
                await asyncio.wait(list(self.state.tasks))

    async def feed(self, *parts: bytes) -> None:
        """Deliver bytes, one read for each part, and let the apps go as far as they can."""
        for part in parts:
            self.transport.feed(part)
            await settle(3)
        await self.settle()

    async def settle(self, turns: int = 12) -> None:
        """Let every task run until it waits, and all have had their turns."""
        quiet = 0
        while quiet < 5:  # between two turns there is a moment without one, and behind an answer there may be more
            await settle(turns)
            is_delivering = self.transport.reading and self.transport.undelivered and not self.closed
            quiet = 0 if self.state.input_turns.are_busy or is_delivering else quiet + 1

    def take(self) -> bytes:
        """What was written since the last call."""
        return self.transport.take()

    def responses(self, *, heads: tuple[int, ...] = ()) -> list[Response]:
        """The same, as responses."""
        return responses(self.take(), heads=heads, closed=self.closed)


async def settle(turns: int = 12) -> None:
    """Let every task run until it waits for something other than the loop's next turn."""
    for _ in range(turns):
        await asyncio.sleep(0)


async def read_body(receive: Any) -> bytes:
    """The request's body. Raises ConnectionResetError where the client leaves first."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError
        body += message["body"]
        if not message["more_body"]:
            return body


async def answer(send: Any, body: bytes = b"ok", status: int = 200, *fields: tuple[bytes, bytes]) -> None:
    """A response with a length."""
    headers = [(b"content-length", b"%d" % len(body)), *fields]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path and the body of the request."""
    body = await read_body(receive)
    await answer(send, scope["path"].encode("latin-1", "replace") + b" " + body)


class RecordingSink:
    """What a wire told: one entry per request, `[method, target, version, headers, body, ended]`, and pauses."""

    def __init__(self, *, takes_upgrade: bool = False) -> None:
        self.requests: list[list[Any]] = []
        self.details: list[tuple[bool, bool, bytes | None]] = []
        self.pauses = 0
        self.takes_upgrade = takes_upgrade

    def on_request(
        self,
        method: str,
        target: bytes,
        http_version: str,
        headers: Headers,
        keep_alive: bool,
        expect_continue: bool,
        has_body: bool,
        upgrade: bytes | None,
    ) -> bool:
        self.requests.append([method, target, http_version, headers, b"", not has_body])
        self.details.append((keep_alive, expect_continue, upgrade))
        return self.takes_upgrade and upgrade is not None

    def on_body(self, data: bytes) -> None:
        self.requests[-1][4] += data

    def on_end(self, trailers: int) -> None:
        self.requests[-1][5] = True

    def on_pause(self) -> None:
        self.pauses += 1


def feed_wire(wire: Any, data: bytes) -> None:
    """What a connection does with a segment. Raises BadRequest."""
    wire.feed(data)

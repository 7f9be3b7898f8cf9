"""Five ways through a connection, in process, on transports without sockets: what `benchmarks.instructions` counts.

`python -m benchmarks.paths N` takes each path N times and then 2N times, with a call of `getppid` at every border: it
costs next to nothing, and Valgrind dumps its counts there. Connections are made as a worker makes them; the loop is
asyncio's. Requests differ from each other, and are made before anything is counted.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from pounce import Config
from pounce.worker.worker import Worker

#: Repetitions before anything is counted: the interpreter specialises code that has run a few times.
WARM_UP = 100

BODY = b"x" * 1024
MESSAGE = b"x" * 128
MASK = b"\x0a\x0b\x0c\x0d"

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
END_STREAM_AND_HEADERS = 0x05


class SilentTransport:
    """Takes what is written and counts the writes."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.writes = 0
        self.last = b""
        self.closed = False
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 8000) if name in ("sockname", "peername") else default

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.writes += 1
        self.last = data

    def writelines(self, pieces: list[bytes]) -> None:
        self.write(b"".join(pieces))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def pause_reading(self) -> None:
        """Nothing comes unasked."""

    resume_reading = pause_reading


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and says `ok`; a WebSocket gets its messages back."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        return
    if scope["method"] == "POST":
        size = 0
        while True:
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        assert size == len(BODY)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def get(number: int) -> bytes:
    """An HTTP/1.1 request with three fields."""
    fields = f"Host: a.example\r\nUser-Agent: count\r\nCookie: c={number:05}\r\n"
    return f"GET /{number:05}?q={number:05} HTTP/1.1\r\n{fields}\r\n".encode()


def post(number: int) -> bytes:
    """The same with a body of 1 KiB."""
    fields = f"Host: a.example\r\nCookie: c={number:05}\r\nContent-Length: {len(BODY)}\r\n"
    return f"POST /{number:05}?q={number:05} HTTP/1.1\r\n{fields}\r\n".encode() + BODY


def echo(number: int) -> bytes:
    """A masked frame with a message of 128 bytes that no other has."""
    payload = f"{number:08}".encode() + MESSAGE[8:]
    masked = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(payload))
    return struct.pack("!BBH", 0x82, 0x80 | 126, len(masked)) + MASK + masked


class Http2Get:
    """The requests of one HTTP/2 connection, in their order."""

    def __init__(self) -> None:
        from hpack import Encoder

        self._encoder = Encoder()

    def __call__(self, number: int) -> bytes:
        fields = {":method": "GET", ":scheme": "http", ":authority": "a.example", ":path": f"/{number:05}?q=1"}
        block = self._encoder.encode({**fields, "user-agent": "count", "cookie": f"c={number:05}"})
        head = struct.pack("!I", len(block))[1:] + bytes((1, END_STREAM_AND_HEADERS))
        return head + struct.pack("!I", 2 * number + 1) + block


HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()

#: Name of a path to its settings, what is sent once, what makes its requests, and what ends each of its answers.
PATHS: dict[str, tuple[dict[str, Any], bytes, Callable[[], Callable[[int], bytes]], bytes]] = {
    "http1-get-httptools": ({"http": "httptools"}, b"", lambda: get, b"\r\n\r\nok"),
    "http1-get-h11": ({"http": "h11"}, b"", lambda: get, b"\r\n\r\nok"),
    "http1-post-httptools": ({"http": "httptools"}, b"", lambda: post, b"\r\n\r\nok"),
    "http2-get": ({"http": "httptools", "http2": True}, PREFACE + SETTINGS, Http2Get, b"ok"),
    "websocket-echo": ({"http": "httptools", "ws": "wsproto"}, HANDSHAKE, lambda: echo, MESSAGE[8:]),
}


async def turns(count: int) -> None:
    """So many turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def exchange(transport: SilentTransport, requests: list[bytes]) -> None:
    """One after the other, each when the one before is answered. Raises AssertionError where there is no answer."""
    for request in requests:
        before, waited = transport.writes, 0
        transport.protocol.data_received(request)
        while transport.writes == before:
            await asyncio.sleep(0)
            waited += 1
            assert waited < 50, f"no answer behind {transport.last!r}"


async def take(name: str, repetitions: int, border: Callable[[], object]) -> None:
    """That path: warm, then `repetitions` times and twice as often, with `border()` before, between and behind."""
    settings, first, make, end = PATHS[name]
    quiet: dict[str, Any] = {"lifespan": "off", "log_level": "critical", "access_log": False}
    config = Config(app, loop="asyncio", **quiet, **settings)
    config.load()
    worker = Worker(config)
    worker.tick()
    transport = SilentTransport(worker.create_protocol(asyncio.get_running_loop()))
    if first:
        transport.protocol.data_received(first)
        await turns(10)
    build = make()
    requests = [build(number) for number in range(WARM_UP + 3 * repetitions)]
    gc.collect()
    gc.disable()  # else a collection falls into one of the two, or not
    await exchange(transport, requests[:WARM_UP])
    border()
    await exchange(transport, requests[WARM_UP : WARM_UP + repetitions])
    border()
    await exchange(transport, requests[WARM_UP + repetitions :])
    border()
    gc.enable()
    assert transport.last.endswith(end), f"{name}: {transport.last!r}"
    await turns(10)
    transport.protocol.connection_lost(None)
    await turns(10)


def main() -> None:
    """All paths."""
    for name in PATHS:
        asyncio.run(take(name, int(sys.argv[1]), os.getppid))


if __name__ == "__main__":
    main()

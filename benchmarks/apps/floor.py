"""The floor: a case's right bytes from an asyncio.Protocol that parses nothing it need not: `floor.py PORT LOOP KIND`.

A Python server on that loop writes these bytes in as many steps (`asyncio.Protocol`, one write per step), and has a
parser and an app besides: it cannot take less. No rule of HTTP is kept beyond what the load of the case needs, and
what is known of that load (sizes, one request at a time) is taken for granted. This is no server.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import importlib
import signal
import struct
import sys
from collections.abc import Callable
from typing import Any

from payload import CHUNK, CHUNKS, ECHO_SIZE, EVENTS, HELLO

END = b"\r\n\r\n"


def head(media_type: str, *fields: str) -> bytes:
    lines = ("HTTP/1.1 200 OK", "date: Thu, 01 Jan 2026 00:00:00 GMT", "server: floor", f"content-type: {media_type}")
    return "\r\n".join([*lines, *fields]).encode() + END


HELLO_ANSWER = head("text/plain; charset=utf-8", f"content-length: {len(HELLO)}") + HELLO
LAST_ANSWER = head("text/plain; charset=utf-8", f"content-length: {len(HELLO)}", "connection: close") + HELLO
ECHO_HEAD = head("application/octet-stream", f"content-length: {ECHO_SIZE}")
DOWNLOAD_HEAD = head("application/octet-stream", f"content-length: {len(CHUNK) * CHUNKS}")

#: Every write of the answer: the head leaves with the first event, the last chunk is empty.
EVENT_WRITES = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS] + [b"0\r\n\r\n"]
EVENT_WRITES[0] = head("text/event-stream", "transfer-encoding: chunked") + EVENT_WRITES[0]


class Floor(asyncio.Protocol):
    """What all have in common. Requests without a body arrive whole."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport


class Hello(Floor):
    """One answer for whatever arrives."""

    def connection_made(self, transport: Any) -> None:
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        self.write(HELLO_ANSWER)


class Connections(Floor):
    """One answer, and the connection is closed."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(LAST_ANSWER)
        self.transport.close()


class Pipelined(Floor):
    """As many answers as requests of the first one's size arrived; those of a read in one write."""

    size = received = 0

    def data_received(self, data: bytes) -> None:
        if not self.size:
            self.size = data.index(END) + len(END)
        count, self.received = divmod(self.received + len(data), self.size)
        self.transport.write(HELLO_ANSWER * count)


class PostEcho(Floor):
    """The body once it is complete, the head and what was read in one call, joined nowhere."""

    missing = 0

    def data_received(self, data: bytes) -> None:
        if not self.missing:
            start = data.index(END) + len(END)
            self.parts: list[bytes | memoryview] = [ECHO_HEAD, memoryview(data)[start:]]
            self.missing = ECHO_SIZE - (len(data) - start)
        else:
            self.parts.append(data)
            self.missing -= len(data)
        if not self.missing:
            self.transport.writelines(self.parts)
            self.parts = []


class Download(Floor):
    """A write for every chunk, the first with the head; none while the transport has too much of it."""

    left = 0
    paused = False

    def data_received(self, data: bytes) -> None:
        self.left = CHUNKS - 1
        self.transport.writelines((DOWNLOAD_HEAD, CHUNK))
        self.go_on()

    def go_on(self) -> None:
        while self.left and not self.paused:
            self.left -= 1
            self.transport.write(CHUNK)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.go_on()


class Sse(Floor):
    """A write for every event, with a turn of the loop between two."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.call_soon = asyncio.get_running_loop().call_soon

    def data_received(self, data: bytes) -> None:
        self.events = iter(EVENT_WRITES)
        self.send()

    def send(self) -> None:
        event = next(self.events, None)
        if event is not None and not self.transport.is_closing():
            self.transport.write(event)
            self.call_soon(self.send)


class WebSocket(Floor):
    """The opening handshake; then every frame sent back unmasked, without a look at its opcode.

    All frames of a connection are taken to be as long as the first, and to arrive one at a time.
    """

    size = received = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.parts: list[bytes] = []
        self.handle = self.shake_hands

    def data_received(self, data: bytes) -> None:
        self.handle(data)

    def shake_hands(self, data: bytes) -> None:
        key = data.lower().index(b"sec-websocket-key:") + 18
        nonce = data[key : data.index(b"\r\n", key)].strip()
        accept = base64.b64encode(hashlib.sha1(nonce + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: " + accept + END
        )
        self.handle = self.measure

    def measure(self, data: bytes) -> None:
        size, start = data[1] & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        self.mask_start, self.start, self.size = start, start + 4, start + 4 + size
        self.answer_head = struct.pack("!B", 0x82) + bytes([data[1] & 0x7F]) + data[2:start]
        self.handle = self.echo
        self.echo(data)

    def echo(self, data: bytes) -> None:
        self.received += len(data)
        if self.received < self.size:
            self.parts.append(data)
            return
        if self.parts:
            data = b"".join((*self.parts, data))
            self.parts.clear()
        self.received = 0
        payload = unmasked(data[self.start :], data[self.mask_start : self.start])
        self.transport.write(self.answer_head + payload)


def xored(payload: bytes, mask: bytes) -> bytes:
    """The payload unmasked without a C extension."""
    size = len(payload)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


try:  # in C, as servers have it
    from websockets.speedups import apply_mask
except ImportError:
    unmasked: Callable[[bytes, bytes], bytes] = xored
else:
    unmasked = apply_mask

KINDS: dict[str, type[Floor]] = {
    "hello": Hello,
    "connections": Connections,
    "pipelined": Pipelined,
    "post-echo": PostEcho,
    "download": Download,
    "sse": Sse,
    "websocket": WebSocket,
}


async def serve(port: int, kind: type[Floor]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(kind, "127.0.0.1", port, backlog=2048)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    new_event_loop = importlib.import_module(sys.argv[2]).new_event_loop
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), KINDS[sys.argv[3]]))

"""Hostile clients that speak WebSocket. Frames are written here (RFC 6455 section 5.2), masked with zeros."""

from __future__ import annotations

import asyncio
import functools
import math
import struct
import zlib

from benchmarks.apps.hostile_app import HUGE, PART
from benchmarks.load.hostile.client import DEADLINE, Client, Kind, Wrong
from benchmarks.load.hostile.http1 import END, head

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
FIN, COMPRESSED, MASKED = 0x80, 0x40, 0x80
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

#: Bytes that one message of a bomb inflates to: within the server's limit of 16 MiB.
BOMB = 15_000_000


def frame(opcode: int, payload: bytes = b"", flags: int = FIN) -> bytes:
    """One frame of a client."""
    size = len(payload)
    if size < 126:
        start = struct.pack("!BB", flags | opcode, MASKED | size)
    elif size < 65536:
        start = struct.pack("!BBH", flags | opcode, MASKED | 126, size)
    else:
        start = struct.pack("!BBQ", flags | opcode, MASKED | 127, size)
    return start + bytes(4) + payload


def handshake(path: str = "/", *fields: str) -> bytes:
    """The request."""
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    return head("GET", path, "Upgrade: websocket", "Connection: Upgrade", key, "Sec-WebSocket-Version: 13", *fields)


async def shake_hands(client: Client, path: str = "/", *fields: str) -> None:
    """Until the WebSocket is open."""
    await client.send(handshake(path, *fields))
    answer = await client.until_heard(END)
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise Wrong(f"the handshake was answered with {answer[:40]!r}")


async def silent(client: Client, seconds: float) -> None:
    """Opened, then nothing: no answer to pings."""
    await shake_hands(client)
    await client.until_end()


async def slow_reader(client: Client, seconds: float) -> None:
    """A WebSocket whose messages are not taken."""
    await client.send(handshake("/source"))
    await client.reads_late(seconds, HUGE)


async def unread_echo(client: Client, seconds: float) -> None:
    """Messages that come back and are not taken."""
    await client.send(handshake())
    await client.flood(frame(BINARY, PART), math.inf, hears=False)


async def pings(client: Client, seconds: float) -> None:
    """Empty ones, without a pause."""
    await shake_hands(client)
    await client.flood(frame(PING) * 2_000, seconds)


async def empty_messages(client: Client, seconds: float) -> None:
    """The app gets each."""
    await shake_hands(client, "/sink")
    await client.flood(frame(BINARY) * 2_000, seconds)


async def tiny_fragments(client: Client, seconds: float) -> None:
    """One message in fragments of a byte."""
    await shake_hands(client, "/sink")
    await client.send(frame(BINARY, b"x", flags=0))
    await client.flood(frame(CONTINUATION, b"x", flags=0) * 2_000, seconds)


@functools.cache
def bomb() -> bytes:
    """A message that inflates to a thousand times its size (RFC 7692 section 7.2.1)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = deflate.compress(bytes(BOMB)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return frame(BINARY, payload[:-4], flags=FIN | COMPRESSED)


async def bombs(client: Client, seconds: float) -> None:
    """Messages that inflate, without a pause."""
    await shake_hands(client, "/sink", DEFLATE)
    await client.flood(bomb(), seconds)


async def reset(client: Client, seconds: float) -> None:
    """By the client: behind its handshake, within a frame, within a message, in the server's messages, closing."""
    stage = client.number % 5
    if stage == 0:
        await client.send(handshake())
    else:
        await shake_hands(client, "/source" if stage == 3 else "/")
    part = frame(BINARY, b"hello")
    sent = (b"", part[:-2], frame(BINARY, b"hello", flags=0), b"", frame(CLOSE, struct.pack("!H", 1000)))[stage]
    if sent:
        await client.send(sent)
    if stage == 3:
        await client.receive()
    elif client.number % 4 >= 2:
        await asyncio.sleep(0.05)
    client.reset()


async def half_closed(client: Client, seconds: float) -> None:
    """The client closes its side behind the handshake, within a frame, within a message, without a closing frame."""
    await shake_hands(client)
    stage = client.number % 4
    part = frame(BINARY, b"hello")
    if sent := (b"", part[:-2], frame(BINARY, b"hello", flags=0), part)[stage]:
        await client.send(sent)
    client.half_close()
    await client.until_end()


KINDS = (
    Kind("ws-silent", "a WebSocket that answers no ping", silent, DEADLINE),
    Kind("ws-slow-reader", "takes no message", slow_reader, DEADLINE, receive_buffer=4096),
    Kind("ws-unread-echo", "sends, and takes no echo", unread_echo, DEADLINE, receive_buffer=4096),
    Kind("ws-half-closed", "closes its side, at four stages", half_closed, DEADLINE),
    Kind("ws-reset", "resets, at five stages", reset),
    Kind("ws-pings", "empty pings without a pause", pings),
    Kind("ws-empty", "empty messages without a pause", empty_messages),
    Kind("ws-fragments", "fragments of a byte", tiny_fragments),
    Kind("ws-bombs", "messages that inflate 1000 times", bombs),
)

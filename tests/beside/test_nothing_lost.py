"""200,000 requests of clients that stay, leave, half-close and reset: every answer belongs to its request.

And those who stay read all of theirs, none reaches the app twice, and the memory is what it was. `REQUESTS` in the
environment makes the run a shorter one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest

from benchmarks.procfs import usage
from tests.beside.numbered_app import body_of
from tests.process.serving import Served, served

pytestmark = [
    pytest.mark.beside,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

REQUESTS = int(os.environ.get("REQUESTS", "200000"))
CONNECTIONS = 48  # at a time
BURSTS = 40  # at most, on each
MIB = 2**20
#: Of resident memory, between the first tenth of the requests and the end.
GROWTH = 4 * MIB

#: How a client ends its connection; most of them stay until they have read everything.
WAYS = ("stays",) * 6 + ("half-closes", "leaves", "resets", "breaks off")


class Wrong(AssertionError):
    """An answer that is not the one to be read here."""


@dataclass
class Clients:
    """All of them, and what they have seen."""

    address: tuple[str, int]
    dice: random.Random
    sent: int = 0
    read: int = 0
    ways: Counter[str] = field(default_factory=Counter)

    async def run(self, count: int) -> None:
        """So many requests."""
        end = self.sent + count

        async def connections() -> None:
            while self.sent < end:
                async with asyncio.timeout(120):
                    await self.connection()

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(connections())

    def burst(self, most: int) -> range:
        """The next numbers."""
        first = self.sent
        self.sent += self.dice.randrange(1, most + 1)
        return range(first, self.sent)

    async def connection(self) -> None:
        """Bursts of requests and their answers, and at the end, if it does not stay, one that is not waited for."""
        way = self.dice.choice(WAYS)
        self.ways[way] += 1
        reader, writer = await asyncio.open_connection(*self.address, limit=MIB)
        try:
            for _ in range(self.dice.randrange(BURSTS)):
                numbers = self.burst(8)
                writer.write(b"".join(map(request, numbers)))
                for number in numbers:
                    await self.answer(reader, number)
            if way != "stays":
                await self.end(way, reader, writer)
        finally:
            writer.transport.abort() if way == "leaves" else writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def end(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The last requests, and the way the client goes."""
        numbers = self.burst(4)
        sent = b"".join(map(request, numbers))
        writer.write(sent[: -self.dice.randrange(1, 40)] if way == "breaks off" else sent)
        if way == "half-closes":
            writer.write_eof()
            for number in numbers:
                await self.answer(reader, number)
            if rest := await reader.read():
                raise Wrong(f"behind the last answer: {rest[:100]!r}")
            return
        await asyncio.sleep(self.dice.random() / 100)
        if way == "resets":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def answer(self, reader: asyncio.StreamReader, number: int) -> None:
        """Read it whole. Raises Wrong, or IncompleteReadError where the server ends the connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.find(b"content-length: ")
        if length < 0:
            body = b""
            while size := int(await reader.readuntil(b"\r\n"), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        else:
            body = await reader.readexactly(int(head[length + 16 : head.index(b"\r\n", length)]))
        if not head.startswith(b"http/1.1 200 ") or b"\r\nx-number: %d\r\n" % number not in head:
            raise Wrong(f"not the head of {number}: {head!r}")
        if body != body_of(number):
            raise Wrong(f"not the body of {number}: {body[:100]!r}")
        self.read += 1


def request(number: int) -> bytes:
    """With a body, in chunks, or without."""
    if number % 6 == 0:
        return b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" % number
    if number % 6 == 3:
        return b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" % number
    return b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number


def settled(server: Served) -> int:
    """Resident memory in bytes, once it falls no more."""
    lowest, since = usage(server.process.pid).rss, time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.25)
        now = usage(server.process.pid).rss
        if now < lowest - 65536:
            lowest, since = now, time.monotonic()
    return lowest


@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_nothing_is_lost(loop: str, parser: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each loop with each parser takes its half of the requests."""
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed")
    options = ("--loop", loop, "--http", parser, "--no-access-log")
    with served("tests.beside.numbered_app:app", *options) as server:
        assert not isinstance(server.address, str)
        clients = Clients(server.address, random.Random(13))
        asyncio.run(clients.run(REQUESTS // 20))
        gc.collect()
        before, begun = settled(server), time.monotonic()
        asyncio.run(clients.run(REQUESTS // 2 - REQUESTS // 20))
        seconds = time.monotonic() - begun
        growth = settled(server) - before
        assert server.get("/doubled") == (200, "0")
        with capsys.disabled():
            print(
                f"\n{loop}, {parser}: {clients.sent} requests, {clients.read} answers read whole, {seconds:.0f} s, "
                f"{dict(clients.ways)}, memory {before / MIB:.1f} MiB {growth / MIB:+.2f}"
            )
    assert clients.read > clients.sent * 0.9
    assert growth < GROWTH

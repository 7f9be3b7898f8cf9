"""One hostile client: a socket on an event loop, and what it can do to the server; and a crowd of them."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

#: Seconds between two bytes of those that are slow.
TRICKLE = 0.25

#: Seconds from the connection on in which a request is sent by one who has a right to an answer.
QUICK = 0.5


class Ended(Exception):
    """The server has ended the connection."""


class Wrong(Exception):
    """The server has done what it must not do; the message says what."""


class Client:
    """A connection; `connect` first. Each method raises `Ended` once the server has closed or reset it.

    `most`: bytes that are enough of a flood.
    """

    def __init__(self, address: Any, number: int, most: float = math.inf) -> None:
        self.number = number
        self._most = most
        self.heard = bytearray()
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX)
        self._socket.setblocking(False)

    async def connect(self, receive_buffer: int | None = None, send_buffer: int | None = None) -> None:
        """Bytes that the kernel takes for it, and keeps of what it sends, at least."""
        for option, size in ((socket.SO_RCVBUF, receive_buffer), (socket.SO_SNDBUF, send_buffer)):
            if size is not None:
                self._socket.setsockopt(socket.SOL_SOCKET, option, size)
        await self._loop.sock_connect(self._socket, self._address)
        if isinstance(self._address, tuple):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connected = time.monotonic()
        self._was_quick = True

    async def connect_again(self) -> None:
        """Leave, and come back with nothing heard."""
        self._socket.close()
        self._socket = socket.socket(self._socket.family)
        self._socket.setblocking(False)
        self.heard.clear()
        try:
            await self.connect()
        except OSError as exc:
            raise Ended from exc

    async def send(self, data: bytes) -> None:
        """All of it, at the server's pace."""
        self._was_quick &= time.monotonic() - self._connected < QUICK
        try:
            await self._loop.sock_sendall(self._socket, data)
        except OSError as exc:
            raise Ended from exc

    async def receive(self) -> bytes:
        """What is there, or comes next."""
        try:
            data = await self._loop.sock_recv(self._socket, 1 << 18)
        except OSError as exc:
            raise Ended from exc
        if not data:
            raise Ended
        return data

    async def until_heard(self, wanted: bytes) -> bytes:
        """All that came since the last such call, with what is wanted in it."""
        while wanted not in self.heard:
            self.heard += await self.receive()
        heard = bytes(self.heard)
        self.heard.clear()
        return heard

    async def until_end(self) -> None:
        """Take what comes, until the server ends the connection: always by `Ended`."""
        while True:
            self.heard += await self.receive()

    async def until_answered_and_ended(self, wanted: bytes) -> None:
        """The same, where the client has a right to an answer, unless it was late itself: `Wrong` if none comes."""
        try:
            await self.until_end()
        except Ended:
            if wanted not in self.heard and self._was_quick:
                raise Wrong(f"{wanted!r} is missing in the answer: {bytes(self.heard[:80])!r}") from None
            raise

    async def reads_late(self, seconds: float, size: int) -> None:
        """Nothing is taken for so long, then all. Raises `Ended` if the server gave up, `Wrong` if it still waited.

        Only by what is missing of so many bytes can it be told: the end is behind what the kernels have.
        """
        await asyncio.sleep(seconds)
        taken = 0
        while taken < size:
            taken += len(await self.receive())
        raise Wrong("the server has waited for a client that took nothing")

    async def trickle(self, data: bytes) -> None:
        """A byte at a time, without an end, and hear whether the server ends it."""
        while True:
            for byte in data:
                await self.send(bytes([byte]))
                try:
                    async with asyncio.timeout(TRICKLE):
                        await self.until_end()
                except TimeoutError:
                    pass

    async def flood(self, data: bytes | Iterator[bytes], seconds: float, hears: bool = True) -> None:
        """The same again and again, or all of it, for so long, as fast as the server takes it.

        `hears`: reads what comes meanwhile.
        """
        parts = itertools.repeat(data) if isinstance(data, bytes) else data
        hearing = asyncio.create_task(self._hear()) if hears else None
        try:
            end, sent = time.monotonic() + seconds, 0
            while time.monotonic() < end and sent < self._most:
                part = next(parts)
                await self.send(part)
                sent += len(part)
                await asyncio.sleep(0)
        finally:
            if hearing is not None:
                hearing.cancel()
                await asyncio.gather(hearing, return_exceptions=True)

    async def _hear(self) -> None:
        while True:
            await self.receive()

    def half_close(self) -> None:
        """It sends no more, and goes on listening."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as exc:
            raise Ended from exc

    def reset(self) -> None:
        """Leave by a reset. Closed with a linger time of 0, a connection is reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Leave."""
        self._socket.close()


DEADLINE, BUDGET = "deadline", "budget"


@dataclass(frozen=True)
class Kind:
    """One kind of hostile client."""

    name: str
    title: str
    #: What each does once it is connected, given how many seconds it has.
    attack: Callable[[Client, float], Awaitable[None]]
    #: What has to make the server send them away: DEADLINE, BUDGET; empty: nothing, they may stay.
    ends_by: str = ""
    #: What the server is started with.
    options: tuple[str, ...] = ()
    tls: bool = False
    #: Bytes that the client's kernel takes for it, at least.
    receive_buffer: int | None = None
    #: Where it floods: little, or its kernel goes on with megabytes of it for as long as the server takes them.
    send_buffer: int | None = None
    #: How many descriptors the server has for the crowd; None: enough.
    descriptors: int | None = None


@dataclass
class Fates:
    """What became of a crowd."""

    #: How many the server has ended, have left by themselves, and were still connected at the end of their time.
    ended: int = 0
    left: int = 0
    stayed: int = 0
    #: What the server must not have done, by how often.
    wrong: dict[str, int] = field(default_factory=dict)


async def crowd(
    kind: Kind, address: Any, count: int, rate: float, seconds: float, patience: float, most: float = math.inf
) -> Fates:
    """So many clients, `rate` of which come each second, with `seconds` of time each and `patience` behind it.

    All are gone at the end. `most`: see `Client`.
    """
    fates = Fates()

    async def one(number: int) -> None:
        await asyncio.sleep(number / rate)
        client = Client(address, number, most)
        try:
            async with asyncio.timeout(seconds + patience):
                await client.connect(kind.receive_buffer, kind.send_buffer)
                await kind.attack(client, seconds)
            fates.left += 1
        except Ended:
            fates.ended += 1
        except TimeoutError:
            fates.stayed += 1
        except (Wrong, OSError) as exc:
            said = str(exc) or type(exc).__name__
            fates.wrong[said] = fates.wrong.get(said, 0) + 1
        finally:
            client.close()

    await asyncio.gather(*map(one, range(count)))
    return fates

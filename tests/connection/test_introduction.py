"""pounce/connection/introduction.py: headers of the PROXY protocol on real sockets, before anything else is read."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Any

import pytest

from pounce.connection import introduction
from pounce.connection.introduction import Introductions, NotIntroduced
from pounce.wire.proxy_protocol import UNKNOWN_ORIGIN, Origin
from tests.connection.real_sockets import Pair, on_real_loops
from tests.wire.test_proxy_protocol import FROM_4, HEADERS

pytestmark = [pytest.mark.anyio, on_real_loops, pytest.mark.usefixtures("loop_kind")]

HEADER = HEADERS["v1 TCP4"][0]
BINARY = HEADERS["v2 TCP4 with TLVs"][0]
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def introductions(peers: str = "127.0.0.0/8", limit: float = 30) -> Introductions:
    return Introductions(peers.split(","), limit)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("header,origin", HEADERS.values(), ids=HEADERS)
async def test_a_header_that_is_there_already(pair: Pair, header: bytes, origin: Origin | None) -> None:
    """It is taken at once, and what follows stays on the socket."""
    pair.client.sendall(header + REQUEST)
    await turns(1)
    assert await introductions().origin_of(pair.accepted) == origin
    assert pair.unread() == REQUEST


@pytest.mark.parametrize("header", [HEADER, BINARY], ids=["v1", "v2"])
async def test_a_header_byte_by_byte(pair: Pair, header: bytes) -> None:
    """Each is taken, so that what has come does not keep the loop awake; the request may come with the last one."""
    task = asyncio.ensure_future(introductions().origin_of(pair.accepted))
    for byte in header[:-1]:
        pair.client.sendall(bytes([byte]))
        await asyncio.sleep(0)
    await turns()
    assert not task.done()
    with pytest.raises(BlockingIOError):
        pair.accepted.recv(1, socket.MSG_PEEK)
    pair.client.sendall(header[-1:] + REQUEST)
    assert await task == FROM_4
    assert pair.unread() == REQUEST


async def test_others_are_not_looked_at(pair: Pair) -> None:
    """Nothing is read of what they send, and it is not waited for."""
    assert await introductions("10.0.0.0/8,unix").origin_of(pair.accepted) is None
    pair.client.sendall(HEADER + REQUEST)
    await turns(1)
    assert await introductions("10.0.0.0/8,unix").origin_of(pair.accepted) is None
    assert pair.unread() == HEADER + REQUEST


@pytest.mark.parametrize("data", [REQUEST, b"PROXY TCP4 a b 1 2\r\n", b"\x16\x03\x01", b"PROXY " * 30])
@pytest.mark.parametrize("at_once", [True, False])
async def test_what_is_no_header(pair: Pair, data: bytes, at_once: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It ends the connection, and whoever has set it up is told."""
    if at_once:
        pair.client.sendall(data)
        await turns(1)
    task = asyncio.ensure_future(introductions().origin_of(pair.accepted))
    if not at_once:
        await turns(1)
        pair.client.sendall(data)
    with caplog.at_level(logging.WARNING), pytest.raises(NotIntroduced):
        await task
    (record,) = caplog.records
    assert record.getMessage().startswith("Closed a connection from 127.0.0.1, which began with ")


async def test_one_line_a_second(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of those that it stands for."""
    now = 100.0
    monkeypatch.setattr(introduction, "monotonic", lambda: now)
    made = introductions()
    for at in (100.0, 100.5, 100.9, 101.5):
        now = at
        pair = Pair()
        pair.client.sendall(REQUEST)
        with pytest.raises(NotIntroduced):
            await made.origin_of(pair.accepted)
        pair.close()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[1].endswith(" 3 since the last such line.")


@pytest.mark.parametrize("sent", [b"", HEADER[:10]])
async def test_a_silent_peer(pair: Pair, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """It has so many seconds for the whole header; that is nothing to log."""
    pair.client.sendall(sent)
    with pytest.raises(NotIntroduced, match="in time"):
        await introductions(limit=0.05).origin_of(pair.accepted)
    assert caplog.records == []


@pytest.mark.parametrize("sent", [b"", HEADER[:10], BINARY[:-1]])
async def test_a_peer_that_leaves(pair: Pair, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """As a health check does that only connects: nothing to log."""
    task = asyncio.ensure_future(introductions(limit=0).origin_of(pair.accepted))
    pair.client.sendall(sent)
    await turns(1)
    pair.client.close()
    with pytest.raises(NotIntroduced, match="left"):
        await task
    assert caplog.records == []


async def test_a_peer_that_resets(pair: Pair) -> None:
    task = asyncio.ensure_future(introductions().origin_of(pair.accepted))
    await turns(1)
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    with pytest.raises(OSError):
        await task


@pytest.mark.parametrize("peers,is_listed", [("unix", True), ("*", True), ("127.0.0.0/8,::/0", False)])
@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
async def test_a_unix_socket(peers: str, is_listed: bool) -> None:
    """It has no address, and is listed by name."""
    pair = Pair(socket.AF_UNIX)
    pair.client.sendall(BINARY + REQUEST)
    assert await introductions(peers).origin_of(pair.accepted) == (FROM_4 if is_listed else None)
    assert pair.unread() == (REQUEST if is_listed else BINARY + REQUEST)
    pair.close()


async def test_nothing_is_left_behind(pair: Pair) -> None:
    """Neither a reader nor a timer, whether it came, was late or was cancelled: the loop can use the descriptor."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(introductions().origin_of(pair.accepted))
    await turns(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not loop.remove_reader(pair.accepted)
    with pytest.raises(NotIntroduced):
        await introductions(limit=0.01).origin_of(pair.accepted)
    assert not loop.remove_reader(pair.accepted)
    task = asyncio.ensure_future(introductions().origin_of(pair.accepted))
    await turns(1)
    pair.client.sendall(HEADERS["v1 UNKNOWN"][0] + REQUEST)
    assert await task is UNKNOWN_ORIGIN
    assert not loop.remove_reader(pair.accepted)
    received: asyncio.Future[bytes] = loop.create_future()

    class Reader(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            received.set_result(data)

    transport, _ = await loop.connect_accepted_socket(Reader, pair.accepted)
    assert await received == REQUEST
    transport.close()


async def test_many_silent_ones_hold_nobody_up() -> None:
    """Each waits by itself."""
    made = introductions()
    silent = [Pair() for _ in range(50)]
    waiting: list[Any] = [asyncio.ensure_future(made.origin_of(pair.accepted)) for pair in silent]
    await turns(1)
    spoken = Pair()
    spoken.client.sendall(HEADER)
    assert await made.origin_of(spoken.accepted) == FROM_4
    assert not any(task.done() for task in waiting)
    for pair in [*silent, spoken]:
        pair.client.close()
    for task in waiting:
        with pytest.raises(NotIntroduced):
            await task
    for pair in [*silent, spoken]:
        pair.close()

"""pounce/connection/handshakes.py: who waits for a client's first message, and for its turn, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from pounce.connection import handshakes
from pounce.connection.handshakes import Handshakes, NoHandshake
from tests.connection.real_sockets import Pair, on_real_loops
from tests.fakes import settle

pytestmark = [pytest.mark.anyio, on_real_loops, pytest.mark.usefixtures("loop_kind")]


def _client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = _client_hello()


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    """Fifty clients, all of which have spoken."""
    made = [Pair() for _ in range(50)]
    for pair in made:
        pair.client.sendall(HELLO)
    yield made
    for pair in made:
        pair.close()


class Turns:
    """Counts turns of the running loop, by a callback like any other."""

    def __init__(self) -> None:
        self.now = 0
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_soon(self._count)

    def _count(self) -> None:
        self.now += 1
        self._handle = self._loop.call_soon(self._count)

    def stop(self) -> None:
        self._handle.cancel()


async def beginnings(made: Handshakes, pairs: list[Pair]) -> list[tuple[int, int]]:
    """Who begins, by number and turn, where all ask at once."""
    begun: list[tuple[int, int]] = []
    turns = Turns()

    async def one(number: int, pair: Pair) -> None:
        await made.first_message(pair.accepted, 30)
        await made.turn(pair.accepted)
        begun.append((number, turns.now))

    results = await asyncio.gather(*(one(*each) for each in enumerate(pairs)), return_exceptions=True)
    turns.stop()
    assert {type(result) for result in results} <= {type(None), NoHandshake}
    return begun


# The first message


def is_left_as_it_was(pair: Pair, sent: bytes) -> bool:
    """Whoever comes next reads all of it, and is woken for each byte."""
    assert not asyncio.get_running_loop().remove_reader(pair.accepted)
    assert pair.accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    return pair.unread() == sent


@pytest.mark.parametrize("sent", [HELLO, HELLO + b"more", b"GET / HTTP/1.1\r\n\r\n", b"\x80", b"\x16\x03\x01\x00\x00"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_message_that_is_whole(pair: Pair, sent: bytes, at_once: bool) -> None:
    """Or none of TLS: nothing is read of it."""
    if at_once:
        pair.client.sendall(sent)
    task = asyncio.ensure_future(Handshakes().first_message(pair.accepted, 30))
    if not at_once:
        await settle()
        pair.client.sendall(sent)
    await task
    assert is_left_as_it_was(pair, sent)


async def test_a_message_in_parts(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of it is waited for, too, and what has come does not keep the loop awake."""
    asked = []
    is_there = handshakes._FirstRecord.is_there
    monkeypatch.setattr(handshakes._FirstRecord, "is_there", lambda self: asked.append(1) or is_there(self))
    task = asyncio.ensure_future(Handshakes().first_message(pair.accepted, 30))
    for at in range(len(HELLO) - 1):
        pair.client.sendall(HELLO[at : at + 1])
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0.002)
    assert not task.done()
    pair.client.sendall(HELLO[-1:])
    await task
    assert len(asked) <= 4  # at once, for its first byte, for its length, for all of it
    assert is_left_as_it_was(pair, HELLO)


async def test_half_a_message_and_the_end(pair: Pair) -> None:
    """It is not waited for; whoever comes next says what is wrong."""
    pair.client.sendall(HELLO[:-1])
    task = asyncio.ensure_future(Handshakes().first_message(pair.accepted, 30))
    await settle()
    pair.client.shutdown(socket.SHUT_WR)
    await task
    assert is_left_as_it_was(pair, HELLO[:-1])


async def test_a_socket_without_a_mark() -> None:
    """Not all kinds wait for a number of bytes: a part is as good as the whole there."""
    pair = Pair(socket.AF_UNIX)
    pair.client.sendall(HELLO[:-1])
    await Handshakes().first_message(pair.accepted, 30)
    assert is_left_as_it_was(pair, HELLO[:-1])
    pair.close()


@pytest.mark.parametrize("sent", [b"", HELLO[:3], HELLO[:-1]])
async def test_a_silent_client(pair: Pair, sent: bytes) -> None:
    """It has so many seconds."""
    pair.client.sendall(sent)
    with pytest.raises(NoHandshake, match="in time"):
        await Handshakes().first_message(pair.accepted, 0.05)
    assert is_left_as_it_was(pair, sent)


async def test_a_client_that_leaves(pair: Pair) -> None:
    """As one that has connected ahead."""
    task = asyncio.ensure_future(Handshakes().first_message(pair.accepted, 30))
    await settle()
    pair.client.close()
    with pytest.raises(NoHandshake, match="left"):
        await task
    assert is_left_as_it_was(pair, b"")


async def test_a_client_that_resets(pair: Pair) -> None:
    task = asyncio.ensure_future(Handshakes().first_message(pair.accepted, 30))
    await settle()
    pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pair.client.close()
    with pytest.raises(OSError):
        await task
    assert not asyncio.get_running_loop().remove_reader(pair.accepted)


async def test_a_wait_that_is_cancelled(pair: Pair) -> None:
    """Nothing is left of it."""
    pair.client.sendall(HELLO[:-1])
    task = asyncio.ensure_future(Handshakes().first_message(pair.accepted, 30))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_left_as_it_was(pair, HELLO[:-1])


# Turns


async def test_a_few_begin_in_each_turn(pairs: list[Pair]) -> None:
    """In the order in which they came, with a turn of everybody else in between."""
    made = Handshakes()
    begun = await beginnings(made, pairs)
    assert [number for number, _ in begun] == list(range(50))
    turns = [turn for _, turn in begun]
    assert turns == sorted(turns)
    assert max(map(turns.count, turns)) == handshakes._PER_TURN
    assert turns[-1] - turns[0] <= 60 / handshakes._PER_TURN
    await settle()
    assert not made._is_due  # the loop may rest


async def test_nobody_is_overtaken(pairs: list[Pair]) -> None:
    """One that comes later waits behind those that wait, and does not begin in the turn of the last one of them."""
    made, log, turns = Handshakes(), [], Turns()

    async def one(number: int) -> None:
        await made.turn(pairs[number].accepted)
        log.append((number, turns.now))

    waiting: list[Any] = []
    for number in range(50):
        waiting.append(asyncio.ensure_future(one(number)))
        if number > 3:
            await asyncio.sleep(0)
        if number % 7 == 0:
            await settle(number // 7)
    await asyncio.gather(*waiting)
    turns.stop()
    assert [number for number, _ in log] == list(range(50))
    turned = [turn for _, turn in log]
    assert max(map(turned.count, turned)) <= handshakes._PER_TURN


@pytest.fixture
def one_per_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As few as there can be."""
    monkeypatch.setattr(handshakes, "_PER_TURN", 1)


@pytest.mark.usefixtures("one_per_turn")
@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
async def test_who_has_left_costs_no_turn(pairs: list[Pair], how: str) -> None:
    """Its first message is there, but nobody to finish the handshake."""
    for pair in pairs[1:13]:
        if how == "half-close":
            pair.client.shutdown(socket.SHUT_WR)
            continue
        if how == "reset":
            pair.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        pair.client.close()
    made = Handshakes()
    begun = await beginnings(made, pairs)
    assert [number for number, _ in begun] == [0, *range(13, 50)]
    assert begun[1][1] - begun[0][1] <= 3


@pytest.mark.usefixtures("one_per_turn")
async def test_many_that_have_left_share_out_the_work(pairs: list[Pair]) -> None:
    """Each is told of it; sixteen in a turn."""
    made, turns, told = Handshakes(), Turns(), []

    async def one(pair: Pair) -> None:
        try:
            await made.turn(pair.accepted)
        except NoHandshake:
            told.append(turns.now)

    for pair in pairs:
        pair.client.close()
    await asyncio.gather(*map(one, pairs))
    turns.stop()
    assert len(told) == 49  # the first one began at once
    assert max(told.count(turn) for turn in told) == 16


@pytest.mark.usefixtures("one_per_turn")
async def test_who_is_cancelled_gives_its_place_up(pairs: list[Pair]) -> None:
    """As at the end of the server: nobody waits for it, and it takes no turn."""
    made = Handshakes()
    begun: list[int] = []

    async def one(number: int) -> None:
        await made.turn(pairs[number].accepted)
        begun.append(number)

    tasks = [asyncio.ensure_future(one(number)) for number in range(50)]
    await asyncio.sleep(0)
    for task in tasks[1:-1]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert begun == [0, 49]
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 48
    await settle()
    assert not made._waiting
    assert not made._is_due

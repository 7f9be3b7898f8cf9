"""A worker's TLS connections before they are made: the budget for handshakes, deadlines, what is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import ssl
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from pounce.connection import handshakes
from pounce.names import LOGGER_ERROR
from tests.connection.real_sockets import Pair, needs_uvloop
from tests.fakes import answer, get, settle
from tests.worker.real_workers import real_worker

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="handshakes have no turns there"),
]


@pytest.fixture(params=["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return ("asyncio", {"use_uvloop": request.param == "uvloop"})


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server)
    authority.configure_trust(client)
    return server, client


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"hello")


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    made = [Pair() for _ in range(30)]
    yield made
    for pair in made:
        pair.close()


class Client:
    """Speaks TLS on a blocking socket, step by step."""

    def __init__(self, pair: Pair, context: ssl.SSLContext) -> None:
        self.socket = pair.client
        self.socket.setblocking(False)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def speak(self) -> None:
        """The first message."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        self.socket.sendall(self._outgoing.read())

    async def finish(self) -> bytes:
        """The rest, a request, and what is answered to the end."""
        loop, request, heard = asyncio.get_running_loop(), get("/", "Connection: close"), b""
        while True:
            try:
                if request:
                    self._tls.do_handshake()
                    self._tls.write(request)
                    request = b""
                if not (part := self._tls.read()):
                    self.socket.close()
                    return heard
                heard += part
            except ssl.SSLWantReadError:
                if self._outgoing.pending:
                    await loop.sock_sendall(self.socket, self._outgoing.read())
                data = await loop.sock_recv(self.socket, 65536)
                assert data, "the end without a word of TLS"
                self._incoming.write(data)


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


async def test_signatures_are_made_in_turns(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a turn of the loop, whenever thirty clients have spoken; then all are answered."""
    monkeypatch.setattr(handshakes, "_PER_TURN", 1)
    server, client = contexts
    loop, turn, made = asyncio.get_running_loop(), 0, []

    def count() -> None:
        nonlocal turn, handle
        turn += 1
        handle = loop.call_soon(count)

    def on_first_message(*_: Any) -> None:
        made.append(turn)

    handle = loop.call_soon(count)
    server.sni_callback = on_first_message
    worker = real_worker(hello, server)
    clients = [Client(pair, client) for pair in pairs]
    for one in clients[:20]:
        one.speak()
    for pair in pairs:
        worker.adopt(pair.accepted)
    for _ in range(5):
        await asyncio.sleep(0.002)
    for one in clients[20:]:
        one.speak()
    try:
        await until(lambda: len(made) == 30)
        heard = await asyncio.gather(*(one.finish() for one in clients))
    finally:
        handle.cancel()
        server.sni_callback = None
    assert max(made.count(each) for each in made) <= 2  # a busy system may have two messages read in one turn
    assert all(answered.endswith(b"hello") for answered in heard)
    await until(lambda: not worker.state.connections)
    assert worker.adopted == 30
    assert not worker._connecting


@pytest.mark.parametrize("size", [0, 1, 100])
async def test_a_silent_client_is_cut_off(
    size: int,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    pairs: list[Pair],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """At the deadline of the head: no alert, no line, and nothing is left; until then it is being made."""
    worker = real_worker(hello, contexts[0], deadlines={"head": 0.1})
    pairs[0].client.setblocking(False)
    pairs[0].client.sendall(b"\x16\x03\x01\x02\x00".ljust(100)[:size])
    with caplog.at_level(logging.DEBUG, LOGGER_ERROR):
        worker.adopt(pairs[0].accepted)
        await settle()
        assert len(worker._connecting) == 1
        assert not worker.adopted
        try:
            assert await asyncio.get_running_loop().sock_recv(pairs[0].client, 100) == b""
        except ConnectionResetError:
            assert size  # which was not read
    await settle()
    assert worker.adopted == 1
    assert not worker._connecting
    [record] = caplog.records
    assert record.getMessage() == "Connection lost before it was set up: no TLS handshake in time"


async def test_without_a_limit_a_handshake_has_a_minute(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """As asyncio gives it."""
    assert real_worker(hello, contexts[0], deadlines={"head": 0}).tls_options["ssl_handshake_timeout"] == 60


async def test_waiting_for_others_is_nobodys_fault(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], pairs: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts neither for the handshake nor for the head behind it."""
    worker = real_worker(hello, contexts[0], deadlines={"head": 30})
    assert worker._handshakes is not None
    has_turn = asyncio.Event()
    monkeypatch.setattr(worker._handshakes, "turn", lambda _: has_turn.wait())
    timeouts: list[float] = []
    connect = worker._hear

    async def hear(*args: Any) -> Any:
        made = await connect(*args)
        timeouts.append(made[1]["ssl_handshake_timeout"])
        return made

    monkeypatch.setattr(worker, "_hear", hear)
    one = Client(pairs[0], contexts[1])
    one.speak()
    worker.state.clock = 100.0
    worker.adopt(pairs[0].accepted)
    await settle()
    worker.state.clock = 120.0
    has_turn.set()
    finishing = asyncio.ensure_future(one.finish())
    await until(lambda: worker.state.connections)
    [connection] = worker.state.connections
    assert connection.accepted_at == 120.0
    assert 25 < timeouts[0] <= 30
    assert (await finishing).endswith(b"hello")


async def test_the_end_of_the_worker(contexts: tuple[ssl.SSLContext, ssl.SSLContext], pairs: list[Pair]) -> None:
    """Who is silent, and who waits for its turn, is let go: no task, reader, timer or descriptor is left."""
    server, client = contexts
    loop = asyncio.get_running_loop()
    for pair in pairs[:20]:
        Client(pair, client).speak()

    async def end(taken: list[Pair]) -> None:
        worker = real_worker(hello, server)
        for pair in taken:
            worker.adopt(pair.accepted)
        await asyncio.sleep(0)
        assert len(worker._connecting) == len(taken)
        await worker.retire_connections(0.0, lambda: False)
        await until(lambda: not worker._connecting)
        assert worker.adopted == len(taken)
        assert worker._handshakes is not None
        await settle()
        assert not worker._handshakes._waiting
        assert not worker._handshakes._is_due

    await end(pairs[:1])  # the first one makes what stays
    descriptors = len(os.listdir("/dev/fd"))
    numbers = [pair.accepted.fileno() for pair in pairs[1:]]
    await end(pairs[1:])
    assert {pair.accepted.fileno() for pair in pairs} == {-1}
    assert not any(loop.remove_reader(number) for number in numbers)
    await until(lambda: len(os.listdir("/dev/fd")) == descriptors - 29)  # one was in its handshake


async def _leaves_at_once(one: Client) -> None:
    one.speak()
    await settle()


async def _leaves_behind_the_signature(one: Client) -> None:
    one.speak()
    await asyncio.get_running_loop().sock_recv(one.socket, 65536)


async def _speaks_something_else(one: Client) -> None:
    one.socket.sendall(get())
    await asyncio.get_running_loop().sock_recv(one.socket, 65536)


async def _says_nothing(one: Client) -> None:
    await settle()


@pytest.mark.parametrize("parser", ["h11", "httptools", "zttp"])
@pytest.mark.parametrize(
    "leaves", [_leaves_at_once, _leaves_behind_the_signature, _speaks_something_else, _says_nothing]
)
async def test_nothing_of_a_failed_handshake_is_left_to_the_garbage_collector(
    parser: str, leaves: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext], pairs: list[Pair]
) -> None:
    """Thousands would keep the loop for 0.1 s, all at once."""
    worker = real_worker(hello, contexts[0], parser)
    made: list[weakref.ref[Any]] = []
    create = worker.create_protocol

    def create_protocol(*args: Any, **given: Any) -> Any:
        protocol = create(*args, **given)
        made.append(weakref.ref(protocol))
        return protocol

    worker.create_protocol = create_protocol  # type: ignore[method-assign]
    gc.collect()
    gc.disable()
    try:
        for number, pair in enumerate(pairs[:5], 1):
            worker.adopt(pair.accepted)
            await leaves(Client(pair, contexts[1]))
            pair.client.close()
            await until(lambda number=number: worker.adopted == number)
        await settle()
        assert [ref for ref in made if ref() is not None] == []
        assert sum(type(one) is ssl.SSLObject for one in gc.get_objects()) <= 5  # of the clients
    finally:
        gc.enable()

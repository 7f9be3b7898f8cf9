"""pounce/pool/acceptor.py: on a real listening socket, with workers that only take note."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pounce.pool import acceptor as module
from pounce.pool.acceptor import Accepted, Acceptor

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TakesNote:
    """A worker that keeps what it is handed."""

    def __init__(self, load: int = 0) -> None:
        self.base = load
        self.sockets: list[socket.socket] = []
        self.wake_ups = 0
        self.age = 0.0
        self.arrived = asyncio.Event()

    def load(self) -> int:
        return self.base + len(self.sockets)

    def heartbeat_age(self) -> float:
        return self.age

    def adopt_threadsafe(self, accepted: list[Accepted]) -> None:
        self.wake_ups += 1
        self.sockets += [socket.socket(family, kind, proto, fileno=fd) for fd, family, kind, proto, _ in accepted]
        self.arrived.set()


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@contextlib.contextmanager
def connected(listener: socket.socket, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(listener.getsockname())) for _ in range(count)]


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def close(*workers: TakesNote) -> None:
    for worker in workers:
        for sock in worker.sockets:
            sock.close()


async def test_connections_go_to_the_least_loaded_worker() -> None:
    """Whoever has fewer connections is filled up first, then all get the same."""
    workers = [TakesNote(), TakesNote(load=3), TakesNote()]
    with listening() as listener, connected(listener, 9):
        acceptor = Acceptor([listener], workers)
        acceptor.start()
        await until(lambda: sum(len(worker.sockets) for worker in workers) == 9)
        acceptor.stop()
    assert [worker.load() for worker in workers] == [4, 4, 4]
    close(*workers)


async def test_a_batch_is_one_wake_up() -> None:
    """Connections that wait together reach their worker together."""
    worker = TakesNote()
    with listening() as listener, connected(listener, 20):
        acceptor = Acceptor([listener], [worker])
        acceptor.start()
        await until(lambda: len(worker.sockets) == 20)
        acceptor.stop()
    assert worker.wake_ups == 1
    close(worker)


async def test_what_is_handed_over_is_the_connection() -> None:
    """The descriptor that a worker gets is connected to the client, and knows its address family."""
    worker = TakesNote()
    with listening() as listener, connected(listener, 1) as (client,):
        acceptor = Acceptor([listener], [worker])
        acceptor.start()
        await asyncio.wait_for(worker.arrived.wait(), 5)
        acceptor.stop()
        (sock,) = worker.sockets
        assert sock.getpeername() == client.getsockname()
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_STREAM)
    close(worker)


async def test_stopping_leaves_the_backlog_alone() -> None:
    """A connection that was not accepted before the stop is there for the next one who listens on the socket."""
    old, new = TakesNote(), TakesNote()
    with listening() as listener:
        acceptor = Acceptor([listener], [old])
        acceptor.start()
        acceptor.stop()
        with connected(listener, 1):
            await asyncio.sleep(0)
            successor = Acceptor([listener], [new])
            successor.start()
            await asyncio.wait_for(new.arrived.wait(), 5)
            successor.stop()
    assert not old.sockets
    close(new)


class Exhausted:
    """A listening socket in a process that has no descriptor left, for the first calls."""

    def __init__(self, sock: socket.socket, failures: int, number: int) -> None:
        self._sock = sock
        self._failures = failures
        self._number = number
        self.calls = 0
        self.family, self.type, self.proto = sock.family, sock.type, sock.proto

    def fileno(self) -> int:
        return self._sock.fileno()

    def _accept(self) -> tuple[int, Any]:
        self.calls += 1
        if self._failures:
            self._failures -= 1
            raise OSError(self._number, "no more")
        sock, address = self._sock.accept()
        return sock.detach(), address


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """No earlier test has said anything."""
    monkeypatch.setattr(module, "_silent_until", 0.0)
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EINVAL])
async def test_what_keeps_it_from_accepting_pauses_it(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a full file table, or an error that nobody foresaw, it neither spins on the readable listener nor gives it
    up, and says so once in a while."""
    monkeypatch.setattr(module, "_EXHAUSTED_PAUSE", 0.1)
    worker = TakesNote()
    with listening() as listener, connected(listener, 1):
        full = Exhausted(listener, 2, number)
        acceptor = Acceptor([full], [worker])  # type: ignore[list-item]
        acceptor.start()
        await asyncio.wait_for(worker.arrived.wait(), 5)
        acceptor.stop()
    assert full.calls <= 4  # two failures, one success, one that finds nothing
    assert caplog.messages == ["Cannot accept a connection: no more. Trying again in 0.1 s."]
    close(worker)


async def test_a_full_file_table_is_one_line_a_second(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For all listening sockets of the process together, however often they try."""
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    for _ in range(3):
        for _ in range(4):
            module.complain(OSError("no more"), "Well.")
            now += 0.25
    assert caplog.messages == ["Cannot accept a connection: no more. Well."] * 3


@pytest.mark.parametrize("how", ["protocol 0", "as a unix socket", "multipath"])
async def test_what_is_handed_over_knows_its_protocol(how: str) -> None:
    """Whatever the listening socket's object says: asyncio sends at once on what it knows for TCP."""
    worker = TakesNote()
    with socket.create_server(("127.0.0.1", 0)) as made:
        if how == "multipath":
            try:
                given = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
            except OSError:
                pytest.skip("the system has no multipath TCP")
            given.bind(("127.0.0.1", 0))
            given.listen()
        else:
            family = socket.AF_UNIX if how == "as a unix socket" else socket.AF_INET
            given = socket.socket(family, socket.SOCK_STREAM, 0, fileno=made.detach())
        given.setblocking(False)
        with given, connected(given, 1):
            acceptor = Acceptor([given], [worker])
            acceptor.start()
            await asyncio.wait_for(worker.arrived.wait(), 5)
            acceptor.stop()
    (sock,) = worker.sockets
    assert (sock.family, sock.type, sock.proto) == (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    close(worker)


async def test_a_worker_that_stands_still_gets_nothing_while_another_turns() -> None:
    """However few connections it has: they would wait there for its loop."""
    stuck, turning = TakesNote(), TakesNote(load=5)
    stuck.age = 3.0
    with listening() as listener, connected(listener, 4):
        acceptor = Acceptor([listener], [stuck, turning])
        acceptor.start()
        await until(lambda: len(turning.sockets) == 4)
        acceptor.stop()
    assert not stuck.sockets
    close(turning)


async def test_where_no_worker_turns_connections_wait_in_the_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new generation on the same socket may take them; if there is none, the first worker that turns again does."""
    monkeypatch.setattr(module, "_STANDSTILL", 0.05)
    stuck, new = TakesNote(), TakesNote()
    stuck.age = 3.0
    with listening() as listener:
        acceptor = Acceptor([listener], [stuck])
        acceptor.start()
        with connected(listener, 1):
            await asyncio.sleep(0.02)
            assert not stuck.sockets
            successor = Acceptor([listener], [new])
            successor.start()
            await asyncio.wait_for(new.arrived.wait(), 5)
            successor.stop()
        with connected(listener, 1):
            stuck.age = 0.0
            await asyncio.wait_for(stuck.arrived.wait(), 5)
        acceptor.stop()
    close(stuck, new)


async def test_stopping_while_paused_stays_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the pause does not bring a stopped acceptor back."""
    monkeypatch.setattr(module, "_EXHAUSTED_PAUSE", 0.01)
    worker = TakesNote()
    with listening() as listener, connected(listener, 1):
        full = Exhausted(listener, 1, errno.ENFILE)
        acceptor = Acceptor([full], [worker])  # type: ignore[list-item]
        acceptor.start()
        await until(lambda: full.calls)
        acceptor.stop()
        await asyncio.sleep(0.05)
    assert full.calls == 1
    assert not worker.sockets


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH])
async def test_a_client_that_is_gone_already_is_passed_over(number: int) -> None:
    """A connection that was lost before it was accepted does not cost the one behind it its turn."""
    worker = TakesNote()
    with listening() as listener, connected(listener, 1):
        aborted = Exhausted(listener, 1, number)
        acceptor = Acceptor([aborted], [worker])  # type: ignore[list-item]
        acceptor.start()
        await asyncio.wait_for(worker.arrived.wait(), 5)
        acceptor.stop()
    assert len(worker.sockets) == 1
    close(worker)

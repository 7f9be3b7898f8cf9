"""Listening sockets: whose they are, who removes them, what is accepted on them, in bulk and out of descriptors."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import logging
import os
import resource
import socket
import ssl
import stat
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pounce import Config, Server, bulk_acceptor, listeners
from pounce.binding import Bind
from pounce.bulk_acceptor import BulkAcceptor
from pounce.listeners import Listening
from pounce.worker.worker import Worker
from tests.isolated_logging import isolated_logging as isolated_logging

needs_uvloop = pytest.mark.skipif(
    importlib.util.find_spec("uvloop") is None or sys.platform != "linux",
    reason="only uvloop accepts one connection per handle and turn, and only Linux tells how many wait",
)


needs_unix = pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
LOOPS = ["asyncio", pytest.param("uvloop", marks=needs_uvloop)]


def config(**settings: Any) -> Config:
    """A config whose connections are `Served`."""
    made = Config(_app, http=Served, log_config=None, lifespan="off", **{"host": "127.0.0.1", "port": 0} | settings)
    made.load()
    return made


class Served(asyncio.Protocol):
    """Notes in which turn of the loop it was made and whether it may send at once, and hangs up."""

    turns: list[int]
    turn = 0
    nodelay: list[bool]

    def __init__(self, **_settings: Any) -> None: ...

    def connection_made(self, transport: Any) -> None:
        self.turns.append(Served.turn)
        sock = transport.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            self.nodelay.append(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        transport.close()


def run(main: Any, loop_name: str = "uvloop") -> None:
    factory = importlib.import_module(loop_name).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main, 30))


async def until_served(clients: list[socket.socket]) -> None:
    """Count turns until every client is answered."""
    while len(Served.turns) < len(clients):
        Served.turn += 1
        await asyncio.sleep(0)
    for client in clients:
        client.close()


def connect(address: Any, count: int) -> list[socket.socket]:
    """The loop stands still meanwhile: all of them wait in the kernel."""
    return [socket.create_connection(address, timeout=5) for _ in range(count)]


@pytest.fixture(autouse=True)
def nobody_served() -> None:
    Served.turns, Served.turn, Served.nodelay = [], 0, []


async def accepting(made: Config, sockets: Any = None) -> Listening:
    """Where one worker accepts."""
    [server] = await listeners.listen(Bind.of(made), sockets)
    await listeners.accept([server], made, Worker(made), is_shared=sockets is not None)
    return server


async def listen(**settings: Any) -> tuple[Any, BulkAcceptor]:
    server = await accepting(config(**settings))
    [review] = server.caretakers
    acceptor = review.__self__._bulk  # type: ignore[attr-defined]
    assert isinstance(acceptor, BulkAcceptor)
    return server, acceptor


def address_of(server: Any) -> Any:
    return server.sockets[0].getsockname()[:2]


@needs_uvloop
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_queue_is_accepted_in_bulk(host: str) -> None:
    """Reviewed with a queue it adds handles: several connections are made in one turn. Without, it takes them away."""

    async def main() -> None:
        server, acceptor = await listen(host=host)
        await acceptor.review()
        assert not acceptor._more

        clients = connect(address_of(server), 24)
        await acceptor.review()
        assert len(acceptor._more) == 7
        assert len(server.sockets) == 1  # what users look at
        await until_served(clients)
        assert max(Served.turns.count(turn) for turn in Served.turns) >= 4

        for _ in range(4):
            await acceptor.review()
        assert acceptor._more
        await acceptor.review()
        assert not acceptor._more
        Served.turns.clear()
        await until_served(connect(address_of(server), 1))  # the first handle is still there
        server.close()
        await server.wait_closed()

    run(main())


@needs_uvloop
def test_a_few_are_no_bulk() -> None:
    """Three that wait are three turns: to wake eight handles for each would cost more."""

    async def main() -> None:
        server, acceptor = await listen()
        clients = connect(address_of(server), 3)
        await acceptor.review()
        assert not acceptor._more
        await until_served(clients)
        server.close()

    run(main())


@needs_uvloop
@pytest.mark.parametrize("who", ["acceptor", "server"])
def test_it_ends_with_its_server(who: str) -> None:
    """Whoever connects then is refused, also where it was the user who closed the server."""

    async def main() -> None:
        server, acceptor = await listen()
        address = address_of(server)
        clients = connect(address, 8)
        await acceptor.review()
        await until_served(clients)
        assert acceptor._more
        server.close()
        if who == "acceptor":
            acceptor.close()
        else:
            await acceptor.review()
        assert not acceptor._more
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
        await acceptor.review()

    run(main())


@needs_uvloop
def test_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with the handle it has, and tries again later."""

    async def main() -> None:
        server, acceptor = await listen()
        clients = connect(address_of(server), 8)

        def fails(fd: int) -> int:
            raise OSError(24, os.strerror(24))

        with monkeypatch.context() as patch:
            patch.setattr(bulk_acceptor.os, "dup", fails)
            await acceptor.review()
        assert not acceptor._more
        await acceptor.review()
        assert acceptor._more
        await until_served(clients)
        acceptor.close()
        server.close()

    run(main())


@needs_uvloop
@pytest.mark.parametrize("error", [OSError(92, "Protocol not available"), struct.error("unpack requires 28 bytes")])
def test_a_system_that_does_not_tell_how_many_wait(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under an emulator: it accepts one by one, and does not ask again."""
    asked = 0

    def waiting(listener: Any) -> int:
        nonlocal asked
        asked += 1
        raise error

    async def main() -> None:
        server, acceptor = await listen()
        monkeypatch.setattr(bulk_acceptor, "_waiting", waiting)
        clients = connect(address_of(server), 8)
        for _ in range(3):
            await acceptor.review()
        assert (asked, acceptor._more) == (1, [])
        await until_served(clients)
        server.close()

    run(main())


def test_asyncio_needs_nobody_to_look_after_it() -> None:
    """It accepts all that wait, in one turn, and says itself what it lacks."""

    async def main() -> None:
        server = await accepting(config())
        assert server.caretakers == []
        server.close()

    run(main(), "asyncio")


@needs_uvloop
def test_with_tls_it_is_not_the_loop_that_accepts() -> None:
    """Handshakes have turns, whatever the loop (`connection/handshakes`)."""

    async def main() -> None:
        made = config()
        made.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        worker = Worker(made)
        [server] = await listeners.listen(Bind.of(made), None)
        await listeners.accept([server], made, worker, is_shared=False)
        assert server.caretakers == []
        [client] = connect(address_of(server), 1)
        client.sendall(b"no TLS")
        while not worker.adopted:
            await asyncio.sleep(0)
        server.close()
        client.close()

    run(main())


@needs_uvloop
@pytest.mark.parametrize("shared", [False, True])
def test_a_server_accepts_in_bulk_on_sockets_of_its_own(shared: bool) -> None:
    """Processes that share a socket should share what comes, too."""
    config = Config(_app, host="127.0.0.1", port=0, log_config=None, lifespan="off", loop="uvloop")
    server = Server(config)
    sockets = [socket.create_server(("127.0.0.1", 0))] if shared else None

    async def main() -> None:
        serving = asyncio.ensure_future(server.serve(sockets))
        while not server.started:
            await asyncio.sleep(0.01)
        clients = connect(address_of(server.servers[0]), 16)
        await server.on_tick(0)
        [review] = server.servers[0].caretakers
        bulk = review.__self__._bulk
        assert (bulk is None) == shared
        assert bulk is None or len(bulk._more) == 7
        server.should_exit = True
        await serving
        for client in clients:
            client.close()

    run(main())


# Out of descriptors


@needs_uvloop
@pytest.mark.parametrize("left", ["few", "none"])
@pytest.mark.parametrize("bulk", [False, True])
def test_with_few_descriptors_left_the_acceptor_takes_over(
    left: str, bulk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop would close what comes, and tell nobody. Who is in the queue meanwhile is served."""

    def at_limit(*_: Any) -> Any:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        server, bulk_acceptor = await listen()
        [review] = server.caretakers
        handles = review.__self__
        await review()
        await until_served(connect(address_of(server), 1))
        assert handles._servers
        clients = connect(address_of(server), 8)
        if bulk:
            await review()
            assert bulk_acceptor._more
        with monkeypatch.context() as patch:
            if left == "few":
                patch.setattr(resource, "getrlimit", lambda _: (16, 16))
            else:
                patch.setattr(listeners.socket, "socket", at_limit)
            await review()
        assert (handles._servers, bulk_acceptor._more) == ([], [])
        await until_served(clients)
        await review()
        await until_served(connect(address_of(server), 4))
        address = address_of(server)
        server.close()
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)

    run(main())


@needs_uvloop
def test_a_file_table_without_a_limit_is_never_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one with many that are free."""
    assert not listeners.is_nearly_full()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert not listeners.is_nearly_full()


# What is accepted


def handed_over(how: str) -> socket.socket:
    """A listening socket as others make them: its object may know less than the system, or something else."""
    sock = socket.create_server(("127.0.0.1", 0))
    if how == "protocol 0":
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=sock.detach())
    if how == "as a unix socket":  # uvicorn's and others' way to open a descriptor, whatever it is
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=sock.detach())
    if how == "multipath":  # what Go programs hand over
        sock.close()
        try:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_MPTCP)
        except OSError:
            pytest.skip("the system has no multipath TCP")
        sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize(
    "source",
    ["own", "own, IPv6", "bind_socket", "descriptor", "protocol 0", "as a unix socket", "multipath"],
)
def test_a_connection_sends_at_once(loop: str, source: str) -> None:
    """TCP_NODELAY is on, wherever the listening socket comes from: no part of a response waits for the client's ACK."""

    async def main() -> None:
        settings: dict[str, Any] = {"host": "::1"} if source == "own, IPv6" else {}
        sockets, given = None, None
        if source == "descriptor":
            given = socket.create_server(("127.0.0.1", 0))
            settings["fd"] = given.fileno()
        elif source == "bind_socket":
            sockets = [config().bind_socket()]
        elif "own" not in source:
            sockets = [handed_over(source)]
        server = await accepting(config(**settings), sockets)
        await until_served(connect(server.sockets[0].getsockname()[:2], 2))
        assert Served.nodelay == [True, True]
        server.close()
        for sock in [given, *(sockets or [])]:
            if sock is not None:
                sock.close()

    run(main(), loop)


# Unix sockets


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[None]:
    task = asyncio.ensure_future(server.serve())
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        assert server.started
        yield
    finally:
        server.should_exit = True
        await task


def unix_server(path: Any, workers: int = 1, app: Any = None, **settings: Any) -> Server:
    lifespan = "off" if app is None else "on"
    settings |= {"workers": workers, "worker_class": "thread", "log_config": None, "lifespan": lifespan}
    return Server(Config(app or _answers, uds=str(path), **settings))


class NeverStarts:
    """An app that must not be started."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("started")


def exit_code(server: Server) -> Any:
    """Of a server that cannot start."""
    with pytest.raises(SystemExit) as caught:
        server.run()
    return caught.value.code


def the_one_error(caplog: pytest.LogCaptureFixture) -> str:
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    return line


def ask(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := client.recv(65536):
            received += chunk
        return received


both = [pytest.mark.parametrize("loop", LOOPS), pytest.mark.parametrize("workers", [1, 2]), needs_unix]


def for_every_server(test: Any) -> Any:
    for mark in both:
        test = mark(test)
    return test


@for_every_server
def test_a_unix_socket_goes_with_its_server(loop: str, workers: int, short_path: Path) -> None:
    """It is there while the server serves, open to everybody, and gone afterwards."""

    async def main() -> None:
        async with serving(unix_server(short_path, workers)):
            assert stat.S_IMODE(short_path.stat().st_mode) == 0o666
            assert (await asyncio.to_thread(ask, short_path)).startswith(b"HTTP/1.1 200")
        assert not short_path.exists()

    run(main(), loop)


@for_every_server
def test_a_live_unix_socket_is_refused(
    loop: str, workers: int, short_path: Path, caplog: Any, isolated_logging: None
) -> None:
    """One line, exit code 3, no app started; the one who serves there goes on."""

    async def main() -> None:
        async with serving(unix_server(short_path)):
            second = unix_server(short_path, workers, NeverStarts(), loop=loop)
            assert await asyncio.to_thread(exit_code, second) == 3
            assert (await asyncio.to_thread(ask, short_path)).startswith(b"HTTP/1.1 200")

    run(main(), loop)
    line = the_one_error(caplog)
    assert str(short_path) in line
    assert line.endswith("is in use")


@for_every_server
@pytest.mark.parametrize(
    "occupant", ["file", "folder", "link to a file", "link to nothing", "link to a socket", "pipe"]
)
def test_what_is_no_socket_is_left_alone(
    loop: str, workers: int, occupant: str, short_path: Path, caplog: Any, isolated_logging: None
) -> None:
    """Whoever put it there did not mean it to be replaced: one line that names it, exit code 3."""
    elsewhere = short_path.with_name("elsewhere")
    left = socket.socket(socket.AF_UNIX)
    if occupant == "file":
        short_path.write_text("mine")
    elif occupant == "folder":
        short_path.mkdir()
    elif occupant == "pipe":
        os.mkfifo(short_path)
    else:
        if occupant == "link to a file":
            elsewhere.write_text("mine")
        elif occupant == "link to a socket":
            left.bind(str(elsewhere))
        short_path.symlink_to(elsewhere)
    before = (os.lstat(short_path).st_ino, elsewhere.exists())

    with closing(left):
        assert exit_code(unix_server(short_path, workers, NeverStarts(), loop=loop)) == 3

    assert (os.lstat(short_path).st_ino, elsewhere.exists()) == before
    assert str(short_path) in the_one_error(caplog)


@for_every_server
def test_a_socket_that_somebody_else_has_made_since_is_left_alone(loop: str, workers: int, short_path: Path) -> None:
    """At its end a server removes what it made, and nothing that has the same name."""

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as other:
            async with serving(unix_server(short_path, workers)):
                short_path.unlink()
                other.bind(str(short_path))
            assert short_path.is_socket()

    run(main(), loop)


@for_every_server
def test_a_stale_unix_socket_is_replaced(loop: str, workers: int, short_path: Path) -> None:
    """Nobody listens there: a crash must not need a human. Who may connect stays as it was."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_path))
    short_path.chmod(0o600)

    async def main() -> None:
        async with serving(unix_server(short_path, workers)):
            assert stat.S_IMODE(short_path.stat().st_mode) == 0o600
            assert (await asyncio.to_thread(ask, short_path)).startswith(b"HTTP/1.1 200")

    run(main(), loop)


@needs_unix
def test_an_app_that_changes_its_folder_changes_nothing(
    short_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket of a relative path is removed where it was made, not where the process is by then."""
    monkeypatch.chdir(short_path.parent)
    (tmp_path / "http.sock").write_text("mine")

    async def main() -> None:
        async with serving(unix_server("http.sock")):
            os.chdir(tmp_path)
        assert not (short_path.parent / "http.sock").exists()
        assert (tmp_path / "http.sock").exists()

    run(main(), "asyncio")


@needs_unix
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("workers", [1, 2])
def test_the_socket_goes_where_serving_ends_in_an_error(loop: str, workers: int, short_path: Path) -> None:
    """As after a callback of the user that raises."""
    server = unix_server(short_path, workers)

    async def raises() -> None:
        raise ZeroDivisionError

    server.config.callback_notify = raises
    with pytest.raises(ZeroDivisionError):
        run(server.serve(), loop)
    assert not short_path.exists()


def test_closing_twice_is_closing_once(short_path: Path) -> None:
    """The second time there may be somebody else's."""
    [opened] = asyncio.run(listeners.listen(Bind.of(Config(_app, uds=str(short_path), log_config=None)), None))
    opened.close()
    assert not opened.is_serving()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(short_path))
        opened.close()
        assert short_path.exists()
    assert isinstance(opened, Listening)


# What cannot be listened on


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "settings,said",
    [
        ({"uds": "/nowhere/http.sock"}, "[Errno 2] No such file or directory: '/nowhere/http.sock'"),
        ({"fd": 9999}, "Cannot listen on file descriptor 9999: Bad file descriptor."),
        ({"backlog": 99999999999}, "The backlog must not exceed 2147483647: 99999999999."),
        ({"port": 70000}, "The port must be 0-65535, not 70000."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_is_wrong_is_said_before_the_app_starts(
    loop: str, workers: int, settings: Any, said: str, caplog: Any, isolated_logging: None
) -> None:
    """One line, exit code 3."""
    config = Config(NeverStarts(), log_config=None, loop=loop, workers=workers, worker_class="thread")
    vars(config).update(settings)  # some of these a config cannot be made with
    assert exit_code(Server(config)) == 3
    assert the_one_error(caplog) == said


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", ["no such name.invalid", "x" * 70])
def test_a_host_without_an_address_is_named(
    loop: str, workers: int, host: str, caplog: Any, isolated_logging: None
) -> None:
    """One line, exit code 3."""
    settings: Any = {"log_config": None, "loop": loop, "workers": workers, "worker_class": "thread"}
    assert exit_code(Server(Config(_answers, host=host, **settings))) == 3
    assert the_one_error(caplog).startswith(f"Cannot resolve the host '{host}': ")


@pytest.fixture
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A path for a unix socket; these must be short."""
    with TemporaryDirectory(prefix="p-") as folder:
        yield Path(folder) / "http.sock"


async def _answers(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hi"})


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Is never asked."""

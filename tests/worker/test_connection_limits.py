"""Limits on connections: who is counted, for how long, what those get that are too many; on real sockets and loops."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from pounce.connection.base import Phase
from pounce.connection.state import ServerState
from pounce.names import LOGGER_ERROR
from pounce.worker.connection_limits import ConnectionLimits, Idle
from tests.fakes import get, responses
from tests.isolated_logging import isolated_logging as isolated_logging
from tests.threads.embedding import PATIENCE, Embedded, serving, wait_until
from tests.wire.ws_frames import handshake

LOOPS = ["asyncio"] + ["uvloop"] * (importlib.util.find_spec("uvloop") is not None)
#: Where connections are: on the loop that accepts, or on those of two threads.
WAYS = [pytest.param(loop, workers, id=f"{loop}-{workers}") for loop in LOOPS for workers in (1, 2)]
on_all_ways = pytest.mark.parametrize("loop,workers", WAYS)
#: A client that nobody trusts.
ELSEWHERE = ("127.0.0.2", 0)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/wait` answers when the client has left, `/half` breaks off; WebSockets are accepted, and kept."""
    assert scope["type"] != "lifespan"
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if scope["path"] == "/half":
        raise ValueError("breaks off")
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[ConnectionLimits]:
    """The limits of the servers that are started."""
    found: list[ConnectionLimits] = []
    make = ConnectionLimits.of.__func__  # type: ignore[attr-defined]

    def of(cls: Any, config: Any) -> Any:
        limits = make(cls, config)
        found.append(limits)
        return limits

    monkeypatch.setattr(ConnectionLimits, "of", classmethod(of))
    return found


def served(loop: str, workers: int, **settings: Any) -> Any:
    capacity = {name: settings.pop(name) for name in ("connections", "connections_per_client") if name in settings}
    lifespan = {"lifespan": "off", "timeout_keep_alive": 60}
    return serving(app, loop=loop, workers=workers, capacity=capacity, **lifespan | settings)


def count_of(made: list[ConnectionLimits]) -> int:
    return made[-1].count


def ask(sock: socket.socket, path: str = "/") -> int:
    """The status of an answer; 0: none, but the end."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(get(path))
    return status(sock)


def status(sock: socket.socket) -> int:
    data = b""
    while not data.endswith((b"\r\n\r\nok", b"Service Unavailable")):
        part = sock.recv(65536)
        if not part:
            return 0
        data += part
    [response] = responses(data)
    return response.status


def is_refused(sock: socket.socket) -> bool:
    """Whether a client that has said nothing is told 503, and then the end."""
    return status(sock) == 503 and sock.recv(1) == b""


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextlib.contextmanager
def connections(server: Embedded, count: int) -> Iterator[list[socket.socket]]:
    """So many, each answered once."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(count)]
        assert [ask(sock) for sock in socks] == [200] * count
        yield socks


# In all


@on_all_ways
def test_one_too_many(
    made: list[ConnectionLimits], loop: str, workers: int, caplog: pytest.LogCaptureFixture, isolated_logging: None
) -> None:
    """It is told so without a word of its own; the others go on, and who comes when one has left is served."""
    with caplog.at_level(logging.WARNING, LOGGER_ERROR), served(loop, workers, connections=4) as server:
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(server.connect()) for _ in range(4)]
            for sock in socks:
                sock.sendall(get("/wait"))
            wait_until(lambda: len(server.server.server_state.tasks) == 4)
            for _ in range(3):
                with server.connect() as one_more:
                    assert is_refused(one_more)
            with server.connect() as one_more:
                assert ask(one_more) == 503  # also if the request is there already
            wait_until(lambda: count_of(made) == 4)
            assert all(map(_is_open, socks))
            socks[2].close()
            wait_until(lambda: count_of(made) == 3)
            with server.connect() as another:
                assert ask(another) == 200
        wait_until(lambda: count_of(made) == 0)
    assert "Exceeded connection limit." in caplog.messages


@on_all_ways
def test_idle_connections_make_room(made: list[ConnectionLimits], loop: str, workers: int) -> None:
    """Those that have been idle for longest, one for each that comes; who is at work stays."""
    with served(loop, workers, connections=4) as server:
        with server.connect() as busy, connections(server, 3) as idle:
            busy.sendall(get("/wait"))
            wait_until(lambda: sum(_is_idle(connection) for connection in server.server.server_state.connections) == 3)
            with server.connect() as new:
                assert ask(new) == 200
                assert count_of(made) == 4
                wait_until(lambda: [_is_open(sock) for sock in (busy, *idle)].count(False) == 1)
                assert _is_open(busy)
        wait_until(lambda: count_of(made) == 0)


def _is_idle(connection: Any) -> bool:
    return connection.phase is Phase.IDLE


def _is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    finally:
        sock.settimeout(PATIENCE)


class KnownIdle:
    """As much of a connection as tells whether it is idle."""

    def __init__(
        self, gone: list[float], since: float, phase: Phase | None = Phase.IDLE, closing: bool = False
    ) -> None:
        self.gone = gone
        self.idle_since = since
        self.phase = phase
        self.transport = SimpleNamespace(is_closing=lambda: closing)

    def timeout_keep_alive_handler(self) -> None:
        self.gone.append(self.idle_since)
        self.phase = Phase.BUSY


def test_who_was_idle_first_goes_first() -> None:
    """Each once; who was at work a moment ago, or ends already, does not count. One look at all of them in a tick."""
    state = ServerState()
    gone: list[float] = []
    state.connections |= {KnownIdle(gone, since) for since in (3.0, 1.0, 2.0)}
    state.connections |= {KnownIdle(gone, 0.0, phase) for phase in Phase if phase is not Phase.IDLE}
    state.connections |= {KnownIdle(gone, 0.0, closing=True), object()}  # and one of a class of the user's
    idle = Idle(state)
    assert [idle.makes_room() for _ in range(5)] == [True, True, True, False, False]
    assert gone == [1.0, 2.0, 3.0]
    state.connections.add(KnownIdle(gone, 4.0))
    assert not idle.makes_room()
    idle.on_tick()
    assert idle.makes_room()
    assert gone[-1] == 4.0


# Every way of a connection to end


def says(*parts: bytes) -> Callable[[socket.socket], None]:
    def talk(sock: socket.socket) -> None:
        for part in parts:
            sock.sendall(part)

    return talk


def hears(head: bytes, *parts: bytes) -> Callable[[socket.socket], None]:
    def talk(sock: socket.socket) -> None:
        says(*parts)(sock)
        data = b""
        while head not in data:
            part = sock.recv(65536)
            assert part, data
            data += part

    return talk


#: What clients do until their end, which is each of `ENDS`; and whether the server ends them.
CLIENTS: dict[str, Callable[[socket.socket], None]] = {
    "silent": says(),
    "half a head": says(b"GET / HTTP/1.1\r\n"),
    "idle": hears(b"ok", get()),
    "waits": says(get("/wait")),
    "half a body": says(get("/", "Content-Length: 10", method="POST") + b"half"),
    "malformed": hears(b" 400 ", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
    "asks for the end": hears(b"ok", get("/", "Connection: close")),
    "broken off": hears(b"200", get("/half")),
    "WebSocket": hears(b" 101 ", handshake()),
    "WebSocket, refused": hears(b" 400 ", handshake(version=b"7").replace(b"Upgrade\r\n", b"Upgrade, x\r\n", 1)),
    "WebSocket, message": hears(b" 101 ", handshake(), b"\x81\x80abcd"),
    "HTTP/2": hears(b"\x04", PREFACE),
}
ENDS: dict[str, Callable[[socket.socket], None]] = {
    "close": socket.socket.close,
    "reset": reset,
    "half-close": lambda sock: (sock.shutdown(socket.SHUT_WR), _drain(sock), sock.close())[0],
}


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.settimeout(0.05)
        while sock.recv(65536):
            pass


@pytest.mark.parametrize(
    "loop,workers,http",
    [(*way.values, http) for way, http in zip(WAYS, ["h11", "httptools", "zttp", "httptools"], strict=False)],
)
def test_the_count_recovers(made: list[ConnectionLimits], loop: str, workers: int, http: str) -> None:
    """Whatever is spoken, and however it ends."""
    pytest.importorskip(http)
    with served(loop, workers, connections=100, connections_per_client=50, http=http, http2=True) as server:
        for talks in CLIENTS.values():
            for ends in ENDS.values():
                sock = socket.create_connection(server.address[:2], PATIENCE, ELSEWHERE)
                try:
                    talks(sock)
                    with contextlib.suppress(OSError):
                        ends(sock)
                finally:
                    sock.close()
        wait_until(lambda: count_of(made) == 0)
        assert made[-1]._by_client == {}
        # The server's own end of a connection is one, too.
        with server.connect() as left:
            hears(b"ok", get())(left)
            assert count_of(made) == 1
            server.stop()
            assert count_of(made) == 0


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A certificate, in a file, and a client's context."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority = trustme.CA()
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(os.fspath(path))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return SimpleNamespace(path=path, context=context)


@on_all_ways
def test_with_tls(made: list[ConnectionLimits], loop: str, workers: int, pki: Any) -> None:
    """A handshake counts from its beginning, whatever comes of it. One too many ends: there is nobody yet to tell."""
    with served(
        loop, workers, connections=2, ssl_certfile=pki.path, deadlines={"head": 1}, timeout_keep_alive=60
    ) as server:

        def shake_hands(sock: socket.socket) -> socket.socket:
            return pki.context.wrap_socket(sock, server_hostname="localhost")  # type: ignore[no-any-return]

        garbage, silent = server.connect(), server.connect()
        wait_until(lambda: count_of(made) == 2)
        with server.connect() as one_more, contextlib.suppress(ConnectionError):
            assert one_more.recv(1) == b""
        garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        wait_until(lambda: count_of(made) == 1)
        garbage.close()
        reset(silent)
        wait_until(lambda: count_of(made) == 0)
        too_late = server.connect()  # its handshake never ends
        with shake_hands(server.connect()) as secure:
            assert ask(secure) == 200
            assert count_of(made) <= 2
        too_late.close()
        wait_until(lambda: count_of(made) == 0)
        with shake_hands(server.connect()) as secure:
            hears(b" 101 ", handshake())(secure)
        wait_until(lambda: count_of(made) == 0)


def test_many_threads_count_exactly() -> None:
    """It is one number, whoever changes it."""
    import threading

    limits = ConnectionLimits(10**6, 10**6, lambda _: False)

    def come_and_go() -> None:
        for _ in range(2000):
            seats = [limits.seat(("192.0.2.1", 1)), limits.seat(("2001:db8::1", 1, 0, 0))]
            for seat in (*seats, *seats):
                seat.leave()

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert limits.count == 0
    assert limits._by_client == {}


# Of one client


def refused(limits: ConnectionLimits, *hosts: str) -> list[bool]:
    """Whether each of these has no seat, one after the other."""
    return [limits.seat((host, 1234)).is_refused for host in hosts]


def test_each_client_has_its_own_limit() -> None:
    """Its address, or in IPv6 its network; an IPv4 address that IPv6 maps is the same client."""
    limits = ConnectionLimits(0, 2, {"10.0.0.1", "::1"}.__contains__)
    assert refused(limits, "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2") == [False, False, True, False]
    assert refused(limits, "::ffff:192.0.2.2", "::ffff:192.0.2.2") == [False, True]
    assert refused(limits, "2001:db8::1", "2001:db8::2:1", "2001:db8::3%eth0", "2001:db8:0:1::1") == [
        False,
        False,
        True,
        False,
    ]
    assert not any(refused(limits, *["10.0.0.1", "::ffff:10.0.0.1", "::1"] * 5))
    assert not any(limits.seat(address).is_refused for address in ["", b"", "/run/x.sock"] * 5)


@on_all_ways
def test_one_client_does_not_take_all(made: list[ConnectionLimits], loop: str, workers: int) -> None:
    """The others go on. Whom `--forwarded-allow-ips` names has no such limit: it brings many clients."""
    with served(loop, workers, connections_per_client=2) as server:

        def connect() -> socket.socket:
            return socket.create_connection(server.address[:2], PATIENCE, ELSEWHERE)

        with connect() as first, connect() as second:
            assert [ask(first), ask(second)] == [200, 200]
            with connect() as third:
                assert is_refused(third)
            with connections(server, 5):
                pass
            reset(first)
            wait_until(lambda: made[-1]._by_client == {"127.0.0.2": 1})
            with connect() as third:
                assert ask(third) == 200


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="unix sockets")
def test_unix_sockets_have_no_clients(made: list[ConnectionLimits], tmp_path: Path) -> None:
    """A proxy is at the other end; the number in all holds there, too."""
    with (
        served("asyncio", 1, connections=3, connections_per_client=1, uds=os.fspath(tmp_path / "s")) as server,
        connections(server, 3),
        server.connect() as one_more,
    ):
        assert is_refused(one_more)


def test_who_does_not_ask_for_limits_has_plain_sockets(made: list[ConnectionLimits]) -> None:
    """Nothing is counted."""
    with served("asyncio", 1) as server, connections(server, 1):
        assert made == [None]


def test_a_limit_that_nobody_has(caplog: pytest.LogCaptureFixture, isolated_logging: None) -> None:
    """With `*` everybody is trusted."""
    from pounce import Config

    with caplog.at_level(logging.WARNING, LOGGER_ERROR):
        Config(app, capacity={"connections_per_client": 5}, forwarded_allow_ips="*", log_config=None)
    assert '"capacity.connections_per_client" has no effect where "forwarded_allow_ips" is "*".' in caplog.messages

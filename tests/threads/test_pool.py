"""Worker threads in one process, as an embedder sees them. Also where there is a GIL: they only take turns there."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import importlib.util
import logging
import signal
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from pounce.config import Config
from pounce.errors import explain
from pounce.pool.worker_thread import WorkerThread
from pounce.server import Server
from tests.threads.embedding import Application, Embedded, request, serving, wait_until

LOOPS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(importlib.util.find_spec(name) is None, reason=f"{name} is not installed"),
    )
    for name in ("asyncio", "uvloop", "zuvloop")
]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    return caplog


@pytest.mark.parametrize("loop", LOOPS)
def test_every_worker_serves(loop: str) -> None:
    """Four connections reach four threads, each with its own loop, on every kind of loop."""
    with serving(Application(), loop=loop) as embedded, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedded.connect()) for _ in range(4)]
        names = [request(client)[1] for client in clients]
        assert sorted(names) == [f"pounce-worker-{index}" for index in range(4)]
        assert [request(client)[1] for client in clients] == names, "a connection has moved"
        assert len({id(thread.loop) for thread in embedded.threads}) == 4
        wait_until(lambda: embedded.server.server_state.total_requests == 8)  # counted after it is written
        assert len(embedded.server.server_state.connections) == 4


@pytest.mark.parametrize("loop", LOOPS)
def test_keep_alive_connections_are_balanced(loop: str) -> None:
    """64 idle-then-active keep-alive connections over 4 workers are 16 each, give or take one."""
    with serving(Application(), loop=loop) as embedded, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedded.connect()) for _ in range(64)]
        wait_until(lambda: len(embedded.server.server_state.connections) == 64)
        counts = collections.Counter(request(client)[1] for client in clients)
        assert len(counts) == 4
        assert all(15 <= count <= 17 for count in counts.values()), counts


def test_new_connections_fill_up_what_has_closed() -> None:
    """The balance is of open connections, not of accepted ones."""
    with serving(Application(), workers=2) as embedded, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedded.connect()) for _ in range(12)]
        names = [request(client)[1] for client in clients]
        for client, name in zip(clients, names, strict=True):
            if name == "pounce-worker-0":
                client.close()

        def connections() -> int:
            return len(embedded.server.server_state.connections)

        wait_until(lambda: connections() == 6)
        for _ in range(6):
            # One after the other: a connection that is just being set up counts twice for a moment.
            wait_until(lambda: sum(thread.load() for thread in embedded.threads) == connections())
            assert request(stack.enter_context(embedded.connect()))[1] == "pounce-worker-0"


def test_one_app_object_for_all_threads() -> None:
    """An app given as an object is one copy: `id()` of what it uses is the same from every worker."""
    shared = object()
    app = Application({"/": lambda _: f"{threading.current_thread().name} {id(shared)}"})
    with serving(app) as embedded, contextlib.ExitStack() as stack:
        answers = {request(stack.enter_context(embedded.connect()))[1] for _ in range(4)}
        assert len(answers) == 4
        assert {answer.split()[1] for answer in answers} == {str(id(shared))}


def test_a_factory_makes_one_app_per_worker_on_its_thread() -> None:
    """`--factory`: called once per worker, by that worker's thread; nothing is shared."""
    made: list[str] = []

    def factory() -> Application:
        made.append(threading.current_thread().name)
        app = Application()
        app.handlers["/"] = lambda _: id(app)
        return app

    with serving(factory, factory=True) as embedded, contextlib.ExitStack() as stack:
        answers = {request(stack.enter_context(embedded.connect()))[1] for _ in range(4)}
    assert made == [f"pounce-worker-{index}" for index in range(4)]
    assert len(answers) == 4


def test_lifespans_start_one_after_the_other_and_stop_in_reverse() -> None:
    """One lifespan per loop; none begins before the one before it is up, and shutdowns go the other way."""
    app = Application()
    with serving(app, workers=3):
        assert app.events == [f"pounce-worker-{index} starts" for index in range(3)]
    assert app.events[3:] == [f"pounce-worker-{index} stops" for index in (2, 1, 0)]


def test_each_worker_has_its_own_state() -> None:
    """`scope["state"]` is what the lifespan of the same loop has put there."""
    app = Application({"/": lambda scope: scope["state"]["worker"] == threading.current_thread().name})
    with serving(app) as embedded, contextlib.ExitStack() as stack:
        answers = [request(stack.enter_context(embedded.connect()))[1] for _ in range(4)]
    assert answers == ["True"] * 4


def test_one_failed_startup_ends_all(log: pytest.LogCaptureFixture) -> None:
    """The third worker fails: nobody listens, the first two are shut down in reverse, and the exit code is 3."""
    app = Application()
    app.fails_at = "pounce-worker-2"
    with pytest.raises(SystemExit) as excinfo, serving(app):
        pass
    assert excinfo.value.code == 3
    assert app.events[-2:] == ["pounce-worker-1 stops", "pounce-worker-0 stops"]
    assert "pounce-worker-3 starts" not in app.events
    assert "pounce-worker-2 has no database" in log.text


def test_an_app_that_cannot_be_made_ends_all(log: pytest.LogCaptureFixture) -> None:
    """A factory that raises in a worker is a failed start, with its traceback in the log."""

    def factory() -> Any:
        raise ValueError("no app today")

    with pytest.raises(SystemExit) as excinfo, serving(factory, factory=True):
        pass
    assert excinfo.value.code == 3
    assert "no app today" in log.text


def test_a_mistake_that_shows_in_a_worker_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """What is explained needs no traceback, also where a thread is the first to see it."""

    def factory() -> Any:
        raise explain(ValueError("mine"), "The file is not there.")

    with pytest.raises(SystemExit) as excinfo, serving(factory, factory=True):
        pass
    assert excinfo.value.code == 3
    errors = {(record.getMessage(), record.exc_info) for record in log.records if record.levelno >= logging.ERROR}
    assert errors == {("The file is not there.", None)}


def test_the_startup_line_says_what_runs(log: pytest.LogCaptureFixture) -> None:
    """`Started server process [PID] with 4 worker threads (free-threaded CPython 3.14.7)`."""
    with serving(Application()):
        pass
    (line,) = [text for text in log.messages if text.startswith("Started server process")]
    assert " with 4 worker threads (" in line
    assert "CPython 3." in line


def test_an_address_in_use_ends_the_start(log: pytest.LogCaptureFixture) -> None:
    """Nothing to listen on: every worker is shut down, and the exit code is 3."""
    app = Application()
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(SystemExit) as excinfo,
        serving(app, workers=2, port=taken.getsockname()[1]),
    ):
        pass
    assert excinfo.value.code == 3
    assert len(app.events) == 4
    assert "address already in use" in log.text.lower()


# Ways to listen


def test_a_unix_socket(tmp_path: Path) -> None:
    """`--uds`."""
    with serving(Application(), uds=str(tmp_path / "s"), workers=2) as embedded:
        assert {embedded.get()[1] for _ in range(4)} == {"pounce-worker-0", "pounce-worker-1"}


def test_an_inherited_descriptor() -> None:
    """`--fd`; the descriptor stays open when the server ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with serving(Application(), fd=listener.fileno(), workers=2) as embedded:
            assert embedded.get()[0] == 200
        assert listener.getsockname()


def test_ipv6() -> None:
    """`--host ::1`."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with serving(Application(), host="::1", workers=2) as embedded:
        assert embedded.get()[0] == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    """A server's key and certificate in one file, and what a client needs to trust it."""
    authority = trustme.CA()
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(path))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return str(path), context


@pytest.mark.parametrize("loop", LOOPS[:2])
def test_tls(loop: str, certificate: tuple[str, ssl.SSLContext]) -> None:
    """Each worker does the handshakes of its own connections; a failed one costs nobody anything."""
    path, context = certificate
    app = Application({"/": lambda scope: scope["scheme"] + " " + threading.current_thread().name})
    with serving(app, ssl_certfile=path, workers=2, loop=loop) as embedded, contextlib.ExitStack() as stack:
        with embedded.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sock.recv(1000)
        clients = [
            context.wrap_socket(stack.enter_context(embedded.connect()), server_hostname="localhost") for _ in range(4)
        ]
        answers = [stack.enter_context(client) and request(client)[1] for client in clients]
        assert set(answers) == {"https pounce-worker-0", "https pounce-worker-1"}


def test_a_handshake_that_does_not_come_does_not_hold_the_end(certificate: tuple[str, ssl.SSLContext]) -> None:
    """A client that connects and says nothing is cut when the server ends."""
    path, _ = certificate
    with serving(Application(), ssl_certfile=path, workers=2) as embedded:
        silent = embedded.connect()
        wait_until(lambda: sum(thread.load() for thread in embedded.threads) == 1)
        begun = time.monotonic()
        embedded.stop()
        assert time.monotonic() - begun < 5
        silent.close()


# Limits count the process


def test_limit_concurrency_counts_all_workers() -> None:
    """Three connections over two workers are at a limit of 3, though no worker has more than two."""
    with serving(Application(), workers=2, limit_concurrency=3) as embedded, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedded.connect()) for _ in range(2)]
        assert [request(client)[0] for client in clients] == [200, 200]
        third = stack.enter_context(embedded.connect())
        assert request(third)[0] == 503


def test_limit_max_requests_counts_all_workers() -> None:
    """Six requests, whoever answered them, end the server."""
    with serving(Application(), limit_max_requests=6) as embedded:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(embedded.connect()) for _ in range(3)]
            for client in clients:
                request(client)
                request(client)
        embedded.join()


def test_a_supervised_server_asks_for_a_replacement_instead() -> None:
    """Under a supervisor the limit ends nothing: the server serves on until its successor is there."""
    with serving(Application(), workers=2, limit_max_requests=2) as embedded:
        embedded.server.is_supervised = True
        embedded.get()
        embedded.get()
        wait_until(lambda: embedded.server.wants_recycling)
        assert embedded.get()[0] == 200


# The end


@pytest.mark.parametrize("loop", LOOPS[:2])
def test_a_request_in_flight_is_answered_before_the_end(loop: str) -> None:
    """`should_exit` from another thread: the response under way leaves whole, then the connection closes."""
    begun = threading.Event()

    async def slow(scope: Any) -> str:
        begun.set()
        await asyncio.sleep(0.3)
        return "done"

    app = Application({"/": slow})
    with serving(app, loop=loop) as embedded, embedded.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(10)
        embedded.server.should_exit = True
        received = b""
        while chunk := client.recv(1000):
            received += chunk
    assert received.endswith(b"done")
    assert len([event for event in app.events if event.endswith("stops")]) == 4


def test_the_graceful_timeout_cancels_what_is_left(log: pytest.LogCaptureFixture) -> None:
    """A request that does not end is cancelled after `timeout_graceful_shutdown`; the lifespans still shut down."""
    cancelled = threading.Event()
    begun = threading.Event()

    async def endless(scope: Any) -> str:
        begun.set()
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return ""

    app = Application({"/": endless})
    with serving(app, workers=2, timeout_graceful_shutdown=1) as embedded, embedded.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(10)
        embedded.stop()
    assert cancelled.is_set()
    assert "Cancel 1 running task(s), timeout graceful shutdown exceeded" in log.messages
    assert [event for event in app.events if event.endswith("stops")] == [
        "pounce-worker-1 stops",
        "pounce-worker-0 stops",
    ]


def test_forcing_ends_at_once() -> None:
    """`force_exit` waits for no request and skips the lifespans' shutdown, as with one worker."""
    begun = threading.Event()

    async def endless(scope: Any) -> str:
        begun.set()
        await asyncio.sleep(1000)
        return ""

    app = Application({"/": endless})
    with serving(app, workers=2) as embedded, embedded.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert begun.wait(10)
        embedded.server.force_exit = True
        embedded.stop()
    assert not [event for event in app.events if event.endswith("stops")]


def test_a_worker_that_ends_by_itself_ends_the_server(log: pytest.LogCaptureFixture) -> None:
    """An app that stops its loop stops one worker; the process does not carry on with fewer."""

    def leave(scope: Any) -> str:
        asyncio.get_running_loop().stop()
        return "gone"

    with serving(Application({"/leave": leave}), workers=2) as embedded:
        with contextlib.suppress(Exception):
            embedded.get("/leave")
        embedded.join()
    assert "has ended by itself" in log.text


@pytest.mark.parametrize("on_main_thread", [True, False], ids=["main", "other"])
def test_awaiting_serve_on_the_callers_loop(on_main_thread: bool) -> None:
    """`await server.serve()` serves from whatever loop and thread it is called on, and gives both back."""

    async def main() -> str:
        server = Server(Config(Application(), workers=2, worker_class="thread", port=0, log_config=None))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
        server.should_exit = True
        await task
        return answer

    answers: list[str] = []
    if on_main_thread:
        answers.append(asyncio.run(main()))
    else:
        thread = threading.Thread(target=lambda: answers.append(asyncio.run(main())))
        thread.start()
        thread.join(20)
    assert answers
    assert "pounce-worker-" in answers[0]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pounce-worker")]


def test_cancelling_serve_leaves_no_thread() -> None:
    """A caller that cancels `serve()`, as a task group does, gets its threads back all the same."""

    async def main() -> None:
        server = Server(Config(Application(), workers=3, worker_class="thread", port=0, log_config=None))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pounce-worker")]


def test_two_servers_beside_each_other() -> None:
    """Nothing in thread mode belongs to the process: two embedded servers do not meet."""
    one, two = Application({"/": lambda _: "one"}), Application({"/": lambda _: "two"})
    second = Embedded(Config(two, port=0, log_config=None, workers=2, worker_class="thread"))
    with serving(one, workers=2) as first:
        second.start()
        try:
            assert (first.get()[1], second.get()[1]) == ("one", "two")
        finally:
            second.stop()
        assert first.get()[1] == "one"


# What the log says


def test_an_object_of_another_loop_is_explained(log: pytest.LogCaptureFixture) -> None:
    """An app that shares a lock between loops gets its traceback, and one more line with the ways out."""
    lock = asyncio.Lock()

    async def locked(scope: Any) -> str:
        async with lock:
            await asyncio.sleep(0.2)
        return "ok"

    with serving(Application({"/": locked}), workers=2) as embedded, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(embedded.connect()) for _ in range(4)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for client in clients:
            client.recv(1000)
    assert "bound to a different event loop" in log.text
    assert "Hint:" in log.text


def test_heartbeats_name_the_loop_that_stands_still() -> None:
    """A blocked loop ages, the others and the acceptor do not, and its stack shows where it is."""
    release = threading.Event()

    def block_the_loop(scope: Any) -> str:
        release.wait(20)
        return "ok"

    with serving(Application({"/block": block_the_loop}), workers=2) as embedded, embedded.connect() as client:
        client.sendall(b"GET /block HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: any(age > 0.5 for _, age in embedded.server.heartbeats()))
        stuck = [name for name, age in embedded.server.heartbeats() if age > 0.5]
        assert len(stuck) == 1
        assert "block_the_loop" in embedded.server.dump_stack(stuck[0])
        assert "pounce-acceptor" in dict(embedded.server.heartbeats())
        release.set()
        assert b"200" in client.recv(1000)


# What does not end


class Stuck(Application):
    """`/executor` leaves a thread of its loop's executor behind, `/loop` blocks the loop, until they are let go."""

    def __init__(self) -> None:
        super().__init__({"/executor": self.executor, "/loop": self.loop})
        self.begun = threading.Event()
        self.may_go = threading.Event()

    def wait_for_it(self) -> None:
        self.begun.set()
        self.may_go.wait(60)

    async def executor(self, scope: Any) -> str:
        await asyncio.to_thread(self.wait_for_it)
        return "ok"

    def loop(self, scope: Any) -> str:
        self.wait_for_it()
        return "ok"


@pytest.mark.parametrize("path", ["/executor", "/loop"])
@pytest.mark.parametrize("how", ["limit", "forced"])
@pytest.mark.parametrize("loop", LOOPS[:2])
def test_a_worker_that_does_not_end_is_named_and_left_behind(
    path: str, how: str, loop: str, log: pytest.LogCaptureFixture
) -> None:
    """The limit, or a second Ctrl+C, ends the server, with the shutdowns of all loops that turn; nobody waits more."""
    app = Stuck()
    embedded = Embedded(
        Config(
            app,
            port=0,
            log_config=None,
            access_log=False,
            workers=2,
            worker_class="thread",
            loop=loop,
            timeout_graceful_shutdown=1 if how == "limit" else None,
        )
    )
    embedded.start()
    try:
        with embedded.connect() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert app.begun.wait(10)
            if how == "limit":
                embedded.server._end.on_signal(signal.SIGTERM)
            else:
                embedded.server.force_exit = True
            embedded.stop()
        assert embedded.error is None
        stopped = [event for event in app.events if event.endswith("stops")]
        assert len(stopped) == {"limit": {"/executor": 2, "/loop": 1}, "forced": {}}[how].get(path, 0)
        assert "wait_for_it" in log.text
        assert "does not end" in log.text
    finally:
        app.may_go.set()
        wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("pounce-worker")])


def test_nobody_calls_a_loop_that_is_about_to_close() -> None:
    """uvloop's `call_soon_threadsafe` is no match for a `close` on another thread."""
    worker = WorkerThread(Config(Stuck(), port=0, log_config=None), 1, lambda: None)
    calls: list[Any] = []

    async def main() -> None:
        async def serve_on(loop: Any, config: Any) -> None:
            assert worker._call(lambda: calls.append(1))

        worker._serve_on = serve_on  # type: ignore[method-assign]
        await worker._serve(worker._config)
        assert worker._call(lambda: calls.append(2)) is False
        await asyncio.sleep(0)

    asyncio.run(main())
    assert calls == [1]

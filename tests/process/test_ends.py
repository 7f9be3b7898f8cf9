"""A process that has finished is gone, whatever would keep it: threads, `atexit`, tasks, a blocked loop, a fork."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.process.serving import PATIENCE, Served, environment, run_command, served

APP = r"""
import asyncio, atexit, multiprocessing, os, signal, sys, threading, time

def say(text):
    sys.stderr.write(text + "\n")  # one write, so that workers do not cut into each other's lines

def is_stuck():
    say("in flight")
    time.sleep(1000)

def waits(writer):
    writer.send(signal.set_wakeup_fd(-1))  # only now: until a fork is complete, Python itself may lose a signal
    time.sleep(1000)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("lifespan ends")
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/to_thread":
        await asyncio.to_thread(is_stuck)
    elif path == "/anyio":
        import anyio.to_thread
        await anyio.to_thread.run_sync(is_stuck)
    elif path == "/thread":
        threading.Thread(target=is_stuck).start()
    elif path == "/atexit":
        atexit.register(is_stuck)
        say("in flight")
    elif path == "/blocks":
        is_stuck()
    elif path == "/stubborn":
        say("in flight")
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                pass
    elif path == "/streams":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        say("in flight")
        while True:
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.sleep(0.05)
    elif path == "/computes":
        say("in flight")
        while True:
            await asyncio.sleep(0.01)
    elif path == "/forks":
        fork = multiprocessing.get_context("fork")
        reader, writer = fork.Pipe()
        child = fork.Process(target=waits, args=(writer,), daemon=True)
        child.start()
        wakeup_fd = await asyncio.to_thread(reader.recv)
        child.terminate()
        await asyncio.to_thread(child.join, 20)
        how = f"{wakeup_fd} {child.exitcode}"
        child.kill()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": how.encode() if path == "/forks" else b"ok"})
"""

LIMIT = ("--timeout-graceful-shutdown", "1")
#: Below what a supervisor waits before it kills (the limit and 10 seconds), and far above what it takes.
SOON = 9.0

WORKERS = {
    "one worker": (),
    "processes": ("--workers", "2", "--worker-class", "process"),
    "threads": ("--workers", "2", "--worker-class", "thread"),
}
workers = pytest.mark.parametrize("workers", WORKERS.values(), ids=WORKERS)
loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "stuck.py").write_text(APP)
    return tmp_path


def ask(server: Served, stack: contextlib.ExitStack, path: str) -> None:
    """Send a request whose client stays, and wait until the app is at it."""
    sock = stack.enter_context(server.connect())
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    server.log.wait_for("in flight")


def ends_soon(server: Served, *signals: signal.Signals) -> int:
    told = time.monotonic()
    code = server.stop(*signals)
    assert time.monotonic() - told < SOON, str(server.log)
    assert "killing it" not in server.log, "the supervisor had to"
    return code


@loops
@workers
def test_a_thread_of_an_executor_is_left_behind(loop: str, workers: tuple[str, ...], project: Path) -> None:
    """SIGTERM ends a server whose app waits in `to_thread`, within its limit, and the log shows its stack."""
    pytest.importorskip(loop)
    options = [*LIMIT, *workers, "--loop", loop]
    with (
        served("stuck:app", *options, cwd=project, tracebacks=True) as server,
        contextlib.ExitStack() as stack,
    ):
        ask(server, stack, "/to_thread")
        assert ends_soon(server, signal.SIGTERM) == 0
        assert "lifespan ends" in server.log
        assert server.log.wait_for("What keeps it:")
        assert server.log.wait_for(f"Thread {loop}_0:$")
        assert server.log.wait_for(r"stuck\.py.* in is_stuck")


@pytest.mark.parametrize("path", ["/anyio", "/thread", "/atexit", "/stubborn"])
def test_whatever_keeps_a_process_is_left_behind(path: str, project: Path) -> None:
    """AnyIO's threads, the app's own, a handler of `atexit`, a task that does not let itself be cancelled."""
    if path == "/anyio":
        pytest.importorskip("anyio")
    with (
        served("stuck:app", *LIMIT, cwd=project, tracebacks=True) as server,
        contextlib.ExitStack() as stack,
    ):
        ask(server, stack, path)
        assert ends_soon(server, signal.SIGTERM) == 0
        assert "lifespan ends" in server.log
        assert server.log.wait_for("This process does not end by itself")
        assert server.log.wait_for(r"stuck\.py.* in (is_stuck|app)")


@workers
def test_a_blocked_loop_ends_behind_the_limit(workers: tuple[str, ...], project: Path) -> None:
    """A loop that does not turn can see no limit; the process ends all the same, and the log shows where the loop is.

    The exit code says that the app was not shut down; a process of threads that ends its other workers has its own.
    """
    code = 0 if "thread" in workers else 1
    with (
        served("stuck:app", *LIMIT, *workers, cwd=project, exit_code=code) as server,
        contextlib.ExitStack() as stack,
    ):
        server.log.wait_for("Application startup complete", 2 if workers else 1)
        ask(server, stack, "/blocks")
        assert ends_soon(server, signal.SIGTERM) == code
        assert server.log.wait_for("is blocked|is stuck at")
        assert server.log.wait_for(r"stuck\.py.* in is_stuck")
        # The other worker, where there is one, was not held up.
        assert ("lifespan ends" in server.log) == bool(workers)


@workers
def test_without_a_limit_a_thread_holds_up_no_finished_process(workers: tuple[str, ...], project: Path) -> None:
    """SIGTERM, all requests answered: as with uvicorn, a thread that the app has started is not waited for."""
    with served("stuck:app", *workers, cwd=project) as server:
        assert server.get("/thread") == (200, "ok")
        server.log.wait_for("in flight")
        assert ends_soon(server, signal.SIGTERM) == 0
        assert "lifespan ends" in server.log


@loops
@workers
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_forced_stop_shows_no_traceback(
    first: signal.Signals, loop: str, workers: tuple[str, ...], project: Path
) -> None:
    """That an app is cut off by the second Ctrl+C is no error of the app."""
    pytest.importorskip(loop)
    with (
        served("stuck:app", *workers, "--loop", loop, cwd=project) as server,
        contextlib.ExitStack() as stack,
    ):
        ask(server, stack, "/streams")
        server.process.send_signal(first)
        server.log.wait_for("Waiting for connections to close")
        if workers:
            time.sleep(0.6)  # a second signal within half a second is an echo of the first to a supervisor
        assert ends_soon(server, signal.SIGINT) == 0
        assert "ERROR" not in server.log, str(server.log)


STARLETTE = r"""
import asyncio, contextlib, sys
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

@contextlib.asynccontextmanager
async def lifespan(app):
    yield

async def events(request):
    async def parts():
        sys.stderr.write("in flight\n")
        while True:
            yield b"data: x\n\n"
            await asyncio.sleep(0.05)
    return StreamingResponse(parts(), media_type="text/event-stream")

app = Starlette(routes=[Route("/", events)], lifespan=lifespan)
"""


@loops
def test_a_second_ctrl_c_shows_nothing_with_starlette(loop: str, tmp_path: Path) -> None:
    """Starlette answers the end of its lifespan with `lifespan.shutdown.failed` and a traceback as the message."""
    pytest.importorskip("starlette")
    pytest.importorskip(loop)
    (tmp_path / "streaming.py").write_text(STARLETTE)
    with served("streaming:app", "--loop", loop, cwd=tmp_path) as server, contextlib.ExitStack() as stack:
        ask(server, stack, "/")
        server.process.send_signal(signal.SIGINT)
        server.log.wait_for("Waiting for connections to close")
        assert ends_soon(server, signal.SIGINT) == 0
        assert "ERROR" not in server.log, str(server.log)


@workers
@pytest.mark.parametrize("limit", [LIMIT, ()], ids=["limit", "no limit"])
def test_a_server_ends_where_an_app_has_nested_its_loops(
    limit: tuple[str, ...], workers: tuple[str, ...], tmp_path: Path
) -> None:
    """nest_asyncio replaces asyncio's tasks, and on 3.14 hides the current one from what asks for it."""
    pytest.importorskip("nest_asyncio")
    (tmp_path / "stuck.py").write_text(f"import nest_asyncio\nnest_asyncio.apply()\n{APP}")
    with served("stuck:app", *limit, *workers, "--loop", "asyncio", cwd=tmp_path, tracebacks=bool(limit)) as server:
        with contextlib.ExitStack() as stack:
            if limit:
                ask(server, stack, "/computes")
            assert ends_soon(server, signal.SIGTERM) == 0
        assert "lifespan ends" in server.log
        assert "Timeout should be used" not in server.log


@pytest.mark.parametrize("options", [LIMIT, ()], ids=["limit", "forced"])
def test_an_app_that_does_not_look_after_its_client_holds_nobody_up(options: tuple[str, ...], project: Path) -> None:
    """It never calls `receive()` and goes on without its client; the limit ends it, and so does a second signal."""
    with served("stuck:app", *options, cwd=project, tracebacks=bool(options)) as server:
        with contextlib.ExitStack() as stack:
            ask(server, stack, "/computes")
        server.process.send_signal(signal.SIGTERM)
        server.log.wait_for("Waiting for (connections to close|background tasks)")
        assert ends_soon(server, *([] if options else [signal.SIGINT])) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="fork")
@loops
@workers
def test_a_child_that_the_app_has_forked_ends_by_sigterm(loop: str, workers: tuple[str, ...], project: Path) -> None:
    """`multiprocessing` with fork: `terminate()` reaches the child, and the child alone: it wakes no loop here."""
    pytest.importorskip(loop)
    with served("stuck:app", *workers, "--loop", loop, cwd=project) as server:
        answers: list[object] = []
        expected = (200, f"-1 {-signal.SIGTERM}")
        # A fork of a process with threads may die of what those held at that moment, on free-threaded builds above all.
        while expected not in answers and len(answers) < 3:
            try:
                answers.append(server.get("/forks"))
            except OSError as exc:
                answers.append(exc)
        assert expected in answers
        assert server.get("/") == (200, "ok")


NOT_STARTING = r"""
import threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})
"""


@workers
def test_a_failed_start_ends_although_a_thread_was_started(workers: tuple[str, ...], tmp_path: Path) -> None:
    """Whoever started the process learns of it; a thread that the app's module has started is left behind."""
    (tmp_path / "failing.py").write_text(NOT_STARTING)
    code, log = run_command("failing:app", *workers, "--port", "0", cwd=tmp_path)
    assert code == 3, log
    assert "does not end by itself" in log


SCRIPT = r"""
import os, signal, sys, threading, time
import pounce

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

def works():
    time.sleep(3)
    print("the thread is done", flush=True)

number = getattr(signal, sys.argv[1])
threading.Thread(target=works).start()
"""


def run_script(folder: Path, number: str, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(SCRIPT + code)
    return subprocess.run(
        [sys.executable, "script.py", number],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_a_script_goes_on_after_run(tmp_path: Path) -> None:
    """`run()` returns after Ctrl+C, and what the script does then, and which threads it has, is its own business."""
    code = "pounce.run(app, port=0, timeout_graceful_shutdown=1)\ntime.sleep(2)\nprint('goes on', flush=True)\n"
    done = run_script(tmp_path, "SIGINT", code)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["goes on", "the thread is done"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_script_that_nests_its_loops_ends(workers: int, tmp_path: Path) -> None:
    """The loop of whoever waits for worker threads is nested here as well."""
    pytest.importorskip("nest_asyncio")
    options = f'port=0, loop="asyncio", workers={workers}, worker_class="thread"'
    done = run_script(tmp_path, "SIGINT", f"import nest_asyncio\nnest_asyncio.apply()\npounce.run(app, {options})\n")
    assert done.returncode == 0, done.stderr
    assert "Finished server process" in done.stderr


@pytest.mark.parametrize(
    "way",
    ["server.run()", "asyncio.run(server.serve())"],
)
def test_the_process_of_a_program_that_embeds_a_server_is_its_own(way: str, tmp_path: Path) -> None:
    """Where the program handles SIGTERM, `Server` ends and nothing else does."""
    code = (
        "import asyncio\nsignal.signal(signal.SIGTERM, lambda *_: print('told', flush=True))\n"
        "server = pounce.Server(pounce.Config(app, port=0, timeout_graceful_shutdown=1))\n"
        f"{way}\ntime.sleep(2)\nprint('goes on', flush=True)\n"
    )
    done = run_script(tmp_path, "SIGTERM", code)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["goes on", "the thread is done", "told"]


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
def test_a_process_that_is_left_removes_its_unix_socket(project: Path) -> None:
    """What the interpreter's end would have done is done before."""
    with served("stuck:app", *LIMIT, "--uds", "s", cwd=project, tracebacks=True, address=str(project / "s")) as server:
        with contextlib.ExitStack() as stack:
            ask(server, stack, "/to_thread")
            ends_soon(server, signal.SIGTERM)
        assert "This process does not end by itself" in server.log
        assert not os.path.lexists(project / "s")


def test_the_end_of_a_script_is_its_own_whatever_ended_its_server(tmp_path: Path) -> None:
    """A server that was cut off by its limit has returned; the script's `atexit` and exit code are not its business."""
    (tmp_path / "script.py").write_text(
        "import asyncio, atexit, os, signal, sys, threading, time, pounce\n"
        "async def app(scope, receive, send):\n"
        "    assert scope['type'] != 'lifespan'\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    await asyncio.sleep(1000)\n"
        "def visit():\n"
        "    import urllib.request\n"
        "    try:\n"
        "        urllib.request.urlopen('http://127.0.0.1:%d/' % port).read()\n"
        "    except Exception:\n"
        "        pass\n"
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as free:\n"
        "    port = free.getsockname()[1]\n"
        "threading.Timer(2.0, visit).start()\n"
        "pounce.run(app, port=port, timeout_graceful_shutdown=0, access_log=False)\n"
        "atexit.register(print, 'ended in peace', flush=True)\n"
        "atexit.register(time.sleep, 2)\n"
        "sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "ended in peace\n"), done.stderr

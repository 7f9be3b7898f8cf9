"""The gunicorn worker class, under a real gunicorn."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pounce_compat import with_pounce

pytest.importorskip("gunicorn", reason="gunicorn is not installed")

APP = """
import os

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        if os.environ.get("FAIL"):
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("lifespan shut down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = str(os.getpid()).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
"""

Start = Callable[..., tuple["subprocess.Popen[str]", Path]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts gunicorn on a unix socket: `start(worker class, options..., **environment)`. Killed at the end."""
    (tmp_path / "module.py").write_text(APP)
    # In a file, since gunicorn's versions ignore there what they do not know.
    (tmp_path / "settings.py").write_text(f"control_socket_disable = True\nworker_tmp_dir = {str(tmp_path)!r}\n")
    running: list[subprocess.Popen[str]] = []

    def start(worker: str, *options: str, **variables: str) -> tuple[subprocess.Popen[str], Path]:
        path = tmp_path / "gunicorn.sock"
        command = [sys.executable, "-m", "gunicorn", "-k", worker, "-b", f"unix:{path}", "--chdir", str(tmp_path)]
        command += ["--config", str(tmp_path / "settings.py"), *options, "module:app"]
        env = {key: value for key, value in os.environ.items() if not key.startswith("POUNCE_")}
        process = subprocess.Popen(
            command, env={**env, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        running.append(process)
        return process, path

    yield start
    for process in running:
        process.kill()
        if process.stdout is not None:
            process.stdout.close()
        process.wait()


def get(path: Path, process: subprocess.Popen[str]) -> tuple[str | None, int]:
    """The `Server` header and the body (a worker's process id) of one request, once the server answers."""
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(path))
            connection.request("GET", "/", headers={"connection": "close"})
            response = connection.getresponse()
            return response.headers["server"], int(response.read())
        except (FileNotFoundError, ConnectionError):
            # Not there yet; or a worker that retires let go of the connection.
            assert process.poll() is None, process.stdout and process.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        finally:
            connection.close()


def end(process: subprocess.Popen[str], sig: signal.Signals) -> str:
    """Everything that it printed, after it was told to end and did."""
    process.send_signal(sig)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    return output


@pytest.mark.parametrize("worker", ["PounceWorker", "PounceH11Worker"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT], ids=lambda sig: sig.name)
def test_serves_and_stops(start: Start, worker: str, sig: signal.Signals) -> None:
    """A worker answers from a process of its own, and shuts its lifespan down when gunicorn is told to stop."""
    process, path = start(f"pounce_compat.gunicorn.{worker}")
    server, pid = get(path, process)
    assert server == "pounce"
    assert pid != process.pid
    assert "lifespan shut down" in end(process, sig)


def test_a_worker_retires_after_its_requests(start: Start) -> None:
    """gunicorn's --max-requests holds: another process answers afterwards."""
    process, path = start("pounce_compat.gunicorn.PounceWorker", "--max-requests", "1")
    _, first = get(path, process)
    deadline = time.monotonic() + 20
    while get(path, process)[1] == first:
        assert time.monotonic() < deadline
    end(process, signal.SIGTERM)


def test_a_failed_startup_stops_gunicorn(start: Start) -> None:
    """Where the app's lifespan fails, gunicorn ends with its "worker failed to boot" and exit code 3."""
    process, _ = start("pounce_compat.gunicorn.PounceWorker", FAIL="1")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "Worker failed to boot" in output


def test_under_uvicorns_name(start: Start) -> None:
    """With the shim on the path, `uvicorn.workers.UvicornWorker` is the same worker under uvicorn's name."""
    path_variable = with_pounce.environment(os.environ)["PYTHONPATH"]
    process, path = start("uvicorn.workers.UvicornWorker", PYTHONPATH=path_variable)
    assert get(path, process)[0] == "uvicorn"
    end(process, signal.SIGTERM)

"""Server processes whose parent was killed: the port is free for a restart at once, and nobody stays for ever."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.serving import PATIENCE, Served, environment, parse_response, read_to_end, served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

APP = "tests.process.blocking_app:app"
SUPERVISED = ["process", "thread", "reload"]


def options_for(supervised: str, folder: Path) -> list[str]:
    """The options that make the command a parent of such children. Nobody edits anything in `folder`."""
    if supervised == "reload":
        return ["--reload", "--reload-dir", str(folder)]
    return ["--workers", "2", "--worker-class", supervised]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    gate = tmp_path / "gate"
    yield gate
    gate.touch()


def ask(server: Served, path: str) -> socket.socket:
    sock = server.connect(PATIENCE)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


def is_free(address: tuple[str, int] | str) -> bool:
    """Whether somebody else can listen there."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
            sock.listen()
        except OSError:
            return False
    return True


def wait_until_free(server: Served) -> None:
    deadline = time.monotonic() + PATIENCE / 2
    while not is_free(server.address):
        assert time.monotonic() < deadline, str(server.log)
        time.sleep(0.02)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("supervised", SUPERVISED)
def test_the_port_is_free_although_a_loop_is_blocked(supervised: str, loop: str, gate: Path) -> None:
    """The listener is taken from a blocked loop, whose request may still be answered once it turns again."""
    pytest.importorskip(loop)
    options = [*options_for(supervised, gate.parent), "--loop", loop, "--timeout-worker-healthcheck", "60"]
    with (
        served(APP, *options, exit_code=-9, env=environment(GATE=str(gate))) as server,
        ask(server, "/block") as client,
    ):
        server.log.wait_for("blocking")
        server.process.kill()
        wait_until_free(server)
        assert not server.log.ended
        gate.touch()
        assert parse_response(read_to_end(client))[0] == 200
        server.log.finish()
        assert server.log.ended
        assert server.log.wait_for("lifespan ends")


@pytest.mark.parametrize("supervised", SUPERVISED)
def test_a_blocked_loop_does_not_keep_an_orphan(supervised: str, gate: Path) -> None:
    """Where no loop turns for the health check's timeout the process ends: no parent is left to kill it."""
    options = [*options_for(supervised, gate.parent), "--timeout-worker-healthcheck", "3"]
    with served(APP, *options, exit_code=-9, env=environment(GATE=str(gate))) as server:
        server.log.wait_for("Application startup complete", count=1 if supervised == "reload" else 2)
        clients = []
        for count in range(1, 2 if supervised == "reload" else 3):
            clients.append(ask(server, "/block"))
            server.log.wait_for("blocking", count)
        server.process.kill()
        killed = time.monotonic()
        server.log.finish()
        assert server.log.ended
        assert time.monotonic() - killed < 20  # and not the 30 seconds of one that turns
        for client in clients:
            client.close()


def test_an_orphan_that_turns_finishes_its_requests(gate: Path) -> None:
    """Its clients get their answers, for half a minute, and the app its shutdown."""
    with (
        served(APP, "--workers", "2", exit_code=-9, env=environment(GATE=str(gate))) as server,
        ask(server, "/hang") as client,
    ):
        server.log.wait_for("hanging")
        server.process.kill()
        server.log.wait_for("Waiting for connections to close")
        wait_until_free(server)
        gate.touch()
        assert parse_response(read_to_end(client))[0] == 200
        server.log.finish()
        assert server.log.ended

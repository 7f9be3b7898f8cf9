"""Clients that have connected and sent when the server is told to end, but were not accepted yet, are answered.

Before, they were reset: on uvloop 199 of 200 behind one worker and 198 behind two processes; and whoever came
while a parent waited for its processes.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.process.serving import environment, parse_response, read_to_end, served
from tests.process.test_orphans import APP, ask

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

CLIENTS = 200

WORKERS = {
    "one worker": (),
    "processes": ("--workers", "2", "--worker-class", "process"),
    "threads": ("--workers", "2", "--worker-class", "thread"),
}


def answer(client: socket.socket) -> int | None:
    """The status; None where the connection was reset."""
    try:
        return parse_response(read_to_end(client))[0]
    except ConnectionResetError:
        return None


@pytest.mark.parametrize(
    ("loop", "kind", "number"),
    [
        ("asyncio", "one worker", signal.SIGTERM),
        ("asyncio", "processes", signal.SIGTERM),
        ("uvloop", "one worker", signal.SIGTERM),
        ("uvloop", "one worker", signal.SIGINT),
        ("uvloop", "processes", signal.SIGTERM),
        ("uvloop", "threads", signal.SIGTERM),
    ],
)
def test_what_waits_to_be_accepted_is_answered(loop: str, kind: str, number: signal.Signals, tmp_path: Path) -> None:
    """Every loop is blocked while the clients come; a client that has sent nothing sees the end, and no reset."""
    pytest.importorskip(loop)
    gate, workers = tmp_path / "gate", WORKERS[kind]
    options = [*workers, "--loop", loop, "--timeout-worker-healthcheck", "60"]
    with served(APP, *options, env=environment(GATE=str(gate))) as server, contextlib.ExitStack() as stack:
        server.log.wait_for("Application startup complete", count=2 if workers else 1)
        blocked = []
        for count in range(1, 3 if workers else 2):
            blocked.append(stack.enter_context(ask(server, "/block")))
            server.log.wait_for("blocking", count)
        waiting = [stack.enter_context(ask(server, "/")) for _ in range(CLIENTS)]
        silent = stack.enter_context(server.connect())
        server.process.send_signal(number)
        if kind == "processes":
            server.log.wait_for("Waiting for child process", count=2)
        gate.touch()
        assert [answer(client) for client in blocked] == [200] * len(blocked)
        assert [answer(client) for client in waiting].count(None) == 0
        assert silent.recv(1) == b""
        assert server.stop() == 0
        server.log.wait_for("lifespan ends", count=2 if workers else 1)


@pytest.mark.parametrize("kind", ["processes", "threads"])
def test_nobody_connects_to_a_parent_that_only_waits(kind: str, tmp_path: Path) -> None:
    """Once its processes have closed their listeners a client is refused, and not kept until the end and then reset."""
    gate = tmp_path / "gate"
    with served(APP, *WORKERS[kind], env=environment(GATE=str(gate))) as server, ask(server, "/hang") as client:
        server.log.wait_for("hanging")
        server.process.send_signal(signal.SIGTERM)
        server.log.wait_for("Waiting for connections to close")
        with pytest.raises(ConnectionRefusedError):
            while True:  # the other process may be a moment behind
                socket.create_connection(server.address).close()
        gate.touch()
        assert answer(client) == 200
        assert server.stop() == 0

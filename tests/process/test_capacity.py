"""The queue, by the real command on each loop: one request runs, one waits, the others are refused."""

from __future__ import annotations

import select
import socket
from typing import Any

import pytest

from tests.fakes import get, responses
from tests.process.serving import PATIENCE, Served, served


async def app(scope: Any, receive: Any, send: Any) -> None:
    """`/stay` runs until its client has left."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await receive()
    if scope["path"] == "/stay":
        await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def ask(server: Served, path: str) -> socket.socket:
    sock = server.connect(PATIENCE)
    sock.sendall(get(path))
    return sock


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_runs_one_waits_one_is_refused(loop: str) -> None:
    """At once; and when the one that runs has left, the one that waits has its turn."""
    pytest.importorskip(loop)
    limits = ("--limit-running", "1", "--limit-queue", "1", "--limit-queue-timeout", "60")
    with served("tests.process.test_capacity:app", "--loop", loop, *limits) as server:
        with ask(server, "/stay"):
            # The first one may be read last: whoever is, is refused.
            others = [ask(server, "/stay"), ask(server, "/stay")]
            [refused], _, _ = select.select(others, [], [], PATIENCE)
            [response] = responses(refused.recv(65536))
            assert (response.status, response.headers[b"retry-after"]) == (503, b"1")
            server.log.wait_for("Exceeded queue limit.")
            refused.close()
        for sock in others:
            sock.close()
        assert server.get() == (200, "ok")

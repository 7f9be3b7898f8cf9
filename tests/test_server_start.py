"""The order in which a server reports its start and serves."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from pounce.config import Config
from pounce.server import Server

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def runner(loop: str) -> asyncio.Runner:
    if loop == "uvloop":
        return asyncio.Runner(loop_factory=pytest.importorskip("uvloop").new_event_loop)
    return asyncio.Runner()


@pytest.mark.parametrize("workers", [1, 2], ids=["one worker", "threads"])
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_start_is_reported_before_a_connection_is_accepted(loop: str, workers: int) -> None:
    """Also on the first of many sockets, on which clients wait already: a request may end the process."""
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        events.append("request")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
    clients = []
    for sock in listeners:
        client = socket.create_connection(sock.getsockname())
        client.sendall(REQUEST)
        clients.append(client)
    config = Config(app, loop=loop, workers=workers, worker_class="thread", log_config=None, access_log=False)
    server = Server(config)
    server.on_started = lambda: events.append("started")

    async def serve() -> None:
        serving = asyncio.ensure_future(server.serve(sockets=listeners))
        async with asyncio.timeout(20):
            while len(events) <= len(listeners) and not serving.done():
                await asyncio.sleep(0.01)
        server.should_exit = True
        await serving

    with runner(loop) as run:
        run.run(serve())
    for client in clients:
        client.close()
    assert events == ["started", *["request"] * len(listeners)]

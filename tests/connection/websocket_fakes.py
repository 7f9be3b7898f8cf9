"""A WebSocket connection without sockets: a fake transport below the protocol class, frames by hand in front of it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from pounce.connection.state import ServerState
from pounce.connection.websocket import WebSocketProtocol
from pounce.settings import Settings
from tests.fakes import FakeTransport
from tests.wire.ws_frames import handshake, parsed, server_frames


class Connection:
    """A protocol object with its app, and what its client sees. At the end of an `async with` it waits for the app."""

    def __init__(
        self,
        protocol_class: type[WebSocketProtocol],
        app: Any,
        *,
        loop: Any = None,
        root_path: str = "",
        **settings: Any,
    ) -> None:
        config: Any = SimpleNamespace(
            loaded=True,
            loaded_app=app,
            root_path=root_path,
            asgi_version="3.0",
            ws_max_size=2**20,
            ws_per_message_deflate=False,
            ws_ping_interval=None,
            ws_ping_timeout=None,
            reset_contextvars=False,
            settings=Settings.of({}),
        )
        vars(config).update(settings)
        self.state = ServerState()
        self.state.default_headers = [(b"server", b"pounce")]
        self.app_state: dict[str, Any] = {"seen": 1}
        self.protocol = protocol_class(config, self.state, self.app_state, _loop=loop)
        self.transport = FakeTransport(tells_end=False)
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]
        self.lost = False

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.lose()
        await self.app_done()

    async def app_done(self) -> None:
        """Wait until the app's task has ended."""
        async with asyncio.timeout(5):
            while self.state.tasks:
                await asyncio.gather(*self.state.tasks)

    async def open(self, *extra: bytes) -> bytes:
        """Shake hands and return the response."""
        self.feed(handshake(*extra))
        await settle()
        return self.take()

    def feed(self, data: bytes) -> None:
        """Deliver bytes as one read; a request as HTTP/1.1 hands it over."""
        if self.protocol.cycle is None and b"\r\n\r\n" in data:
            head, _, data = data.partition(b"\r\n\r\n")  # type: ignore[unreachable]
            method, fields = parsed(head)
            self.protocol.open(None, method, head.split(b" ")[1], fields)
        if data:
            self.protocol.data_received(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        return self.transport.take()

    def frames(self) -> list[tuple[int, bytes]]:
        """The same, as frames."""
        return server_frames(self.take())

    def lose(self, exc: Exception | None = None) -> None:
        """The transport reports the end of the connection, once."""
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(exc)


async def settle(turns: int = 10) -> None:
    """Let every task run until it waits for something other than the loop's next turn."""
    for _ in range(turns):
        await asyncio.sleep(0)

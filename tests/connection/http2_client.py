"""An HTTP/2 connection without sockets: the protocol, a transport that collects, and the h2 library as the client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from pounce.connection.http2 import HTTP2Protocol
from pounce.connection.state import ServerState
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.settings import Settings
from tests.fakes import FakeTransport

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]

#: The `--http2-wire` of the connections: the fixture `http2_wire` runs a test with each.
WIRE = "native"


class Answer:
    """What came back on one stream."""

    def __init__(self) -> None:
        self.informational: list[tuple[str, list[tuple[str, str]]]] = []
        self.headers: list[tuple[str, str]] = []
        self.body = b""
        self.trailers: list[tuple[str, str]] | None = None
        self.ended = False
        self.reset: int | None = None

    @property
    def status(self) -> str:
        return dict(self.headers).get(":status", "")


class Connection:
    """The server's protocol object with its app, and its client. Use in an `async with`: it ends the apps' tasks."""

    def __init__(
        self, app: Any, *, limits: Any = None, client_settings: Any = None, sweeps: bool = False, **settings: Any
    ) -> None:
        """`sweeps`: somebody looks after it, as a worker does (`fakes.Clock`)."""
        values: dict[str, Any] = {
            "loaded": True,
            "loaded_app": app,
            "root_path": "",
            "asgi_version": "3.0",
            "limit_concurrency": None,
            "timeout_keep_alive": 5,
            "reset_contextvars": False,
            "ws_protocol_class": WSProtocol,
            "ws_max_size": 1 << 20,
            "ws_max_queue": 32,
            "ws_ping_interval": None,
            "ws_ping_timeout": None,
            "ws_per_message_deflate": True,
            "settings": Settings.of({"http2": {"wire": WIRE} | (limits or {})}),
        }
        transport_limit = settings.pop("transport_limit", 65536)
        config: Any = SimpleNamespace(**(values | settings))
        self.state = ServerState()
        self.state.sweeps_idle = sweeps
        self.app_state: dict[str, Any] = {}
        self.protocol = HTTP2Protocol(config, self.state, self.app_state, asyncio.get_running_loop())
        self.transport = FakeTransport(transport_limit, tells_end=False)
        self.transport.protocol = self.protocol
        self.client = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False)
        )
        if client_settings:
            self.client.local_settings = h2.settings.Settings(initial_values=client_settings)
        self.answers: dict[int, Answer] = {}
        self.events: list[Any] = []
        self.goaways: list[tuple[int, int]] = []
        self.acknowledges = True

    async def __aenter__(self) -> Connection:
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]
        self.client.initiate_connection()
        await self.exchange()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.protocol.connection_lost(None)
        for task in list(self.state.tasks):
            task.cancel()
        await asyncio.gather(*self.state.tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def request(self, headers: Any = GET, body: bytes | None = None, end: bool = True) -> int:
        """Queue a request; returns its stream."""
        stream_id = self.client.get_next_available_stream_id()
        self.client.send_headers(stream_id, headers, end_stream=end and body is None)
        if body is not None:
            self.client.send_data(stream_id, body, end_stream=end)
        return stream_id

    def send(self) -> None:
        """Hand what the client has to say to the server."""
        data = self.client.data_to_send()
        if data:
            self.protocol.data_received(data)

    def receive(self) -> None:
        """Read what the server has said."""
        data = self.transport.take()
        for event in self.client.receive_data(data) if data else ():
            self.events.append(event)
            self._on_event(event)

    async def exchange(self, turns: int = 8) -> None:
        """Both, again and again, with turns of the loop in between."""
        for _ in range(turns):
            self.send()
            await asyncio.sleep(0)
            self.receive()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Exchange until it holds."""
        for turn in range(7000):
            if condition():
                return
            await self.exchange(1)
            if turn > 2000:
                await asyncio.sleep(0.001)  # a thread may be at it
        raise AssertionError("it did not come to that")

    async def get(self, path: str = "/", *fields: tuple[str, str], body: bytes | None = None) -> Answer:
        """One request, answered."""
        start = GET if body is None else POST
        stream_id = self.request([*start[:3], (":path", path), *fields], body)
        await self.until(lambda: stream_id in self.answers and self.answers[stream_id].ended)
        return self.answers[stream_id]

    def _on_event(self, event: Any) -> None:
        answer = self.answers.setdefault(event.stream_id, Answer()) if getattr(event, "stream_id", 0) else Answer()
        match event:
            case h2.events.InformationalResponseReceived():
                headers = dict(event.headers)
                answer.informational.append((headers[":status"], [one for one in event.headers if one[0][0] != ":"]))
            case h2.events.ResponseReceived():
                answer.headers = list(event.headers)
            case h2.events.DataReceived():
                answer.body += event.data
                if self.acknowledges:
                    self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                answer.trailers = list(event.headers)
            case h2.events.StreamEnded():
                answer.ended = True
            case h2.events.StreamReset():
                answer.reset = int(event.error_code)
                answer.ended = True
            case h2.events.ConnectionTerminated():
                self.goaways.append((event.last_stream_id, int(event.error_code)))

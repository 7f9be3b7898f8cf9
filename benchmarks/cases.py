"""The cases: which app, which load, and what a right answer is. Numbers of connections and sizes are the issue's.

Knows nothing of servers beyond what a case may ask of one (`takes`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.apps import payload
from benchmarks.servers import Server


@dataclass(frozen=True)
class Case:
    """One panel of the plot. `load` are the words that load.lua takes; `is_right` judges one whole answer's body."""

    name: str
    title: str
    app: str
    is_right: Callable[[bytes], bool] = lambda body: body == payload.HELLO
    path: str = "/"
    load: tuple[str, ...] = ("keepalive",)
    connections: int = 32
    streams: int = 0  # of each connection; 0: not HTTP/2
    idle: int = 0
    status: int = 200
    upload: bytes | None = None
    least_bytes: int = len(payload.HELLO)  # per answer, head included
    message_size: int = 0  # of a WebSocket message; 0: an HTTP case
    workers: int = 1
    access_log: bool = False
    tls: bool = False
    least_seconds: float = 0.0  # of a measurement: what an answer under way at its end took is spent, and not counted
    floor: str = ""  # which kind of apps/floor.py answers it; empty: none

    @property
    def batch(self) -> int:
        """Requests that are sent together."""
        return int(self.load[1]) if self.load[0] == "pipeline" else 1

    def window(self, seconds: float) -> float:
        """How long it is to be measured where `seconds` were asked for."""
        return max(seconds, self.least_seconds)

    @property
    def tools(self) -> tuple[str, ...]:
        """The programs that its load needs."""
        if self.message_size:
            return ()
        return ("h2load", "nghttp") if self.streams else ("wrk",)

    def takes(self, server: Server) -> bool:
        """Whether that server belongs in this case."""
        if server.reference:
            return bool(self.floor)
        if self.workers > 1 and not server.many_workers:
            return False
        if self.streams:
            return server.http2
        return server.websocket if self.message_size else server.http


def _is_records(body: bytes) -> bool:
    try:
        return bool(json.loads(body) == {"page": 7, "records": payload.RECORDS})
    except ValueError:
        return False


_UPLOAD = b"x" * payload.ECHO_SIZE
_DOWNLOAD = payload.CHUNK * payload.CHUNKS
_EVENTS = b"".join(payload.EVENTS)

CASES: tuple[Case, ...] = (
    Case("hello-varied", "Bare hello, each request different", "plain:hello", load=("vary",), floor="hello"),
    Case("hello", "Bare hello, the same again and again", "plain:hello", floor="hello"),
    Case(
        "json-starlette", "JSON 1 KiB, Starlette", "starlette_app:app", _is_records, path="/records/7",
        least_bytes=1000,
    ),
    Case("json-fastapi", "JSON 1 KiB, FastAPI", "fastapi_app:app", _is_records, path="/records/7", least_bytes=1000),
    Case(
        "post-echo", "POST 64 KiB, echoed", "plain:echo", lambda body: body == _UPLOAD,
        load=("post", str(payload.ECHO_SIZE)), upload=_UPLOAD, least_bytes=payload.ECHO_SIZE,
        floor="post-echo",
    ),
    Case(
        "download", "Download, 16 x 64 KiB", "plain:download", lambda body: body == _DOWNLOAD, connections=8,
        least_bytes=len(_DOWNLOAD), floor="download",
    ),
    Case(
        "sse", "100 server-sent events", "plain:events", lambda body: body == _EVENTS, least_bytes=len(_EVENTS),
        floor="sse",
    ),
    Case(
        "sse-paced", "100 server-sent events, 2 ms apart", "plain:paced_events", lambda body: body == _EVENTS,
        least_bytes=len(_EVENTS), least_seconds=10,
    ),
    Case(
        "404-access-log", "404, access log on", "plain:missing", lambda body: body == payload.MISSING, status=404,
        access_log=True, least_bytes=len(payload.MISSING),
    ),
    Case("connections", "A connection per request", "plain:hello", load=("close",), floor="connections"),
    Case(
        "connections-varied", "A connection per request, each different", "plain:hello", load=("close", "vary"),
        floor="connections",
    ),
    Case("pipelined", "Pipelined x 16", "plain:hello", load=("pipeline", "16"), floor="pipelined"),
    Case("tls", "Hello over TLS", "plain:hello", tls=True),
    Case("h2c-hello", "HTTP/2 hello, 4 x 32 streams", "plain:hello", connections=4, streams=32),
    Case(
        "h2-tls-hello", "HTTP/2 hello over TLS, 10 x 100 streams", "plain:hello", connections=10, streams=100,
        tls=True,
    ),
    Case("ws-128", "WebSocket echo, 128 B", "plain:websocket_echo", message_size=128, floor="websocket"),
    Case(
        "ws-64k", "WebSocket echo, 64 KiB", "plain:websocket_echo", message_size=65536, connections=8,
        floor="websocket",
    ),
    Case("idle-active", "256 idle + 32 active", "plain:hello", idle=256, floor="hello"),
    Case("cpu-bound", "CPU-bound handler", "plain:cpu_bound"),
    Case("workers-hello", "Bare hello, 2 workers", "plain:hello", workers=2, connections=64),
    Case(
        "workers-fastapi", "JSON 1 KiB, FastAPI, 2 workers", "fastapi_app:app", _is_records, path="/records/7",
        least_bytes=1000, workers=2, connections=64,
    ),
)  # fmt: skip

BY_NAME = {case.name: case for case in CASES}

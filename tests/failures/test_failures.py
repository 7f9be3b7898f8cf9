"""Apps that fail in every way and at every moment, under the real command, on every parser and HTTP version.

Each client gets an end at once, the server goes on, the log stays small, and a stop is obeyed.
"""

from __future__ import annotations

import importlib.util
import signal
import time
from typing import Any
from urllib.parse import quote

import h2.events
import pytest

from tests.failures.app import MOMENTS, WEBSOCKET_MOMENTS
from tests.failures.exceptions import EXCEPTIONS
from tests.process.serving import Served, parse_response, read_to_end, served
from tests.process.test_http2 import Client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

APP = "tests.failures.app:app"

HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None

#: Options of a server each: every parser and WebSocket implementation, both loops, one worker and several.
SERVERS = {
    "h11, asyncio": ["--http", "h11", "--loop", "asyncio", "--ws", "websockets"],
    "httptools, uvloop": ["--http", "httptools", "--loop", "uvloop", "--ws", "wsproto"],
    "zttp, asyncio": ["--http", "zttp", "--loop", "asyncio", "--ws", "wsproto"],
    "two workers": ["--workers", "2"],
}

#: Seconds within which a client must see an end, and in which a stop must be over.
TIMEOUT_END = 1.0
TIMEOUT_STOP = 2.0

#: How often a case may be tried on a machine that is busy with something else.
TRIES = 3

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
#: "hi", masked with zeros.
MESSAGE = b"\x81\x82\0\0\0\0hi"


def over_http1(server: Served, path: str) -> None:
    """A request: an answer or an end, whole or not, and nothing of it is a success that it is not."""
    with server.connect(TIMEOUT_END * 10) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        answer = read_to_end(sock)
    if path.startswith("/before"):
        assert answer.startswith(b"HTTP/1.1 500 "), answer
    elif path.startswith("/behind_the_end"):
        assert parse_response(answer) == (200, "last")


def over_http2(server: Served, path: str) -> None:
    """The same on a stream, and the connection goes on."""
    with server.connect(TIMEOUT_END * 10) as sock:
        client = Client(sock)
        stream = client.request(path)
        ended = False
        status = b""
        while not ended:
            sock.sendall(client.h2.data_to_send())
            received = sock.recv(65536)
            assert received, "the connection has ended"
            for event in client.h2.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    ended = ended or event.stream_id == stream
        if path.startswith("/before"):
            assert status == "500"
        assert client.get("/") == b"last"


def over_websocket(server: Served, path: str) -> None:
    """A handshake, and a message if it is accepted: the connection ends."""
    with server.connect(TIMEOUT_END * 10) as sock:
        sock.sendall(HANDSHAKE.format(path=path).encode())
        answer = sock.recv(65536)
        if answer.startswith(b"HTTP/1.1 101 "):
            try:
                sock.sendall(MESSAGE)
                data = answer
                while data:
                    if b"\x88" in data:
                        sock.sendall(b"\x88\x80\0\0\0\0")  # an answer to the close frame
                    data = sock.recv(65536)
                    answer += data
            except ConnectionError:
                pass  # ended before it has read all
        if path.startswith("/before"):
            assert answer.startswith(b"HTTP/1.1 500 ")


WAYS: list[tuple[Any, Any]] = [
    (over_http1, MOMENTS),
    (over_http2, MOMENTS),
    (over_websocket, WEBSOCKET_MOMENTS),
]


def lines_of(server: Served, name: str) -> list[str]:
    """What was logged since the marker before this one."""
    assert server.get(f"/marker/{name}")[0] == 200
    server.log.wait_for(f"marker {name}$")
    end = next(i for i, line in enumerate(server.log.lines) if line.endswith(f"marker {name}"))
    start = max((i for i, line in enumerate(server.log.lines[:end]) if "marker " in line), default=-1)
    return server.log.lines[start + 1 : end]


@pytest.mark.parametrize("name", SERVERS)
def test_each_failure_ends_its_exchange_alone(name: str) -> None:
    """Within a second, with one report in the log and at most a hint; then SIGTERM ends the server within two."""
    if "uvloop" in name and not HAS_UVLOOP:
        pytest.skip("uvloop is not installed")
    failed: list[str] = []
    longest = 0.0
    with served(APP, "--http2", "--no-access-log", *SERVERS[name], tracebacks=True) as server:
        lines_of(server, "start")
        for way, moments in WAYS:
            for moment in moments:
                for number, kind in enumerate(EXCEPTIONS):
                    case = f"{way.__name__} {moment} {kind}"
                    path = f"/{moment}/{quote(kind)}"
                    seconds = []
                    for _ in range(TRIES):
                        start = time.perf_counter()
                        try:
                            way(server, path)
                        except (TimeoutError, AssertionError, OSError) as exc:
                            failed.append(f"{case}: {exc!r}")
                            break
                        seconds.append(time.perf_counter() - start)
                        if seconds[-1] < TIMEOUT_END:
                            break
                    else:
                        failed.append(f"{case}: {min(seconds):.1f} s")
                    longest = max(longest, min(seconds, default=0.0))
                    lines = lines_of(server, f"{way.__name__}-{moment}-{number}")
                    reports = [line for line in lines if line.startswith(("ERROR", "WARNING", "CRITICAL"))]
                    tries = max(1, len(seconds))
                    if len(reports) > 2 * tries or len(lines) > 1000 * tries:
                        failed.append(f"{case}: {len(reports)} reports, {len(lines)} lines")
                    elif not reports and kind != "CancelledError" and "close" not in moment:
                        failed.append(f"{case}: not reported")
        print(f"longest: {longest:.2f} s")
        assert not failed, "\n".join(failed)
        start = time.perf_counter()
        assert server.stop(signal.SIGTERM) == 0
        assert time.perf_counter() - start < TIMEOUT_STOP * TRIES

"""The way of one request through pounce's own code, counted: `python -m benchmarks.trace`.

A server on the running loop gets one `GET` with three header fields (or one HTTP/2 request, or a WebSocket handshake)
over a real connection, and `sys.setprofile` notes every call of a Python function of pounce's until it is answered,
behind three others that were not alike. Printed are the calls in order, and three numbers: calls, files, and moves from
a call in one file to the next one in another.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pounce
from pounce import Config, Server

PACKAGE = str(Path(pounce.__file__).parent) + os.sep

WARM_UP = 3


class Call(NamedTuple):
    """A call of one of our functions."""

    file: str
    name: str
    depth: int


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers everything."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Recorder:
    """Takes down calls while it is on."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._depth = 0

    def on(self) -> None:
        """From now on."""
        self.calls = []
        sys.setprofile(self._note)

    def off(self) -> list[Call]:
        """Until now."""
        sys.setprofile(None)
        return self.calls

    def _note(self, frame: FrameType, event: str, _arg: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            file = code.co_filename.removeprefix(PACKAGE)
            # The server's own clock, once in a tenth of a second, has nothing to do with requests.
            if not file.startswith(("server.py", "worker")):
                self.calls.append(Call(file, getattr(code, "co_qualname", code.co_name), self._depth))
            self._depth += 1
        elif event == "return":
            self._depth -= 1


def http1(number: int) -> bytes:
    """A request with three fields, unlike any other."""
    fields = f"Host: a.example\r\nUser-Agent: trace\r\nCookie: c={number}\r\n"
    return f"GET /{number}?q={number} HTTP/1.1\r\n{fields}\r\n".encode()


def handshake(number: int) -> bytes:
    """An opening handshake."""
    key = base64.b64encode(os.urandom(16)).decode()
    return (
        f"GET /{number} HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


class Http2:
    """The requests of one HTTP/2 connection."""

    def __init__(self) -> None:
        import h2.config
        import h2.connection

        self.peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.peer.initiate_connection()

    def __call__(self, number: int) -> bytes:
        """One more."""
        stream = self.peer.get_next_available_stream_id()
        fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", f"/{number}")]
        self.peer.send_headers(stream, [*fields, ("user-agent", "trace"), ("cookie", f"c={number}")], end_stream=True)
        return bytes(self.peer.data_to_send())

    def is_answer(self, data: bytes) -> bool:
        """Whether what has come ends a response."""
        return any(type(event).__name__ == "StreamEnded" for event in self.peer.receive_data(data))


async def trace(kind: str, parser: str) -> list[Call]:
    """The calls of one exchange."""
    quiet: dict[str, Any] = {"lifespan": "off", "log_level": "critical", "access_log": False}
    config = Config(app, port=0, http=parser, http2=kind == "http2", ws="wsproto", loop="asyncio", **quiet)
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    recorder = Recorder()
    make: Any = Http2() if kind == "http2" else http1 if kind == "http1" else handshake
    reader = writer = None
    calls: list[Call] = []
    for number in itertools.count():
        if reader is None or writer is None or kind == "websocket":
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.05)
        data = make(number)
        if number == WARM_UP:
            recorder.on()
        writer.write(data)
        while kind == "http2" and not make.is_answer(await reader.read(65536)):
            pass
        if kind != "http2":
            await reader.read(65536)
        await asyncio.sleep(0)
        if number == WARM_UP:
            calls = recorder.off()
            break
        await asyncio.sleep(0.05)
    server.should_exit = True
    server.force_exit = True
    writer.close()
    await serving
    return calls


def main() -> None:
    """Print the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", nargs="?", default="http1", choices=["http1", "http2", "websocket"])
    parser.add_argument("--http", default="httptools", choices=["h11", "httptools", "zttp"])
    parser.add_argument("--quiet", action="store_true", help="only the numbers")
    options = parser.parse_args()
    calls = asyncio.run(trace(options.kind, options.http))
    if not options.quiet:
        for call in calls:
            print(f"{'  ' * call.depth}{call.file}: {call.name}")
    moves = sum(one.file != other.file for one, other in itertools.pairwise(calls))
    print(f"{options.kind}: {len(calls)} calls, {len({call.file for call in calls})} files, {moves} moves")


if __name__ == "__main__":
    main()

"""The two examples over every kind of socket, with a covering set of parsers, loops and worker counts."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from tests.process.serving import Served, served

HELLO = "examples.hello:app"
STARLETTE = "examples.starlette_app:app"

#: socket, parser, loop, workers. Every value of one column meets every value of each other one in one of the tables.
FOR_HELLO = [
    ("tcp", "h11", "asyncio", 1),
    ("tcp", "zttp", "uvloop", 1),
    ("unix", "httptools", "uvloop", 2),
    ("fd", "h11", "uvloop", 1),
    ("fd", "httptools", "asyncio", 2),
    ("ipv6", "h11", "asyncio", 2),
    ("tls", "httptools", "uvloop", 1),
]
FOR_STARLETTE = [
    ("tcp", "httptools", "uvloop", 2),
    ("unix", "h11", "asyncio", 1),
    ("fd", "h11", "uvloop", 2),
    ("ipv6", "httptools", "uvloop", 1),
    ("tls", "h11", "asyncio", 2),
]


@contextlib.contextmanager
def example(app: str, kind: str, http: str, loop: str, workers: int) -> Iterator[Served]:
    """The example behind a socket of the given kind."""
    for package in {http, loop} - {"h11", "asyncio"}:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    options = ["--http", http, "--loop", loop, "--workers", str(workers)]
    keywords: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if kind == "unix":
            # A short path: the name of a unix socket has room for about 100 bytes.
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pounce-"))
            options += ["--uds", f"{folder}/http.sock"]
        elif kind == "fd":
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            options += ["--fd", str(listener.fileno())]
            keywords = {"pass_fds": [listener.fileno()], "address": listener.getsockname()}
        elif kind == "ipv6":
            if not has_ipv6():
                pytest.skip("no IPv6 on this machine")
            options += ["--host", "::1"]
        elif kind == "tls":
            trustme = pytest.importorskip("trustme")
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            authority = trustme.CA()
            authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(f"{folder}/server.pem")
            options += ["--ssl-keyfile", f"{folder}/server.pem", "--ssl-certfile", f"{folder}/server.pem"]
            keywords["tls"] = ssl.create_default_context()
            authority.configure_trust(keywords["tls"])
        yield stack.enter_context(served(app, *options, **keywords))


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("kind,http,loop,workers", FOR_HELLO)
def test_the_bare_example_answers(kind: str, http: str, loop: str, workers: int) -> None:
    """`examples.hello:app` answers, keeps the connection for a second request, and ends cleanly on SIGTERM."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    with (
        example(HELLO, kind, http, loop, workers) as server,
        server.connect() as sock,
        sock.makefile("rb") as stream,
    ):
        for last in (b"", b"Connection: close\r\n"):
            sock.sendall(request % last)
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            headers = dict(line.rstrip(b"\r\n").split(b": ", 1) for line in iter(stream.readline, b"\r\n"))
            assert (headers[b"server"], headers[b"content-length"]) == (b"pounce", b"13")
            assert b"date" in headers
            assert stream.read(13) == b"Hello, world!"
        assert stream.read() == b""


@pytest.mark.parametrize("kind,http,loop,workers", FOR_STARLETTE)
def test_the_starlette_example_answers(kind: str, http: str, loop: str, workers: int) -> None:
    """JSON, a path parameter, lifespan state, an event stream and a WebSocket work over each kind of socket."""
    with example(STARLETTE, kind, http, loop, workers) as server:
        status, body = server.get("/")
        assert (status, json.loads(body)) == (200, {"message": "Hello, world!"})
        status, body = server.get("/users/j%C3%BCrgen")
        assert json.loads(body) == {"user": "jürgen", "scheme": "https" if kind == "tls" else "http"}
        assert server.get("/events?count=2") == (200, "data: 0\n\ndata: 1\n\n")
        assert server.get("/nowhere") == (404, "Not Found")
        # TLS, where there is any, is already on the socket.
        with connect("ws://localhost/echo", sock=server.connect()) as websocket:
            websocket.send("ünïcode")
            assert websocket.recv(timeout=10) == "ünïcode"


def test_a_factory_is_called(tmp_path: Path) -> None:
    """`--factory` serves what the named function returns."""
    with served("examples.starlette_app:create_app", "--factory") as server:
        assert server.get("/")[0] == 200


def test_the_app_dir_is_importable(tmp_path: Path) -> None:
    """`--app-dir` makes an app importable that lies somewhere else."""
    (tmp_path / "elsewhere.py").write_text("from examples.hello import app\n")
    with served("elsewhere:app", "--app-dir", str(tmp_path)) as server:
        assert server.get("/") == (200, "Hello, world!")

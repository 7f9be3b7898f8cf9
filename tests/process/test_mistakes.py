"""What a client or a user does wrong: an answer or one line, never a traceback, never a lost server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.serving import ROOT, Served, command, environment, run_command, served

HELLO = "examples.hello:app"


@pytest.fixture(scope="module", params=["h11", "httptools"])
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(HELLO, "--http", request.param) as server:
        yield server


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS on a plain port\r\n\r\n",
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon here\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["tls", "word", "header", "length"],
)
def test_a_malformed_request_is_answered_400_and_closed(server: Served, garbage: bytes) -> None:
    """The connection ends with a 400 and the server goes on."""
    assert server.exchange(garbage).startswith(b"HTTP/1.1 400")
    server.log.wait_for("Invalid HTTP request received")
    assert server.get("/") == (200, "Hello, world!")


def test_a_malformed_chunk_ends_the_connection(server: Served) -> None:
    """Where the head was good the app may have answered already; either way there is one answer, and the end."""
    response = server.exchange(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert response.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
    assert response.count(b"HTTP/1.1 ") == 1
    assert server.get("/") == (200, "Hello, world!")


def test_an_oversized_head_is_refused_and_closed(server: Served) -> None:
    """A head that does not end is answered with 400 or 431 instead of being kept in memory."""
    with server.connect() as sock, contextlib.suppress(ConnectionError):
        sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        status = b""
        sock.settimeout(10)
        for _ in range(64):
            sock.sendall(b"x" * 16384)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                status = sock.recv(12)
            sock.settimeout(10)
            if status:
                break
        status = status or sock.recv(12)
        assert status in (b"HTTP/1.1 400", b"HTTP/1.1 431")
        while sock.recv(65536):
            pass
    assert server.get("/") == (200, "Hello, world!")


def test_an_exception_of_the_app_is_answered_500(tmp_path: Path) -> None:
    """The client gets 500, the log the traceback, and the server goes on."""
    (tmp_path / "raising.py").write_text("async def app(scope, receive, send):\n    raise ZeroDivisionError('mine')\n")
    with served("raising:app", cwd=tmp_path, tracebacks=True) as server:
        for _ in range(2):
            assert server.get("/") == (500, "Internal Server Error")
        server.log.wait_for("ZeroDivisionError: mine", count=2)


def the_one_error(output: str) -> str:
    """The error line; fails where there is a traceback or more than one error."""
    assert "Traceback" not in output, output
    errors = [line for line in output.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, output
    return errors[0]


@pytest.mark.parametrize(
    "app,said,exit_code",
    [
        ("no_such_module:app", 'Could not import module "no_such_module".', 3),
        ("no.such.module:app", "no", 1),
        ("examples.hello:nothing", 'Attribute "nothing" not found in module "examples.hello".', 3),
        ("examples.hello", 'Import string "examples.hello" must be in format "<module>:<attribute>".', 3),
    ],
)
def test_an_app_that_is_not_there_is_one_line(app: str, said: str, exit_code: int) -> None:
    """A wrong import string is named in one line, with uvicorn's exit code."""
    code, output = run_command(app, "--port", "0")
    assert said in the_one_error(output)
    assert code == exit_code


@pytest.mark.parametrize("app", ["no_such_module:app", "examples.hello:nothing"])
def test_an_app_that_is_not_there_ends_the_supervisor_too(app: str) -> None:
    """With several workers the parent gives up instead of starting them again and again."""
    code, output = run_command(app, "--port", "0", "--workers", "2")
    assert "Traceback" not in output
    assert "Error loading ASGI app." in output
    assert code == 3


def test_an_error_inside_the_users_module_keeps_its_traceback(tmp_path: Path) -> None:
    """What the user's own code raises on import is shown with the place where it did."""
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_there\n")
    code, output = run_command("broken:app", "--port", "0", cwd=tmp_path)
    assert code == 1
    assert 'broken.py", line 1' in output
    assert "a_package_that_is_not_there" in output


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_busy_port_is_one_line(workers: str) -> None:
    """A port that somebody else holds is named in one line and the process ends with 3."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, output = run_command(HELLO, "--port", port, "--workers", workers)
    assert "in use" in the_one_error(output)
    assert code == 3


@pytest.mark.parametrize(
    "options,said,exit_code",
    [
        (["--ssl-keyfile", "nowhere.pem", "--ssl-certfile", "nowhere.pem"], "nowhere.pem", None),
        (["--uds", "/nowhere/http.sock"], "No such file or directory: '/nowhere/http.sock'", 3),
        (["--fd", "99"], "Cannot listen on file descriptor 99: Bad file descriptor.", 3),
        (["--host", "no-such-name.invalid"], "Cannot resolve the host 'no-such-name.invalid': ", 3),
        (["--backlog", "99999999999"], "'--backlog': must be an integer from 0 to 2147483647, not '99999999999'", 2),
        (["--log-config", "nowhere.json"], "nowhere.json", 2),
        (["--env-file", "nowhere.env"], "nowhere.env", 2),
        (["--loop", "nowhere"], "nowhere", 3),
        (["--http", "nowhere"], "nowhere", None),
        (["--header", "no-colon"], "no-colon", 2),
        (["--workers", "many"], "'--workers': must be an integer, at least 0, not 'many'", 2),
        (["--workers", "-1"], "'--workers': must be an integer, at least 0, not '-1'", 2),
        (["--limit-max-requests", "0"], "'--limit-max-requests': must be an integer, at least 1, not '0'", 2),
        (["--ws-ping-timeout", "nan"], "'--ws-ping-timeout': must be a number of seconds, at least 0, not 'nan'", 2),
        (["--http2-limit", "resets=0"], "'--http2-resets': must be an integer from 1 to", 2),
        (["--static", "files=."], "'--static': The prefix 'files' does not begin with a slash.", 2),
        (["--static", "/files=nowhere"], "'--static': There is no directory 'nowhere' to serve files from.", 2),
        (["--static", "/a=.", "--static", "/a=.."], "static has two directories for the prefix '/a'", 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_a_wrong_option_is_one_line(options: list[str], said: str, exit_code: int | None) -> None:
    """A mistake on the command line is named in one line, and the process ends at once with an exit code."""
    code, output = run_command(HELLO, "--port", "0", *options)
    assert said in the_one_error(output)
    assert code == exit_code if exit_code is not None else code in (1, 3)


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("kind", ["connection", "UDP", "file"])
def test_a_descriptor_that_cannot_listen_is_one_line(workers: str, kind: str, tmp_path: Path) -> None:
    """It is named with its number, and the process ends with 3."""
    given: Any
    with contextlib.ExitStack() as opened:
        if kind == "connection":
            given, other = socket.socketpair()
            opened.enter_context(given)
            opened.enter_context(other)
        elif kind == "UDP":
            given = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        else:
            given = opened.enter_context((tmp_path / "file").open("w"))
        fd = given.fileno()
        code, output = run_command(HELLO, "--fd", str(fd), "--workers", workers, pass_fds=[fd])
    assert f"Cannot listen on file descriptor {fd}: " in the_one_error(output)
    assert code == 3


def test_help_fits_the_terminal() -> None:
    """`--help` is no wider than 80 columns."""
    shown = subprocess.run(
        command("--help"), cwd=ROOT, env=environment(COLUMNS="80"), capture_output=True, text=True, check=True
    )
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "--workers" in shown.stdout

"""What must not get through a connection besides requests that are none: split responses, forged log lines, odd paths.

Requests that smuggle or confuse are in `test_vectors.py`.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pounce.settings import Settings
from tests.fakes import Connection, answer, get

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("target", ["/%00", "/%0d%0aX:%20y", "/%c0%af", "/..%2f..%2f", "//x", "/\\x", "/%zz", "/%"])
async def test_what_a_path_may_hold(parser: str, target: str) -> None:
    """An encoded path is decoded once into `path` and stays as it came in `raw_path`."""
    from urllib.parse import unquote

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["raw_path"]))
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(get(target))
        assert seen == [(unquote(target), target.encode())]


@pytest.mark.parametrize("name", [b"x", b"content-length", b"transfer-encoding", b"connection"])
@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\x00b", b"a\x1bb"])
async def test_response_splitting(parser: str, name: bytes, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A value that would break the head leaves no byte of it on the wire, nor of another head, as with uvicorn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(name, value)]})
        await send({"type": "http.response.body", "body": b"secret"})

    if parser != "httptools" and value == b"a\x1bb" and name in (b"x", b"connection"):
        pytest.skip("lets control characters pass that end no line, as with uvicorn")
    async with Connection(parser, app) as connection:
        await connection.feed(get() + get())
        assert connection.take() == b""
        assert connection.closed
    assert caplog.text.count("Exception in ASGI application") == 1


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 600, 1000])
async def test_a_status_out_of_range(parser: str, status: int) -> None:
    """No such response leaves the server, but a 500 instead."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x", status)

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        assert connection.closed
        assert [response.status for response in connection.responses()] == [500]


@pytest.mark.parametrize("target", ["/%1b%5b31m", "/%0a", "/?%1b", "/%e2%80%a8", "/?a=%0a", "/%22%20200%20GET%20%22"])
async def test_no_line_of_the_access_log_is_forged(parser: str, target: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is encoded in path and query is logged encoded."""
    caplog.set_level(logging.INFO, "uvicorn.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(get(target))
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert [text.isprintable() for text in lines] == [True]
    assert lines[0].startswith('127.0.0.2:9000 - "GET /')
    assert lines[0].count('"') == 2


async def test_eight_bits_in_a_query(caplog: pytest.LogCaptureFixture) -> None:
    """zttp itself lets bytes above 127 into the query: as with uvicorn it is answered, and its line escapes them."""
    caplog.set_level(logging.INFO, "uvicorn.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    async with Connection("zttp", app, settings=Settings.of({"parsing": {"rules": "uvicorn"}})) as connection:
        await connection.feed(get("/?\xc2\x85"))
        assert [response.status for response in connection.responses()] == [200]
    assert "GET /?\\xc2\\x85 HTTP" in caplog.text

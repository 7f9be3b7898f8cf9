"""An HTTP/1.1 connection whose app sends heads and bodies that are unusual, or not quite right."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import Connection, get

pytestmark = pytest.mark.anyio

LARGE = b"x" * 100_000


def responds(status: int, headers: Any, *parts: bytes) -> Any:
    """An app that answers so; the last part ends the response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for index, part in enumerate(parts):
            await send({"type": "http.response.body", "body": part, "more_body": index + 1 < len(parts)})

    return app


async def test_names_and_values_of_any_kind_of_buffer(parser: str, loop: Any) -> None:
    """bytearrays, memoryviews and lists of two are answered as bytes in tuples are, on one connection."""
    headers = [
        (bytearray(b"Content-Length"), memoryview(b"2")),
        [memoryview(bytearray(b"x")), bytearray(b"1")],
        [b"y", b"2"],
    ]
    async with Connection(parser, responds(200, headers, b"ok"), loop=loop) as connection:
        for _ in range(3):
            await connection.feed(get())
            (response,) = connection.responses()
            assert (response.status, response.body) == (200, b"ok")
            assert (response.headers[b"x"], response.headers[b"y"]) == (b"1", b"2")
        assert not connection.closed


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("body", [b"gone", LARGE], ids=["small", "large"])
async def test_a_body_where_none_can_be(parser: str, loop: Any, status: int, body: bytes) -> None:
    """It is not sent, and the connection goes on."""
    async with Connection(
        parser, responds(status, [(b"content-type", b"text/plain")], body, body), loop=loop
    ) as connection:
        for _ in range(2):
            await connection.feed(get())
            (response,) = connection.responses()
            assert (response.status, response.body) == (status, b"")
        assert not connection.closed


@pytest.mark.parametrize(
    "parts", [[b"short"], [b"sh", b"ort"], [b"short", b""], [LARGE], [b"a", LARGE]], ids=lambda parts: str(len(parts))
)
async def test_a_body_that_ends_too_early(parser: str, loop: Any, parts: list[bytes]) -> None:
    """All that the app sent is delivered, then the connection ends."""
    headers = [(b"content-length", b"1000000")]
    async with Connection(parser, responds(200, headers, *parts), loop=loop) as connection:
        await connection.feed(get() + get("/never"))
        assert connection.closed
        (response,) = connection.responses()
        assert (response.body, response.complete) == (b"".join(parts), False)

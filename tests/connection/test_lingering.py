"""What arrives behind an early answer: read and thrown away for so many bytes and seconds, and then reset.

On real sockets, since what counts is what the client's side of one gets to see.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from pounce.connection import lingering
from pounce.settings import Settings
from tests.connection.real_sockets import on_real_loops, serving
from tests.fakes import Connection, answer, echo, get, post, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]

CHUNKED = get("/", "Transfer-Encoding: chunked", method="POST")
CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"


def limits(**given: Any) -> Settings:
    return Settings.of({"limits": given})


async def early(scope: Any, receive: Any, send: Any) -> None:
    """Answers before the body has come."""
    await answer(send, scope["path"].encode())


async def early_and_closes(scope: Any, receive: Any, send: Any) -> None:
    await answer(send, b"no", 401, (b"connection", b"close"))


def upload(address: tuple[str, int], raw: bytes) -> bytes:
    """Send everything before anything is read, as many clients do; then read to the end."""
    with socket.create_connection(address, timeout=20) as sock:
        sock.sendall(raw)
        found = b""
        while data := sock.recv(65536):
            found += data
        return found


def flood(address: tuple[str, int], start: bytes, piece: bytes, most: int, pause: float = 0) -> int:
    """Send pieces on and on. Returns how many bytes it took until there was nobody to send to; at most `most`."""
    sent = 0
    with socket.create_connection(address, timeout=20) as sock:
        try:
            sock.sendall(start)
            while sent < most:
                sock.sendall(piece)
                sent += len(piece)
                time.sleep(pause)
        except OSError:
            pass
    return sent


REFUSED: dict[str, tuple[Any, bytes, int]] = {
    "a length above the limit": (echo, post(b"x" * 3_000_000), 413),
    "chunks above the limit": (echo, CHUNKED + CHUNK * 40, 413),
    "a long request line": (echo, b"GET /" + b"a" * 3_000_000, 414),
    "a large head": (echo, get("/", "X: " + "x" * 3_000_000), 431),
    "no request": (echo, b"nonsense\r\n\r\n" + b"x" * 3_000_000, 400),
    "an answer that closes": (early_and_closes, post(b"x" * 900_000, "/", "Connection: close"), 401),
}


@on_real_loops
@pytest.mark.parametrize("name", REFUSED)
async def test_who_sends_first_and_reads_later_gets_the_answer(
    parser: str, loop_kind: str, anyio_backend: Any, name: str
) -> None:
    """A connection that is closed with unread input is reset, and the client would lose its answer."""
    app, raw, status = REFUSED[name]
    async with serving(parser, app, settings=limits(body=1_000_000)) as server, asyncio.timeout(20):
        data = await asyncio.to_thread(upload, server.address, raw)
        [response] = responses(data, closed=True)
        assert response.status == status
        await server.until(lambda: not server.state.connections)


ENDLESS: dict[str, tuple[Any, bytes]] = {
    "kept": (early, CHUNKED),
    "closed": (early_and_closes, CHUNKED),
    "of a length": (early, get("/", "Content-Length: 999999999999", method="POST")),
    "refused": (echo, b"nonsense\r\n\r\n"),
    "above the limit": (echo, get("/", "Content-Length: 999999999999", method="POST")),
}


@on_real_loops
@pytest.mark.parametrize("name", ENDLESS)
async def test_it_takes_so_many_bytes(parser: str, loop_kind: str, anyio_backend: Any, name: str) -> None:
    """Whatever has been answered, a client that goes on for ever is reset soon."""
    app, start = ENDLESS[name]
    settings = limits(linger_size=2_000_000, body=10_000_000)
    async with serving(parser, app, settings=settings) as server, asyncio.timeout(20):
        sent = await asyncio.to_thread(flood, server.address, start, CHUNK, 100_000_000)
        assert 2_000_000 - len(CHUNK) <= sent < 50_000_000  # the rest is in the sockets' buffers
        await server.until(lambda: not server.state.connections)


@on_real_loops
@pytest.mark.parametrize("name", ["kept", "refused"])
async def test_it_takes_so_many_seconds(loop_kind: str, anyio_backend: Any, name: str) -> None:
    """The same for one that is slow."""
    app, start = ENDLESS[name]
    settings = limits(linger_seconds=0.2, body=10_000_000)
    async with serving("httptools", app, settings=settings) as server, asyncio.timeout(20):
        sent = await asyncio.to_thread(flood, server.address, start, b"1\r\na\r\n", 6 * 2000, 0.01)
        assert sent < 6 * 2000
        await server.until(lambda: not server.state.connections)


@pytest.fixture
def short_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering, "_QUIET", 0.05)
    return


@on_real_loops
async def test_who_is_quiet_is_closed(loop_kind: str, anyio_backend: Any, short_quiet: None) -> None:
    """A client that neither sends nor closes has read its answer by then."""
    async with serving("httptools", echo) as server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"nonsense\r\n\r\n")
        assert responses(await reader.read(), closed=True)[0].status == 400
        await server.until(lambda: not server.state.connections)
        writer.close()


@on_real_loops
async def test_a_large_answer_is_read_in_ones_own_time(loop_kind: str, anyio_backend: Any, short_quiet: None) -> None:
    """Lingering begins when the answer is written: a slow reader gets all of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x" * 8_000_000, 401, (b"connection", b"close"))

    async with serving("httptools", app, settings=limits(linger_seconds=0.3)) as server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*server.address, limit=2**16)
        writer.write(get("/", "Content-Length: 900000", method="POST"))
        found = await reader.readexactly(1000)
        for _ in range(10):
            found += await reader.readexactly(300_000)
            await asyncio.sleep(0.1)
        found += await reader.read()
        assert len(responses(found, closed=True)[0].body) == 8_000_000
        writer.close()


@on_real_loops
async def test_a_small_rest_keeps_the_connection(loop_kind: str, anyio_backend: Any) -> None:
    """What is left of the body is read for the sake of the next request, and its time is over with it."""
    async with serving("httptools", early, settings=limits(linger_size=300_000, linger_seconds=0.2)) as server:
        reader, writer = await asyncio.open_connection(*server.address)
        for _ in range(3):
            raw = post(b"x" * 250_000, "/a")
            writer.write(raw[:200])
            await reader.readuntil(b"/a")
            writer.write(raw[200:])
            await asyncio.sleep(0.3)
        writer.write(get("/b"))
        await reader.readuntil(b"/b")
        writer.close()


@on_real_loops
async def test_an_upload_that_a_stopping_server_answers_early(loop_kind: str, anyio_backend: Any) -> None:
    """It gets its answer, and some time to notice; one that goes on and on is cut."""
    async with serving("httptools", early_and_closes) as server, asyncio.timeout(20):
        server.state.stopping = True
        reader, writer = await asyncio.open_connection(*server.address)
        begun = time.monotonic()
        writer.write(CHUNKED + CHUNK)
        assert responses(await reader.read(), closed=True)[0].status == 401
        while server.state.connections:
            writer.write(b"1\r\na\r\n")
            await asyncio.sleep(0.02)
        assert time.monotonic() - begun > lingering._SECONDS_AT_STOP - 0.1
        writer.close()


@on_real_loops
async def test_a_server_that_stops_waits_for_little(loop_kind: str, anyio_backend: Any) -> None:
    """A quarter of a second where nothing comes; also where it was told to stop meanwhile."""
    async with serving("httptools", echo) as server, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"nonsense\r\n\r\n")
        assert responses(await reader.read(), closed=True)[0].status == 400
        [connection] = server.state.connections
        connection.shutdown()
        await server.until(lambda: not server.state.connections)
        server.state.stopping = True
        _, other = await asyncio.open_connection(*server.address)
        other.write(b"nonsense\r\n\r\n")
        await server.until(lambda: not server.state.connections)
        writer.close()
        other.close()


async def test_without_lingering(anyio_backend: Any) -> None:
    """Where the settings say so, a connection is closed with its answer."""
    for given in ({"linger_size": 0}, {"linger_seconds": 0}):
        for app, start in ENDLESS.values():
            async with (
                serving("httptools", app, settings=limits(body=10_000_000, **given)) as server,
                asyncio.timeout(20),
            ):
                reader, writer = await asyncio.open_connection(*server.address)
                writer.write(start)
                await reader.readuntil(b"\r\n\r\n")
                writer.write(CHUNK)
                await server.until(lambda: not server.state.connections)
                writer.close()


@pytest.mark.parametrize("given", [{"linger_size": 0}, {"linger_seconds": 0}])
async def test_what_is_read_with_the_end_is_not_begun(parser: str, given: Any) -> None:
    """Without lingering, a byte of a body that nobody wants closes; what is behind it in the same read is nothing."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["path"])
        await early(scope, receive, send)

    async with Connection(parser, app, settings=limits(**given)) as connection:
        await connection.feed(CHUNKED + b"2\r\n")
        assert len(connection.responses()) == 1
        await connection.feed(b"xx\r\n0\r\n\r\n" + get("/next"))
        assert connection.closed
        assert connection.take() == b""
    assert seen == ["/"]

"""Files sent by the server: pathsend and zerocopysend over real sockets, both loops, each parser, and over HTTP/2."""

from __future__ import annotations

import asyncio
import errno
import gzip
import logging
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from pounce.connection.state import ServerState
from pounce.exchange.features import features_of
from pounce.exchange.record import ExchangeRecord
from pounce.settings import Settings
from tests.connection import http2_client
from tests.connection.real_sockets import Server, on_real_loops, serving
from tests.fakes import Connection, answer, get, responses

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error")]

SETTINGS = Settings.of({"asgi": {"extensions": ("pathsend", "zerocopysend")}})
FEATURES = features_of(SETTINGS, logging.getLogger("test"))
SIZES = [0, 1, 1000, 65_536, 65_537, 5_000_000]
on_posix = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="sendfile is of Unix")


def descriptors() -> set[tuple[str, str]]:
    """What this process has open, by number and name."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((name, os.readlink(f"/proc/self/fd/{name}")))
        except OSError:  # that of the listing itself
            continue
    return found


def files_of(folder: Path) -> list[str]:
    """Descriptors of files in a folder."""
    return [name for _, name in descriptors() if name.startswith(str(folder))]


def content(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def made(folder: Path, size: int) -> Path:
    path = folder / f"{size}.bin"
    path.write_bytes(content(size))
    return path


def pathsend(path: Any, status: int = 200, *fields: tuple[bytes, bytes]) -> Any:
    """An app that answers with a file, or with "ok" to /ok."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/ok":
            await answer(send)
            return
        await send({"type": "http.response.start", "status": status, "headers": list(fields)})
        await send({"type": "http.response.pathsend", "path": str(path)})

    return app


def length(size: int) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % size)


def takes_files(server: Server) -> None:
    server.state.features = FEATURES


async def read_all(server: Server, *requests: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server.address)
    writer.write(b"".join(requests))
    async with asyncio.timeout(10):
        data = await reader.read()
    writer.close()
    return data


@on_real_loops
@pytest.mark.parametrize("declares", [True, False], ids=["length", "chunked"])
@pytest.mark.parametrize("size", SIZES)
async def test_a_path_is_sent(parser: str, loop_kind: str, tmp_path: Path, size: int, declares: bool) -> None:
    """With a length and without, the requests behind it are answered, and nothing stays open."""
    path = made(tmp_path, size)
    fields = [length(size)] if declares else []
    async with serving(parser, pathsend(path, 200, *fields)) as server:
        takes_files(server)
        data = await read_all(server, get(), get(), get("/ok"), get("/ok", "Connection: close"))
        found = responses(data, closed=True)
        assert [response.body == content(size) for response in found[:2]] == [True, True]
        assert [response.body for response in found[2:]] == [b"ok", b"ok"]
        if not declares and size > 65_536 and parser != "zttp":
            assert b"%x\r\n" % size in data  # one chunk
        assert server.state.total_requests == 4
        assert files_of(tmp_path) == []


@on_real_loops
async def test_http_1_0_until_close(parser: str, loop_kind: str, tmp_path: Path) -> None:
    """HTTP/1.0 knows no chunks: the connection's end is the file's."""
    path = made(tmp_path, 300_000)
    async with serving(parser, pathsend(path)) as server:
        takes_files(server)
        head, _, body = (await read_all(server, get(version="1.0"))).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert body == content(300_000)


@on_real_loops
@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize(("status", "method"), [(200, "HEAD"), (204, "GET"), (304, "GET")])
async def test_no_body_no_file(
    parser: str, loop_kind: str, tmp_path: Path, status: int, method: str, size: int, caplog: Any
) -> None:
    """What has no body gets none, and the connection goes on."""
    path = made(tmp_path, size)
    async with serving(parser, pathsend(path, status)) as server:
        takes_files(server)
        data = await read_all(server, get(method=method), get("/ok", "Connection: close"))
        found = responses(data, heads=(0,), closed=True)
        assert [response.body for response in found] == [b"", b"ok"]


@on_real_loops
@pytest.mark.parametrize("size", [1000, 300_000])
async def test_longer_and_shorter_than_declared(parser: str, loop_kind: str, tmp_path: Path, size: int) -> None:
    """As with bodies: too long is refused before a byte of it leaves; too short ends the connection behind it."""
    path = made(tmp_path, size)
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        declared = size - 1 if scope["path"] == "/less" else size + 1
        await send({"type": "http.response.start", "status": 200, "headers": [length(declared)]})
        try:
            await send({"type": "http.response.pathsend", "path": str(path)})
        except RuntimeError as exc:
            errors.append(str(exc))
            raise

    async with serving(parser, app) as server:
        takes_files(server)
        [less] = responses(await read_all(server, get("/less"), get("/less")), closed=True)
        [more] = responses(await read_all(server, get("/more"), get("/more")), closed=True)
    assert (less.body, more.body, more.complete) == (b"", content(size), False)
    assert errors == ["Response content longer than Content-Length", "Response content shorter than Content-Length"]


@on_real_loops
@pytest.mark.parametrize("how", ["shrinks", "grows"])
async def test_a_file_that_changes_meanwhile(
    parser: str, loop_kind: str, tmp_path: Path, how: str, caplog: Any
) -> None:
    """A shorter one cuts the connection; of a longer one its size at the start is sent. Framing holds."""
    size = 20_000_000
    path = made(tmp_path, size)
    async with serving(parser, pathsend(path)) as server:
        takes_files(server)
        reader, writer = await asyncio.open_connection(*server.address, limit=65536)
        writer.write(get() + get("/ok", "Connection: close"))
        async with asyncio.timeout(10):
            data = await reader.readexactly(1000)
            if how == "shrinks":
                os.truncate(path, 1_000_000)
            else:
                with path.open("ab") as file:
                    file.write(b"more")
            data += await reader.read()
            while not reader.at_eof():
                data += await reader.read()
        writer.close()
        found = responses(data, closed=True)
        if how == "shrinks":
            assert [response.complete for response in found] == [False]
            assert "FileBecameShorter" in caplog.text
        else:
            assert [response.body for response in found] == [content(size), b"ok"]
        assert files_of(tmp_path) == []


@on_real_loops
@pytest.mark.parametrize("declares", [True, False], ids=["length", "chunked"])
async def test_without_a_descriptor_for_sendfile(
    parser: str, loop_kind: str, tmp_path: Path, declares: bool, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The file is read: what has begun is not cut, and the connection goes on."""
    path = made(tmp_path, 5_000_000)

    def refuse(descriptor: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "dup", refuse)
    async with serving(parser, pathsend(path, 200, *([length(5_000_000)] if declares else []))) as server:
        takes_files(server)
        reader, writer = await asyncio.open_connection(*server.address)
        async with asyncio.timeout(10):
            writer.write(get())
            data = await reader.read(1000)
            writer.write(get() + get("/ok", "Connection: close"))
            data += await reader.read()
        writer.close()
        found = responses(data, closed=True)
        assert [response.body == content(5_000_000) for response in found[:2]] == [True, True]
        assert [response.body for response in found[2:]] == [b"ok"]
        assert files_of(tmp_path) == []
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@on_real_loops
@pytest.mark.parametrize("end", ["client resets", "server aborts", "task cancelled"])
async def test_ends_in_the_middle(parser: str, loop_kind: str, tmp_path: Path, end: str, caplog: Any) -> None:
    """However it ends, nothing is left open; a client that leaves is no error."""
    path = made(tmp_path, 50_000_000)
    records: list[ExchangeRecord] = []
    async with serving(parser, pathsend(path)) as server:
        takes_files(server)
        before = {name for _, name in descriptors()}
        server.state.observers.append(records.append)
        client = socket.create_connection(server.address)
        client.sendall(get())
        await server.until(lambda: files_of(tmp_path))
        for _ in range(20):
            await asyncio.sleep(0)
        opened = {name for _, name in descriptors()} - before
        if end == "client resets":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        elif end == "server aborts":
            [connection] = server.state.connections
            connection.transport.abort()
        else:
            [task] = server.state.tasks
            task.cancel()
            await server.until(lambda: not server.state.tasks)
            client.close()  # what was written before is still its to read
        await server.until(lambda: not server.state.connections and not server.state.tasks)
        client.close()
        await server.until(lambda: not opened & {name for _, name in descriptors()})
    assert files_of(tmp_path) == []
    assert (records[0].bytes_out, records[0].is_complete) == (50_000_000, False)
    assert ("CancelledError" in caplog.text) == (end == "task cancelled")
    if end != "task cancelled":
        assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@on_real_loops
async def test_a_client_that_leaves_before_its_part(
    parser: str, loop_kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While what goes before it waits to be written: no error, and the file is let go."""
    path = made(tmp_path, 300_000)
    waits = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        [connection] = server.state.connections
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not connection.transport.get_write_buffer_size():
            await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
        waits.set()
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file})

    async with serving(parser, app) as server:
        takes_files(server)
        client = socket.create_connection(server.address)
        client.sendall(get())
        async with asyncio.timeout(10):
            await waits.wait()
        await asyncio.sleep(0.01)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await server.until(lambda: not server.state.connections and not server.state.tasks)
    assert files_of(tmp_path) == []
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@on_real_loops
async def test_others_have_their_turn(parser: str, loop_kind: str, tmp_path: Path) -> None:
    """A slow reader of a large file keeps nobody waiting, and gets all of it."""
    path = made(tmp_path, 20_000_000)
    async with serving(parser, pathsend(path, 200, length(20_000_000))) as server:
        takes_files(server)
        reader, writer = await asyncio.open_connection(*server.address, limit=4096)
        writer.write(get("/", "Connection: close"))
        data = await reader.readexactly(10)
        for _ in range(10):
            [other] = responses(await read_all(server, get("/ok", "Connection: close")), closed=True)
            assert other.body == b"ok"
            data += await reader.read(1000)
        while not reader.at_eof():
            data += await reader.read(1 << 20)
        assert responses(data, closed=True)[0].body == content(20_000_000)
        writer.close()


@on_real_loops
async def test_parts_of_an_open_file(parser: str, loop_kind: str, tmp_path: Path) -> None:
    """zerocopysend between other parts: from a place, from where the file stands, to its end; it stays the app's."""
    size = 1_000_000
    path = made(tmp_path, size)
    positions: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        kind = "http.response.zerocopysend"
        with path.open("rb") as file:
            await send({"type": kind, "file": file, "offset": 10, "count": 200_000, "more_body": True})
            await send({"type": "http.response.body", "body": b"|", "more_body": True})
            file.seek(5)
            await send({"type": kind, "file": file, "count": 100, "more_body": True})
            positions.append(file.tell())
            os.lseek(file.fileno(), size - 100_000, os.SEEK_SET)
            await send({"type": kind, "file": file.fileno(), "more_body": True})
            positions.append(os.lseek(file.fileno(), 0, os.SEEK_CUR))
            await send({"type": kind, "file": file, "offset": size + 1, "count": 5})
            assert not file.closed

    async with serving(parser, app) as server:
        takes_files(server)
        [found] = responses(await read_all(server, get("/", "Connection: close")), closed=True)
    whole = content(size)
    assert found.body == whole[10:200_010] + b"|" + whole[5:105] + whole[-100_000:]
    assert positions == [105, size]


async def test_what_is_no_file(parser: str, tmp_path: Path) -> None:
    """A directory, a pipe, a device and nothing at all: the app hears of it at once, and nothing waits."""
    os.mkfifo(tmp_path / "pipe")
    seen: list[type[BaseException]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for path in (tmp_path, tmp_path / "pipe", "/dev/zero", tmp_path / "none", f"{tmp_path}\0"):
            try:
                await send({"type": "http.response.pathsend", "path": str(path)})
            except Exception as exc:
                seen.append(type(exc))
        await send({"type": "http.response.body", "body": b"none"})

    connection = Connection(parser, app)
    connection.state.features += FEATURES
    async with connection:
        await connection.feed(get())
        await connection.apps_done()
        assert connection.responses()[0].body == b"none"
    assert seen == [IsADirectoryError, OSError, OSError, FileNotFoundError, ValueError]


async def test_without_the_setting_it_is_no_message(parser: str, tmp_path: Path) -> None:
    """uvicorn's error, and nothing advertised; with it, both are."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["extensions"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await send({"type": "http.response.pathsend", "path": str(made(tmp_path, 1))})
        except RuntimeError as exc:
            seen.append(str(exc))
            await send({"type": "http.response.body"})

    async with Connection(parser, app) as connection:
        await connection.feed(get())
    state = ServerState()
    state.features = FEATURES
    async with Connection(parser, app, state=state) as connection:
        await connection.feed(get())
    refused = "Expected ASGI message 'http.response.body', but got 'http.response.pathsend'."
    usual = {"http.response.early_hint": {}, "http.response.trailers": {}}
    assert seen == [usual, refused, usual | {"http.response.pathsend": {}, "http.response.zerocopysend": {}}]


@pytest.mark.usefixtures("http2_wire")
class TestHttp2:
    """The same on a stream, whichever wire it is on."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_path_is_sent(self, tmp_path: Path, size: int) -> None:
        """Two at once, and nothing stays open."""
        connection = http2_client.Connection(pathsend(made(tmp_path, size)))
        connection.state.features += FEATURES
        async with connection:
            streams = [connection.request(), connection.request()]
            await connection.until(
                lambda: all(one in connection.answers and connection.answers[one].ended for one in streams)
            )
            assert [connection.answers[one].body == content(size) for one in streams] == [True, True]
            assert files_of(tmp_path) == []

    async def test_a_file_that_becomes_shorter(self, tmp_path: Path) -> None:
        """Its stream is reset, and the connection stands."""
        path = made(tmp_path, 3_000_000)
        connection = http2_client.Connection(pathsend(path))
        connection.state.features += FEATURES
        async with connection:
            connection.acknowledges = False
            stream = connection.request()
            await connection.exchange()
            os.truncate(path, 1000)
            connection.client.increment_flow_control_window(10_000_000)
            connection.client.increment_flow_control_window(10_000_000, stream)
            await connection.until(lambda: connection.answers[stream].ended)
            assert connection.answers[stream].reset is not None
            assert (await connection.get("/ok")).body == b"ok"
            assert files_of(tmp_path) == []

    async def test_a_file_that_grows(self, tmp_path: Path) -> None:
        """What it was at the start is sent."""
        path = made(tmp_path, 3_000_000)
        connection = http2_client.Connection(pathsend(path))
        connection.state.features += FEATURES
        async with connection:
            connection.acknowledges = False
            stream = connection.request()
            await connection.exchange()
            assert len(connection.answers[stream].body) < 3_000_000
            with path.open("ab") as file:
                file.write(b"more")
            connection.client.increment_flow_control_window(10_000_000)
            connection.client.increment_flow_control_window(10_000_000, stream)
            await connection.until(lambda: connection.answers[stream].ended)
            assert connection.answers[stream].body == content(3_000_000)
            await connection.until(lambda: files_of(tmp_path) == [])

    async def test_a_client_that_leaves(self, tmp_path: Path, caplog: Any) -> None:
        """Its reset ends the file, without a word."""
        connection = http2_client.Connection(pathsend(made(tmp_path, 3_000_000)))
        connection.state.features += FEATURES
        async with connection:
            connection.acknowledges = False
            stream = connection.request()
            await connection.exchange()
            assert files_of(tmp_path)
            connection.client.reset_stream(stream)
            await connection.until(lambda: not files_of(tmp_path))
            assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


@on_real_loops
async def test_over_tls_it_is_read(parser: str, loop_kind: str, tmp_path: Path) -> None:
    """Nothing but the transport can encrypt it."""
    import ssl

    import trustme

    path = made(tmp_path, 3_000_000)
    authority = trustme.CA()
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)
    async with serving(parser, pathsend(path)) as server:
        takes_files(server)
        listener = await asyncio.get_running_loop().create_server(server.make, "127.0.0.1", 0, ssl=server_side)
        reader, writer = await asyncio.open_connection(
            *listener.sockets[0].getsockname(), ssl=client_side, server_hostname="localhost"
        )
        writer.write(get() + get("/ok", "Connection: close"))
        async with asyncio.timeout(10):
            found = responses(await reader.read(), closed=True)
        assert [found[0].body == content(3_000_000), found[1].body] == [True, b"ok"]
        writer.close()
        listener.close()


@pytest.mark.parametrize("compresses", [False, True], ids=["bare", "in GZipMiddleware"])
async def test_starlettes_file_response(parser: str, tmp_path: Path, compresses: bool) -> None:
    """It uses pathsend where it is advertised, and nothing else changes."""
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import FileResponse

    response: Any = FileResponse(made(tmp_path, 100_000), media_type="text/plain")
    kinds: list[str] = []

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            kinds.append(message["type"])
            await send(message)

        await response(scope, receive, note)

    app: Any = GZipMiddleware(noting) if compresses else noting
    found = []
    for settings in (Settings.of({}), SETTINGS):
        state = ServerState()
        state.features = features_of(settings, logging.getLogger("test"))
        async with Connection(parser, app, state=state, settings=settings) as connection:
            await connection.feed(get())
            await connection.apps_done()
            found += connection.responses()
    assert kinds.count("http.response.pathsend") == 1
    assert found[0].body == content(100_000)
    assert found[1] == found[0]


async def test_starlettes_file_response_within_what_compresses(parser: str, tmp_path: Path) -> None:
    """For a client that takes gzip: Starlette's leaves alone what the server sends, and the server's codes it."""
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.responses import FileResponse

    app: Any = GZipMiddleware(FileResponse(made(tmp_path, 100_000), media_type="text/plain"))
    for codings, coding in ((), None), (("gzip",), b"gzip"):
        settings = Settings.of({"asgi": {"extensions": ("pathsend",)}, "compression": codings})
        state = ServerState()
        state.features = features_of(settings, logging.getLogger("test"))
        async with Connection(parser, app, state=state, settings=settings) as connection:
            await connection.feed(get("/", "Accept-Encoding: gzip"))
            await connection.apps_done()
            [found] = connection.responses()
        assert dict(found.headers).get(b"content-encoding") == coding
        body = gzip.decompress(found.body) if coding else found.body
        assert body == content(100_000)


async def coded(parser: str, app: Any, requests: int = 1) -> list[Any]:
    """The responses that a client which takes gzip gets to that many pipelined requests."""
    settings = Settings.of({"asgi": {"extensions": ("pathsend", "zerocopysend")}, "compression": ("gzip",)})
    state = ServerState()
    state.features = features_of(settings, logging.getLogger("test"))
    async with Connection(parser, app, state=state, settings=settings) as connection:
        await connection.feed(get("/", "Accept-Encoding: gzip") * requests)
        await connection.apps_done()
        await connection.settle()
        return connection.responses()


HEAD: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}


async def test_a_coded_file_that_cannot_be_opened(parser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the app sends in its place is not of that coding."""
    path = made(tmp_path, 5000)
    beside = Path(f"{path}.gz")
    beside.write_bytes(gzip.compress(b"coded before"))
    os.utime(path, ns=(1, 1))
    opened = os.open

    def refuse(name: Any, *arguments: Any, **named: Any) -> int:
        if str(name) == str(beside):
            raise OSError("gone")
        return opened(name, *arguments, **named)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(HEAD)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refuse)
            with pytest.raises(OSError, match="gone"):
                await send({"type": "http.response.pathsend", "path": str(path)})
        with path.open("rb") as file:
            await send({"type": "http.response.zerocopysend", "file": file})

    [found] = await coded(parser, app)
    assert gzip.decompress(found.body) == content(5000)


async def test_a_file_beside_a_part_that_is_with_a_thread(parser: str, tmp_path: Path) -> None:
    """From another task of the app: that part is the last one, and the file has no place behind it."""
    path, refused = made(tmp_path, 10), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(HEAD)

        async def send_file() -> None:
            with path.open("rb") as file, pytest.raises(RuntimeError) as caught:
                await send({"type": "http.response.zerocopysend", "file": file, "count": 0})
            refused.append(str(caught.value))

        await asyncio.gather(send({"type": "http.response.body", "body": content(500_000)}), send_file())

    found = await coded(parser, app, 3)
    assert [gzip.decompress(each.body) for each in found] == [content(500_000)] * 3
    assert ["response already completed" in words for words in refused] == [True] * 3

"""Files that the server serves: over each parser of HTTP/1.1 and both wires of HTTP/2, and message by message."""

from __future__ import annotations

import asyncio
import email.parser
import email.policy
import errno
import gzip
import logging
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import unquote, urljoin

import pytest

from pounce.exchange import static_files, static_paths
from pounce.exchange.features import features_of
from pounce.exchange.server_responses import SERVER_ANSWERS
from pounce.exchange.static_answers import SMALL
from pounce.exchange.static_files import StaticFiles, media_type_of
from pounce.settings import Settings, Static
from tests import fakes
from tests.connection import http2_client

pytestmark = pytest.mark.anyio

LOGGER = logging.getLogger("pounce.error")
TEXT = bytes(range(48, 58)) * 100
LARGE = bytes(range(256)) * 1024


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What is served below /files, beside a secret."""
    (tmp_path / "secret.txt").write_bytes(b"SECRET")
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "a.txt").write_bytes(TEXT)
    (root / "large.bin").write_bytes(LARGE)
    (root / "nothing.txt").write_bytes(b"")
    (root / "sub" / "index.html").write_bytes(b"<p>index")
    (root / "sub" / "b c.css").write_bytes(b"b{}")
    (root / ".hidden").write_bytes(b"SECRET")
    (root / "out").symlink_to("../secret.txt")
    os.mkfifo(root / "fifo")
    return root


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Asks one server, which has an app that is not to be asked below /files, over one connection."""

    def __init__(self, kind: str, **static: Any) -> None:
        self.asked: list[str] = []
        self._kind = kind
        self._static = static
        self._settings: dict[str, Any] = {}

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        await fakes.answer(send, b"app")

    async def connect(self, compression: str = "off", **settings: Any) -> None:
        if self._kind in fakes.PROTOCOLS:
            self._connection: Any = fakes.Connection(self._kind, self.app, **settings)
        else:
            self._connection = http2_client.Connection(self.app, limits={"wire": self._kind}, **settings)
        await self._connection.__aenter__()
        self._connection.state.features += features_of(
            Settings.of({"static": self._static, "compression": compression}), LOGGER
        )

    async def close(self) -> None:
        await self._connection.__aexit__(None, None, None)

    async def ask(self, path: str, *fields: tuple[str, str], method: str = "GET", whole: bool = True) -> Answer:
        if self._kind in fakes.PROTOCOLS:
            lines = [f"{name}: {value}" for name, value in fields]
            await self._connection.feed(fakes.get(path, *lines, method=method))
            await self._connection.apps_done()
            [found] = self._connection.responses(heads=(0,) if method == "HEAD" else ())
            assert found.complete == whole
            headers = {name.decode(): value.decode() for name, value in found.headers.items()}
            return Answer(found.status, headers, found.body)
        lower = [(name.lower(), value) for name, value in fields]
        start = [(":method", method), *http2_client.GET[1:3], (":path", path)]
        stream = self._connection.request([*start, *lower])
        await self._connection.until(lambda: stream in self._connection.answers)
        await self._connection.until(lambda: self._connection.answers[stream].ended)
        answer = self._connection.answers[stream]
        assert (answer.reset is None) == whole
        return Answer(int(answer.status), dict(answer.headers), answer.body)


KINDS = ["h11", "httptools", "zttp", "native", "h2"]


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest, tree: Path) -> AsyncIterator[Client]:
    client = Client(request.param, dirs=[f"/files={tree}"], index=True, max_age=60)
    await client.connect()
    yield client
    await client.close()


async def test_a_file_is_served(client: Client) -> None:
    """With what its client may do with it."""
    answer = await client.ask("/files/a.txt")
    assert (answer.status, answer.body) == (200, TEXT)
    headers = answer.headers
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["content-length"] == "1000"
    assert headers["accept-ranges"] == "bytes"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "max-age=60"
    assert re.fullmatch(r'"[0-9a-f]{24}"', headers["etag"])
    assert headers["last-modified"].endswith(" GMT")
    assert "vary" not in headers
    assert client.asked == []


@pytest.mark.parametrize(
    "path,status",
    [
        ("/files/sub/b%20c.css", 200),
        ("/files/sub/b%20c%2ecss", 200),
        ("/files%2Fa.txt", 200),
        ("/%66iles/a.txt", 200),
        ("/files/a.txt?query=1", 200),
        ("/files/sub/", 200),
        ("/files/sub/?x", 200),
        ("/files/sub", 307),
        ("/files/empty", 404),
        ("/files/empty/", 404),
        ("/files/", 404),
        ("/files", 404),
        ("/files/missing", 404),
        ("/files/a.txt/", 404),
        ("/files/a.txt/b", 404),
        ("/files/..", 404),
        ("/files/../secret.txt", 404),
        ("/files/%2e%2e/secret.txt", 404),
        ("/files/.%2e/secret.txt", 404),
        ("/files/%2E%2E%2Fsecret.txt", 404),
        ("/files/..%2fsecret.txt", 404),
        ("/files/..%5csecret.txt", 404),
        ("/files/%252e%252e/secret.txt", 404),
        ("/files/..%252fsecret.txt", 404),
        ("/files/%c0%ae%c0%ae/secret.txt", 404),
        ("/files/%uff0e%uff0e/secret.txt", 404),
        ("/files/..;/secret.txt", 404),
        ("/files/sub/../../secret.txt", 404),
        ("/files/sub/..%2f..%2fsecret.txt", 404),
        ("/files/sub/../a.txt", 404),
        ("/files/./a.txt", 404),
        ("/files//a.txt", 404),
        ("/files//etc/passwd", 404),
        ("/files/%2Fetc/passwd", 404),
        ("/files/%2F%2Fetc%2Fpasswd", 404),
        ("/files/a.txt%00", 404),
        ("/files/%00", 404),
        ("/files/a.txt%00.html", 404),
        ("/files/.hidden", 404),
        ("/files/%2ehidden", 404),
        ("/files/out", 404),
        ("/files/fifo", 404),
        ("/files/C:/a.txt", 404),
        ("/files/file:%2F%2F/etc/passwd", 404),
        ("/files/" + "x" * 300, 404),
        ("/files/" + "x/" * 2000, 404),
        ("/files/%ff", 404),
    ],
)
async def test_paths(client: Client, path: str, status: int) -> None:
    """A file, a directory, or 404, and never the app."""
    answer = await client.ask(path)
    assert answer.status == status
    assert b"SECRET" not in answer.body
    assert client.asked == []
    assert status == 200 or "cache-control" not in answer.headers


@pytest.mark.parametrize("root_path", ["", "/api"])
@pytest.mark.parametrize("kind", fakes.PROTOCOLS)
@pytest.mark.parametrize(
    "path,expected",
    [
        ("http://host/files/a.txt", 200),
        ("HTTP://user@host:80/%66iles/a.txt?query", 400),
        ("http://host/files/sub", 307),
        ("http://host/files/../secret.txt", 404),
        ("http://host/files/http://host/files/a.txt", 404),
        ("/files/http://host/files/a.txt", 404),
        ("/files/a.txt#part", 400),
        ("/files/sub#/part", 400),
        ("/files/a%23b.txt", 200),
        ("/files/a%23b.txt#part", 400),
        ("/files/a.txt#/../../secret.txt", 400),
        ("/files/#", 400),
        ("http://host/app", None),
        ("http://host/", None),
    ],
)
async def test_other_forms_of_a_target(kind: str, tree: Path, path: str, expected: int | None, root_path: str) -> None:
    """What is left in the path that the app sees. None: it is the app's. No target has a fragment or names a user."""
    (tree / "a#b.txt").write_bytes(TEXT)
    client = Client(kind, dirs=[f"/files={tree}"], index=True)
    await client.connect(root_path=root_path)
    try:
        answer = await client.ask(path)
    finally:
        await client.close()
    assert answer.status == (expected or 200)
    assert (answer.body == b"app") is (expected is None)
    if expected == 307:
        assert answer.headers["location"] == "./sub/"
    if expected == 200:
        assert answer.body == TEXT


@pytest.mark.parametrize(
    "path", ["/", "/file", "/filesystem", "/files.txt", "/Files/a.txt", "/x/../files/a.txt", "//files/a.txt"]
)
async def test_everything_else_is_the_apps(client: Client, path: str) -> None:
    """A prefix is whole components."""
    assert (await client.ask(path)).body == b"app"
    assert client.asked == [path]


@pytest.mark.parametrize(
    "path", ["/files/a.txt", "/files/missing", "/files/large.bin", "/files/sub", "/files/nothing.txt"]
)
async def test_head_has_the_fields_of_get(client: Client, path: str) -> None:
    """And no body."""
    head, get = await client.ask(path, method="HEAD"), await client.ask(path)
    assert (head.status, head.headers, head.body) == (get.status, get.headers, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/files/a.txt", "/files/missing"])
async def test_other_methods_are_refused(client: Client, method: str, path: str) -> None:
    """With those that there are."""
    answer = await client.ask(path, method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert client.asked == []


@pytest.mark.parametrize(
    "value,status,content_range,body",
    [
        ("bytes=0-9", 206, "bytes 0-9/1000", TEXT[:10]),
        ("bytes=990-", 206, "bytes 990-999/1000", TEXT[-10:]),
        ("bytes=-10", 206, "bytes 990-999/1000", TEXT[-10:]),
        ("bytes=0-", 206, "bytes 0-999/1000", TEXT),
        ("bytes=0-9,10-19", 206, "bytes 0-19/1000", TEXT[:20]),
        ("bytes=0-9,5-19,2000-", 206, "bytes 0-19/1000", TEXT[:20]),
        ("bytes=1000-", 416, "bytes */1000", b"Range Not Satisfiable"),
        ("bytes=" + "0-0," * 17, 416, "bytes */1000", b"Range Not Satisfiable"),
        ("bytes=9-0", 200, None, TEXT),
        ("lines=0-9", 200, None, TEXT),
    ],
)
async def test_ranges(client: Client, value: str, status: int, content_range: str | None, body: bytes) -> None:
    """One part is a body of its own."""
    answer = await client.ask("/files/a.txt", ("Range", value))
    assert (answer.status, answer.headers.get("content-range"), answer.body) == (status, content_range, body)
    assert answer.headers["content-length"] == str(len(body))
    if status == 206:
        whole = (await client.ask("/files/a.txt")).headers
        differing = {":status": "", "content-length": "", "content-range": ""}
        assert {**whole, **differing} == {**answer.headers, **differing}


def parts_of(answer: Answer) -> list[tuple[str, str, bytes]]:
    """Type, Content-Range and bytes of each part, as Python's parser of mail reads them."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + answer.body)
    assert message.is_multipart()
    assert not message.defects
    found = []
    for part in message.iter_parts():  # type: ignore[attr-defined]
        found.append((part["content-type"].replace('"', ""), part["content-range"], part.get_payload(decode=True)))
    return found


async def test_several_ranges_are_parts(client: Client) -> None:
    """In the order in which they were asked for; twice on one connection, since their length is declared."""
    for _ in range(2):
        answer = await client.ask("/files/a.txt", ("Range", "bytes=-5, 0-4, 3-9, 500-500"))
        assert answer.status == 206
        assert "content-range" not in answer.headers
        assert answer.headers["content-length"] == str(len(answer.body))
        assert parts_of(answer) == [
            ("text/plain; charset=utf-8", "bytes 995-999/1000", TEXT[-5:]),
            ("text/plain; charset=utf-8", "bytes 0-9/1000", TEXT[:10]),
            ("text/plain; charset=utf-8", "bytes 500-500/1000", TEXT[500:501]),
        ]


async def test_a_range_of_head_counts_as_none(client: Client) -> None:
    """RFC 9110 section 14.2: it is for GET."""
    answer = await client.ask("/files/a.txt", ("Range", "bytes=0-9"), method="HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "1000")


async def test_nothing_has_no_ranges(client: Client) -> None:
    """The whole of it is given."""
    answer = await client.ask("/files/nothing.txt", ("Range", "bytes=0-9"))
    assert (answer.status, answer.headers["content-length"], answer.body) == (200, "0", b"")


PAST, FUTURE = "Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 06 Nov 2105 08:49:37 GMT"


@pytest.mark.parametrize(
    "fields,status",
    [
        ([("If-None-Match", "ETAG")], 304),
        ([("If-None-Match", "W/ETAG")], 304),
        ([("If-None-Match", '"x", ETAG')], 304),
        ([("If-None-Match", '"x"'), ("If-None-Match", "ETAG")], 304),
        ([("If-None-Match", "*")], 304),
        ([("If-None-Match", '"x"')], 200),
        ([("If-Modified-Since", "MODIFIED")], 304),
        ([("If-Modified-Since", FUTURE)], 304),
        ([("If-Modified-Since", PAST)], 200),
        ([("If-Modified-Since", "soon")], 200),
        ([("If-None-Match", '"x"'), ("If-Modified-Since", "MODIFIED")], 200),
        ([("If-None-Match", "ETAG"), ("If-Modified-Since", PAST)], 304),
        ([("If-None-Match", "ETAG"), ("Range", "bytes=0-9")], 304),
        ([("If-Match", "ETAG")], 200),
        ([("If-Match", "*")], 200),
        ([("If-Match", "W/ETAG")], 412),
        ([("If-Match", '"x"')], 412),
        ([("If-Match", '"x"'), ("If-None-Match", "ETAG")], 412),
        ([("If-Match", '"x"'), ("Range", "bytes=5000-")], 412),
        ([("If-Match", "ETAG"), ("If-Unmodified-Since", PAST)], 200),
        ([("If-Match", "ETAG"), ("Range", "bytes=0-9")], 206),
        ([("If-Unmodified-Since", "MODIFIED")], 200),
        ([("If-Unmodified-Since", PAST)], 412),
        ([("Range", "bytes=0-9"), ("If-Range", "ETAG")], 206),
        ([("Range", "bytes=0-9"), ("If-Range", "MODIFIED")], 206),
        ([("Range", "bytes=0-9"), ("If-Range", "W/ETAG")], 200),
        ([("Range", "bytes=0-9"), ("If-Range", '"x"')], 200),
        ([("Range", "bytes=0-9"), ("If-Range", FUTURE)], 200),
        ([("Range", "bytes=5000-"), ("If-Range", '"x"')], 200),
        ([("Range", "bytes=5000-"), ("If-Range", "ETAG")], 416),
        ([("If-Range", '"x"')], 200),
    ],
    ids=str,
)
async def test_conditions(client: Client, tree: Path, fields: Sequence[tuple[str, str]], status: int) -> None:
    """As RFC 9110 section 13.2.2 orders them, for GET and HEAD."""
    os.utime(tree / "a.txt", (1e9, 1e9))
    whole = await client.ask("/files/a.txt")
    filled = [
        (name, value.replace("ETAG", whole.headers["etag"]).replace("MODIFIED", whole.headers["last-modified"]))
        for name, value in fields
    ]
    answer = await client.ask("/files/a.txt", *filled)
    assert answer.status == status
    assert answer.body == {200: TEXT, 206: TEXT[:10], 304: b"", 412: b"Precondition Failed"}.get(status, answer.body)
    if status == 304:
        kept = ("etag", "last-modified", "cache-control")
        assert {name: answer.headers[name] for name in kept} == {name: whole.headers[name] for name in kept}
        assert "content-length" not in answer.headers
    head = await client.ask("/files/a.txt", *filled, method="HEAD")
    assert head.status == {206: 200, 416: 200}.get(status, status)


async def test_conditions_are_for_files_that_there_are(client: Client) -> None:
    """RFC 9110 section 13.2.1."""
    assert (await client.ask("/files/missing", ("If-Match", '"x"'))).status == 404
    assert (await client.ask("/files/missing", ("If-None-Match", "*"))).status == 404


async def test_a_changed_file_is_another(client: Client, tree: Path) -> None:
    """Even of the same size, in the same second, and at once."""
    path = tree / "a.txt"
    os.utime(path, ns=(10**18, 10**18))
    first = await client.ask("/files/a.txt")
    path.write_bytes(b"y" * 1000)
    os.utime(path, ns=(10**18, 10**18 + 1))
    second = await client.ask("/files/a.txt", ("If-None-Match", first.headers["etag"]))
    assert (second.status, second.body) == (200, b"y" * 1000)
    path.unlink()
    assert (await client.ask("/files/a.txt")).status == 404


async def test_a_file_of_the_future_is_not_dated_so(client: Client, tree: Path) -> None:
    """RFC 9110 section 8.8.2.1."""
    os.utime(tree / "a.txt", (4e9, 4e9))
    answer = await client.ask("/files/a.txt")
    assert not answer.headers["last-modified"].endswith("2096 07:06:40 GMT")
    again = await client.ask("/files/a.txt", ("If-Modified-Since", answer.headers["last-modified"]))
    assert again.status == 200


async def test_a_directory_has_its_slash(client: Client) -> None:
    """Relative, so that it leads to no other host; what was asked stays."""
    answer = await client.ask("/files/sub?a=%20b&c='d'")
    assert (answer.status, answer.headers["location"]) == (307, "./sub/?a=%20b&c='d'")
    index = await client.ask("/files/sub/")
    assert (index.headers["content-type"], index.body) == ("text/html; charset=utf-8", b"<p>index")


# Other servers


@pytest.fixture(params=["httptools", "native"])
async def new_client(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Makes one, with settings of its own."""
    made = []

    async def make(connection: dict[str, Any] | None = None, **static: Any) -> Client:
        client = Client(request.param, **static)
        await client.connect(**connection or {})
        made.append(client)
        return client

    yield make
    for client in made:
        await client.close()


async def test_without_an_index_a_directory_is_nothing(new_client: Any, tree: Path) -> None:
    """With a slash and without; its index is a file as any other."""
    client = await new_client(dirs=[f"/files={tree}"])
    for path in ("/files", "/files/", "/files/sub", "/files/sub/"):
        assert (await client.ask(path)).status == 404
    answer = await client.ask("/files/sub/index.html")
    assert answer.status == 200
    assert "cache-control" not in answer.headers


async def test_the_root_has_an_index_too(new_client: Any, tree: Path) -> None:
    """Of a prefix, which is a directory; and of everything, which leads nobody to another host."""
    (tree / "index.html").write_bytes(b"root")
    (tree / "evil.example").mkdir()
    (tree / "evil.example" / "index.html").write_bytes(b"evil")
    client = await new_client(dirs=[f"/={tree}"], index=True)
    assert (await client.ask("/")).body == b"root"
    for path in ("//evil.example", "/%2Fevil.example", "//evil.example/..", "/%5Cevil.example"):
        assert (await client.ask(path)).status == 404
    assert (await client.ask("/evil.example")).headers["location"] == "./evil.example/"
    assert client.asked == []
    below = await new_client(dirs=[f"/files={tree}"], index=True)
    assert (await below.ask("/files")).headers["location"] == "./files/"
    assert (await below.ask("/files/")).body == b"root"


@pytest.mark.parametrize(
    "path,location",
    [
        ("/files/deep%2Fsub", "./deep%2Fsub/"),
        ("/files%2Fdeep/sub", "./sub/"),
        ("/files/deep/%73ub?a=b", "./%73ub/?a=b"),
        ("/files/a%20b%3Fc%23d", "./a%20b%3Fc%23d/"),
        ("/files/x:y;z", "./x:y;z/"),
        ("/files/%C3%A4", "./%C3%A4/"),
    ],
)
async def test_the_redirect_leads_to_the_same_place(new_client: Any, tree: Path, path: str, location: str) -> None:
    """With a slash at its end, as a client resolves it, whatever of the path is quoted."""
    for name in ("deep/sub", "a b?c#d", "x:y;z", "\u00e4"):
        (tree / name).mkdir(parents=True)
        (tree / name / "index.html").write_bytes(name.encode())
    client = await new_client(dirs=[f"/files={tree}"], index=True)
    answer = await client.ask(path)
    assert (answer.status, answer.headers["location"]) == (307, location)
    there = urljoin(f"http://host{path}", location).removeprefix("http://host")
    followed = await client.ask(there)
    assert followed.status == 200
    where = unquote(path.partition("?")[0]).removeprefix("/files/")
    assert followed.body == where.encode()


async def test_the_longest_prefix_counts(new_client: Any, tree: Path, tmp_path: Path) -> None:
    """Whatever their order; what is not in its directory is not looked for in another."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_bytes(b"other")
    client = await new_client(dirs=[f"/={tree}", f"/sub={other}", f"/sub/sub={tree}"])
    assert (await client.ask("/a.txt")).body == TEXT
    assert (await client.ask("/sub/a.txt")).body == b"other"
    assert (await client.ask("/sub/index.html")).status == 404
    assert (await client.ask("/sub/sub/a.txt")).body == TEXT
    assert (await client.ask("/submarine")).status == 404
    assert client.asked == []


async def test_the_root_path_is_no_part_of_it(new_client: Any, tree: Path) -> None:
    """Prefixes are those of the request."""
    client = await new_client({"root_path": "/api"}, dirs=[f"/files={tree}"], index=True)
    assert (await client.ask("/files/a.txt")).body == TEXT
    assert (await client.ask("/files/sub")).headers["location"] == "./sub/"
    assert (await client.ask("/api/files/a.txt")).body == b"app"
    assert client.asked == ["/api/api/files/a.txt"]


async def test_what_the_server_refuses_stays_refused(new_client: Any, tree: Path) -> None:
    """Beyond the limit, files are not served either."""
    client = await new_client({"limit_concurrency": 1}, dirs=[f"/files={tree}"])
    assert (await client.ask("/files/a.txt")).status == 503


async def test_the_systems_trouble_is_503(
    new_client: Any, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And a line in the log."""
    client = await new_client(dirs=[f"/files={tree}"])

    def refuse(*args: object) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(static_files, "open_file", refuse)
    assert (await client.ask("/files/a.txt")).status == 503
    assert "Too many open files" in caplog.text


# Message by message


async def messages_of(
    feature: StaticFiles, path: str, *headers: tuple[bytes, bytes], method: str = "GET"
) -> list[dict[str, Any]]:
    """What is sent; of a file, its bytes."""
    scope = {"path": path, "root_path": "", "method": method, "headers": [*headers], "query_string": b""}
    cycle: Any = SimpleNamespace(scope=scope, app=None, messages=None)
    feature(cycle)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        message = {**message}
        if "file" in message:
            message["file"] = os.pread(message["file"], message["count"], message["offset"])
        sent.append(message)

    await cycle.app(scope, None, send)
    return sent


def feature_of(tree: Path, *codings: str) -> StaticFiles:
    return StaticFiles(Static(dirs=[f"/files={tree}"]), codings, LOGGER)  # type: ignore[arg-type]


async def test_a_large_file_is_sent_as_such(tree: Path) -> None:
    """In one message, with its length."""
    start, body = await messages_of(feature_of(tree), "/files/large.bin")
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(LARGE)
    assert body == {
        "type": "http.response.zerocopysend",
        "file": LARGE,
        "offset": 0,
        "count": len(LARGE),
        "more_body": False,
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_large_files_arrive(kind: str, tree: Path) -> None:
    """Whole, in parts, compressed, and with the app's answers in between on the same connection."""
    (tree / "large.txt").write_bytes(TEXT * 300)
    client = Client(kind, dirs=[f"/files={tree}"])
    await client.connect(compression="gzip")
    try:
        for _ in range(2):
            assert (await client.ask("/files/large.bin")).body == LARGE
            assert (await client.ask("/files/large.bin", ("Range", "bytes=1-100000"))).body == LARGE[1:100001]
            parts = parts_of(await client.ask("/files/large.bin", ("Range", "bytes=200000-,0-99999")))
            assert [data for _, _, data in parts] == [LARGE[200000:], LARGE[:100000]]
            coded = await client.ask("/files/large.txt", ("Accept-Encoding", "gzip"))
            assert (coded.headers["content-encoding"], gzip.decompress(coded.body)) == ("gzip", TEXT * 300)
            assert (await client.ask("/")).body == b"app"
    finally:
        await client.close()


@pytest.mark.parametrize("fields", [[], [("Range", "bytes=200000-,0-99999")], [("Accept-Encoding", "gzip")]])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_shrinks_while_it_is_sent(
    kind: str,
    fields: list[tuple[str, str]],
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody takes it for whole, and the log has a line, which is of no app."""
    (tree / "large.txt").write_bytes(LARGE)
    real = static_paths.open_file

    def shrink(directory: str, segments: Sequence[str]) -> Any:
        found = real(directory, segments)
        os.truncate(tree / "large.txt", 150_000)
        return found

    monkeypatch.setattr(static_files, "open_file", shrink)
    client = Client(kind, dirs=[f"/files={tree}"])
    await client.connect(compression="gzip")
    try:
        await client.ask("/files/large.txt", *fields, whole=False)
    finally:
        await client.close()
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == (
        f"Cannot serve a file below '{tree}': The file has become shorter while it was sent."
    )
    assert record.exc_info is None


async def test_a_file_that_cannot_be_read(
    new_client: Any, tree: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """503, as nothing was sent yet, and a line in the log."""
    client = await new_client(dirs=[f"/files={tree}"])

    def fail(*args: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fail)
        assert (await client.ask("/files/a.txt")).status == 503
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert "Input/output error" in record.getMessage()
    assert (await client.ask("/files/a.txt")).body == TEXT


async def test_large_parts_are_sent_as_such(tree: Path) -> None:
    """Between what separates them."""
    start, *bodies = await messages_of(feature_of(tree), "/files/large.bin", (b"range", b"bytes=0-99999,150000-"))
    body = b"".join(message.get("body", message.get("file")) for message in bodies)
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    assert headers["content-length"] == str(len(body))
    assert [message["more_body"] for message in bodies] == [True] * 4 + [False]
    assert [(content_range, data) for _, content_range, data in parts_of(Answer(206, headers, body))] == [
        ("bytes 0-99999/262144", LARGE[:100000]),
        ("bytes 150000-262143/262144", LARGE[150000:]),
    ]


@pytest.mark.parametrize("size,kind", [(SMALL, "http.response.body"), (SMALL + 1, "http.response.zerocopysend")])
async def test_what_is_small(tree: Path, size: int, kind: str) -> None:
    """Is read."""
    (tree / "f").write_bytes(b"x" * size)
    sent = await messages_of(feature_of(tree), "/files/f")
    assert [message["type"] for message in sent[1:]] == [kind]


async def test_a_file_that_shrinks_is_asked_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent yet; one that never stops is 503."""
    pread = os.pread
    lengths = [900, 1000]
    monkeypatch.setattr(os, "pread", lambda fd, _, at: pread(fd, lengths.pop(0), at))
    _, body = await messages_of(feature_of(tree), "/files/a.txt")
    assert body["body"] == TEXT
    lengths += [900] * 3
    start, _ = await messages_of(feature_of(tree), "/files/a.txt")
    assert start["status"] == 503


async def test_a_client_that_leaves_lets_the_file_go(tree: Path) -> None:
    """Whatever `send` raises."""
    feature = feature_of(tree)
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []

    async def send(message: Any) -> None:
        raise ConnectionResetError

    scope = {"path": "/files/large.bin", "root_path": "", "method": "GET", "headers": [], "query_string": b""}
    cycle: Any = SimpleNamespace(scope=scope, app=None, messages=None)
    feature(cycle)
    with pytest.raises(ConnectionResetError):
        await cycle.app(scope, None, send)
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_file_that_is_cancelled(kind: str, tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At the end of the time for a shutdown: whoever does this says so, and nothing is said of an app."""
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
    ended = asyncio.Event()

    async def cancelled(cycle: Any, message: Any) -> Any:
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()

    def feature(cycle: Any) -> None:
        cycle.messages = [{**row, "http.response.zerocopysend": cancelled} for row in cycle.messages]

    client = Client(kind, dirs=[f"/files={tree}"])
    await client.connect()
    client._connection.state.features.append(feature)
    try:
        await client.ask("/files/large.bin", whole=False)
        assert ended.is_set()
    finally:
        await client.close()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert not before or len(os.listdir("/proc/self/fd")) == len(before)


async def test_a_file_from_before_all_dates(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have them; they cost no more than their date."""
    found = [*os.stat(tree / "a.txt")]
    times = {"st_mtime_ns": -(10**21)}

    def open_ancient(directory: str, segments: Sequence[str]) -> Any:
        return os.open(tree / "a.txt", os.O_RDONLY), os.stat_result(found, times)

    monkeypatch.setattr(static_files, "open_file", open_ancient)
    start, body = await messages_of(feature_of(tree), "/files/a.txt", (b"if-modified-since", b"yesterday"))
    assert dict(start["headers"])[b"last-modified"] == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert body["body"] == TEXT


@pytest.mark.parametrize("answer", SERVER_ANSWERS)
async def test_the_servers_own_answers_stay(tree: Path, answer: Any) -> None:
    """Also of an app that nothing can be compared with."""

    class Strange:
        def __eq__(self, other: object) -> bool:
            raise AssertionError

        __hash__ = None  # type: ignore[assignment]

    scope = {"path": "/files/a.txt", "root_path": ""}
    cycle: Any = SimpleNamespace(scope=scope, app=answer, messages=None)
    feature_of(tree)(cycle)
    assert (cycle.app, cycle.messages) == (answer, None)
    cycle.app = strange = Strange()
    feature_of(tree)(cycle)
    assert cycle.app is not strange


# Compressed files beside the plain ones


@pytest.fixture
def compressed(tree: Path) -> Path:
    """a.txt with siblings; the br one is older."""
    for suffix, data in ((".gz", gzip.compress(TEXT)), (".br", b"old"), (".zst", b"zst")):
        (tree / f"a.txt{suffix}").write_bytes(data)
        os.utime(tree / f"a.txt{suffix}", (2e9, 1e9))
    os.utime(tree / "a.txt", (2e9, 1e9))
    os.utime(tree / "a.txt.br", ns=(10**18, 10**18 - 1))
    return tree


@pytest.mark.parametrize(
    "accepted,coding",
    [
        (b"gzip", b"gzip"),
        (b"gzip, zstd", b"zstd"),
        (b"gzip, zstd;q=0.9", b"gzip"),
        (b"br, gzip", b"gzip"),
        (b"*", b"zstd"),
        (b"*, zstd;q=0", b"gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=0.5, identity", None),
        (b"", None),
        (b"br", None),
        (b"identity", None),
        (b"gzip" + b"," * 1021, None),  # more than is read
        (None, None),
    ],
)
async def test_the_sibling_that_the_client_takes(
    compressed: Path, accepted: bytes | None, coding: bytes | None
) -> None:
    """Not one that is older; always with Vary, the type of the plain one, and a tag of its own."""
    feature = feature_of(compressed, "auto")
    fields = [] if accepted is None else [(b"accept-encoding", accepted)]
    start, body = await messages_of(feature, "/files/a.txt", *fields)
    headers = dict(start["headers"])
    assert headers.get(b"content-encoding") == coding
    assert headers[b"vary"] == b"Accept-Encoding"
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"content-length"] == b"%d" % len(body["body"])
    assert (gzip.decompress(body["body"]) if coding == b"gzip" else body["body"]) == (
        TEXT if coding != b"zstd" else b"zst"
    )
    plain, _ = await messages_of(feature, "/files/a.txt")
    assert (dict(plain["headers"])[b"etag"] == headers[b"etag"]) is (coding is None)
    start, _ = await messages_of(feature, "/files/a.txt", *fields, (b"if-none-match", headers[b"etag"]))
    assert (start["status"], dict(start["headers"])[b"vary"]) == (304, b"Accept-Encoding")


async def test_ranges_are_those_of_what_is_selected(compressed: Path) -> None:
    """RFC 9110 section 14.1.2: of the bytes after coding, under their own tag."""
    feature = feature_of(compressed, "gzip")
    whole = gzip.compress(TEXT)
    start, body = await messages_of(feature, "/files/a.txt", (b"accept-encoding", b"gzip"), (b"range", b"bytes=2-5"))
    headers = dict(start["headers"])
    assert (start["status"], headers[b"content-encoding"]) == (206, b"gzip")
    assert headers[b"content-range"] == b"bytes 2-5/%d" % len(whole)
    assert len(body["body"]) == 4
    condition = (b"if-range", headers[b"etag"])
    start, body = await messages_of(feature, "/files/a.txt", (b"range", b"bytes=2-5"), condition)
    assert (start["status"], body["body"]) == (200, TEXT)


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
async def test_siblings_are_under_the_same_rules(tree: Path, kind: str) -> None:
    """What would not be served is not there."""
    beside = tree / "a.txt.gz"
    if kind == "link":
        beside.symlink_to("../secret.txt")
    elif kind == "fifo":
        os.mkfifo(beside)
    else:
        beside.mkdir()
    start, body = await messages_of(feature_of(tree, "gzip"), "/files/a.txt", (b"accept-encoding", b"gzip"))
    assert b"content-encoding" not in dict(start["headers"])
    assert body["body"] == TEXT


@pytest.mark.parametrize(
    "name,expected",
    [
        ("a.html", b"text/html; charset=utf-8"),
        ("a.css", b"text/css; charset=utf-8"),
        ("a.json", b"application/json"),
        ("a.png", b"image/png"),
        ("a.svg", b"image/svg+xml"),
        ("A.PNG", b"image/png"),
        ("a.tar.gz", b"application/gzip"),
        ("a.txt.gz", b"application/gzip"),
        ("a.svgz", b"application/gzip"),
        ("a", b"application/octet-stream"),
        ("a.no-such-type", b"application/octet-stream"),
        ("data:text/html,a.png", b"image/png"),
        ("http:a.png", b"image/png"),
        ("a.html?.png", b"image/png"),
    ],
)
def test_media_types(name: str, expected: bytes) -> None:
    """By the end of the name alone."""
    assert media_type_of(name) == expected


async def test_the_order_of_the_codings_is_the_servers(compressed: Path) -> None:
    """Among what the client likes as much; one that is not named is not looked for."""
    for codings, expected in ((("gzip", "zstd"), b"gzip"), (("zstd", "gzip"), b"zstd"), (("br",), None)):
        feature = feature_of(compressed, *codings)
        start, _ = await messages_of(feature, "/files/a.txt", (b"accept-encoding", b"zstd, gzip, br"))
        assert dict(start["headers"]).get(b"content-encoding") == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_compression_is_told_what_it_may_do(kind: str, compressed: Path) -> None:
    """What is coded stays so, parts and 304 too; a file without a sibling is compressed as any other response is."""
    (compressed / "b.txt").write_bytes(TEXT * 4)
    client = Client(kind, dirs=[f"/files={compressed}"])
    await client.connect(compression="gzip")
    try:
        coded = await client.ask("/files/a.txt", ("Accept-Encoding", "gzip"))
        assert (coded.headers["content-encoding"], gzip.decompress(coded.body)) == ("gzip", TEXT)
        made = await client.ask("/files/b.txt", ("Accept-Encoding", "gzip"))
        assert (made.headers["content-encoding"], gzip.decompress(made.body)) == ("gzip", TEXT * 4)
        assert made.headers["etag"].startswith("W/")
        for answer in (coded, made):
            assert answer.headers["vary"].lower() == "accept-encoding"
        tag = ("If-None-Match", made.headers["etag"])
        assert (await client.ask("/files/b.txt", ("Accept-Encoding", "gzip"), tag)).status == 304
        part = await client.ask("/files/b.txt", ("Accept-Encoding", "gzip"), ("Range", "bytes=0-1999"))
        assert (part.status, part.body) == (206, (TEXT * 2))
        assert "content-encoding" not in part.headers
        refused = await client.ask("/files/b.txt", ("Range", "bytes=0-"), ("If-Range", made.headers["etag"]))
        assert (refused.status, refused.body) == (200, TEXT * 4)
    finally:
        await client.close()

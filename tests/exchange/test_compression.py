"""Compression of responses: each rule, and each field that changes, over each HTTP version and parser."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import logging
import os
import threading
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pounce.connection.state import ServerState
from pounce.exchange import compression, content_codings
from pounce.exchange.features import features_of
from pounce.exchange.http_cycle import ResponseState
from pounce.settings import Settings
from tests.connection import http2_client
from tests.exchange.test_content_codings import decode, decode_so_far, text
from tests.fakes import Connection, get, settle

pytestmark = pytest.mark.anyio
logger = logging.getLogger("pounce.error")

#: HTTP/1.1 with each parser, and HTTP/2 with each wire.
VERSIONS = ["h11", "httptools", "zttp", "native", "h2"]
FASTEST = ["httptools", "native"]

#: What can be made on every interpreter.
ON = {"codings": ("gzip",)}

BODY = text(5000)
HTML = (b"content-type", b"text/html")
LENGTH = (b"content-length", b"5000")

Headers = list[tuple[bytes, bytes]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Got(NamedTuple):
    """A response as its client has it."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    trailers: Any = None
    informational: Any = None

    @property
    def decoded(self) -> bytes:
        coding = self.headers.get("content-encoding")
        return decode(coding, self.body) if coding in ("zstd", "br", "gzip") else self.body


def install(state: ServerState, settings: Any) -> None:
    """What a worker with these settings does to its exchanges."""
    state.features[:] = features_of(Settings.of({"compression": settings}), logger)


async def fetch(
    version: str, app: Any, accept: str | None = "gzip", *, settings: Any = None, method: str = "GET", te: str = ""
) -> Got:
    """One request, answered."""
    fields = ([("accept-encoding", accept)] if accept is not None else []) + ([("te", te)] if te else [])
    if version in ("native", "h2"):
        http2_client.WIRE = version
        async with http2_client.Connection(app) as connection:
            install(connection.state, ON if settings is None else settings)
            stream = connection.request([(":method", method), *http2_client.GET[1:], *fields])
            async with asyncio.timeout(30):
                while stream not in connection.answers or not connection.answers[stream].ended:
                    await connection.exchange(1)
            answer = connection.answers[stream]
            headers = dict(answer.headers)
            assert len(headers) == len(answer.headers)
            status = int(headers.pop(":status", 0))
            return Got(
                status,
                headers,
                answer.body,
                answer.reset is None,
                answer.trailers,
                [one for one, _ in answer.informational],
            )
    state = ServerState()
    install(state, ON if settings is None else settings)
    async with Connection(version, app, state=state) as connection1:
        lines = [f"{name}: {value}" for name, value in fields]
        await connection1.feed(get("/", *lines, method=method))
        await connection1.apps_done()
        await settle()
        [response] = connection1.responses(heads=(0,) if method == "HEAD" else ())
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers.items()}
        return Got(response.status, headers, response.body, response.complete)


def whole(body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> Any:
    """An app that sends one body at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        await send({"type": "http.response.body", "body": body})

    return app


def streamed(parts: list[bytes], *headers: tuple[bytes, bytes]) -> Any:
    """An app that sends a body in parts, and its end by itself."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


# What is compressed, and which fields change


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_whole_body(version: str) -> None:
    """Compressed, with the new length; all other fields are as they were."""
    got = await fetch(version, whole(BODY, HTML, LENGTH, (b"x-own", b"1")))
    assert (got.status, got.complete, got.decoded) == (200, True, BODY)
    assert (
        got.headers.items()
        >= {
            "content-type": "text/html",
            "content-encoding": "gzip",
            "content-length": str(len(got.body)),
            "vary": "Accept-Encoding",
            "x-own": "1",
        }.items()
    )


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream(version: str) -> None:
    """Compressed without a length."""
    got = await fetch(version, streamed([BODY[:100], b"", BODY[100:]], HTML))
    assert (got.complete, got.decoded) == (True, BODY)
    assert got.headers["content-encoding"] == "gzip"
    assert "content-length" not in got.headers
    got = await fetch(version, streamed([BODY[:100], BODY[100:]], HTML, LENGTH))
    assert (got.complete, got.decoded) == (True, BODY)
    assert "content-length" not in got.headers


@pytest.mark.parametrize("version", FASTEST)
async def test_a_body_that_comes_later_than_its_head(version: str) -> None:
    """The head has left by then: it is a stream."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML, LENGTH]})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": BODY})

    got = await fetch(version, app)
    assert (got.complete, got.decoded, got.headers["content-encoding"]) == (True, BODY, "gzip")
    assert "content-length" not in got.headers


#: Fields of a response whose body is compressed, before and after. None: the field is not there.
FIELDS: list[tuple[str, Headers, dict[str, str | None]]] = [
    ("no vary", [], {"vary": "Accept-Encoding"}),
    ("vary", [(b"vary", b"Origin")], {"vary": "Origin, Accept-Encoding"}),
    ("two varies", [(b"vary", b"Origin"), (b"Vary", b"Cookie")], {"vary": "Origin, Cookie, Accept-Encoding"}),
    ("vary has it", [(b"vary", b"Cookie, accept-encoding")], {"vary": "Cookie, accept-encoding"}),
    ("vary on all", [(b"vary", b"*")], {"vary": "*"}),
    ("empty vary", [(b"vary", b"")], {"vary": "Accept-Encoding"}),
    ("strong tag", [(b"etag", b'"abc"')], {"etag": 'W/"abc"'}),
    ("weak tag", [(b"ETag", b'W/"abc"')], {"etag": 'W/"abc"'}),
    ("content-md5", [(b"content-md5", b"Q2hlY2sgSW50ZWdyaXR5IQ==")], {"content-md5": None}),
    ("digest", [(b"digest", b"sha-256=abc")], {"digest": None}),
    ("content-digest", [(b"content-digest", b"sha-256=:abc=:")], {"content-digest": None}),
    ("repr-digest", [(b"repr-digest", b"sha-256=:abc=:")], {"repr-digest": None}),
    ("ranges", [(b"accept-ranges", b"bytes")], {"accept-ranges": None}),
    ("cache-control", [(b"cache-control", b"public, max-age=5")], {"cache-control": "public, max-age=5"}),
    ("last-modified", [(b"last-modified", b"Thu, 01 Jan 1970 00:00:00 GMT")], {}),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("before,after", [row[1:] for row in FIELDS], ids=[row[0] for row in FIELDS])
async def test_fields_that_change(version: str, before: Headers, after: dict[str, str | None]) -> None:
    """Those that would be wrong for the coded body; and of what could be compressed, but is not, Vary alone."""
    got = await fetch(version, whole(BODY, HTML, LENGTH, *before))
    assert {name: got.headers.get(name) for name in after} == after
    assert (got.headers["content-encoding"], got.decoded) == ("gzip", BODY)
    plain = await fetch(version, whole(BODY, HTML, LENGTH, *before), accept=None)
    assert (plain.body, plain.headers["content-length"]) == (BODY, "5000")
    assert plain.headers["vary"] == got.headers["vary"]
    for name, value in before:
        if name.lower() != b"vary":
            assert plain.headers[name.decode().lower()] == value.decode()


JSON = (b"content-type", b"application/json; charset=utf-8")

#: Responses: whether it is compressed, and whether it has a Vary field.
RULES: list[tuple[str, Any, bool, bool]] = [
    ("text", whole(BODY, HTML), True, True),
    ("type in capitals", whole(BODY, (b"Content-Type", b"TEXT/HTML; charset=utf-8")), True, True),
    ("json", whole(BODY, JSON, LENGTH), True, True),
    ("json of a kind", whole(BODY, (b"content-type", b"application/problem+json")), True, True),
    ("javascript", whole(BODY, (b"content-type", b"text/javascript")), True, True),
    ("svg", whole(BODY, (b"content-type", b"image/svg+xml")), True, True),
    ("wasm", whole(BODY, (b"content-type", b"application/wasm")), True, True),
    ("ndjson", whole(BODY, (b"content-type", b"application/x-ndjson")), True, True),
    ("events", whole(BODY, (b"content-type", b"text/event-stream")), True, True),
    ("an error", whole(BODY, HTML, LENGTH, status=404), True, True),
    ("exactly the size", whole(BODY[:1024], HTML), True, True),
    ("below the size", whole(BODY[:1023], HTML), False, True),
    ("below the size, declared", streamed([BODY[:100]], HTML, (b"content-length", b"100")), False, True),
    ("empty", whole(b"", HTML), False, True),
    ("no type", whole(BODY, LENGTH), False, False),
    ("other type", whole(BODY, (b"content-type", b"image/png")), False, False),
    ("other type, similar", whole(BODY, (b"content-type", b"application/jsonp")), False, False),
    ("no type at all", whole(BODY, (b"content-type", b"nonsense")), False, False),
    ("coded", whole(BODY, HTML, LENGTH, (b"content-encoding", b"br")), False, False),
    ("opted out by a field", whole(BODY, HTML, LENGTH, (b"Content-Encoding", b"identity")), False, False),
    ("range", whole(BODY, HTML, LENGTH, (b"content-range", b"bytes 0-4999/9999"), status=206), False, False),
    ("range without the status", whole(BODY, HTML, (b"content-range", b"bytes */9")), False, False),
    ("no-transform", whole(BODY, HTML, (b"cache-control", b"public, No-Transform")), False, False),
    ("partial", whole(BODY, HTML, LENGTH, status=206), False, False),
    ("no content", whole(b"", HTML, status=204), False, False),
    ("not modified", whole(b"", HTML, LENGTH, (b"etag", b'"x"'), status=304), False, False),
]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("app,coded,varies", [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
async def test_what_is_never_touched(version: str, app: Any, coded: bool, varies: bool) -> None:
    """It is, byte for byte, what it is without compression, but for Vary where the next one might be compressed."""
    got = await fetch(version, app)
    without = await fetch(version, app, settings={})
    assert (got.status, got.decoded if coded else got.body) == (without.status, without.body)
    assert (got.headers.get("content-encoding") == "gzip") is coded
    assert ("vary" in got.headers) is varies
    if not coded:
        got.headers.pop("vary", None)
        assert got == without


@pytest.mark.parametrize("version", FASTEST)
@pytest.mark.parametrize(
    "accept,coded",
    [(None, False), ("", False), ("br;q=0", False), ("gzip;q=0, *", False), ("*", True), ("x-gzip", True)],
)
async def test_negotiation_reaches_the_response(version: str, accept: str | None, coded: bool) -> None:
    """Whatever the client takes, the next one may take something else: Vary says so."""
    got = await fetch(version, whole(BODY, HTML), accept)
    assert (got.headers.get("content-encoding"), got.headers["vary"]) == ("gzip" if coded else None, "Accept-Encoding")
    assert got.decoded == BODY


@pytest.mark.parametrize(
    "header,coded",
    [
        ((b"cache-control", b"max-age=9, no-transform"), False),
        ((b"Content-Encoding", b"identity"), False),
        ((b"cache-control", b"max-age=9"), True),
    ],
)
async def test_fields_of_the_settings_forbid_it_too(
    header: tuple[bytes, bytes], coded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--header`, which every response has; the client is told nothing of codings then."""

    def given(state: ServerState, settings: Any) -> None:
        state.features[:] = features_of(Settings.of({"compression": settings}), logger, [(b"server", b"x"), header])

    monkeypatch.setitem(globals(), "install", given)
    got = await fetch("httptools", whole(BODY, HTML))
    assert (got.decoded, "content-encoding" in got.headers, "vary" in got.headers) == (BODY, coded, coded)


async def test_who_refuses_a_body_as_it_is_gets_none() -> None:
    """RFC 9110 section 12.5.3: not even a small one."""
    got = await fetch("httptools", whole(b"small", HTML), "gzip, identity;q=0")
    assert (got.headers["content-encoding"], got.decoded) == ("gzip", b"small")
    assert (await fetch("httptools", whole(b"small", HTML), "identity;q=0")).body == b"small"


# HEAD


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("body", [BODY, b""], ids=["with the body", "without"])
async def test_head_has_the_fields_of_get(version: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """But the length, which nobody knows; and nothing is compressed for it."""
    tag = (b"etag", b'"x"')
    get = await fetch(version, whole(BODY, HTML, LENGTH, tag))
    with monkeypatch.context() as patched:
        patched.setattr(content_codings.Codings, "whole", None)
        patched.setattr(content_codings.Codings, "coder", None)
        head = await fetch(version, whole(body, HTML, LENGTH, tag), method="HEAD")
    del get.headers["content-length"]
    head.headers.pop("transfer-encoding", None)  # h11 says it also where there is no body
    assert (head.headers, head.body, head.complete) == (get.headers, b"", True)


@pytest.mark.parametrize("version", FASTEST)
async def test_head_of_what_is_small_or_unknown(version: str) -> None:
    """Its fields are as the app gave them."""
    small = await fetch(version, whole(b"", HTML, (b"content-length", b"10")), method="HEAD")
    assert (small.headers["content-length"], small.headers.get("content-encoding")) == ("10", None)
    unknown = await fetch(version, whole(b"", HTML), method="HEAD")
    assert (unknown.headers.get("content-encoding"), unknown.headers["vary"]) == (None, "Accept-Encoding")


# Streams


@pytest.mark.parametrize("name", ["zstd", "br", "gzip"])
@pytest.mark.parametrize("version", FASTEST)
async def test_events_arrive_at_once(version: str, name: str) -> None:
    """Each can be read before the app goes on."""
    if content_codings._library(name) is None:
        pytest.skip(f"no library for {name} here")
    seen: list[bytes] = []
    goes_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(5):
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
            await goes_on.wait()
            goes_on.clear()
        await send({"type": "http.response.body"})

    read = decode_so_far(name)
    if version == "native":
        http2_client.WIRE = version
        async with http2_client.Connection(app) as connection:
            install(connection.state, {"codings": (name,)})
            stream = connection.request([*http2_client.GET, ("accept-encoding", name)])
            for _ in range(5):
                await connection.exchange()
                answer = connection.answers[stream]
                seen.append(read(answer.body))
                answer.body = b""
                goes_on.set()
            await connection.until(lambda: answer.ended)
    else:
        state = ServerState()
        install(state, {"codings": (name,)})
        async with Connection(version, app, state=state) as connection1:
            await connection1.feed(get("/", f"Accept-Encoding: {name}"))
            for _ in range(5):
                data = connection1.take().rpartition(b"\r\n\r\n")[2]
                size, _, chunk = data.partition(b"\r\n")
                assert len(chunk) == int(size, 16) + 2
                seen.append(read(chunk[:-2]))
                goes_on.set()
                await settle()
    assert seen == [b"data: %d\n\n" % number for number in range(5)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("parts", [[b"x" * 2000], [b"x" * 4000, b"x" * 2000]], ids=["short", "long"])
async def test_a_stream_that_is_not_as_long_as_declared(version: str, parts: list[bytes]) -> None:
    """The app hears what it hears without compression, and the client does not take it for complete."""

    async def attempt(settings: Any) -> tuple[str, Got]:
        errors: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                await streamed(parts, HTML, LENGTH)(scope, receive, send)
            except RuntimeError as exc:
                errors.append(str(exc))
                raise

        got = await fetch(version, app, settings=settings)
        return " ".join(errors), got

    error, got = await attempt(ON)
    expected, _ = await attempt({})
    assert error == expected != ""
    assert got.headers["content-encoding"] == "gzip"
    assert not got.complete
    assert decode_so_far("gzip")(got.body) == parts[0]


@pytest.mark.parametrize("version", FASTEST)
@pytest.mark.parametrize("length", [b"4999", b"5001"])
async def test_a_whole_body_that_is_not_as_long_as_declared(version: str, length: bytes) -> None:
    """As without compression."""
    got = await fetch(version, whole(BODY, HTML, (b"content-length", length)))
    without = await fetch(version, whole(BODY, HTML, (b"content-length", length)), settings={})
    got.headers.pop("vary", None)
    assert got == without


@pytest.mark.parametrize("version", FASTEST)
async def test_an_app_that_goes_on_after_a_mistake(version: str) -> None:
    """A body of the wrong type is not sent, and takes nothing away from the next one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        with pytest.raises(RuntimeError, match="must be bytes"):
            await send({"type": "http.response.body", "body": "text"})
        await send({"type": "http.response.body", "body": bytearray(BODY)})

    got = await fetch(version, app)
    assert (got.complete, got.decoded, got.headers["content-encoding"]) == (True, BODY, "gzip")


@pytest.mark.parametrize("version", ["h11", "httptools", "zttp"])
@pytest.mark.parametrize("accept", ["gzip", "identity"])
async def test_the_head_of_a_refused_body_leaves(version: str, accept: str) -> None:
    """An app that takes the error, and says nothing more, holds no head back."""
    waits = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML, LENGTH]})
        with pytest.raises(RuntimeError, match=r"longer than Content-Length|Too much data"):
            await send({"type": "http.response.body", "body": BODY + b"!"})
        await waits.wait()

    state = ServerState()
    install(state, ON)
    async with Connection(version, app, state=state) as connection:
        await connection.feed(get("/", f"Accept-Encoding: {accept}"))
        head = connection.take()
        waits.set()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert head.lower().count(b"\r\nvary: accept-encoding\r\n") == 1


@pytest.mark.parametrize("version", ["h11", "httptools", "zttp"])
@pytest.mark.parametrize("feature", ["compression", "server_timing"])
async def test_the_head_of_a_body_that_cannot_be_read_leaves(version: str, feature: str) -> None:
    """Whatever keeps the body from being sent, its app may go on without an end."""
    waits = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        gone = memoryview(BODY)
        gone.release()
        with pytest.raises(ValueError, match="released"):
            await send({"type": "http.response.body", "body": gone})
        await waits.wait()

    state = ServerState()
    settings = {"compression": ON} if feature == "compression" else {"server_timing": {"enabled": True}}
    state.features[:] = features_of(Settings.of(settings), logger)
    async with Connection(version, app, state=state, client="127.0.0.1") as connection:
        await connection.feed(get("/", "Accept-Encoding: gzip"))
        head = connection.take()
        waits.set()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (b"server-timing" in head.lower()) == (feature == "server_timing")


async def test_a_head_that_only_its_writer_refuses() -> None:
    """Then there is no body either, whatever the app does."""
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [("content-type", b"text/html")]})
        for _ in range(2):
            try:
                await send({"type": "http.response.body", "body": BODY})
            except RuntimeError as exc:
                errors.append(str(exc))

    state = ServerState()
    install(state, ON)
    async with Connection("httptools", app, state=state) as connection:
        await connection.feed(get("/", "Accept-Encoding: gzip"))
        await connection.apps_done()
        assert connection.take() == b""
        assert connection.closed
    assert errors == [
        "HTTP header names and values must be bytes, not str.",
        "Unexpected ASGI message 'http.response.body' sent, after head was refused.",
    ]


async def test_heads_are_kept_and_bounded() -> None:
    """Those that come again; but not those with a cookie, nor ever new ones without end."""
    compressor = compression.Compressor(Settings.of({"compression": ON}).compression)
    fields = [HTML, LENGTH]
    assert compressor.head_fields(200, fields) is compressor.head_fields(200, tuple(fields))
    assert compressor.head_fields(200, fields) is not compressor.head_fields(404, fields)
    for own in ((b"set-cookie", b"a=b"), (b"Set-Cookie", b"a=b"), (b"location", b"/" * 1024)):
        assert compressor.head_fields(200, [HTML, own]) is not compressor.head_fields(200, [HTML, own])
    html = b"text/html"
    for value in (html, bytearray(html), memoryview(html), memoryview(bytearray(html))):
        lists: Any = [[b"content-type", value]]
        assert compressor.head_fields(200, lists).is_plain
        assert compressor.head_fields(200, [tuple(lists[0])]).is_plain
    for number in range(2000):
        compressor.head_fields(200, [HTML, (b"x-number", b"%d" % number)])
    assert len(compressor._heads) <= 512


# Extensions


@pytest.mark.parametrize("version", ["native", "h2"])
@pytest.mark.parametrize("declared", [True, False])
async def test_trailers_and_early_hints(version: str, declared: bool) -> None:
    """Both go their way."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
        headers = [HTML, LENGTH] if declared else [HTML]
        await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
        await send({"type": "http.response.body", "body": BODY[:9], "more_body": True})
        await send({"type": "http.response.body", "body": BODY[9:]})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    got = await fetch(version, app, te="trailers")
    assert (got.decoded, got.headers["content-encoding"], got.complete) == (BODY, "gzip", True)
    assert got.trailers == [("x-sum", "1")]
    assert got.informational == ["103"]


@pytest.mark.parametrize("version", FASTEST)
async def test_the_app_has_a_say(version: str) -> None:
    """The scope's extension is there where compression is on, and switches it off for one response."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        extensions = scope["extensions"]
        seen.append(copy.deepcopy(extensions))
        if "pounce.compression" in extensions:
            extensions["pounce.compression"]["enabled"] = False
        await whole(BODY, HTML)(dict(scope), receive, send)

    got = await fetch(version, app)
    assert (got.body, got.headers.get("content-encoding"), got.headers.get("vary")) == (BODY, None, None)
    assert seen[-1]["pounce.compression"] == {}
    await fetch(version, app, settings={})
    assert "pounce.compression" not in seen[-1]


# Large parts, beside the loop


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything is compressed on a thread; what for, in order."""
    work: list[str] = []
    on_thread = compression.Compressor.on_thread

    def noted(self: Any, cycle: Any, job: Any, *arguments: Any) -> Any:
        work.append(job.__name__)
        return on_thread(self, cycle, job, *arguments)

    monkeypatch.setattr(compression, "_OFF_LOOP", dict.fromkeys(("zstd", "br", "gzip"), 1))
    monkeypatch.setattr(compression, "_LEAST_OFF_LOOP", 1)
    monkeypatch.setattr(compression.Compressor, "on_thread", noted)
    return work


@pytest.mark.parametrize("version", VERSIONS)
async def test_large_bodies_are_compressed_on_a_thread(version: str, beside: list[str]) -> None:
    """The response is what it is otherwise; a whole one has its length still."""
    got = await fetch(version, whole(BODY, HTML, LENGTH))
    assert (got.decoded, got.headers["content-length"], got.complete) == (BODY, str(len(got.body)), True)
    assert beside == ["whole"]
    parts = [BODY[at : at + 1000] for at in range(0, 5000, 1000)]
    got = await fetch(version, streamed(parts, HTML, LENGTH))
    assert (got.decoded, got.complete) == (BODY, True)
    assert beside == ["whole"] + 5 * ["_code"]


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda body: memoryview(body).cast("I")])
@pytest.mark.parametrize("version", FASTEST)
async def test_large_buffers_too(version: str, kind: Any, beside: list[str]) -> None:
    """And they are what they were when they were sent."""
    got = await fetch(version, whole(kind(BODY), HTML, LENGTH))
    assert (got.decoded, got.complete, beside) == (BODY, True, ["whole"])
    buffer = bytearray(BODY)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        part = asyncio.create_task(send({"type": "http.response.body", "body": buffer, "more_body": True}))
        while len(beside) < 2:
            await asyncio.sleep(0)
        buffer[:] = bytes(len(buffer))
        await part
        await send({"type": "http.response.body"})

    assert (await fetch(version, app)).decoded == BODY


async def test_trailers_behind_a_body_of_a_thread(beside: list[str]) -> None:
    """They come last."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML], "trailers": True})
        await send({"type": "http.response.body", "body": BODY})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    got = await fetch("native", app, te="trailers")
    assert (got.decoded, got.trailers, beside) == (BODY, [("x-sum", "1")], ["_code"])


@pytest.mark.parametrize("version", FASTEST)
async def test_errors_of_a_thread_are_the_same(version: str, beside: list[str]) -> None:
    """Of a body that is too long or too short, in parts or whole."""
    for parts in ([b"x" * 2000], [b"x" * 4000, b"x" * 2000]):
        errors: list[str] = []

        async def app(scope: Any, receive: Any, send: Any, parts: Any = parts, errors: Any = errors) -> None:
            try:
                await streamed(parts, HTML, LENGTH)(scope, receive, send)
            except RuntimeError as exc:
                errors.append(str(exc))
                raise

        got = await fetch(version, app)
        assert not got.complete
        assert len(errors) == 1
        assert errors[0].startswith("Response content ")
    without = await fetch(version, whole(BODY[1:], HTML, LENGTH), settings={})
    got = await fetch(version, whole(BODY[1:], HTML, LENGTH))
    got.headers.pop("vary")
    assert got == without


@pytest.mark.parametrize("version", FASTEST)
async def test_two_tasks_that_send_at_a_time(version: str, beside: list[str]) -> None:
    """One part waits for the other; none is lost, and nothing is out of order."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        parts = [b"%d" % number * 1000 for number in range(5)]
        await asyncio.gather(*(send({"type": "http.response.body", "body": part, "more_body": True}) for part in parts))
        await send({"type": "http.response.body"})

    got = await fetch(version, app)
    assert sorted(got.decoded[at : at + 1000] for at in range(0, 5000, 1000)) == [
        b"%d" % number * 1000 for number in range(5)
    ]


@pytest.mark.parametrize("version", FASTEST)
async def test_who_waits_for_the_end_is_told(version: str, beside: list[str]) -> None:
    """Another task of the app, in `receive()`."""
    told: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

        async def wait() -> None:
            told.append((await receive())["type"])

        waiting = asyncio.create_task(wait())
        await whole(BODY, HTML)(scope, receive, send)
        await waiting

    assert (await fetch(version, app)).decoded == BODY
    assert (told, beside) == (["http.disconnect"], ["whole"])


async def test_a_client_that_leaves_meanwhile(beside: list[str]) -> None:
    """Nothing is sent, nothing raised, and the app goes on."""
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        await send({"type": "http.response.body", "body": BODY, "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        done.set()

    state = ServerState()
    install(state, ON)
    async with Connection("httptools", app, state=state) as connection:
        connection.transport.feed(get("/", "Accept-Encoding: gzip"))
        await asyncio.sleep(0)
        connection.transport.lose()
        await asyncio.wait_for(done.wait(), 5)
    assert beside == ["_code"]


async def test_clients_that_leave_while_they_wait_for_a_thread(
    beside: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody wants any more is not compressed: the threads are there for others."""
    compressed: list[bytes] = []
    go = threading.Event()

    def code(self: Any, coder: Any, body: bytes, more_body: bool) -> bytes:
        compressed.append(body)
        assert go.wait(10)
        return body

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        await send({"type": "http.response.body", "body": scope["raw_path"], "more_body": True})

    monkeypatch.setattr(compression.CompressingWriter, "_code", code)
    state = ServerState()
    install(state, ON)
    async with contextlib.AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(Connection("httptools", app, state=state)) for _ in range(4)]
        for number, connection in enumerate(connections):
            connection.transport.feed(get(f"/{number}", "Accept-Encoding: gzip"))
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while len(beside) < 4 or len(compressed) < 2:
                await asyncio.sleep(0.001)
        connections[2].transport.lose()
        go.set()
        for connection in connections:
            await connection.apps_done()
    assert sorted(compressed) == [b"/0", b"/1", b"/3"]


@pytest.mark.parametrize("version", FASTEST)
async def test_a_part_that_is_cancelled(version: str, beside: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was coded of it is lost: the response is not completed as if nothing had been."""
    errors: list[str] = []
    never: list[asyncio.Future[Any]] = []

    def on_thread(self: Any, cycle: Any, job: Any, *arguments: Any) -> Any:
        never.append(asyncio.get_running_loop().create_future())
        return never[-1]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        part = asyncio.create_task(send({"type": "http.response.body", "body": BODY, "more_body": True}))
        while not never:
            await asyncio.sleep(0)
        part.cancel()
        await asyncio.wait([part])
        try:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except RuntimeError as exc:
            errors.append(str(exc))

    monkeypatch.setattr(compression.Compressor, "on_thread", on_thread)
    got = await fetch(version, app)
    assert not got.complete
    assert errors == ["A part of the response's body was cancelled."]


@pytest.mark.parametrize("waits", [True, False], ids=["later", "at once"])
@pytest.mark.parametrize("version", FASTEST)
async def test_a_whole_body_that_is_cancelled(
    version: str, waits: bool, beside: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it was coded or declared: the app may send another one, and its head waits no longer for that."""
    never: list[asyncio.Future[Any]] = []
    heads: list[Any] = []
    on_thread = compression.Compressor.on_thread

    def stuck(self: Any, cycle: Any, job: Any, *arguments: Any) -> Any:
        if never:
            return on_thread(self, cycle, job, *arguments)
        never.append(asyncio.get_running_loop().create_future())
        return never[-1]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        writer: Any = send.__self__.writer
        await send({"type": "http.response.start", "status": 200, "headers": [HTML]})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await send({"type": "http.response.body", "body": BODY})
        heads.append(writer.head is None)
        if waits:
            await asyncio.sleep(0)
            heads.append(writer.head is None)
        await send({"type": "http.response.body", "body": BODY[1:]})

    monkeypatch.setattr(compression.Compressor, "on_thread", stuck)
    got = await fetch(version, app)
    assert (got.decoded, got.complete, got.headers["content-encoding"]) == (BODY[1:], True, "gzip")
    assert heads == [False, True][: 1 + waits]


async def test_small_parts_of_the_usual_size_stay_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """To hand them over would take longer."""
    monkeypatch.setattr(compression.Compressor, "on_thread", None)
    assert (await fetch("httptools", whole(text(65535), HTML))).decoded == text(65535)


# Files


def with_files(cycle: Any) -> None:
    """A feature for tests: the message `file` sends one, as an extension's row does."""

    async def send_file(cycle: Any, message: Any) -> None:
        writer = cycle.writer
        path = writer.path_for(message["path"])
        file = os.open(path, os.O_RDONLY)
        try:
            count = message.get("count", os.fstat(file).st_size)
            await writer.send_file(file, message.get("offset", 0), count, message.get("more_body", False))
        finally:
            os.close(file)
        if not message.get("more_body") and not cycle.disconnected:
            cycle.state = ResponseState.ALL
            cycle.channel.on_response_complete(cycle)

    table = [dict(row) for row in cycle.messages]
    table[ResponseState.HEAD]["file"] = send_file
    cycle.messages = table
    cycle.writer.next = Plain(cycle.writer.next)


class Plain:
    """The writer of a channel that sends files as they are, by reading them."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def send_file(self, file: int, offset: int, count: int, more_body: bool) -> None:
        self._channel.send_body(os.pread(file, count, offset), more_body)


def sends(path: Path, *headers: tuple[bytes, bytes], **message: Any) -> Any:
    """An app that sends a file."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [HTML, *headers]})
        await send({"type": "file", "path": str(path), **message})
        if message.get("more_body"):
            await send({"type": "http.response.body"})

    return app


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that can send files."""
    wanted = features_of

    def both(settings: Any, logger: Any) -> Any:
        return [*wanted(settings, logger), with_files]

    monkeypatch.setitem(globals(), "features_of", both)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A file of some parts."""
    path = tmp_path / "page.html"
    path.write_bytes(text(700_000))
    return path


def declared(path: Path) -> tuple[bytes, bytes]:
    return (b"content-length", b"%d" % path.stat().st_size)


@pytest.mark.parametrize("version", VERSIONS)
async def test_files_are_compressed_in_parts(version: str, page: Path, files: None) -> None:
    """And what follows behind one, too."""
    for app in (sends(page, declared(page)), sends(page), sends(page, more_body=True)):
        got = await fetch(version, app)
        assert (got.headers["content-encoding"], got.decoded, got.complete) == ("gzip", page.read_bytes(), True)
        assert "content-length" not in got.headers
    got = await fetch(version, sends(page, (b"content-length", b"500000"), offset=200_000, count=500_000))
    assert got.decoded == page.read_bytes()[200_000:]


@pytest.mark.parametrize("version", FASTEST)
async def test_files_that_are_not_compressed(version: str, page: Path, files: None) -> None:
    """Go as they are: for who takes no coding, and small ones."""
    got = await fetch(version, sends(page, declared(page)), accept=None)
    assert (got.body, got.headers["content-length"], got.complete) == (page.read_bytes(), "700000", True)
    page.write_bytes(b"small")
    got = await fetch(version, sends(page, declared(page)))
    assert (got.body, got.headers.get("content-encoding")) == (b"small", None)


@pytest.mark.parametrize("version", FASTEST)
@pytest.mark.parametrize("codings", [("gzip",), ("auto",)])
async def test_a_file_beside_it_is_sent_instead(version: str, codings: Any, page: Path, files: None) -> None:
    """With its own length; its coding need not be one that can be made here."""
    name, suffix = ("gzip", ".gz") if codings == ("gzip",) else ("br", ".br")
    beside = page.with_name(page.name + suffix)
    beside.write_bytes(b"coded before")
    os.utime(page, ns=(1, 1))
    app = sends(page, declared(page), (b"etag", b'"x"'), (b"accept-ranges", b"bytes"))
    got = await fetch(version, app, accept=name, settings={"codings": codings})
    assert (got.body, got.headers["content-encoding"], got.complete) == (b"coded before", name, True)
    assert (got.headers["content-length"], got.headers["etag"], got.headers["vary"]) == (
        "12",
        'W/"x"',
        "Accept-Encoding",
    )
    assert "accept-ranges" not in got.headers
    assert (await fetch(version, app, accept=None)).body == page.read_bytes()
    os.utime(beside, ns=(0, 0))
    assert (await fetch(version, app)).decoded == page.read_bytes()


@pytest.mark.parametrize("version", FASTEST)
@pytest.mark.parametrize("length", [699_999, 700_001])
async def test_a_file_of_another_size_than_declared(version: str, length: int, page: Path, files: None) -> None:
    """The app hears of it, and the client has no whole response."""
    errors: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await sends(page, (b"content-length", b"%d" % length))(scope, receive, send)
        except RuntimeError as exc:
            errors.append(str(exc))
            raise

    got = await fetch(version, app)
    assert not got.complete
    assert errors == [f"Response content {'longer' if length < 700_000 else 'shorter'} than Content-Length"]


@pytest.mark.parametrize("version", FASTEST)
async def test_a_file_that_has_become_shorter(version: str, page: Path, files: None) -> None:
    """The connection, or the stream, ends without the end of the response."""
    got = await fetch(version, sends(page, (b"content-length", b"800000"), count=800_000))
    assert (got.headers["content-encoding"], got.complete) == ("gzip", False)


@pytest.mark.parametrize("version", FASTEST)
async def test_head_of_a_file(version: str, page: Path, files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is compressed."""
    monkeypatch.setattr(compression.Compressor, "on_thread", None)
    got = await fetch(version, sends(page, declared(page)), method="HEAD")
    assert (got.headers["content-encoding"], got.body, got.complete) == ("gzip", b"", True)


# Bodies of every size


@pytest.mark.parametrize("name", ["zstd", "br", "gzip"])
@pytest.mark.parametrize("version", FASTEST)
@pytest.mark.parametrize("part,size", [(1, 3000), (1000, 200_000), (65536, 1 << 20), (1 << 20, 3_000_001)])
async def test_round_trips(version: str, name: str, part: int, size: int) -> None:
    """Whole and in parts, with the real thresholds."""
    if content_codings._library(name) is None:
        pytest.skip(f"no library for {name} here")
    body = text(size)
    settings = {"codings": (name,)}
    got = await fetch(version, whole(body, HTML), name, settings=settings)
    assert (got.headers["content-encoding"], got.decoded, got.complete) == (name, body, True)
    parts = [body[at : at + part] for at in range(0, size, part)]
    got = await fetch(version, streamed(parts, HTML), name, settings=settings)
    assert (got.headers["content-encoding"], got.decoded, got.complete) == (name, body, True)


async def test_nothing_is_left_behind() -> None:
    """A response that was compressed, and one that was broken off, are freed without the garbage collector."""
    gone: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        writer = receive.__self__.writer
        gone.append(weakref.ref(writer))
        await streamed([BODY], HTML)(scope, receive, send)

    gc.disable()
    try:
        await fetch("httptools", app)
        await fetch("native", app)
        await settle()
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()

"""Compression of responses: each rule, and each field that changes, over each HTTP version and parser."""

from __future__ import annotations

import asyncio
import copy
import logging
from typing import Any, NamedTuple

import pytest

from pounce.connection.state import ServerState
from pounce.exchange import content_codings
from pounce.exchange.features import features_of
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
            await connection.until(lambda: stream in connection.answers and connection.answers[stream].ended)
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

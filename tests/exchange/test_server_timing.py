"""Server-Timing: what the field says, where it stands, and who gets it, over each HTTP version and parser."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import threading
import weakref
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from pounce.connection.state import ServerState
from pounce.errors import explanation
from pounce.exchange import server_timing
from pounce.exchange.features import features_of
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.exchange.server_timing import Allowed, Clock, TimedWriter, Timing
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.settings import ServerTiming, Settings
from pounce.wire.response_fields import checked_trailers
from tests.connection import http2_client
from tests.fakes import Connection, chunked, get, post, responses, settle

pytestmark = pytest.mark.anyio
logger = logging.getLogger("pounce.error")

HTTP1 = ["h11", "httptools", "zttp"]
HTTP2 = ["native", "h2"]
VERSIONS = HTTP1 + HTTP2


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class FakeTime:
    """Stands still until it is told to go on. In binary fractions of a second, so that sums are exact."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, milliseconds: float) -> None:
        self.now += milliseconds / 1000


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """The time of everything that looks at it for this field."""
    fake = FakeTime()
    monkeypatch.setattr(server_timing, "monotonic", fake)
    monkeypatch.setattr("pounce.connection.http1_input.monotonic", fake)
    monkeypatch.setattr("pounce.connection.http2.monotonic", fake)
    return fake


class Got(NamedTuple):
    """A response as its client has it."""

    status: int
    headers: dict[str, str]
    body: bytes
    trailers: Any

    @property
    def timing(self) -> str | None:
        return self.headers.get("server-timing")


def install(state: ServerState, allow: Any = "127.0.0.0/8") -> None:
    """What a worker with this setting does to its exchanges."""
    state.features[:] = features_of(Settings.of({"server_timing": {"enabled": True, "allow": allow}}), logger)


async def fetch(
    version: str, app: Any, *fields: tuple[str, str], allow: Any = (), method: str = "GET", client: str = "127.0.0.2"
) -> Got:
    """One request, answered."""
    if version in HTTP2:
        http2_client.WIRE = version
        connection = http2_client.Connection(app)
        connection.transport.extra["peername"] = (client, 9000)
        async with connection:
            install(connection.state, allow)
            stream = connection.request([(":method", method), *http2_client.GET[1:], *fields])
            async with asyncio.timeout(30):
                while stream not in connection.answers or not connection.answers[stream].ended:
                    await connection.exchange(1)
            answer = connection.answers[stream]
            headers = dict(answer.headers)
            assert len(headers) == len(answer.headers)
            assert answer.reset is None
            return Got(int(headers.pop(":status")), headers, answer.body, answer.trailers)
    state = ServerState()
    install(state, allow)
    async with Connection(version, app, state=state, client=client) as connection1:
        await connection1.feed(get("/", *[f"{name}: {value}" for name, value in fields], method=method))
        await connection1.apps_done()
        await settle()
        data, trailers = without_trailers(connection1.take())
        [response] = responses(data, heads=(0,) if method == "HEAD" else (), closed=connection1.closed)
        assert response.complete
        headers = {name.decode(): value.decode("latin-1") for name, value in response.headers.items()}
        return Got(response.status, headers, response.body, trailers)


def without_trailers(data: bytes) -> tuple[bytes, Any]:
    """One response of HTTP/1.1 without its trailers, and these; None: it has none."""
    parts = re.fullmatch(rb"(.*\r\n0\r\n)((?:[^\r\n]+\r\n)+)(\r\n)", data, re.DOTALL)
    if parts is None:
        return data, None
    lines = parts[2].decode("latin-1").splitlines()
    return parts[1] + parts[3], [tuple(line.split(": ", 1)) for line in lines]


def timing_of(scope: Any) -> Timing:
    timing = scope["extensions"]["pounce.timing"]
    assert isinstance(timing, Timing)
    return timing


def whole(*fields: tuple[bytes, bytes], status: int = 200, body: bytes = b"ok") -> Any:
    """An app that sends its body at once."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(fields)})
        await send({"type": "http.response.body", "body": body})

    return app


# What the field says


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_whole_body(version: str, time: FakeTime) -> None:
    """Nothing before the app, 3.5 ms in it, and 2 more until it has sent its body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.pass_(3.5)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})
        time.pass_(2)
        await send({"type": "http.response.body", "body": b"ok"})

    got = await fetch(version, app)
    assert (got.status, got.body, got.headers["x"]) == (200, b"ok", "y")
    assert got.timing == "queue;dur=0.0, app;dur=3.5, total;dur=5.5"
    assert "trailer" not in got.headers


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_field_of_the_app_comes_first(version: str, time: FakeTime) -> None:
    """One field, whatever number of them the app sends."""
    app = whole((b"Server-Timing", b"db;dur=53"), (b"content-length", b"2"), (b"server-timing", b'cache;desc="hit"'))
    got = await fetch(version, app)
    assert got.timing == 'db;dur=53, cache;desc="hit", queue;dur=0.0, app;dur=0.0, total;dur=0.0'


@pytest.mark.parametrize("version", VERSIONS)
async def test_marks_and_measures(version: str, time: FakeTime) -> None:
    """What is measured again under a name is added; a block that fails is measured too."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        timing = timing_of(scope)
        timing.mark("cache", 'said "no\\way"')
        timing.mark("seen")
        for _ in range(3):
            with timing.measure("db"):
                time.pass_(1.25)
        with pytest.raises(KeyError), timing.measure("view"):
            time.pass_(1)
            raise KeyError
        await whole()(scope, receive, send)

    got = await fetch(version, app)
    assert got.timing == (
        'queue;dur=0.0, app;dur=4.75, cache;desc="said \\"no\\\\way\\"", seen, db;dur=3.75, view;dur=1.0, '
        "total;dur=4.75"
    )


@pytest.mark.parametrize("name", ["", "a b", "a;b", "a,b", "a=b", "ä", "a\r\nb"])
def test_names_that_are_none(name: str) -> None:
    """An app hears of them when it gives them."""
    timing = Timing(threading.Lock())
    with pytest.raises(ValueError, match="A name in Server-Timing is a token"):
        timing.mark(name)
    with pytest.raises(ValueError, match="A name in Server-Timing is a token"), timing.measure(name):
        pass
    with pytest.raises(ValueError, match="printable ASCII"):
        timing.mark("a", "b\r\nc")
    assert timing.entries() == {}


def test_names_are_bounded() -> None:
    """An app that invents names does not fill the head; those that it has go on."""
    timing = Timing(threading.Lock())
    for number in range(100):
        timing.mark(f"mark{number}")
        with timing.measure(f"measure{number}"):
            pass
    timing.mark("mark0", "again")
    assert len(timing.entries()) == server_timing.MAX_NAMES == 32
    assert timing.entries()["mark0"] == "again"


def test_threads_measure_at_once() -> None:
    """No duration is lost: each is at least what it took."""
    timing = Timing(threading.Lock())
    ready = threading.Barrier(4)

    def work() -> None:
        ready.wait()
        for _ in range(500):
            with timing.measure("work"):
                pass

    class Ticks:
        now = 0.0

        def __call__(self) -> float:
            return local.__dict__.setdefault("ticks", iter(range(10**6))).__next__() * 1.0

    local = threading.local()
    before, server_timing.monotonic = server_timing.monotonic, Ticks()
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server_timing.monotonic = before
    assert timing.entries() == {"work": 2000.0}


# When it begins


@pytest.mark.parametrize("version", HTTP1)
async def test_from_the_first_byte_on(version: str, time: FakeTime) -> None:
    """A head that comes in pieces; empty lines and the idle time before it do not count, nor does a body."""
    state = ServerState()
    install(state)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await whole((b"content-length", b"2"))(scope, receive, send)

    async with Connection(version, app, state=state) as connection:

        async def timing(*parts: bytes) -> str:
            for part in parts:
                await connection.feed(part)
                time.pass_(8)
            [response] = connection.responses()
            return response.headers[b"server-timing"].decode()

        data = get()
        assert await timing(data[:1], data[1:20], data[20:]) == "queue;dur=16.0, app;dur=0.0, total;dur=16.0"
        assert await timing(data) == "queue;dur=0.0, app;dur=0.0, total;dur=0.0"
        data = post(b"12345")
        assert await timing(data[:-5], data[-5:-2], data[-2:]) == "queue;dur=0.0, app;dur=16.0, total;dur=16.0"
        data = chunked(b"1", b"2")
        assert await timing(data[:-9], data[-9:]) == "queue;dur=0.0, app;dur=8.0, total;dur=8.0"
        assert await timing(get()) == "queue;dur=0.0, app;dur=0.0, total;dur=0.0"


async def test_empty_lines_are_no_request(time: FakeTime) -> None:
    """RFC 9112 section 2.2: a client may send one too many (the other parsers refuse it); that begins no request."""
    state = ServerState()
    install(state)
    async with Connection("httptools", whole((b"content-length", b"2")), state=state) as connection:
        await connection.feed(b"\r\n")
        time.pass_(1000)
        await connection.feed(get())
        [response] = connection.responses()
        assert response.headers[b"server-timing"] == b"queue;dur=0.0, app;dur=0.0, total;dur=0.0"


@pytest.mark.parametrize("version", HTTP1)
async def test_a_pipelined_request_waits_for_the_one_before(version: str, time: FakeTime) -> None:
    """httptools parses it at once, and that it waited is in `queue`; each has its own times."""
    state = ServerState()
    install(state)
    gate = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/1":
            await gate.wait()
        await whole((b"content-length", b"2"))(scope, receive, send)

    async with Connection(version, app, state=state) as connection:
        await connection.feed(get("/1") + get("/2"))
        time.pass_(4)
        gate.set()
        await settle()
        first, second = connection.responses()
        assert first.headers[b"server-timing"] == b"queue;dur=0.0, app;dur=4.0, total;dur=4.0"
        waited = 0.0 if connection.protocol.holds_requests_back else 4.0
        assert second.headers[b"server-timing"].decode() == f"queue;dur={waited}, app;dur=0.0, total;dur={waited}"


# Where it stands


def streaming(time: FakeTime, *fields: tuple[bytes, bytes], trailers: Any = None) -> Any:
    """An app that takes 2 ms for each of three messages, and measures some of it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        timing = timing_of(scope)
        timing.mark("early")
        start = {"type": "http.response.start", "status": 200, "headers": list(fields)}
        time.pass_(2)
        with timing.measure("twice"):
            time.pass_(0)
        await send(start | ({"trailers": True} if trailers else {}))
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        with timing.measure("twice"):
            time.pass_(2)
        timing.mark("late")
        await send({"type": "http.response.body", "body": b"cd"})
        if trailers:
            time.pass_(2)
            await send({"type": "http.response.trailers", "headers": trailers})

    return app


HEAD = "queue;dur=0.0, app;dur=2.0, early, twice;dur=0.0"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream_without_trailers(version: str, time: FakeTime) -> None:
    """The total is not known when the head leaves, and this client reads no trailers."""
    got = await fetch(version, streaming(time))
    assert (got.body, got.timing, got.trailers) == (b"abcd", HEAD, None)
    assert "trailer" not in got.headers


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream_with_trailers(version: str, time: FakeTime) -> None:
    """The total, and what the head could not say."""
    got = await fetch(version, streaming(time), ("te", "trailers"))
    assert (got.body, got.timing, got.headers["trailer"]) == (b"abcd", HEAD, "Server-Timing")
    assert got.trailers == [("server-timing", "twice;dur=2.0, late, total;dur=4.0")]


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream_with_a_length_and_trailers(version: str, time: FakeTime) -> None:
    """HTTP/2 has both; with HTTP/1.1 the length ends the body."""
    got = await fetch(version, streaming(time, (b"content-length", b"4")), ("te", "trailers"))
    assert (got.body, got.headers["content-length"], got.timing) == (b"abcd", "4", HEAD)
    assert (got.trailers is not None) is ("trailer" in got.headers) is (version in HTTP2)


@pytest.mark.parametrize("version", VERSIONS)
async def test_trailers_of_the_app(version: str, time: FakeTime) -> None:
    """They are sent, too, and its own Server-Timing comes first."""
    own = [(b"x-sum", b"1"), (b"Server-Timing", b"own")]
    app = streaming(time, (b"trailer", b"x-sum"), trailers=own)
    got = await fetch(version, app, ("te", "trailers"))
    assert (got.body, got.headers["trailer"]) == (b"abcd", "x-sum, Server-Timing")
    assert got.trailers == [("x-sum", "1"), ("server-timing", "own, twice;dur=2.0, late, total;dur=6.0")]
    got = await fetch(version, app)
    assert (got.body, got.headers["trailer"], got.trailers) == (b"abcd", "x-sum", None)


class RecordingWriter:
    """A writer that can send trailers and files."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send_head(self, status: int, headers: Any, is_head: bool, keep_alive: bool, body_follows: bool = False) -> None:
        self.sent.append(("head", dict(headers)))

    def send_body(self, body: bytes, more_body: bool) -> None:
        self.sent.append(("body", body, more_body))

    def check_trailers(self, fields: Any) -> Any:
        return checked_trailers(fields)

    def send_trailers(self, fields: Any) -> None:
        self.sent.append(("trailers", fields))

    async def send_file(self, file: int, offset: int, count: int, more_body: bool) -> None:
        self.sent.append(("file", count, more_body))


def over(version: str, **scope: Any) -> tuple[RecordingWriter, TimedWriter, RequestResponseCycle]:
    """The writers of an exchange whose client reads trailers."""
    writer: Any = RecordingWriter()
    full = {"method": "GET", "http_version": version, "headers": [(b"te", b"trailers")], **scope}
    channel: Any = SimpleNamespace(messages=())
    nothing: Any = None
    cycle = RequestResponseCycle(channel, writer, nothing, nothing, full, logger, None, True, False)
    return writer, TimedWriter(cycle, Clock(1000.0), Timing(threading.Lock())), cycle


TOTAL = ("trailers", [(b"server-timing", b"total;dur=0.0")])


@pytest.mark.parametrize(
    "version,fields,has_trailer",
    [
        ("1.1", [], True),
        ("1.1", [(b"Transfer-Encoding", b"chunked"), (b"content-length", b"4")], True),
        ("1.1", [(b"Content-Length", b"4")], False),
        ("1.0", [], False),
        ("2", [(b"content-length", b"4")], True),
    ],
)
async def test_only_what_has_room_for_trailers(version: str, fields: Any, has_trailer: bool, time: FakeTime) -> None:
    """Chunks and streams of HTTP/2 have, a body that ends with its length or the connection has not."""
    for file in (False, True):
        writer, timed, cycle = over(version)
        timed.send_head(200, fields, False, True)
        timed.send_body(b"ab", True)
        if file:
            await timed.send_file(0, 0, 2, False)
        else:
            timed.send_body(b"cd", False)
        (_, head), first, *rest = writer.sent
        assert (first, (b"trailer" in head)) == (("body", b"ab", True), has_trailer)
        last = ("file", 2) if file else ("body", b"cd")
        assert rest == ([(*last, True), TOTAL] if has_trailer else [(*last, False)])
        assert not cycle.disconnected


async def test_a_file_whose_client_leaves(time: FakeTime) -> None:
    """There is nobody to send trailers to."""
    writer, timed, cycle = over("2")
    timed.send_head(200, [], False, True)
    sent = timed.send_file(0, 0, 2, False)
    cycle.disconnected = True
    await sent
    assert writer.sent[1:] == [("file", 2, True)]


@pytest.mark.parametrize("status,method", [(204, "GET"), (304, "GET"), (200, "HEAD")])
@pytest.mark.parametrize("version", VERSIONS)
async def test_responses_without_a_body(version: str, status: int, method: str, time: FakeTime) -> None:
    """They have the field, and no trailers."""
    got = await fetch(version, whole(status=status, body=b""), ("te", "trailers"), method=method)
    assert (got.status, got.body, got.trailers) == (status, b"", None)
    assert got.timing == "queue;dur=0.0, app;dur=0.0, total;dur=0.0"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})

    got = await fetch(version, app, ("te", "trailers"), method=method)
    assert (got.status, got.trailers, got.timing) == (status, None, "queue;dur=0.0, app;dur=0.0")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_500_of_the_server(version: str, time: FakeTime, caplog: pytest.LogCaptureFixture) -> None:
    """It says how long the app took to fail; what an app returns is still complained of."""

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        timing_of(scope).mark("reached")
        time.pass_(7)
        raise RuntimeError("oops")

    got = await fetch(version, fails)
    assert (got.status, got.timing) == (500, "queue;dur=0.0, app;dur=7.0, reached, total;dur=7.0")
    assert "oops" in caplog.text

    async def returns(scope: Any, receive: Any, send: Any) -> Any:
        await whole((b"content-length", b"2"))(scope, receive, send)
        return 17

    await fetch(version, returns) if version not in HTTP2 else None
    assert version in HTTP2 or "ASGI callable should return None, but returned '17'." in caplog.text


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_exchange_is_freed(version: str) -> None:
    """Not by the garbage collector alone: with it nothing is left."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(weakref.ref(send.__closure__[1].cell_contents.__self__))
        await whole()(scope, receive, send)

    await fetch(version, app)
    gc.collect()
    assert [one() for one in seen] == [None]


# Who gets it


PROXIES = [("forwarded", "for=9.9.9.9"), ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "https"), ("via", "p")]


@pytest.mark.parametrize("version", ["httptools", "native"])
@pytest.mark.parametrize(
    "client,allow,fields,told",
    [
        ("127.0.0.2", "", [], True),
        ("::1", "", [], True),
        ("::ffff:127.0.0.1", "", [], True),
        ("192.0.2.1", "", [], False),
        ("192.0.2.1", "192.0.2.0/24", [], True),
        ("192.0.2.1", "10.0.0.0/8,192.0.2.1", [], True),
        ("192.0.3.1", "192.0.2.0/24", [], False),
        ("127.0.0.2", "192.0.2.0/24", [], False),
        ("127.0.0.2", "X-Key=s3cret", [], False),
        ("192.0.2.1", "X-Key=s3cret", [("x-key", "s3cret")], True),
        ("192.0.2.1", "X-Key=s3cret", [("x-key", "s3cre")], False),
        ("192.0.2.1", "X-Key=s3cret", [("x-other", "s3cret")], False),
        ("192.0.2.1", "X-Key=a,x-key=b", [("x-key", "b")], True),
        ("192.0.2.1", "X-Key=s3cret", [("x-key", "s3cret"), ("forwarded", "for=1.2.3.4")], True),
        *[("127.0.0.2", "", [field], False) for field in PROXIES],
        *[("192.0.2.1", "192.0.2.0/24", [field], False) for field in PROXIES],
    ],
)
async def test_who_is_told(version: str, client: str, allow: str, fields: Any, told: bool) -> None:
    """Others have the same response without the field, and their app the same object."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        timing_of(scope).mark("here")
        await whole((b"server-timing", b"own"), (b"content-length", b"2"))(scope, receive, send)

    got = await fetch(version, app, *fields, allow=allow, client=client)
    assert (got.status, got.body) == (200, b"ok")
    assert got.timing is not None
    assert got.timing.startswith("own, queue;dur=") if told else got.timing == "own"


@pytest.mark.parametrize("version", ["httptools", "native"])
@pytest.mark.parametrize(
    "forwarded,allow,told",
    [
        ("192.0.2.7", "", False),
        ("192.0.2.7", "192.0.2.0/24", True),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "127.0.0.0/8", False),
        ("::1", "", False),
        ("unix", "", False),
        ("192.0.2.7, 198.51.100.1", "192.0.2.0/24", False),
    ],
)
async def test_behind_a_trusted_proxy(version: str, forwarded: str, allow: str, told: bool) -> None:
    """The client is whom the proxy names; that it is this very machine may be said by anybody."""
    app = ProxyHeadersMiddleware(whole(), "127.0.0.2")
    got = await fetch(version, app, ("x-forwarded-for", forwarded), allow=allow)
    assert (got.timing is not None) is told


def test_sockets_without_addresses() -> None:
    """They are local, and one word lists them."""
    for allow, told in (((), True), (("unix",), True), (("::1",), False)):
        assert Allowed(allow).may_know({"client": None, "headers": []}, None) is told
    assert not Allowed(()).may_know({"client": None, "headers": [(b"x-forwarded-for", b"")]}, None)


def test_what_proxies_say_does_not_fill_the_memory() -> None:
    """Addresses are remembered, some of them; what is too long to be one is not."""
    allowed = Allowed(("10.0.0.0/8",))
    for number in range(2000):
        assert not allowed.may_know({"client": (f"{number}" * 300, 0), "headers": []}, None)
    assert allowed._place_of.cache_info().currsize == 0
    for number in range(2000):
        assert allowed.may_know({"client": (f"10.0.{number >> 8}.{number & 255}", 0), "headers": []}, None)
    assert allowed._place_of.cache_info().currsize <= 1024


@pytest.mark.parametrize("version", VERSIONS)
async def test_it_is_off_unless_asked_for(version: str) -> None:
    """Nothing in the scope, nothing before the writer, no look at the clock."""
    assert features_of(Settings.of({}), logger) == []
    assert features_of(Settings.of({"server_timing": {"allow": "10.0.0.0/8"}}), logger) == []
    extensions: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        extensions.append(scope["extensions"])
        await whole((b"content-length", b"2"))(scope, receive, send)

    if version in HTTP2:
        http2_client.WIRE = version
        async with http2_client.Connection(app) as connection:
            answer = await connection.get()
            assert "server-timing" not in dict(answer.headers)
            assert connection.protocol.first_byte_at == 0.0
    else:
        async with Connection(version, app) as connection1:
            await connection1.feed(get())
            assert b"server-timing" not in connection1.take().lower()
            assert connection1.protocol.first_byte_at == 0.0
    assert "pounce.timing" not in extensions[0]


# The settings


@pytest.mark.parametrize(
    "given,allow",
    [
        ("", ()),
        (None, ()),
        ("10.0.0.0/8, ::1,unix", ("10.0.0.0/8", "::1", "unix")),
        (["10.0.0.0/8", "X-Key=a=b", "10.0.0.0/8"], ("10.0.0.0/8", "X-Key=a=b")),
        ((("10.0.0.0/8",), ("unix", "fe80::/10")), ("10.0.0.0/8", "unix", "fe80::/10")),
    ],
)
def test_lists_of_clients(given: Any, allow: Any) -> None:
    """One string, or a list, also of what was read before."""
    assert ServerTiming.of({"allow": given}).allow == allow


@pytest.mark.parametrize(
    "given", ["10.0.0.1/8", "localhost", "X-Key=", "=x", "X Key=x", "*", 5, "X-Key=ä", "X-Key=a b", "10.0.0.0/33"]
)
def test_lists_that_make_no_sense(given: Any) -> None:
    """One line, explained."""
    with pytest.raises(ValueError) as caught:
        ServerTiming.of({"allow": given})
    line = (
        f"server_timing.allow must be a list of networks (10.0.0.0/8), addresses, unix and Header=value, not {given!r}"
    )
    assert explanation(caught.value) == (line, 2)

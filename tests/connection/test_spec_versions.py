"""`--asgi-spec`: what `send()` does once the client has left, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import starlette.requests
import starlette.responses
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from pounce.errors import ClientDisconnected
from pounce.settings import Settings
from tests.connection import http2_client
from tests.connection.extensions_page import names_of_the_page
from tests.connection.http2_client import Connection as Http2Connection
from tests.fakes import PROTOCOLS, Connection, get, settle

pytestmark = pytest.mark.anyio

START = {"type": "http.response.start", "status": 200, "headers": []}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}


class Gone:
    """A request whose client leaves when the test says so, on an HTTP/1.1 parser or on HTTP/2."""

    def __init__(self, version: str, app: Any, spec: str) -> None:
        self._app = app
        self._version = version
        self._spec = spec

    async def __aenter__(self) -> Gone:
        self.connection: Any
        if self._version in PROTOCOLS:
            self.connection = Connection(self._version, self._app, settings=Settings.of({"asgi": {"spec": self._spec}}))
            await self.connection.__aenter__()
            await self.connection.feed(get())
        else:
            settings = Settings.of({"asgi": {"spec": self._spec}, "http2": {"wire": http2_client.WIRE}})
            self.connection = Http2Connection(self._app, settings=settings)
            await self.connection.__aenter__()
            self.stream = self.connection.request()
            await self.connection.exchange()
        return self

    async def leave(self) -> None:
        """The client closes its connection; or resets its stream, over HTTP/2."""
        if self._version in PROTOCOLS:
            self.connection.transport.lose()
        else:
            self.connection.client.reset_stream(self.stream)
            self.connection.send()
        await settle()

    async def apps_done(self) -> None:
        async with asyncio.timeout(5):
            while self.connection.state.tasks:
                await asyncio.wait(list(self.connection.state.tasks))

    async def __aexit__(self, *exc: Any) -> None:
        await self.connection.__aexit__(*exc)


@pytest.fixture(params=[*sorted(PROTOCOLS), "HTTP/2 native", "HTTP/2 h2"])
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An HTTP/1.1 parser, or a wire of HTTP/2."""
    if request.param not in PROTOCOLS:
        monkeypatch.setattr(http2_client, "WIRE", request.param.split()[1])
    return str(request.param)


def errors(caplog: Any) -> list[str]:
    """What was logged as an error, by anybody."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def sends_on(gone: asyncio.Event, outcome: list[Any], last: Callable[[BaseException | None], None]) -> Any:
    """An app that sends a part when the client has left, and notes what became of that."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        outcome.append(scope["asgi"]["spec_version"])
        await send(START)
        await send(PART)
        await gone.wait()
        try:
            await send(PART)
        except BaseException as exc:
            outcome.append(type(exc))
            last(exc)
        else:
            outcome.append(None)

    return app


def goes_on(exc: BaseException | None) -> None:
    """The app ignores it."""


@pytest.mark.parametrize(("spec", "raised"), [("2.3", None), ("2.4", ClientDisconnected), ("2.5", ClientDisconnected)])
async def test_send_raises_from_2_4_on(version: str, spec: str, raised: Any, caplog: Any) -> None:
    """An OSError, which the app may catch; with 2.3 the message is dropped."""
    gone, outcome = asyncio.Event(), []  # type: ignore[var-annotated]
    async with Gone(version, sends_on(gone, outcome, goes_on), spec) as request:
        await request.leave()
        gone.set()
        await request.apps_done()
    assert outcome == [spec, raised]
    assert issubclass(ClientDisconnected, OSError)
    assert errors(caplog) == []


async def test_a_send_that_waits_raises(version: str, caplog: Any) -> None:
    """For a client that reads nothing, and then leaves."""
    outcome: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        except OSError as exc:
            outcome.append(type(exc))
            raise

    async with Gone(version, app, "2.4") as request:
        if version in PROTOCOLS:
            request.connection.protocol.pause_writing()
        await settle()
        assert outcome == []
        await request.leave()
        await request.apps_done()
    assert outcome == [ClientDisconnected]
    assert errors(caplog) == []


class Translated(Exception):
    """A framework's own."""


def raises_again(exc: BaseException | None) -> None:
    assert exc is not None
    raise exc


def translates(exc: BaseException | None) -> None:
    raise Translated


def translates_twice(exc: BaseException | None) -> None:
    try:
        raise Translated
    except Translated as own:
        raise RuntimeError("told on purpose") from own


def groups(exc: BaseException | None) -> None:
    assert isinstance(exc, Exception)
    raise ExceptionGroup("a task group's", [exc, ExceptionGroup("", [exc])])


@pytest.mark.parametrize("last", [raises_again, translates, translates_twice, groups])
async def test_what_it_becomes_is_no_error_of_the_app(version: str, last: Any, caplog: Any) -> None:
    """Whether the app lets it through, or says the same in its own words."""
    gone = asyncio.Event()
    async with Gone(version, sends_on(gone, [], last), "2.4") as request:
        await request.leave()
        gone.set()
        await request.apps_done()
    assert errors(caplog) == []


def misspells(exc: BaseException | None) -> None:
    raise NameError("a mistake in the clean-up")


def groups_with_a_mistake(exc: BaseException | None) -> None:
    assert isinstance(exc, Exception)
    raise ExceptionGroup("a task group's", [exc, NameError("a mistake")])


@pytest.mark.parametrize("last", [misspells, groups_with_a_mistake])
async def test_a_mistake_in_the_clean_up_is_logged(version: str, last: Any, caplog: Any) -> None:
    """It is the app's, whatever it came behind."""
    gone = asyncio.Event()
    async with Gone(version, sends_on(gone, [], last), "2.4") as request:
        await request.leave()
        gone.set()
        await request.apps_done()
    assert errors(caplog) == ["Exception in ASGI application\n"]


async def test_an_oserror_of_the_apps_own_is_logged(version: str, caplog: Any) -> None:
    """A file that is not there has nothing to do with the client, also once that has left."""
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await gone.wait()
        raise FileNotFoundError("the app's")

    async with Gone(version, app, "2.4") as request:
        await request.leave()
        gone.set()
        await request.apps_done()
    assert errors(caplog) == ["Exception in ASGI application\n"]


async def test_an_app_that_ignores_it_has_to_wait(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with 2.3: messages in vain take longer and longer, and the loop is everybody's."""
    gone, count = asyncio.Event(), 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal count
        await send(START)
        await gone.wait()
        while count < 20:
            count += 1
            try:
                await send(PART)
            except OSError:
                pass

    async with Gone(version, app, "2.4") as request:
        await request.leave()
        gone.set()
        await settle(3)
        assert count <= 4  # a turn of the loop each
        await request.apps_done()
    assert count == 20


@pytest.mark.parametrize("middleware", [False, True])
@pytest.mark.parametrize("spec", ["2.3", "2.4"])
async def test_starlettes_stream_ends(version: str, spec: str, middleware: bool, caplog: Any) -> None:
    """Its generator is closed, and nothing is logged as an error."""
    go, ended = asyncio.Event(), asyncio.Event()

    async def numbers() -> AsyncIterator[bytes]:
        try:
            yield b"0"
            await go.wait()
            while True:
                yield b"1"
        finally:
            ended.set()

    async def stream(request: starlette.requests.Request) -> starlette.responses.Response:
        return starlette.responses.StreamingResponse(numbers())

    async def dispatch(request: Any, call_next: Any) -> Any:
        return await call_next(request)

    around = [Middleware(BaseHTTPMiddleware, dispatch=dispatch)] if middleware else []
    app = Starlette(routes=[Route("/", stream)], middleware=around)
    async with Gone(version, app, spec) as request:
        await request.leave()
        go.set()
        await request.apps_done()
        gc.collect()  # nobody closes a generator that is not read to its end, but Python
        async with asyncio.timeout(5):
            await ended.wait()
    assert errors(caplog) == []


async def test_the_ticks_of_the_page(version: str, capsys: Any, caplog: Any) -> None:
    """docs/extensions.md: the app notices that nobody listens any more."""
    names = names_of_the_page()
    gone = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 1
        await gone.wait()

    names["asyncio"] = SimpleNamespace(sleep=sleep)
    async with Gone(version, names["ticks"], "2.4") as request:
        await request.leave()
        gone.set()
        await request.apps_done()
    assert capsys.readouterr().out == "the client has left\n"
    assert errors(caplog) == []

"""Server-Timing and compression: together, and what both do with a head."""

from __future__ import annotations

import gzip
import logging
from typing import Any

import pytest

from pounce.connection.state import ServerState
from pounce.exchange.features import features_of
from pounce.settings import Settings
from tests.exchange import test_compression as compression, test_server_timing as timing
from tests.exchange.test_server_timing import VERSIONS, FakeTime, fetch, time as time

pytestmark = pytest.mark.anyio
BODY = b"text " * 100_000
PART = BODY[:2000]
HTML = (b"content-type", b"text/html")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def install(state: ServerState, allow: Any = ()) -> None:
    """What a worker with both does to its exchanges."""
    settings = {"server_timing": {"enabled": True, "allow": allow}, "compression": {"codings": ("gzip",)}}
    state.features[:] = features_of(Settings.of(settings), logging.getLogger("pounce.error"))


def start(*fields: tuple[bytes, bytes], trailers: bool = False) -> dict[str, Any]:
    """The head of a page."""
    return {"type": "http.response.start", "status": 200, "headers": [HTML, *fields], "trailers": trailers}


@pytest.mark.parametrize("size", [10, 2000, 500_000])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_whole_body(version: str, size: int, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The total is in the head, and includes what compressing took; large parts are compressed beside the loop."""
    monkeypatch.setattr(timing, "install", install)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.pass_(3)
        await send(start((b"server-timing", b"own")))
        time.pass_(2)
        await send({"type": "http.response.body", "body": BODY[:size]})

    got = await fetch(version, app, ("accept-encoding", "gzip"))
    assert (gzip.decompress(got.body) if size >= 1024 else got.body) == BODY[:size]
    assert got.timing == "own, queue;dur=0.0, app;dur=3.0, total;dur=5.0"
    assert (got.headers.get("content-encoding") == "gzip") is (size >= 1024)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_stream(version: str, own: bool, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of the compressed bytes are followed by trailers: those of the app, and the total."""
    monkeypatch.setattr(timing, "install", install)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        time.pass_(3)
        await send(start(trailers=own))
        for _ in range(3):
            await send({"type": "http.response.body", "body": PART, "more_body": True})
            time.pass_(2)
        await send({"type": "http.response.body", "body": b"end"})
        if own:
            await send({"type": "http.response.trailers", "headers": [(b"x", b"y")]})

    got = await fetch(version, app, ("accept-encoding", "gzip"), ("te", "trailers"))
    assert gzip.decompress(got.body) == PART * 3 + b"end"
    assert got.timing == "queue;dur=0.0, app;dur=3.0"
    assert got.headers["content-encoding"] == "gzip"
    assert got.trailers == [*([("x", "y")] if own else []), ("server-timing", "total;dur=9.0")]


@pytest.mark.parametrize(
    "settings",
    [{"compression": {"codings": ("gzip",)}}, {"server_timing": {"enabled": True}}, {}],
    ids=["compression", "timing", "both"],
)
@pytest.mark.parametrize("ends", ["returns", "raises", "returns something"])
@pytest.mark.parametrize("version", VERSIONS)
async def test_an_app_that_ends_behind_its_head(
    version: str, ends: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client has the head, without an end: as without these features."""

    def given(state: ServerState, _: Any) -> None:
        install(state)
        if settings:
            state.features[:] = features_of(Settings.of(settings), logging.getLogger("pounce.error"))

    async def app(scope: Any, receive: Any, send: Any) -> Any:
        await send(start((b"x-own", b"1")))
        if ends == "raises":
            raise ValueError
        return "something" if ends != "returns" else None

    monkeypatch.setattr(compression, "install", given)
    got = await compression.fetch(version, app)
    assert (got.status, got.headers.get("x-own"), got.body, got.complete) == (200, "1", b"", False)

"""The vectors of `conformance/vectors/logs`: what a client sends leaves the log one line of visible characters each."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from conformance.vectors.log_line import LINES, LogVector, faults, log_groups, read_logs
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.logs import TRACE_LOG_LEVEL
from pounce.names import ENV_PRESENT_AS
from pounce.settings import Settings
from tests.connection.log_runs import SECOND_LINE, lines_of_http1, lines_of_http2

pytestmark = pytest.mark.anyio

GROUPS = pytest.mark.parametrize("group", log_groups(), ids=lambda path: path.stem)

WEBSOCKETS = tuple(kind for kind in LINES if not kind.startswith("http"))

#: Bytes of a read: whole, and byte by byte.
SIZES = (1 << 20, 1)


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol], ids=["wsproto", "websockets"])
def ws(request: pytest.FixtureRequest) -> Any:
    """A WebSocket class of ours."""
    return request.param


async def wrong(
    vectors: list[LogVector], parser: str, kind: str, *, strict: bool = True, exact: bool = True, **settings: Any
) -> list[str]:
    """What is not as the verdicts say, a line each. `parser` may be a wire of HTTP/2; without `exact` only that each
    line is one counts.
    """
    found = []
    is_http2 = parser in ("native", "h2")
    for vector in vectors:
        verdict = vector.verdict_of(parser, strict=strict)
        wanted = verdict.lines(kind, is_http2=is_http2)
        if kind == "http2" or (kind == "http1" and verdict.target is not None):
            wanted.append(SECOND_LINE.format("2" if is_http2 else "1.1"))
        for size in SIZES:
            lines_of = lines_of_http2 if is_http2 else lines_of_http1
            lines = await lines_of(parser, vector, kind, size, **settings)
            if other := faults(lines, wanted if exact else None):
                found.append(f"{vector.group}: {vector.name}, by {size}, {kind}: {'; '.join(other)}")
    return found


@GROUPS
async def test_requests(parser: str, group: Path) -> None:
    """The line of each that is answered, or that of one that is refused, and nothing else."""
    assert await wrong(read_logs(group), parser, "http1") == []


@GROUPS
async def test_requests_as_uvicorn(parser: str, group: Path) -> None:
    """With `--parsing uvicorn` as well, where more of them are answered."""
    settings = Settings.of({"parsing": {"rules": "uvicorn"}})
    assert await wrong(read_logs(group), parser, "http1", strict=False, settings=settings) == []


async def test_fields_under_uvicorns_name(parser: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There X-Forwarded-For makes a client of any text, as uvicorn's tests ask for; it still forges no line."""
    monkeypatch.setenv(ENV_PRESENT_AS, "uvicorn")
    (fields,) = (group for group in log_groups() if group.stem == "fields")
    assert await wrong(read_logs(fields), parser, "http1", exact=False) == []


@GROUPS
async def test_requests_over_http2(http2_wire: str, group: Path) -> None:
    """The same lines; of a request that is refused there is none."""
    vectors = [vector for vector in read_logs(group) if vector.http2]
    assert await wrong(vectors, http2_wire, "http2") == []


@GROUPS
@pytest.mark.parametrize("kind", WEBSOCKETS)
async def test_handshakes(parser: str, ws: Any, group: Path, kind: str) -> None:
    """Whatever the app answers, by each parser and each WebSocket library."""
    vectors = [vector for vector in read_logs(group) if vector.method == b"GET"]
    assert await wrong(vectors, parser, kind, ws_protocol_class=ws) == []


@GROUPS
@pytest.mark.parametrize("kind", WEBSOCKETS)
async def test_handshakes_over_http2(http2_wire: str, ws: Any, group: Path, kind: str) -> None:
    """By each wire and each WebSocket library."""
    vectors = [vector for vector in read_logs(group) if vector.http2 and vector.method == b"GET"]
    assert await wrong(vectors, http2_wire, kind, ws_protocol_class=ws) == []


@GROUPS
@pytest.mark.parametrize("backend", ["h11", "native"])
async def test_with_all_that_can_be_logged(backend: str, ws: Any, group: Path) -> None:
    """Events, frames and messages of the app: each still is one line of visible characters."""
    vectors = [vector for vector in read_logs(group) if backend == "h11" or vector.http2]
    request = "http1" if backend == "h11" else "http2"
    assert await wrong(vectors, backend, request, exact=False, level=TRACE_LOG_LEVEL) == []
    vectors = [vector for vector in vectors if vector.method == b"GET"]
    assert await wrong(vectors, backend, "accepted", ws_protocol_class=ws, exact=False, level=TRACE_LOG_LEVEL) == []


def test_the_path_is_quoted_as_by_uvicorn() -> None:
    """Decoded and quoted again; the query as it came."""
    for group in log_groups():
        for vector in read_logs(group):
            if vector.verdict.target is not None:
                path, _, query = vector.target.decode("ascii").partition("?")
                line = urllib.parse.quote(urllib.parse.unquote(path)) + f"?{query}" * bool(query)
                assert vector.verdict.target == line, vector.name

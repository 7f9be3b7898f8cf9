"""The vectors of `conformance/vectors/responses`: what of an app's answer a client may see."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.vectors.response import Observed, ResponseVector, read_responses, response_groups
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from tests.connection.response_runs import WAYS, Way, observe_http1, observe_http2

pytestmark = pytest.mark.anyio

GROUPS = pytest.mark.parametrize("group", response_groups(), ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Each that is refused is an app's exception, and logged."""
    caplog.set_level(logging.CRITICAL)


@pytest.fixture(params=[WSProtocol, WebSocketsSansIOProtocol], ids=["wsproto", "websockets"])
def ws(request: pytest.FixtureRequest) -> Any:
    """A WebSocket class of ours."""
    return request.param


async def faults(
    vectors: list[ResponseVector],
    observe: Callable[[ResponseVector, Way], Awaitable[Observed]],
    *,
    is_http2: bool,
    backend: str = "",
) -> list[str]:
    """What is not as the verdicts say, a line each; `backend`: whose exceptions count."""
    found = []
    for vector in vectors:
        for way in WAYS:
            where = f"{vector.group}: {vector.name} ({vector.place}), {way.name}"
            try:
                seen = await observe(vector, way)
            except Exception as exc:  # what the client cannot read
                exc.add_note(where)
                raise
            wrong = vector.exceptions.get(backend, vector.verdict).faults(seen, is_http2=is_http2)
            if wrong:
                found.append(f"{where}: {'; '.join(wrong)}")
    return found


@GROUPS
async def test_over_http1(parser: str, group: Path) -> None:
    """By each parser: what is not refused arrives as it was meant; nothing that is leaves a byte, or goes on."""
    vectors = [vector for vector in read_responses(group) if not vector.is_websocket]
    assert await faults(vectors, lambda vector, way: observe_http1(parser, vector, way), is_http2=False) == []


@GROUPS
async def test_over_http2(http2_wire: str, group: Path) -> None:
    """By each wire; what ends a connection ends a stream there."""
    vectors = [vector for vector in read_responses(group) if not vector.is_websocket and vector.http2]
    assert await faults(vectors, lambda vector, way: observe_http2(http2_wire, vector, way), is_http2=True) == []


@GROUPS
async def test_answers_to_a_handshake(parser: str, ws: Any, group: Path) -> None:
    """By each parser and each WebSocket library."""
    vectors = [vector for vector in read_responses(group) if vector.is_websocket]

    def observe(vector: ResponseVector, way: Way) -> Awaitable[Observed]:
        return observe_http1(parser, vector, way, ws_protocol_class=ws)

    library = "wsproto" if ws is WSProtocol else "websockets"
    assert await faults(vectors, observe, is_http2=False, backend=library) == []


@GROUPS
async def test_answers_to_a_handshake_over_http2(http2_wire: str, ws: Any, group: Path) -> None:
    """By each wire and each WebSocket library (RFC 8441)."""
    vectors = [vector for vector in read_responses(group) if vector.is_websocket and vector.http2]

    def observe(vector: ResponseVector, way: Way) -> Awaitable[Observed]:
        return observe_http2(http2_wire, vector, way, ws_protocol_class=ws)

    assert await faults(vectors, observe, is_http2=True) == []

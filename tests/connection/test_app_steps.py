"""Whatever an app sends in whatever order, its client reads whole messages, or a connection's or stream's end.

And `send()` raises RuntimeError or nothing, and the next request of the connection is answered where it stays open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from tests.connection import http2_client, websocket_fakes
from tests.connection.app_steps import BODIES, FIELDS, Plan, bodies, plans, run, starts
from tests.fakes import Connection, answer, chunked, get, post, responses
from tests.wire.ws_frames import CLOSE, CONT, PING, TEXT, close, frame, server_frames

GENERATES = settings(deadline=None, suppress_health_check=list(HealthCheck))

#: Raised in an app, it would only be logged.
broken: list[AssertionError] = []


@pytest.fixture(autouse=True)
def nothing_broken(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, "uvicorn.error")
    broken.clear()
    yield
    assert broken == []


async def act(plan: Plan, receive: Any, send: Any) -> None:
    try:
        await run(plan, receive, send)
    except AssertionError as exc:
        broken.append(exc)


def follows(plan: Plan) -> Any:
    """An app that does what the plan says for `/plan`, and answers everything else."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/plan":
            await act(plan, receive, send)
        else:
            await answer(send, b"next")

    return app


HTTP_PLANS = plans(starts("http.response.start"), bodies("http.response.body"), st.just({"type": "websocket.accept"}))
REQUESTS = st.sampled_from([
    get("/plan"), get("/plan", method="HEAD"), post(b"hello", "/plan"), post(b"hello", "/plan", "Expect: 100-continue"),
    chunked(b"hello", path="/plan"), get("/plan", "Connection: close"),
])  # fmt: skip

#: A head that no response may have is refused; an app that goes on all the same has nothing to send a body behind.
NO_HEAD = Plan(
    [
        {"type": "http.response.start", "status": 200, "headers": [(b"", b"y")]},
        {"type": "http.response.body", "body": b"", "more_body": False},
    ],
    goes_on=True,
)


@GENERATES
@given(HTTP_PLANS, REQUESTS, st.booleans())
@example(NO_HEAD, get("/plan"), False)
def test_http1(parser: str, plan: Plan, request_bytes: bytes, pipelined: bool) -> None:
    """Over HTTP/1.1: a response that is well-formed, or broken off by the connection's end; then the next request's."""

    async def main() -> None:
        async with Connection(parser, follows(plan)) as connection:
            await connection.feed(*([request_bytes + get("/next")] if pipelined else [request_bytes, get("/next")]))
            await connection.apps_done() if connection.closed else None
            heads = (0,) if request_bytes.startswith(b"HEAD") else ()
            told = connection.take()
            while told.startswith(b"HTTP/1.1 100"):
                told = told.partition(b"\r\n\r\n")[2]
            found = responses(told, heads=heads, closed=connection.closed or bool(connection.state.tasks))
            if connection.closed or connection.state.tasks:  # an app that still waits, for more than there is
                assert len(found) <= 2
            else:
                assert len(found) == 2
                assert found[1].body == b"next"
                assert all(response.complete for response in found)

    asyncio.run(main())
    assert broken == []


@GENERATES
@given(HTTP_PLANS, st.booleans())
@example(NO_HEAD, False)
def test_http2(http2_wire: str, plan: Plan, posts: bool) -> None:
    """Over HTTP/2: a response that is well-formed, or a reset of its stream; the connection is none the worse."""

    async def main() -> None:
        async with http2_client.Connection(follows(plan)) as connection:
            connection.request([*http2_client.GET[:3], (":path", "/plan")], b"hello" if posts else None)
            second = await connection.get("/next")
            assert second.body == b"next"
            first = connection.answers.get(1)
            assert first is None or first.headers or first.reset is not None
            assert connection.state.tasks or (first is not None and first.ended)
            assert connection.goaways == []

    asyncio.run(main())
    assert broken == []


WEBSOCKET_PLANS = plans(
    st.builds(
        lambda subprotocol, headers: {"type": "websocket.accept", "subprotocol": subprotocol, "headers": headers},
        st.sampled_from((None, None, "a", "b\n")),
        FIELDS,
    ),
    st.builds(lambda text: {"type": "websocket.send", "text": text}, st.sampled_from(("", "abc", "\xe9" * 70000))),
    st.builds(lambda data: {"type": "websocket.send", "bytes": data}, BODIES),
    st.builds(
        lambda code, reason: {"type": "websocket.close", "code": code, "reason": reason},
        st.sampled_from((1000, 1001, 3000, 4999, 1005, 1006, 999, 5000)),
        st.sampled_from(("", "so it is", "\xe9" * 62)),
    ),
    starts("websocket.http.response.start"),
    bodies("websocket.http.response.body"),
    st.just({"type": "http.response.body"}),
)
FRAMES = st.lists(
    st.sampled_from([
        frame(TEXT, b"abc"), frame(TEXT, b"ab", fin=False), frame(CONT, b"c"), frame(PING, b"x"), close(1000),
        frame(TEXT, b"\xff"), frame(7),
    ]),
    max_size=3,
)  # fmt: skip


@pytest.mark.parametrize("protocol_class", [WSProtocol, WebSocketsSansIOProtocol])
@GENERATES
@given(WEBSOCKET_PLANS, FRAMES)
def test_websocket(protocol_class: Any, plan: Plan, frames: list[bytes]) -> None:
    """Over a WebSocket: a denial that is a well-formed response, or whole frames of which a close frame is the last."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await act(plan, receive, send)

    async def main() -> None:
        async with websocket_fakes.Connection(protocol_class, app) as connection:
            told = await connection.open()
            for one in frames:
                if not connection.transport.closed:
                    connection.feed(one)
                    await websocket_fakes.settle()
            told += connection.take()
            closed = connection.transport.closed
            if told.startswith(b"HTTP/1.1 101"):
                opcodes = [first & 15 for first, _ in server_frames(told.partition(b"\r\n\r\n")[2])]
                assert CLOSE not in opcodes[:-1]
            elif told:
                assert len(responses(told, closed=closed)) == 1
            else:
                assert closed or connection.state.tasks

    asyncio.run(main())
    assert broken == []

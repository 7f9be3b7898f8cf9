"""pounce/middleware/message_logger.py: what `--log-level trace` shows of an app's messages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pounce.logs import TRACE_LOG_LEVEL
from pounce.middleware.message_logger import MessageLoggerMiddleware, message_with_placeholders

pytestmark = pytest.mark.anyio

SCOPE = {"type": "http", "client": ("10.1.2.3", 99), "headers": [(b"cookie", b"secret")]}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def trace(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("uvicorn.asgi")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(caplog.handler)
    caplog.set_level(TRACE_LOG_LEVEL, logger="uvicorn.asgi")
    try:
        yield caplog
    finally:
        logger.removeHandler(caplog.handler)
        logger.propagate = propagate


async def receive() -> Any:
    return {"type": "http.request", "body": b"12345"}


async def send(message: Any) -> None: ...


async def talking_app(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.body", "body": b"123"})


async def test_each_step_of_a_call_is_one_line(trace: pytest.LogCaptureFixture) -> None:
    """Start, messages in both directions and the end are logged with the client and the number of the call."""
    await MessageLoggerMiddleware(talking_app)(SCOPE, receive, send)
    assert [record.getMessage() for record in trace.records] == [
        "10.1.2.3:99 - ASGI [1] Started scope={'type': 'http', 'client': ('10.1.2.3', 99), 'headers': '<...>'}",
        "10.1.2.3:99 - ASGI [1] Receive {'type': 'http.request', 'body': '<5 bytes>'}",
        "10.1.2.3:99 - ASGI [1] Send {'type': 'http.response.body', 'body': '<3 bytes>'}",
        "10.1.2.3:99 - ASGI [1] Completed",
    ]
    assert {record.levelno for record in trace.records} == {TRACE_LOG_LEVEL}


async def test_calls_are_numbered(trace: pytest.LogCaptureFixture) -> None:
    """Each call has the next number, and none names a client that is not known."""
    middleware = MessageLoggerMiddleware(talking_app)
    for _ in range(2):
        await middleware({"type": "http", "client": None}, receive, send)
    completed = [record.getMessage() for record in trace.records if "Completed" in record.getMessage()]
    assert completed == ["ASGI [1] Completed", "ASGI [2] Completed"]


async def test_an_exception_is_noted_and_goes_on(trace: pytest.LogCaptureFixture) -> None:
    """The app's exception reaches the server as it is, and the trace says that there was one."""
    error = RuntimeError("mine")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise error

    with pytest.raises(RuntimeError) as caught:
        await MessageLoggerMiddleware(app)(SCOPE, receive, send)
    assert caught.value is error
    assert trace.records[-1].getMessage() == "10.1.2.3:99 - ASGI [1] Raised exception"


async def test_messages_pass_unchanged(trace: pytest.LogCaptureFixture) -> None:
    """Placeholders are for the log only: app and server exchange the messages themselves."""
    sent: list[Any] = []

    async def keep(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(await receive())

    await MessageLoggerMiddleware(app)(SCOPE, receive, keep)
    assert sent == [{"type": "http.request", "body": b"12345"}]


@pytest.mark.parametrize(
    "field,content,shown",
    [
        ("body", b"123", "<3 bytes>"),
        ("bytes", b"", "<0 bytes>"),
        ("text", "äö", "<2 chars>"),
        ("headers", [(b"a", b"b")], "<...>"),
        ("text", None, None),
        ("path", "/x", "/x"),
    ],
)
def test_content_is_replaced_by_its_size(field: str, content: Any, shown: Any) -> None:
    """Bodies, texts and headers are replaced; absent ones and all other fields stay."""
    message = {"type": "x", field: content}
    assert message_with_placeholders(message) == {"type": "x", field: shown}
    assert message[field] == content

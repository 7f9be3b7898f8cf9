"""pounce/middleware/asgi2.py: the double-callable style."""

from __future__ import annotations

from typing import Any

import pytest

from pounce.middleware.asgi2 import ASGI2Middleware

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_both_calls_are_made() -> None:
    """An ASGI 2 app gets its scope first and the two channels second."""
    calls: list[Any] = []

    def app(scope: Any) -> Any:
        calls.append(scope)

        async def instance(receive: Any, send: Any) -> None:
            calls.append((receive, send))

        return instance

    await ASGI2Middleware(app)("scope", "receive", "send")
    assert calls == ["scope", ("receive", "send")]

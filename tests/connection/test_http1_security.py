"""Paths that confuse whoever decodes them twice, or not at all.

Requests that smuggle are in `test_vectors.py`, responses that are split in `test_response_vectors.py`, lines of the log
that are forged in `test_log_vectors.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import Connection, answer, get

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("target", ["/%00", "/%0d%0aX:%20y", "/%c0%af", "/..%2f..%2f", "//x", "/\\x", "/%zz", "/%"])
async def test_what_a_path_may_hold(parser: str, target: str) -> None:
    """An encoded path is decoded once into `path` and stays as it came in `raw_path`."""
    from urllib.parse import unquote

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["raw_path"]))
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(get(target))
        assert seen == [(unquote(target), target.encode())]

"""One FastAPI app three times: where the lifespan puts its connection pool is the difference."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse


def _pool() -> Any:
    return asyncpg.create_pool(os.environ["TEST_DSN"], min_size=1, max_size=4)


@asynccontextmanager
async def _in_app_state(app: FastAPI) -> AsyncIterator[None]:
    async with _pool() as pool:
        app.state.pool = pool
        yield


@asynccontextmanager
async def _in_lifespan_state(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    async with _pool() as pool:
        yield {"pool": pool}


def _make(lifespan: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def home(request: Request) -> dict[str, int]:
        pool = getattr(request.state, "pool", None) or request.app.state.pool
        async with pool.acquire() as connection, connection.transaction():
            return {"sum": await connection.fetchval("SELECT $1::int + 1", 41)}

    @app.get("/who")
    async def who() -> PlainTextResponse:
        return PlainTextResponse(f"{os.getpid()} {threading.current_thread().name}")

    return app


with_app_state = _make(_in_app_state)
with_lifespan_state = _make(_in_lifespan_state)


def factory() -> FastAPI:
    """An app of its own for each worker, so that `app.state` is that worker's alone."""
    return _make(_in_app_state)

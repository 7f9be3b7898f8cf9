"""A small Starlette app: JSON, a path parameter, an echo over WebSocket, a stream of server-sent events.

pounce examples.starlette_app:app                   (needs `pip install starlette`)
pounce examples.starlette_app:create_app --factory  (an app of its own for each worker)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    # Runs once per worker. What is yielded is this worker's own: each request finds it as `request.state`.
    yield {"greeting": "Hello"}


async def index(request: Request) -> JSONResponse:
    return JSONResponse({"message": f"{request.state.greeting}, world!"})


async def user(request: Request) -> JSONResponse:
    return JSONResponse({"user": request.path_params["name"], "scheme": request.url.scheme})


async def events(request: Request) -> StreamingResponse:
    async def ticks() -> AsyncIterator[str]:
        for number in range(int(request.query_params.get("count", 3))):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(ticks(), media_type="text/event-stream")


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def create_app() -> Starlette:
    routes = [
        Route("/", index),
        Route("/users/{name}", user),
        Route("/events", events),
        WebSocketRoute("/echo", echo),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


app = create_app()

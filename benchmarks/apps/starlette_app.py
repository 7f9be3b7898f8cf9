"""1 KiB of JSON through Starlette, with a path parameter."""

from __future__ import annotations

from payload import RECORDS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def records(request: Request) -> JSONResponse:
    return JSONResponse({"page": int(request.path_params["page"]), "records": RECORDS})


app = Starlette(routes=[Route("/records/{page}", records)])

"""1 KiB of JSON through FastAPI, with a path parameter."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from payload import RECORDS

app = FastAPI()


@app.get("/records/{page}")
async def records(page: int) -> dict[str, Any]:
    return {"page": page, "records": RECORDS}

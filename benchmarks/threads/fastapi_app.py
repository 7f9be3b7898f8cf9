"""A small FastAPI app, for its memory."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel


class Item(BaseModel):
    """What `/` answers."""

    name: str
    price: float


app = FastAPI()


@app.get("/")
async def home() -> Item:
    """An item, validated and serialised."""
    return Item(name="anvil", price=9.5)

"""A vector of `conformance/vectors` through a whole connection on a fake transport, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from conformance.vectors.vector import SECOND, Seen, Vector
from tests.fakes import Connection, answer, read_body

#: Where single bytes would take too long; and as much as a loop reads at once.
_LONG, _PIECE, _READ = 4096, 1021, 256 * 1024


def cuts(vector: Vector) -> Iterator[tuple[str, list[bytes]]]:
    """Ways to send it with a second request behind it, each with its name."""
    whole = vector.data + SECOND
    yield "in one piece", _pieces(whole, _READ)
    yield "byte by byte", _pieces(whole, _PIECE if len(whole) > _LONG else 1)
    yield "the second apart", [*_pieces(vector.data, _READ), SECOND]


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def observe(parser: str, pieces: list[bytes], **settings: Any) -> tuple[list[int], list[Seen], bool]:
    """The statuses that the client got, the requests that the app read to their ends, and whether it was closed."""
    seen: list[Seen] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await read_body(receive)
        except ConnectionResetError:
            return
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        seen.append(Seen(scope["method"], scope["raw_path"] + query, body, dict(scope["headers"])))
        await answer(send)

    async with Connection(parser, app, **settings) as connection:
        for piece in pieces:
            connection.transport.feed(piece)
            await asyncio.sleep(0)
        await connection.settle()
        heads = tuple(place for place, request in enumerate(seen) if request.method == "HEAD")
        statuses = [response.status for response in connection.responses(heads=heads)]
        return statuses, seen.copy(), connection.closed


async def faults(parser: str, vectors: list[Vector], *, strict: bool, **settings: Any) -> list[str]:
    """What is not as the vectors' verdicts say, a line each."""
    found = []
    for vector in vectors:
        verdict = vector.verdict_of(parser, strict=strict)
        for how, pieces in cuts(vector):
            wrong = verdict.faults(*await observe(parser, pieces, **settings))
            if wrong:
                found.append(f"{vector.group}: {vector.name}, {how}: {'; '.join(wrong)}")
    return found

"""`python -m conformance vectors HOST:PORT`: every request of `http1` against any server that runs somewhere.

What is looked at is what a client sees: the statuses, whether the server ends the connection, and whether it answers
what comes behind the vector. Any app will do that answers GET and POST of any path without an error.

Only the requests: `responses` are about what an app sends, which a server that is met somewhere does not let us choose,
and `logs` about what only its owner can read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from conformance.cache import SetupError
from conformance.vectors.vector import SECOND, Vector, Verdict, groups, read_group

#: Seconds that a connection is watched in which nothing more has to happen.
_QUIET = 0.2

#: Connections at a time.
_AT_ONCE = 20

#: Bytes of a vector up to which it is sent byte by byte as well.
_SHORT = 1000

_HELLO = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """What the command line asks for."""

    host: str
    port: int
    groups: tuple[str, ...] = ()
    #: The parser of pounce whose exceptions are taken for granted; "" for none.
    parser: str = ""
    #: Seconds for an answer, or an end, that has to come.
    patience: float = 1.0


@dataclass(frozen=True)
class Told:
    """What came of a connection: the statuses, and whether the server ended it."""

    statuses: tuple[int, ...]
    closed: bool

    def __str__(self) -> str:
        return f"{', '.join(map(str, self.statuses)) or 'nothing'}, {'closed' if self.closed else 'open'}"


def is_as_meant(verdict: Verdict, told: Told) -> bool:
    """Whether the client sees what it has to see. Which status refuses, and which answers, is not looked at."""
    if verdict.refuse:
        return told.closed and len(told.statuses) <= 1 and all(status >= 400 for status in told.statuses)
    ends = bool(verdict.closes or verdict.then)
    return told.closed == ends and len(told.statuses) == _answers(verdict) and max(told.statuses, default=0) < 500


def _answers(verdict: Verdict) -> int:
    """How many there have to be, where it is accepted."""
    return len(verdict.accept) + (bool(verdict.accept) and not verdict.closes)


async def tell(request: Request, data: bytes, verdict: Verdict, *, whole: bool = True) -> Told:
    """Send bytes, whole or byte by byte, and see what comes. Raises OSError where nobody listens."""
    reader, writer = await asyncio.open_connection(request.host, request.port)
    answer, closed = b"", False
    try:
        size = len(data) if whole else 1
        for at in range(0, len(data), size):
            writer.write(data[at : at + size])
            await writer.drain()
            if not whole:
                await asyncio.sleep(0)
    except OSError:
        pass  # refused before its end: what came back tells
    try:
        while not closed:
            there = len(list(statuses(answer, data.startswith(b"HEAD "))))
            is_all = not (verdict.refuse or verdict.closes or verdict.then) and there >= _answers(verdict)
            async with asyncio.timeout(_QUIET if is_all else request.patience):
                piece = await reader.read(65536)
            answer, closed = answer + piece, not piece
    except TimeoutError:
        pass
    except OSError:
        closed = True
    writer.transport.abort()
    return Told(tuple(statuses(answer, data.startswith(b"HEAD "))), closed)


def statuses(answer: bytes, is_head: bool = False) -> Iterator[int]:
    """Those of the heads in an answer, but for interim ones. `is_head`: the first one is that to a HEAD."""
    while answer.startswith(b"HTTP/1.") and b"\r\n\r\n" in answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        line, *lines = head.lower().split(b"\r\n")
        status = int(line.split(b" ")[1])
        if status < 200:
            continue
        yield status
        fields = dict(field.partition(b":")[::2] for field in lines)
        if is_head or status in (204, 304):
            is_head = False
        elif b"chunked" in fields.get(b"transfer-encoding", b""):
            answer = answer.partition(b"0\r\n\r\n")[2]
        else:
            answer = answer[int(fields.get(b"content-length", b"0")) :]


async def _tell_all(request: Request, vectors: list[Vector], report: Callable[[str], None]) -> int:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(vector: Vector, whole: bool) -> str | None:
        if not whole and len(vector.data) > _SHORT:
            return None
        verdict = vector.verdict_of(request.parser, strict=True)
        # Not behind a connection that is closed meanwhile: the reset would take the answer along.
        behind = SECOND if whole or not verdict.closes else b""
        async with turns:
            told = await tell(request, vector.data + behind, verdict, whole=whole)
        if is_as_meant(verdict, told):
            return None
        how = "in one piece" if whole else "byte by byte"
        return f"{vector.group}: {vector.name}, {how}: {told}; should be: {verdict} (RFC {vector.rfc})"

    found = await asyncio.gather(*[one(vector, whole) for vector in vectors for whole in (True, False)])
    others = [line for line in found if line]
    for line in others:
        report(line)
    report(f"{len(vectors)} vectors, in one piece and byte by byte: {len(others)} verdicts are others")
    return len(others)


def run(request: Request, report: Callable[[str], None]) -> int:
    """Exit code 0: every verdict is as it has to be; 1: not so. Raises SetupError where nobody answers."""
    paths = [path for path in groups() if not request.groups or path.stem in request.groups]
    if not paths:
        raise SetupError(f"there are these groups: {', '.join(path.stem for path in groups())}")
    vectors = [vector for path in paths for vector in read_group(path)]

    async def all_of_it() -> int:
        try:
            hello = await tell(request, _HELLO, Verdict(accept=(("GET", b"/", b""),), closes=True))
        except OSError as exc:
            raise SetupError(f"{request.host}:{request.port}: {exc}") from exc
        if not hello.statuses:
            raise SetupError(f"{request.host}:{request.port} does not answer a GET")
        return await _tell_all(request, vectors, report)

    return 1 if asyncio.run(all_of_it()) else 0

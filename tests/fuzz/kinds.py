"""What is fuzzed: connections of each implementation, the parsers against one another, and the two wires of HTTP/2."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from pounce.wire.strictness import Rules, UvicornRules
from tests.fakes import WIRES
from tests.fuzz import cases, connections, generators, minimise
from tests.fuzz.mutator import mutate
from tests.wire.http1_differences import unexplained
from tests.wire.http1_reading import Reading, Request, cut, read
from tests.wire.http2_peer import PREFACE
from tests.wire.http2_random import any_frame
from tests.wire.http2_sides import Step, run

#: Behind every request, so that it shows where a parser takes that one's end to be.
_NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass
class Kind:
    """One of them; `Input` is what its functions have in common."""

    name: str
    make: Callable[[Random, Sequence[bytes]], Any]
    faults: Callable[[Any], list[str]]
    smaller: Callable[[Any], Iterator[Any]]
    folder: Path
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def _of_connections(wire: str, target: str) -> Kind:
    return Kind(
        f"{wire}-{target}",
        lambda dice, others: generators.make(wire, dice, others),
        lambda case: connections.run(case, target),
        minimise.smaller,
        cases.CONNECTIONS,
        lambda case: cases.write(replace(case, wire=wire)).encode(),
        lambda data: cases.read(data.decode()),
    )


def _http1_input(dice: Random, others: Sequence[bytes]) -> bytes:
    raw = dice.choice((generators.http1_request, generators.http1_message, generators.http1_message))(dice)
    raw = raw.replace(b"x" * 100, b"x")  # of large bodies there is nothing to be learned here
    return mutate(dice, raw, others) if dice.random() < 0.7 else raw


def http1_faults(raw: bytes) -> list[str]:
    """Where the parsers read the same bytes in different ways, or one of them reads them in another way when cut."""
    found: list[str] = []
    for rules in (Rules, UvicornRules):
        try:
            _compare(raw + _NEXT, rules, found)
        except Exception:
            found.append(f"raised: {traceback.format_exc(limit=-2)}")
    return found


def _compare(raw: bytes, rules: type[Rules], found: list[str]) -> None:
    readings = {parser: read(parser, [raw], rules) for parser in WIRES}
    # Rows are found by what lines begin with: requests that begin elsewhere, behind a body, get lines of their own; and
    # where a body ends within the line of another request nothing says what line ends there are.
    of_length = [one for each in readings.values() for one in each.requests if one.body and not _is_chunked(one)]
    is_clear = not any(_ends_within(one.body, raw) for one in of_length)
    if is_clear and unexplained(raw + b"".join(set(_lines(readings.values()))), readings, rules):
        lines = [f"{parser}: {reading}" for parser, reading in readings.items()]
        found.append(f"differs: with {rules.__name__}\n" + "\n".join(lines))
    places = Random(len(raw)).choices(range(len(raw)), k=5)
    for parser, whole in readings.items():
        if read(parser, cut(raw, places), rules) != whole:
            found.append(f"cut: {parser} with {rules.__name__} at {places}")


def _ends_within(body: bytes, raw: bytes) -> bool:
    return b"\r" in body or b"\n" in body or body + b"\r" in raw or body + b"\n" in raw


def _is_chunked(request: Request) -> bool:
    return any(name == b"transfer-encoding" for name, _ in request.fields)


def _lines(readings: Iterable[Reading]) -> Iterator[bytes]:
    for reading in readings:
        for one in reading.requests:
            yield b"\n%b %b HTTP/%b\r\n" % (one.method.encode(), one.target, one.version.encode())
            yield b"".join(b"%b: %b\r\n" % field for field in one.fields)


def _http2_input(dice: Random, others: Sequence[bytes]) -> list[Step]:
    raw = generators.make("http2", dice, ()).data().removeprefix(PREFACE)
    steps: list[Step] = []
    number = 1
    for frame in _frames(mutate(dice, raw, others) if dice.random() < 0.7 else raw):
        steps.append(frame)
        number = max(number, frame[8]) if frame[3] == 1 else number
        if dice.random() < 0.4:
            what = dice.choice(("answer", "begin", "trailers", "short", "read", "read", "read", "reset"))
            steps.append((what, dice.choice((1, number)), dice.choice((0, 5, 16384, 70000))))
        if dice.random() < 0.1:
            steps.append(any_frame(dice))
    return steps


def _frames(raw: bytes) -> Iterator[bytes]:
    """Whole frames, by the lengths that they say."""
    while len(raw) >= 9:
        size = 9 + int.from_bytes(raw[:3], "big")
        if len(raw) >= size:
            yield raw[:size]
        raw = raw[size:]


def http2_faults(steps: list[Step]) -> list[str]:
    """Where the two wires of HTTP/2 take the same frames, and say the same to an app, in different ways."""
    try:
        run(steps)
    except Exception as exc:
        return [f"differs: {type(exc).__name__}: {exc}"]
    return []


@cache
def kinds(wire: str) -> tuple[Kind, ...]:
    """Those of one wire."""
    found = [_of_connections(wire, target) for target in connections.TARGETS[wire]]
    if wire == "http1":
        folder = cases.CORPUS / "http1"
        found.append(Kind("http1-parsers", _http1_input, http1_faults, minimise.shorter, folder, bytes, bytes))
    elif wire == "http2":
        folder = cases.CORPUS / "http2"
        found.append(
            Kind(
                "http2-wires", _http2_input, http2_faults, minimise.shorter, folder,
                lambda steps: "".join(f"{step!r},\n" for step in steps).join(("[\n", "]\n")).encode(),
                lambda data: list(ast.literal_eval(data.decode())),
            )
        )  # fmt: skip
    return tuple(found)


def names() -> list[str]:
    """What may be asked for: wires, and single ones of their kinds."""
    return [name for wire in connections.TARGETS for name in (wire, *(kind.name for kind in kinds(wire)))]


def named(name: str) -> tuple[Kind, ...]:
    """All of a wire, or one. Raises KeyError."""
    if name in connections.TARGETS:
        return kinds(name)
    return tuple(kind for wire in connections.TARGETS for kind in kinds(wire) if kind.name == name) or _unknown(name)


def _unknown(name: str) -> tuple[Kind, ...]:
    raise KeyError(name)


@cache
def known_bytes() -> tuple[bytes, ...]:
    """What mutated inputs take pieces from: the corpora."""
    raw = [path.read_bytes() for path in sorted((cases.CORPUS / "http1").iterdir())]
    return (*raw, *(case.data() for case in cases.kept().values()))

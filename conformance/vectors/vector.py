"""The data files, read: a vector, its verdicts, and what a server made of it. Knows no server and no parser."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parent

PARSERS = ("h11", "httptools", "zttp")

#: What is sent behind a vector, and must not be answered where that is refused.
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"

_REPEATED = re.compile(r"\\\{((?:[^*]|\*(?!\d+\}))+)\*(\d+)\}")


class VectorError(Exception):
    """A data file is malformed."""


class Seen(NamedTuple):
    """A request as the app saw it, its body read to its end."""

    method: str
    target: bytes
    body: bytes
    fields: Mapping[bytes, bytes]


@dataclass(frozen=True)
class Verdict:
    """What has to become of a vector. Equal where a client and an app see the same."""

    #: The one answer, behind which the connection ends; 0 where there is none such.
    refuse: int = 0
    #: The requests of an accepted vector: method, target and body of each.
    accept: tuple[tuple[str, bytes, bytes], ...] = ()
    fields: tuple[tuple[bytes, bytes], ...] = ()
    closes: bool = False
    #: Behind the accepted requests what is left is refused with this status; 0 where nothing is left.
    then: int = 0
    waits: bool = False
    #: The accepted requests are answered, and nothing behind them is, nor is the connection closed.
    hangs: bool = False
    #: Why it is another one than that of the vector.
    reason: str = field(default="", compare=False)

    def __str__(self) -> str:
        if self.refuse:
            return f"{self.refuse}, close"
        if self.waits:
            return "waits for more"
        end = ", close" if self.closes else ", then silence" if self.hangs else ""
        if self.then:
            end = f", then {self.then}, close"
        return " + ".join(" ".join((method, *map(repr, rest))) for method, *rest in self.accept) + end

    def faults(self, statuses: list[int], seen: list[Seen], closed: bool) -> list[str]:
        """What of an observation is not as it has to be, in words; nothing where all is.

        `seen`: the requests whose bodies the app has read to their ends, that of `SECOND` included.
        """
        requests = [tuple(request[:3]) for request in seen]
        wanted = [*self.accept]
        if self.accept and not (self.closes or self.then or self.hangs):
            wanted.append(("GET", b"/second", b""))
        answers = [200] * len(wanted)
        answers += [status for status in (self.refuse, self.then) if status]
        faults = []
        if statuses != answers:
            faults.append(f"answered {statuses}, not {answers}")
        if requests != wanted:
            faults.append(f"the app saw {requests}, not {wanted}")
        if closed != bool(self.refuse or self.closes or self.then):
            faults.append("the connection is closed" if closed else "the connection is not closed")
        if seen and self.accept:
            faults += [
                f"{name!r} is {seen[0].fields.get(name)!r}, not {value!r}"
                for name, value in self.fields
                if seen[0].fields.get(name, b"") != value
            ]
        return faults


@dataclass(frozen=True)
class Vector:
    """What a client sends, and what has to become of it."""

    group: str
    name: str
    data: bytes
    verdict: Verdict
    #: Where the sections say so: "9112 6.3".
    rfc: str
    #: By parser, where the verdict is another one.
    uvicorn: Mapping[str, Verdict]
    exceptions: Mapping[str, Verdict]
    #: The shape that it is made of, and what is in its hole.
    shape: str = ""
    put: bytes = b""

    def verdict_of(self, parser: str, *, strict: bool) -> Verdict:
        """What the parser has to make of it."""
        if not strict and parser in self.uvicorn:
            return self.uvicorn[parser]
        return self.exceptions.get(parser, self.verdict)


def bytes_of(text: str) -> bytes:
    """The bytes that a string of a data file stands for. Raises VectorError."""
    whole = _REPEATED.sub(lambda found: found[1] * int(found[2]), text)
    try:
        return whole.encode("latin-1").decode("unicode_escape").encode("latin-1")
    except UnicodeError as exc:
        raise VectorError(f"{text!r}: {exc}") from exc


def read_group(path: Path) -> list[Vector]:
    """The vectors of one file. Raises VectorError for what is malformed, there twice, or about no vector."""
    given = tomllib.loads(path.read_text("utf-8"))
    shapes, uvicorn, exceptions = (given.pop(key, {}) for key in ("shapes", "uvicorn", "except"))
    vectors: dict[str, Vector] = {}
    for entry in given.pop("vectors", ()):
        name, where = entry["name"], f"{path.name}: {entry['name']!r}"
        if name in vectors:
            raise VectorError(f"{where} is there twice")
        others = (_others(where, table.pop(name, {})) for table in (uvicorn, exceptions))
        vectors[name] = _vector(where, path.stem, dict(entry), shapes, *others)
        for parser, verdict in vectors[name].exceptions.items():
            if not verdict.reason or verdict == vectors[name].verdict:
                raise VectorError(f"{where}: the exception of {parser} has no reason, or is none")
    if given or uvicorn or exceptions or not vectors:
        raise VectorError(f"{path.name}: of no vector, or not known: {[*given, *uvicorn, *exceptions]}")
    return [*vectors.values()]


def groups() -> list[Path]:
    """The data files of HTTP/1.1."""
    return sorted((DIRECTORY / "http1").glob("*.toml"))


def _vector(where: str, group: str, entry: dict[str, Any], shapes: Mapping[str, str], *others: Any) -> Vector:
    try:
        name, rfc = entry.pop("name"), entry.pop("rfc")
        shape = entry.pop("in", "")
        put = entry.pop("put") if shape else entry.pop("send")
    except KeyError as exc:
        raise VectorError(f"{where} lacks {exc}: {entry}") from exc
    data = bytes_of(_filled(shapes[shape], put) if shape else put)
    return Vector(group, name, data, _verdict(where, entry), rfc, *others, shape, bytes_of(put))


def _filled(shape: str, text: str) -> str:
    before, _, behind = shape.partition("@")
    return before + text + behind


def _others(where: str, table: Mapping[str, Any]) -> dict[str, Verdict]:
    """Verdicts by parser, from those by one parser, by several ("h11+zttp") or by "all"."""
    found = {}
    for names, verdict in table.items():
        for parser in PARSERS if names == "all" else names.split("+"):
            if parser not in PARSERS:
                raise VectorError(f"{where}: {parser!r} is no parser")
            found[parser] = _verdict(where, dict(verdict))
    return found


def _verdict(where: str, table: dict[str, Any]) -> Verdict:
    fields = table.pop("fields", {})
    verdict = Verdict(
        table.pop("refuse", 0),
        tuple(_request(line) for line in table.pop("accept", ())),
        tuple((bytes_of(name), bytes_of(value)) for name, value in fields.items()),
        table.pop("closes", False),
        table.pop("then", 0),
        table.pop("waits", False),
        table.pop("hangs", False),
        table.pop("reason", ""),
    )
    if table or bool(verdict.refuse) + bool(verdict.accept) + verdict.waits != 1:
        raise VectorError(f"{where}: no or no clear verdict, or {[*table]}")
    return verdict


def _request(line: str) -> tuple[str, bytes, bytes]:
    method, target, body = [*line.split(" ", 2), "", ""][:3]
    return method, bytes_of(target), bytes_of(body)

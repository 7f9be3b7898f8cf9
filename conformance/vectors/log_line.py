"""The data files of `logs/`, read: what a client sends, and the lines that the log has of it. Knows no server.

The format of the lines is uvicorn's: the path is decoded and quoted again, the query as it came.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conformance.vectors.vector import DIRECTORY, PARSERS, VectorError, bytes_of

#: What is made of a request, and its line; of a WebSocket, by what its app answers.
LINES = {
    "http1": '{client} - "{method} {target} HTTP/1.1" 200 OK',
    "http2": '{client} - "{method} {target} HTTP/2" 200 OK',
    "accepted": '{client} - "WebSocket {target}" [accepted]',
    "closed": '{client} - "WebSocket {target}" 403',
    "denied": '{client} - "WebSocket {target}" 401',
}

#: Of a request over HTTP/1.1 that is refused. Over HTTP/2 its stream is reset, without a word.
REFUSED = "Invalid HTTP request received."


#: Beside them, of the websockets library.
_of_library = re.compile(r"connection open|connection rejected \([0-9]+ [A-Za-z ]+\)").fullmatch


@dataclass(frozen=True)
class Logged:
    """What the log has of a request."""

    #: Path and query in the line; None: the request is refused.
    target: str | None
    client: str
    method: str

    def lines(self, kind: str, *, is_http2: bool = False) -> list[str]:
        """All that there is at INFO, formatted."""
        if self.target is None:
            return [] if is_http2 else [REFUSED]
        return [LINES[kind].format(client=self.client, method=self.method, target=self.target)]


@dataclass(frozen=True)
class LogVector:
    """A request, and the verdict."""

    group: str
    name: str
    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    verdict: Logged
    rfc: str
    #: Over HTTP/2 a request has to be known as one: those that only HTTP/1.1 can spell have this off.
    http2: bool
    #: By parser, with `--parsing uvicorn`, where it is another one.
    uvicorn: Mapping[str, Logged]
    #: Of the close frame that ends it, where it is a WebSocket.
    reason: bytes = b""

    def verdict_of(self, parser: str, *, strict: bool) -> Logged:
        """What the log has to have with this parser."""
        return self.verdict if strict else self.uvicorn.get(parser, self.verdict)


def faults(lines: list[str], wanted: list[str] | None) -> list[str]:
    """What is not as it has to be, in words: each line, formatted, is one, and without a control character; None:
    whatever they say."""
    found = [f"not one line, or not printable: {line!r}" for line in lines if not line.isprintable()]
    lines = [line for line in lines if not _of_library(line)]
    if wanted is not None and lines != wanted:
        found.append(f"logged {lines}, not {wanted}")
    return found


def log_groups() -> list[Path]:
    """The data files."""
    return sorted((DIRECTORY / "logs").glob("*.toml"))


def read_logs(path: Path) -> list[LogVector]:
    """The vectors of one file. Raises VectorError for what is malformed, there twice, or about no vector."""
    given = tomllib.loads(path.read_text("utf-8"))
    uvicorn = given.pop("uvicorn", {})
    vectors: dict[str, LogVector] = {}
    for entry in given.pop("vectors", ()):
        where = f"{path.name}: {entry['name']!r}"
        if entry["name"] in vectors:
            raise VectorError(f"{where} is there twice")
        vector = _vector(where, path.stem, dict(entry))
        others = {}
        for names, table in uvicorn.pop(vector.name, {}).items():
            for parser in PARSERS if names == "all" else names.split("+"):
                others[parser] = _logged(where, dict(table), vector.method)
                if parser not in PARSERS or others[parser] == vector.verdict:
                    raise VectorError(f"{where}: {parser!r} is no parser, or its verdict is no other one")
        vectors[vector.name] = replace(vector, uvicorn=others)
    if given or uvicorn or not vectors:
        raise VectorError(f"{path.name}: of no vector, or not known: {[*given, *uvicorn]}")
    return [*vectors.values()]


def _vector(where: str, group: str, entry: dict[str, Any]) -> LogVector:
    try:
        name, rfc = entry.pop("name"), entry.pop("rfc")
    except KeyError as exc:
        raise VectorError(f"{where} lacks {exc}") from exc
    method, target = bytes_of(entry.pop("method", "GET")), bytes_of(entry.pop("target", "/"))
    fields = tuple((bytes_of(field), bytes_of(value)) for field, value in entry.pop("fields", ()))
    http2, reason = entry.pop("http2", True), bytes_of(entry.pop("reason", ""))
    return LogVector(group, name, method, target, fields, _logged(where, entry, method), rfc, http2, {}, reason)


def _logged(where: str, table: dict[str, Any], method: bytes) -> Logged:
    is_refused, target = table.pop("refused", False), table.pop("logged", None)
    client = table.pop("client", "127.0.0.2:9000")
    if table or is_refused is (target is not None):
        raise VectorError(f"{where}: no or no clear verdict: {[*table]}")
    return Logged(target, client, method.decode("latin-1"))

"""The data files of `responses/`, read: what an app sends, and what of it a client may see. Knows no server."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from conformance.vectors.vector import DIRECTORY, VectorError, bytes_of

#: Of WebSockets: those that may have exceptions, over HTTP/1.1.
LIBRARIES = ("wsproto", "websockets")

Fields = tuple[tuple[bytes, bytes], ...]

#: What a server adds by itself: looked at only where a verdict names it.
SERVERS_OWN = frozenset(
    (
        *(b"server", b"date", b"connection", b"content-length", b"content-type", b"transfer-encoding", b"upgrade"),
        *(b"sec-websocket-accept", b"sec-websocket-extensions"),
    )
)


class Answer(NamedTuple):
    """One answer as a client got it. Names are in lower case; a WebSocket that is accepted is a 101 everywhere."""

    status: int = 0
    fields: Fields = ()
    body: bytes = b""
    trailers: Fields = ()
    #: The Link fields of the interim answers before it.
    hints: tuple[bytes, ...] = ()
    #: It ended, and where it should.
    is_whole: bool = True


class Observed(NamedTuple):
    """What came of an exchange. Over HTTP/2 `ends` is about its stream, which was cut."""

    answer: Answer
    #: What the app sent was refused: `send` raised.
    told: bool
    ends: bool
    #: Whether what the client sent behind it was answered, where it was to be.
    second: bool


@dataclass(frozen=True)
class Verdict:
    """What a client has to see."""

    #: 0: nothing at all.
    status: int = 0
    fields: Fields = ()
    #: Fields that may not be there.
    without: tuple[bytes, ...] = ()
    body: bytes = b""
    trailers: Fields = ()
    hints: tuple[bytes, ...] = ()
    #: The answer ends before its end, so that nobody can take it for the whole.
    cut: bool = False
    #: All that was promised is there, and yet it is broken off: over HTTP/1.1 as `closes`, over HTTP/2 as `cut`.
    breaks: bool = False
    #: Over HTTP/1.1 the connection ends with it.
    closes: bool = False
    #: The app's `send` raises.
    told: bool = False
    #: Why it is another one than that of the vector.
    reason: str = field(default="", compare=False)

    def faults(self, seen: Observed, *, is_http2: bool) -> list[str]:
        """What of an observation is not as it has to be, in words; nothing where all is."""
        answer = seen.answer
        named = {name for name, _ in self.fields} | {*self.without}
        fields = tuple(field for field in answer.fields if field[0] in named or field[0] not in SERVERS_OWN)
        is_cut = self.cut or not self.status
        ends = is_cut or self.breaks or (self.closes and not is_http2)
        looked_at = [
            ("status", answer.status, self.status),
            ("fields", sorted(fields), sorted(self.fields)),
            ("body", answer.body, self.body),
            ("trailers", answer.trailers, self.trailers),
            ("hints", answer.hints, self.hints),
            ("whole", answer.is_whole, not (is_cut or (self.breaks and is_http2))),
            ("told", seen.told, self.told),
            ("ends", seen.ends, ends),
            ("what comes behind answered", seen.second, is_http2 or not ends),
        ]
        return [f"{what}: {got!r}, not {wanted!r}" for what, got, wanted in looked_at if got != wanted]


@dataclass(frozen=True)
class ResponseVector:
    """What an app sends in answer to a request, and what has to become of it."""

    group: str
    name: str
    #: Which of the group's places it is in; "" where it has none.
    place: str
    #: As ASGI has them.
    messages: tuple[Mapping[str, Any], ...]
    verdict: Verdict
    #: Where the sections say so: "9110 5.5".
    rfc: str
    method: str = "GET"
    version: str = "1.1"
    #: Whether the client of HTTP/2 can be asked.
    http2: bool = True
    #: By WebSocket library, where the verdict over HTTP/1.1 is another one.
    exceptions: Mapping[str, Verdict] = field(default_factory=dict)

    @property
    def is_websocket(self) -> bool:
        return str(self.messages[0]["type"]).startswith("websocket.")


def response_groups() -> list[Path]:
    """The data files."""
    return sorted((DIRECTORY / "responses").glob("*.toml"))


def read_responses(path: Path) -> list[ResponseVector]:
    """The vectors of one file, each in each of its places. Raises VectorError for what is malformed or there twice."""
    given = tomllib.loads(path.read_text("utf-8"))
    places, exceptions = given.pop("places", {}), given.pop("except", {})
    found: list[ResponseVector] = []
    names: set[str] = set()
    for entry in given.pop("vectors", ()):
        where = f"{path.name}: {entry['name']!r}"
        if entry["name"] in names:
            raise VectorError(f"{where} is there twice")
        names.add(entry["name"])
        others = {of: _verdict(where, verdict) for of, verdict in exceptions.pop(entry["name"], {}).items()}
        for vector in _vectors(where, path.stem, dict(entry), places):
            if any(of not in LIBRARIES or not o.reason or o == vector.verdict for of, o in others.items()):
                raise VectorError(f"{where}: an exception has no reason, is none, or is of no library")
            found.append(replace(vector, exceptions=others))
    if given or exceptions or not found:
        raise VectorError(f"{path.name}: of no vector, or not known: {[*given, *exceptions]}")
    unused = places.keys() - {vector.place for vector in found}
    if unused:
        raise VectorError(f"{path.name}: nothing is in {sorted(unused)}")
    return found


def _vectors(
    where: str, group: str, entry: dict[str, Any], places: Mapping[str, Mapping[str, Any]]
) -> list[ResponseVector]:
    try:
        name, rfc = entry.pop("name"), entry.pop("rfc")
        asked = {key: entry.pop(key) for key in ("method", "version", "http2") if key in entry}
        if "sends" in entry:
            sends, verdict = entry.pop("sends"), entry.pop("answer")
            found = [ResponseVector(group, name, "", _messages(sends), _verdict(where, verdict), rfc, **asked)]
        else:
            within, put, found = entry.pop("in", [*places]), entry.pop("put"), []
            is_refused, answer = entry.pop("refused", False), entry.pop("answer", None)
            sent = entry.pop("sent", None)
            if is_refused + (answer is not None) + (sent is not None) != 1:
                raise VectorError(f"{where}: no or no clear verdict")
            for place in [within] if isinstance(within, str) else within:
                if answer is None:
                    verdict = places[place]["refused"] if is_refused else _filled(places[place]["sent"], sent)
                else:
                    verdict = answer
                messages = _messages(_filled(places[place]["sends"], put))
                found.append(ResponseVector(group, name, place, messages, _verdict(where, verdict), rfc, **asked))
    except KeyError as exc:
        raise VectorError(f"{where} lacks {exc}, or names it wrongly: {entry}") from exc
    if entry:
        raise VectorError(f"{where}: not known: {[*entry]}")
    return found


def _filled(given: Any, put: Any) -> Any:
    """With `put` in place of each hole: "@", or, where it is a table, "@KEY"."""
    if isinstance(given, dict):
        return {key: _filled(value, put) for key, value in given.items()}
    if isinstance(given, list):
        return [_filled(value, put) for value in given]
    if not isinstance(given, str) or "@" not in given:
        return given
    if isinstance(put, dict):
        return put[given.removeprefix("@")]
    return put if given == "@" else given.replace("@", put)


def _messages(sends: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """As an app sends them: what is bytes there is written as such."""
    messages = []
    for given in sends:
        message = dict(given)
        for key, value in given.items():
            if key == "headers":
                message[key] = _pairs(value)
            elif key == "links":
                message[key] = [bytes_of(link) for link in value]
            elif key == "body":
                message[key] = bytes_of(value)
            elif key == "subprotocol":
                message[key] = bytes_of(value).decode("latin-1")
        messages.append(message)
    return tuple(messages)


def _pairs(fields: list[list[str]]) -> Fields:
    return tuple((bytes_of(name), bytes_of(value)) for name, value in fields)


def _verdict(where: str, given: Mapping[str, Any]) -> Verdict:
    table = dict(given)
    verdict = Verdict(
        table.pop("status"),
        tuple((name.lower(), value) for name, value in _pairs(table.pop("fields", []))),
        tuple(bytes_of(name) for name in table.pop("without", ())),
        bytes_of(table.pop("body", "")),
        tuple((name.lower(), value) for name, value in _pairs(table.pop("trailers", []))),
        tuple(bytes_of(link) for link in table.pop("hints", ())),
        table.pop("cut", False),
        table.pop("breaks", False),
        table.pop("closes", False),
        table.pop("told", False),
        table.pop("reason", ""),
    )
    if table:
        raise VectorError(f"{where}: not known in a verdict: {[*table]}")
    return verdict

"""How much a client may send: of a request's head, of its body, behind it, and behind an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Integer, Seconds

_MOST = 2**31 - 1
_COUNT = Integer(1, _MOST)
_BYTES = Integer(1, _MOST, unit="bytes")


@dataclass(frozen=True, slots=True)
class Limits(Group):
    """What one connection may send over HTTP of any version. docs/server-behavior.md says what is above them."""

    name: ClassVar = "limits"
    heading: ClassVar = "Limits"

    # What zttp takes at most, so that a request is the same for every parser.
    request_line: int = option(
        16383, _BYTES, "Bytes of a request line, and so of a URL. Above: 414.", flag="--limit-request-line"
    )
    # One of uvicorn's tests has a field of 64 KiB.
    field_size: int = option(
        16383, _BYTES, "Bytes of a field, name included. Above: 431.", flag="--limit-field-size", under_uvicorn=262144
    )
    fields: int = option(100, _COUNT, "Fields of a request. Above: 431.", flag="--limit-fields")
    head_size: int = option(
        65536, _BYTES, "Bytes of a request's head. Above: 431.", flag="--limit-head-size", under_uvicorn=262144
    )
    body: int = option(
        0,
        Integer(0, unit="bytes"),
        "Bytes of a request's body. Above: 413.  [default: no limit]",
        flag="--limit-body",
    )
    chunk_extensions: int = option(
        8192, _BYTES, "Bytes of all chunk extensions of a body. Above: 413.", flag="--limit-chunk-extensions"
    )
    pipeline: int = option(
        256, _COUNT, "Requests of a connection that are parsed ahead of their answers.", flag="--limit-pipeline"
    )
    linger_size: int = option(
        16777216,
        Integer(0, unit="bytes"),
        "Bytes that are read and dropped behind an early answer. Above: reset.",
        flag="--linger-size",
    )
    linger_seconds: float = option(30, Seconds(), "Seconds that this may take. Above: reset.", flag="--linger-seconds")

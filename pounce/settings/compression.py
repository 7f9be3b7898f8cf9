"""Compression of responses: which codings, and what is worth it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Integer, Kind, Names

CODINGS = ("zstd", "br", "gzip")

#: The levels that each coding has. zstd's beyond 19 are for windows that no client has to accept (RFC 9659).
LEVELS = {"zstd": range(1, 20), "br": range(12), "gzip": range(1, 10)}

#: What is text, whatever it is called. Of the rest, what is not compressed in itself.
TYPES = (
    "text/*,*/*+json,*/*+xml,application/json,application/javascript,application/xml,application/wasm,"
    "application/x-ndjson,application/yaml,font/otf,font/ttf"
)


class Levels(Kind):
    """A level for some of the codings, `zstd=3,br=4` or a mapping; the others keep theirs."""

    metavar = "LIST"
    words = f"a list of {', '.join(f'{name}={levels[0]} to {levels[-1]}' for name, levels in LEVELS.items())}"

    #: Where more costs much and saves little. All levels come as one text, in the order of `CODINGS`.
    USUAL: ClassVar = {"zstd": 3, "br": 4, "gzip": 6}

    def read(self, value: Any) -> Any:
        """See `Kind`: the levels of all codings, as a string again."""
        pairs = value.items() if isinstance(value, Mapping) else [one.split("=") for one in value.split(",") if one]
        levels = {str(name).strip().lower(): int(level) for name, level in pairs}
        if any(level not in LEVELS.get(name, ()) for name, level in levels.items()):
            raise ValueError(value)
        return ",".join(f"{name}={level}" for name, level in (self.USUAL | levels).items())


class MediaTypes(Kind):
    """Media types by comma, or as a list: `application/json`; `*` stands for any characters but the slash."""

    metavar = "LIST"
    words = "a list of media types: text/*, application/json"

    def read(self, value: Any) -> Any:
        """See `Kind`: a string again, in lower case."""
        types = [one.strip().lower() for one in (value.split(",") if isinstance(value, str) else value)]
        types = [one for one in types if one]
        if not all(re.fullmatch(r"[\w!#$&^.+*-]+/[\w!#$&^.+*-]+", one) for one in types):
            raise ValueError(value)
        return ",".join(types)


@dataclass(frozen=True, slots=True)
class Compression(Group):
    """What is compressed, and how. docs/compression.md says what never is."""

    name: ClassVar = "compression"
    heading: ClassVar = "Compression"
    lead: ClassVar = "codings"

    codings: tuple[str, ...] = option(
        (),
        Names(CODINGS, off="off", auto="auto"),
        "Codings of responses, the preferred one first: zstd, br, gzip. auto: what is installed.  [default: off]",
    )
    min_size: int = option(1024, Integer(0, unit="bytes"), "Bytes that a body must have to be compressed.")
    level: str = option(
        "zstd=3,br=4,gzip=6", Levels(), "Levels of the codings, by comma. The higher, the slower and smaller."
    )
    types: str = option(TYPES, MediaTypes(), "Media types that are compressed, by comma.")

    def levels(self) -> dict[str, int]:
        """The level of each coding."""
        return {name: int(level) for name, _, level in (one.partition("=") for one in self.level.split(","))}

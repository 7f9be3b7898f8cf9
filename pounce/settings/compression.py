"""Compression of responses: which codings, and what is worth it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Integer, Names

CODINGS = ("zstd", "br", "gzip")


@dataclass(frozen=True, slots=True)
class Compression(Group):
    """What is compressed, and how. docs/compression.md says what never is."""

    name: ClassVar = "compression"
    heading: ClassVar = "Compression"
    lead: ClassVar = "codings"

    codings: tuple[str, ...] = option(
        (),
        Names(CODINGS, off="off", auto="auto"),
        "Codings for responses, the preferred one first, by comma: zstd, br, gzip. auto: what is installed.",
    )
    min_size: int = option(1024, Integer(0, unit="bytes"), "Bytes that a body must have to be compressed.")

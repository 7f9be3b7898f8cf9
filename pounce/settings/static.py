"""Files that the server itself serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Integer, Text


@dataclass(frozen=True, slots=True)
class Static(Group):
    """Which directories are served below which paths. docs/files.md says which files are refused."""

    name: ClassVar = "static"
    heading: ClassVar = "Files"
    lead: ClassVar = "dirs"

    dirs: tuple[str, ...] = option((), Text(several=True), "Serve the files of DIR below PREFIX: PREFIX=DIR.")
    max_age: int | None = option(
        None, Integer(0, optional=True, unit="seconds"), "Seconds for which caches may keep these files."
    )

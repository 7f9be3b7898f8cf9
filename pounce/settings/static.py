"""Files that the server itself serves."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from pounce.errors import wrong_value
from pounce.settings.group import Group, option
from pounce.settings.kinds import Flag, Integer, ListOf


class Mount(NamedTuple):
    """A directory, and the path that its files are below: without a slash at its end, so empty for all paths."""

    prefix: str
    directory: str


class Mounts(ListOf):
    """Prefixes and directories: PREFIX=DIR, or a pair."""

    metavar = "PREFIX=DIR"
    words = "a list of PREFIX=DIR"

    def read_one(self, value: Any) -> Mount:
        """See `ListOf`. A `Mount` was read before."""
        if isinstance(value, Mount):
            return value
        if isinstance(value, str):
            prefix, equals, directory = value.partition("=")
        else:
            prefix, equals, directory = (value[0], "=", value[1]) if len(value) == 2 else ("", "", "")
        if not (prefix and equals and directory):
            raise wrong_value(f"{value!r} is not of the form PREFIX=DIR")
        if not prefix.startswith("/"):
            raise wrong_value(f"The prefix '{prefix}' does not begin with a slash")
        prefix = prefix.removesuffix("/")
        if re.search(r"[\0?#%]|//|/\.{1,2}(/|$)", prefix):
            raise wrong_value(f"The prefix '{prefix}' is not a plain path")
        if not {os.open, os.readlink} <= os.supports_dir_fd:
            line = "Files cannot be served on this system, which cannot open them relative to a directory"
            raise wrong_value(line)
        directory = os.fspath(directory)
        if not os.path.isdir(directory):
            raise wrong_value(f"There is no directory '{directory}' to serve files from")
        return Mount(prefix, os.path.abspath(directory))

    def read(self, value: Any) -> tuple[Mount, ...]:
        """See `Kind`."""
        mounts: tuple[Mount, ...] = super().read(value)
        prefixes = [mount.prefix for mount in mounts]
        for prefix in prefixes:
            if prefixes.count(prefix) > 1:
                raise wrong_value(f"static has two directories for the prefix '{prefix or '/'}'")
        return mounts


@dataclass(frozen=True, slots=True)
class Static(Group):
    """Which directories are served below which paths. docs/files.md says which files are refused."""

    name: ClassVar = "static"
    heading: ClassVar = "Files"
    lead: ClassVar = "dirs"

    dirs: tuple[Mount, ...] = option((), Mounts(), "Serve the files of DIR below PREFIX; the app is not asked there.")
    max_age: int | None = option(
        None, Integer(0, optional=True, unit="seconds"), "Seconds for which caches may keep these files."
    )
    index: bool = option(False, Flag(), "Answer the path of a directory with its index.html.")

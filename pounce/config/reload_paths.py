"""Which directories and patterns `--reload` watches. Paths only; watching is the supervisors' work."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_dir(path: Path) -> bool:
    """Whether the path, taken relative to the working directory, is a directory. Unreadable ones are not."""
    try:
        return path.absolute().is_dir()
    except OSError:
        return False


def _normalize_dirs(dirs: Any) -> list[str]:
    """One string, several or none, as a list without duplicates."""
    if dirs is None:
        return []
    return [dirs] if isinstance(dirs, str) else list(dict.fromkeys(dirs))


def resolve_reload_patterns(patterns_list: list[str], directories_list: list[str]) -> tuple[list[str], list[Path]]:
    """`(patterns, directories)`: the patterns without duplicates, and every directory that either list names.

    Directories are absolute; those inside another one of the result are left out. A pattern counts as directories
    where it is the path of one or globs to some. The exception is ".*", which stays a pattern for file names: taken
    for directories it would mean every hidden one.
    """
    named = [Path(directory) for directory in directories_list]
    for pattern in patterns_list:
        if pattern != ".*":
            named += _directories_of(pattern)
    directories = {path.resolve() for path in named if is_dir(path)}
    outermost = [path for path in directories if directories.isdisjoint(path.parents)]
    return list(dict.fromkeys(patterns_list)), sorted(outermost)


def without_excluded(directories: list[Path], excluded: list[Path]) -> list[Path]:
    """The directories that are neither excluded nor inside an excluded one."""
    return [path for path in directories if not any(other == path or other in path.parents for other in excluded)]


def _directories_of(pattern: str) -> list[Path]:
    path = Path(pattern)
    if is_dir(path):
        return [path]
    if path.is_absolute():
        return []  # Path.glob takes relative patterns only; this one is left to match file names.
    return [match for match in Path.cwd().glob(pattern) if is_dir(match)]

"""`WatchFilesReload`: told of changed files by the system, through the watchfiles package.

Importing this module fails with ImportError where watchfiles is missing; the caller then takes `StatReload`. Runs on
the main thread of the reloader. Compatible with uvicorn's
`supervisors.watchfilesreload` (include and exclude patterns).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from socket import socket

from watchfiles import watch

from pounce.contracts import ConfigView
from pounce.supervisors.reload import BaseReload, Target

DEFAULT_INCLUDES = ("*.py",)
DEFAULT_EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*")

#: Milliseconds after which the watcher looks up without a change, so that SIGHUP and the stop event are noticed.
WATCH_TIMEOUT = 500


class FileFilter:
    """Whether a path is worth a reload, by the `reload_includes` and `reload_excludes` of a config.

    A user's pattern in one of the lists takes the same default pattern out of the other. An exclude that names a
    directory covers all that lies in it. An include that names the file literally beats every exclude.
    """

    def __init__(self, config: ConfigView) -> None:
        self.includes = _merge(DEFAULT_INCLUDES, config.reload_includes, unless_in=config.reload_excludes)
        patterns: list[str] = []
        self.exclude_dirs: list[Path] = []
        for exclude in config.reload_excludes:
            if _is_dir(exclude):
                self.exclude_dirs.append(Path(exclude))
            else:
                patterns.append(exclude)
        self.excludes = _merge(DEFAULT_EXCLUDES, patterns, unless_in=config.reload_includes)

    def __call__(self, path: Path) -> bool:
        matching = [include for include in self.includes if path.match(include)]
        if any(str(path).endswith(include) for include in matching):
            return True
        return bool(matching) and not self._is_excluded(path)

    def _is_excluded(self, path: Path) -> bool:
        return any(directory in path.parents for directory in self.exclude_dirs) or any(
            path.match(pattern) for pattern in self.excludes
        )


class WatchFilesReload(BaseReload):
    """Watches `reload_dirs`."""

    reloader_name = "WatchFiles"

    def __init__(self, config: ConfigView, target: Target, sockets: list[socket]) -> None:
        super().__init__(config, target, sockets)
        self.reload_dirs: list[Path] = list(config.reload_dirs)
        self.watch_filter = FileFilter(config)
        self.watcher = watch(
            *self.reload_dirs,
            watch_filter=None,
            stop_event=self.should_exit,
            rust_timeout=WATCH_TIMEOUT,
            yield_on_timeout=True,
            ignore_permission_denied=True,
        )

    def should_restart(self) -> list[Path] | None:
        self.pause()
        changes = next(self.watcher)
        if not changes:
            return None
        return [path for path in {Path(name) for _, name in changes} if self.watch_filter(path)]


def _merge(defaults: Iterable[str], own: Iterable[str], unless_in: Iterable[str]) -> list[str]:
    """The user's patterns after the default ones, without those defaults that the opposite list names; no doubles."""
    taken_out = set(unless_in)
    return list(dict.fromkeys([*(pattern for pattern in defaults if pattern not in taken_out), *own]))


def _is_dir(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # Windows, for names like "*.py".
        return False

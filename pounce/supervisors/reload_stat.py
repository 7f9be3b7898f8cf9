"""`StatReload`: finds changed Python files by their modification times, with nothing but the standard library.

Runs on the main thread of the reloader. Compatible with uvicorn's `supervisors.statreload` (only `*.py`, no patterns).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from socket import socket

from pounce.contracts import ConfigView
from pounce.names import LOGGER_ERROR
from pounce.supervisors.reload import BaseReload, Target

logger = logging.getLogger(LOGGER_ERROR)


class StatReload(BaseReload):
    """Looks at every Python file below `reload_dirs` each `reload_delay` seconds."""

    reloader_name = "StatReload"

    def __init__(self, config: ConfigView, target: Target, sockets: list[socket]) -> None:
        super().__init__(config, target, sockets)
        self.mtimes: dict[Path, float] = {}
        if config.reload_excludes or config.reload_includes:
            logger.warning("--reload-include and --reload-exclude have no effect unless watchfiles is installed.")

    def should_restart(self) -> list[Path] | None:
        self.pause()
        for path in self.iter_py_files():
            try:
                mtime = path.stat().st_mtime
            except OSError:  # Removed since it was listed.
                continue
            # A file not seen before is taken as it is: on the first round that is every one.
            if mtime > self.mtimes.setdefault(path, mtime):
                return [path]
        return None

    def restart(self) -> None:
        self.mtimes = {}
        super().restart()

    def iter_py_files(self) -> Iterator[Path]:
        """Every Python file below the watched directories, links followed."""
        for directory in self.config.reload_dirs:
            for path in list(directory.rglob("*.py")):
                yield path.resolve()

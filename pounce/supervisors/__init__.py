"""The parents of server processes: `Multiprocess` keeps them running, `ChangeReload` restarts one when a file changes.

`ChangeReload` is the watchfiles one where that package is installed, else the one that looks at modification times. It
is resolved on first use: importing watchfiles costs time and may switch the GIL back on, also in every child.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pounce.supervisors.processes import Multiprocess

if TYPE_CHECKING:
    from pounce.supervisors.reload import BaseReload

    ChangeReload: type[BaseReload]

__all__ = ["ChangeReload", "Multiprocess"]


def __getattr__(name: str) -> Any:
    if name != "ChangeReload":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        chosen = import_module("pounce.supervisors.reload_watch").WatchFilesReload
    except ImportError:
        chosen = import_module("pounce.supervisors.reload_stat").StatReload
    globals()[name] = chosen
    return chosen

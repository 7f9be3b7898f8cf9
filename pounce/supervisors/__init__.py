"""The parents of server processes: `Multiprocess` keeps them running, `ChangeReload` restarts one when a file changes.

`ChangeReload` is the watchfiles one where that package is installed, else the one that looks at modification times.
Each is imported when it is first asked for, and so are the modules that are attributes after `import uvicorn`. A child,
which imports this package too, needs none of them; and importing watchfiles costs time and may switch the GIL back on.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pounce.supervisors.processes import Multiprocess as Multiprocess
    from pounce.supervisors.reload import BaseReload as BaseReload

    ChangeReload: type[BaseReload]

__all__ = ["ChangeReload", "Multiprocess"]

_MODULES = {"basereload", "multiprocess"}


def __getattr__(name: str) -> Any:
    chosen: Any
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name == "BaseReload":
        chosen = import_module("pounce.supervisors.reload").BaseReload
    elif name == "Multiprocess":
        chosen = import_module("pounce.supervisors.processes").Multiprocess
    elif name == "ChangeReload":
        try:
            chosen = import_module("pounce.supervisors.reload_watch").WatchFilesReload
        except ImportError:
            chosen = import_module("pounce.supervisors.reload_stat").StatReload
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = chosen
    return chosen

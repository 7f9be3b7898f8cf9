"""The parents of server processes: `Multiprocess` keeps them running, `ChangeReload` restarts one when a file changes.

`ChangeReload` is the watchfiles one where that package is installed, else the one that looks at modification times.
Each is imported when it is first asked for, and so are the modules that are attributes after `import uvicorn`. A child,
which imports this package too, needs none of them; and importing watchfiles costs time and may switch the GIL back on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pounce.importer import on_demand

if TYPE_CHECKING:
    from pounce.supervisors.processes import Multiprocess as Multiprocess
    from pounce.supervisors.reload import BaseReload as BaseReload

    ChangeReload: type[BaseReload]

__all__ = ["ChangeReload", "Multiprocess"]

_on_demand = on_demand(
    __name__,
    {
        "BaseReload": "pounce.supervisors.reload",
        "Multiprocess": "pounce.supervisors.processes",
        "StatReload": "pounce.supervisors.reload_stat",
        "WatchFilesReload": "pounce.supervisors.reload_watch",
        "basereload": "pounce.supervisors.basereload",
        "multiprocess": "pounce.supervisors.multiprocess",
    },
)


def __getattr__(name: str) -> Any:
    if name != "ChangeReload":
        return _on_demand(name)
    try:
        return _on_demand("WatchFilesReload")
    except ImportError:
        return _on_demand("StatReload")

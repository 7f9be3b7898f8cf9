"""pounce, an ASGI server that takes uvicorn's place. The public names; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pounce.cli import main as main
    from pounce.config.config import Config as Config
    from pounce.run import run as run
    from pounce.server import Server as Server

__version__ = "0.1.0"
__all__ = ["Config", "Server", "main", "run"]

_HOME = {
    "Config": "pounce.config.config",
    "Server": "pounce.server",
    "main": "pounce.cli",
    "run": "pounce.run",
}

#: Modules that are attributes without having been imported, as after `import uvicorn`.
_MODULES = {"config", "importer", "logging", "middleware", "server", "supervisors"}
_MODULES |= {"_ansi", "_compat", "_subprocess", "_types"}


class _Package(ModuleType):
    """Keeps `pounce.main` the command and `pounce.run` the function: importing the modules would set these instead."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("main", "run") and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

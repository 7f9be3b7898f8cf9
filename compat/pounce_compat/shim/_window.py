"""`open_onto`: makes a shim module a window onto the pounce modules behind it.

A plain re-export would not do: users and uvicorn's tests patch `uvicorn.main.run` or `uvicorn.config.open` and expect
the server to notice. So an assignment to a window goes through to every module behind it that has the name, a read
takes the name from there as it is now, and what the shim's own file defines stays the file's.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from types import ModuleType
from typing import Any

_BEHIND = "__pounce_modules__"
_NAMES = "__pounce_names__"


def open_onto(name: str, *behind: str) -> None:
    """Make the module `name` (its `__name__`) a window onto the pounce modules `behind`, the first of which wins.

    Raises whatever importing them raises, so that a missing parser is reported as it is by uvicorn.
    """
    window = sys.modules[name]
    modules = tuple(importlib.import_module(one) for one in behind)
    # The names stand in the window's own dictionary too: `import *`, `vars()` and `mock.patch` look there.
    inside = {key: value for module in reversed(modules) for key, value in vars(module).items() if key[:2] != "__"}
    window.__dict__.update(inside)
    window.__dict__[_BEHIND] = modules
    window.__dict__[_NAMES] = set(inside)
    window.__class__ = Window


class Window(ModuleType):
    """A module whose attributes are those of the modules behind it."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("__"):
            own = super().__getattribute__("__dict__")
            if name in own[_NAMES] or name not in own:
                for module in own[_BEHIND]:
                    try:
                        return getattr(module, name)
                    except AttributeError:
                        continue
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        own, owners = self._owners(name)
        if owners:
            own[_NAMES].add(name)
        for module in owners:
            setattr(module, name, value)
        own[name] = value

    def __delattr__(self, name: str) -> None:
        own, owners = self._owners(name)
        found = name in own
        own.pop(name, None)
        own[_NAMES].discard(name)
        for module in owners:
            if name in vars(module):
                delattr(module, name)
                found = True
        if not found:
            raise AttributeError(f"module {own['__name__']!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        own = super().__getattribute__("__dict__")
        return sorted({*own, *(key for module in own[_BEHIND] for key in dir(module) if key[:2] != "__")})

    def _owners(self, name: str) -> tuple[dict[str, Any], tuple[ModuleType, ...]]:
        """The window's dictionary, and the modules behind it that an assignment to this name concerns."""
        own: dict[str, Any] = super().__getattribute__("__dict__")
        modules: tuple[ModuleType, ...] = own[_BEHIND]
        if name.startswith("__") or (name in own and name not in own[_NAMES]):
            return own, ()
        if name not in own and hasattr(builtins, name):
            # A builtin (`open`) is a global of every module, and any of them may be the one that calls it.
            return own, modules
        return own, tuple(module for module in modules if hasattr(module, name))

"""`open_onto`: makes a shim module a window onto the pounce modules behind it.

A plain re-export would not do: users and uvicorn's tests patch `uvicorn.main.run` or `uvicorn.config.open` and expect
the server to notice. So an assignment to a window goes through to every module behind it that has the name, a read
takes the name from there as it is now, and what the shim's own file defines stays the file's. What uvicorn's module
only imports (`uvicorn_names.json` says from where) is imported once somebody asks for it.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import sys
from pathlib import Path
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
    inside = {
        key: value
        for module in reversed(modules)
        for key, value in vars(module).items()
        if key[:2] != "__" and not _is_part_of(module, key, value)
    }
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
                        value = getattr(module, name)
                    except AttributeError:
                        continue
                    if not _is_part_of(module, name, value):
                        return value
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        """Asked last: what uvicorn's module of this name imports."""
        module = self.__name__
        source = _imports().get(module, {}).get(name)
        if source is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, attribute = source.partition(":")
        try:
            found = importlib.import_module(home)
        except ImportError as exc:
            raise AttributeError(f"module {module!r} has no attribute {name!r}: {exc}") from exc
        return getattr(found, attribute) if attribute else found

    def __setattr__(self, name: str, value: Any) -> None:
        if _is_part_of(self, name, value):
            super().__setattr__(name, value)
            return
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
        behind = (key for module in own[_BEHIND] for key in dir(module) if key[:2] != "__")
        return sorted({*own, *behind, *_imports().get(self.__name__, ())})

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


def _is_part_of(package: ModuleType, name: str, value: Any) -> bool:
    """Whether it is the package's module of that name: a window has modules of its own."""
    return isinstance(value, ModuleType) and value.__name__ == f"{package.__name__}.{name}"


@functools.cache
def _imports() -> dict[str, dict[str, str]]:
    """Module of uvicorn to what it imports, and to the modules that are its attributes after `import uvicorn`."""
    table = json.loads(Path(__file__).with_name("uvicorn_names.json").read_text(encoding="utf-8"))
    found: dict[str, dict[str, str]] = {}
    for module, names in table["modules"].items():
        kinds = ((name, *kind.split()) for name, kind in names.items())
        found[module] = {name: ":".join(where) for name, what, *where in kinds if what in ("from", "module")}
    for module in table["after_import"]:
        package, _, name = module.rpartition(".")
        found[package].setdefault(name, module)
    return found

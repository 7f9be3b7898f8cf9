"""Import strings: "package.module:attribute.attribute" becomes an object. Compatible with uvicorn's importer."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from pounce.errors import ImportFromStringError

__all__ = ["ImportFromStringError", "import_from_string"]


def import_from_string(import_str: Any) -> Any:
    """The object an import string names. What is not a string (None, a class, an app) is returned as it is.

    Raises `ImportFromStringError` where the string is malformed or the module or attribute it names does not exist.
    Whatever the module itself raises while it is imported, a missing dependency included, comes out unchanged.
    """
    if not isinstance(import_str, str):
        return import_str
    module_name, _, attributes = import_str.partition(":")
    if not (module_name and attributes):
        raise ImportFromStringError(f'Import string "{import_str}" must be in format "<module>:<attribute>".')

    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        if exc.name == module_name:
            raise ImportFromStringError(f'Could not import module "{module_name}".')
        raise exc from None

    try:
        return reduce(getattr, attributes.split("."), module)
    except AttributeError:
        raise ImportFromStringError(f'Attribute "{attributes}" not found in module "{module_name}".')


def on_demand(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a module: attributes that are imported when they are first asked for.

    `homes` says from which module; one that ends with the name itself is the attribute.
    """

    def find(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = importlib.import_module(home)
        return found if home.endswith(f".{name}") else getattr(found, name)

    return find

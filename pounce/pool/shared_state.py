"""Looks, between the startups of worker threads, for things of one event loop that all of them would share.

An app that is one object for all threads runs one lifespan per worker. `app.state.pool = ...` in it, `global pool`,
`clients["db"] = ...` or `database.connect()` then leave the last worker's pool for everybody. Found are: a binding that
a later startup replaced, an object whose insides it rebound to its own loop, and a resource that was made at import.
What the app keeps per loop or per request is none of these.

Runs on: the server's loop, while no other startup runs. Runs no code of what it looks at (`pool/loop_bound`).
Implements the ASGI lifespan specification: one lifespan per event loop.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pounce.contracts import ConfigView
from pounce.names import LOGGER_ERROR
from pounce.pool.loop_bound import (
    Look,
    attribute,
    class_attribute,
    class_name,
    class_namespace,
    generator_in,
    is_a,
    may_hold_a_loop,
    module_of,
    mro,
    namespace,
)

_WAYS_OUT = (
    "Give each worker its own: make it in the lifespan and `yield` it as lifespan state, "
    "or make it in an app factory (--factory)."
)

#: Folders of packages, wherever they are: other environments on the path, what a `.pth` file adds. Others, as those of
#: `pip install --target`, tell by the records of what was installed there.
_INSTALLED = {"site-packages", "dist-packages"}

logger = logging.getLogger(LOGGER_ERROR)

_Key = tuple[str, str]


class SharedStateCheck:
    """Compares what is bound after each startup with what was bound after the one before.

    Made when the app is imported and no worker has started up yet.
    """

    def __init__(self, config: ConfigView) -> None:
        self._config = config
        self._app: Any = None
        self._before: dict[_Key, Any] | None = None
        self._loops_before: dict[_Key, set[int]] = {}
        self._named: set[_Key] = set()
        self._loop_bound: list[str] = []
        self._own_modules: dict[str, dict[str, Any]] = {}
        #: By the id of a value: the value, and what there is of one loop in it. No startup can have put that there.
        self._from_import = {id(value): (value, thing) for value, thing in self._bound_at_import()}

    def after_startup(self, thread: Any) -> bool:
        """Look at the bindings now that this worker is up, and warn of what cannot be shared. Whether `auto` must stop.

        `thread` has a `name`, a `loop` and a `worker` with its `config`.
        """
        app = innermost(thread.worker.config.loaded_app)
        is_shared = self._app is None or app is self._app
        self._app = app
        bindings = dict(self._bindings(app if is_shared else None))
        before, self._before = self._before, bindings
        loops_before, self._loops_before = self._loops_before, {}
        look = Look(self._is_own, left_out=app)
        for key, value in bindings.items():
            if not may_hold_a_loop(value) or value is app or key in self._named:
                continue
            loops = self._loops_before[key] = look.loops_in(value)
            if before is None:
                _, thing = self._from_import.get(id(value), (None, None))
                if thing is None:
                    thing = generator_in(value) if loops else look.bound_thing_in(value)
                if thing is not None:
                    self._report(key, f"{_described(key, value, thing)}, but all worker threads share it.", True)
            elif key in before and before[key] is not value:
                bound = bool(loops or look.loops_in(before[key])) or look.bound_thing_in(value) is not None
                which = "belongs to one event loop but is shared by all worker threads"
                which = which if bound else "all worker threads share"
                self._report(key, f"The startup of {thread.name} replaced {_name(key)}, which {which}.", bound)
            elif id(thread.loop) in loops and loops_before.get(key) and not loops & loops_before[key]:
                # An object that knows one loop at a time was taken over. One that knows both keeps them apart itself.
                line = f"The startup of {thread.name} bound {_name(key)} to its own event loop"
                self._report(key, f"{line}, but all worker threads share it.", True)
            elif loops and loops == loops_before.get(key) and look.is_client(value) and not self._is_own(type(value)):
                # `if pool is None: pool = ...` in the lifespan. A job may run on one loop for all; a client cannot.
                line = f"{_name(key)} ({class_name(value)}) belongs to the event loop of the first worker thread"
                self._report(key, f"{line}, but all worker threads share it.", True)
        return self.complaint() is not None

    def complaint(self) -> str | None:
        """A sentence that names what cannot be shared, if anything; None under an explicit `--worker-class thread`."""
        if not self._loop_bound or self._config.worker_class == "thread":
            return None
        return f"All worker threads share objects that belong to one event loop ({', '.join(self._loop_bound)})."

    def _report(self, key: _Key, line: str, bound: bool) -> None:
        self._named.add(key)
        logger.warning("%s %s", line, _WAYS_OUT)
        if bound:
            self._loop_bound.append(_name(key))

    def _bound_at_import(self) -> Iterator[tuple[Any, Any]]:
        """Values that are, or hold, something of one loop, with that thing.

        A class of the project that is closed by awaiting is left to the startups: it may keep its loops apart.
        """
        values = [value for _, value in self._bindings(None)]
        apps = [innermost(value) for value in values if class_attribute(type(value), "__call__") is not None]
        values += [value for app in apps for _, value in self._bindings_of(app)]
        look = Look(self._is_own)
        for value in values:
            thing = look.bound_thing_in(value)
            if thing is not None and not self._is_own(type(thing)):
                yield value, thing

    def _bindings(self, app: Any) -> Iterator[tuple[_Key, Any]]:
        """What the app's state, the app itself and the project's modules are bound to."""
        self._own_modules = _own_modules(self._config.app)
        if app is not None:
            yield from self._bindings_of(app)
        for module, bound in self._own_modules.items():
            for name, value in list(bound.items()):
                if not name.startswith("__"):
                    yield (module, name), value

    def _bindings_of(self, app: Any) -> Iterator[tuple[_Key, Any]]:
        """What an app's state and its attributes are bound to.

        What the framework's own code names is left to it, but for generators: a second startup would go on with what
        the first began (Quart's `while_serving`).
        """
        for name, value in _state_of(app):
            yield ("app.state", name), value
        framework = {name for kind in mro(type(app)) if not self._is_own(kind) for name in _names_in_code(kind)}
        for name, value in list(namespace(app).items()):
            if name != "state" and (name not in framework or generator_in(value) is not None):
                yield ("app", name), value

    def _is_own(self, kind: type) -> bool:
        """Whether a class is the project's."""
        return module_of(kind) in self._own_modules


def innermost(app: Any) -> Any:
    """The user's app, under the middleware that the server and common frameworks put around it."""
    for _ in range(32):
        inner = attribute(app, "app")
        if inner is None or attribute(app, "state") is not None:
            break
        app = inner
    return app


def _state_of(app: Any) -> Iterator[tuple[str, Any]]:
    state = attribute(app, "state")
    # Starlette's and Litestar's State keep their values in `_state`; other frameworks use plain attributes.
    values = attribute(state, "_state")
    if type(values) is not dict:
        values = namespace(state)
    for name, value in list(values.items()):
        if type(name) is str:
            yield name, value


def _names_in_code(kind: type) -> set[str]:
    """Every name that the methods of a class use. An attribute of an app that is not among them is the user's."""
    functions = [value for value in class_namespace(kind).values() if type(value) is types.FunctionType]
    return {name for function in functions for name in function.__code__.co_names}


def _own_modules(app: Any) -> dict[str, dict[str, Any]]:
    """The globals of the project's modules: not the standard library's, not installed packages', not this server's.

    The package that `app` ("package.module:attribute") is in counts as the project, installed or not.
    """
    package = app.partition(":")[0].partition(".")[0] if type(app) is str else None
    own = {}
    for module_name, module in list(sys.modules.items()):
        if not is_a(module, (types.ModuleType,)):
            continue
        file = namespace(module).get("__file__")
        top = module_name.partition(".")[0]
        if type(file) is not str:
            continue
        if top == package or not (
            top == "pounce" or top in sys.stdlib_module_names or _is_installed(module_name, os.path.abspath(file))
        ):
            own[module_name] = namespace(module)
    return own


def _is_installed(module_name: str, file: str) -> bool:
    parts = file.split(os.sep)
    if _INSTALLED.intersection(parts):
        return True
    depth = module_name.count(".") + 1 + parts[-1].startswith("__init__.")
    return module_name.partition(".")[0] in _installed_in(os.sep.join(parts[:-depth]))


@functools.cache
def _installed_in(folder: str) -> frozenset[str]:
    """The packages and modules that installers have put there and recorded (PyPA: Recording installed projects)."""
    names: set[str] = set()
    for record in Path(folder).glob("*.dist-info/RECORD"):
        with contextlib.suppress(OSError, UnicodeError):
            paths = [line.partition(",")[0].split("/") for line in record.read_text(encoding="utf-8").splitlines()]
            names.update(path[0].partition(".")[0] for path in paths)
    return frozenset(names)


def _name(key: _Key) -> str:
    return ".".join(key)


def _described(key: _Key, value: Any, thing: Any) -> str:
    if thing is value:
        return f"{_name(key)} ({class_name(thing)}) belongs to one event loop"
    return f"{_name(key)} holds something that belongs to one event loop ({class_name(thing)})"

"""Looks, between the startups of worker threads, for loop-bound things that one startup put where the next overwrites them.

An app that is one object for all threads runs one lifespan per worker. `app.state.pool = ...` in it, or `global pool`,
then leaves the last worker's pool for everybody. Runs on: the server's loop, while no other startup runs. Answers to:
DESIGN section 2; the ASGI lifespan specification.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterator, Sequence
from typing import Any

from pounce.contracts import ConfigView
from pounce.names import LOGGER_ERROR

#: Objects looked at below one overwritten binding, and how deep.
_MAX_OBJECTS = 2000
_MAX_DEPTH = 6

#: Replaced by every startup without harm, and never bound to a loop.
_HARMLESS = (str, bytes, int, float, complex, bool, type(None), tuple, frozenset, types.ModuleType, types.FunctionType, type)

logger = logging.getLogger(LOGGER_ERROR)

_Bindings = dict[tuple[str, str], Any]


class SharedStateCheck:
    """Compares what is bound after each startup with what was bound after the one before."""

    def __init__(self, config: ConfigView, threads: Sequence[Any]) -> None:
        self._config = config
        self._threads = threads
        self._before: _Bindings | None = None
        self._loop_bound: list[str] = []
        self._named: set[tuple[str, str]] = set()

    def after_startup(self, thread: Any) -> None:
        """Look at the bindings once this worker is up, and warn of what its startup replaced."""
        app = _innermost(thread.worker.config.loaded_app)
        others = [other.worker.config for other in self._threads if other.worker is not None and other is not thread]
        if any(_innermost(config.loaded_app) is not app for config in others):
            return  # a factory: each worker has an instance of its own
        bindings = dict(_bindings(app))
        before, self._before = self._before, bindings
        if before is None:
            return
        for key, value in bindings.items():
            # A binding made by the first startup alone, or rebound: only what was there before can be overwritten.
            if key in before and before[key] is not value and not isinstance(value, _HARMLESS) and key not in self._named:
                self._named.add(key)
                where = ".".join(key)
                bound = _reaches_loop(value, thread.loop) or _reaches_loop(before[key], None)
                logger.warning(
                    "The startup of %s replaced %s, which all worker threads share%s. Give each worker its own: use an "
                    "app factory (--factory), or `yield` it as lifespan state and read `request.state`.",
                    thread.name,
                    where,
                    ", and which belongs to one event loop" if bound else "",
                )
                if bound:
                    self._loop_bound.append(where)

    def complaint(self) -> str | None:
        """A sentence that names what cannot be shared, if anything; None under an explicit `--worker-class thread`."""
        if not self._loop_bound or self._config.worker_class == "thread":
            return None
        return f"The app keeps objects of one event loop where all worker threads share them ({', '.join(self._loop_bound)})."


def _innermost(app: Any) -> Any:
    """The user's app, under the middleware that the server and common frameworks put around it."""
    seen = 0
    while seen < 32 and hasattr(app, "app") and not hasattr(app, "state"):
        app = app.app
        seen += 1
    return app


def _bindings(app: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    state = getattr(app, "state", None)
    if state is not None:
        # Starlette's State keeps its values in `_state`; other frameworks use plain attributes.
        values = getattr(state, "_state", None)
        if not isinstance(values, dict):
            values = getattr(state, "__dict__", {})
        for name, value in list(values.items()):
            yield ("app.state", name), value
    for module in _own_modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("__"):
                yield (module.__name__, name), value


def _own_modules() -> list[types.ModuleType]:
    """Modules of the project itself: not the standard library's, not installed packages', not this server's."""
    paths = sysconfig.get_paths()
    foreign = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")} | set(site.getsitepackages())
    foreign.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    prefixes = tuple(os.path.join(path, "") for path in foreign)
    return [
        module
        for module in list(sys.modules.values())
        if isinstance(module, types.ModuleType)
        and isinstance(getattr(module, "__file__", None), str)
        and not os.path.abspath(str(module.__file__)).startswith(prefixes)
    ]


def _reaches_loop(value: Any, loop: Any) -> bool:
    """Whether an event loop (this one, or any) can be reached from an object by a bounded walk."""
    seen: set[int] = set()
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        following: list[Any] = []
        for item in gc.get_referents(*level):
            if id(item) in seen:
                continue
            if item is loop or (loop is None and isinstance(item, asyncio.AbstractEventLoop)):
                return True
            if isinstance(item, (type, types.ModuleType, types.FunctionType, types.CodeType)):
                continue  # from there everything can be reached
            seen.add(id(item))
            following.append(item)
            if len(seen) > _MAX_OBJECTS:
                return False
        if not following:
            return False
        level = following
    return False

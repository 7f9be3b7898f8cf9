"""Looks, between the startups of worker threads, for things of one event loop that all of them would share.

An app that is one object for all threads runs one lifespan per worker. `app.state.pool = ...` in it, `global pool`,
`clients["db"] = ...` or `database.connect()` then leave the last worker's pool for everybody. Found are: a binding that
a later startup replaced, an object whose insides it rebound to its own loop, and a resource that was made at import.
What the app keeps per loop or per request is none of these.

Runs on: the server's loop, while no other startup runs. Answers to: DESIGN section 2; the ASGI lifespan specification.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any

from pounce.contracts import ConfigView
from pounce.names import LOGGER_ERROR

#: Objects looked at below one binding, how deep, and below all bindings of one startup together.
_MAX_OBJECTS = 2_000
_MAX_DEPTH = 6
_MAX_OBJECTS_IN_ALL = 200_000

#: From here everything can be reached, so the walk goes no further; and nobody's startup makes one of these for a loop.
_CODE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.FrameType,
    logging.Logger,
    logging.Handler,
)

#: Locks, events, queues and conditions: they take the loop on which they are first waited for.
_PRIMITIVES = (asyncio.Lock, asyncio.Event, asyncio.Condition, asyncio.Semaphore, asyncio.Queue, asyncio.Future)

_WAYS_OUT = "Give each worker its own: use an app factory (--factory), or `yield` it as lifespan state"
_SHARED = "which all worker threads share"

logger = logging.getLogger(LOGGER_ERROR)

_Key = tuple[str, str]


class SharedStateCheck:
    """Compares what is bound after each startup with what was bound after the one before."""

    def __init__(self, config: ConfigView) -> None:
        self._config = config
        self._app: Any = None
        self._before: dict[_Key, Any] | None = None
        self._loops_before: dict[_Key, set[int]] = {}
        self._named: set[_Key] = set()
        self._loop_bound: list[str] = []
        self._budget = 0

    def after_startup(self, thread: Any) -> bool:
        """Look at the bindings now that this worker is up, and warn of what cannot be shared. Whether `auto` must stop.

        `thread` has a `name`, a `loop` and a `worker` with its `config`.
        """
        app = innermost(thread.worker.config.loaded_app)
        is_shared = self._app is None or app is self._app
        self._app = app
        bindings = dict(_bindings(app if is_shared else None))
        before, self._before = self._before, bindings
        loops_before, self._loops_before = self._loops_before, {}
        self._budget = _MAX_OBJECTS_IN_ALL
        for key, value in bindings.items():
            if not _may_hold_a_loop(value) or value is app or key in self._named:
                continue
            loops = self._loops_before[key] = self._loops_in(value)
            if before is None:
                if not loops and _is_async_resource(value):
                    self._report(key, f"{_name(key)} is for one event loop, and {_SHARED}.", True)
            elif key in before and before[key] is not value:
                bound = bool(loops or self._loops_in(before[key])) or _is_async_resource(value)
                and_so = ", and which belongs to one event loop" if bound else ""
                self._report(key, f"The startup of {thread.name} replaced {_name(key)}, {_SHARED}{and_so}.", bound)
            elif id(thread.loop) in loops and loops_before.get(key) and not loops & loops_before[key]:
                # An object that knows one loop at a time was taken over. One that knows both keeps them apart itself.
                line = f"The startup of {thread.name} bound {_name(key)}, {_SHARED}, to its own event loop."
                self._report(key, line, True)
        return self.complaint() is not None

    def complaint(self) -> str | None:
        """A sentence that names what cannot be shared, if anything; None under an explicit `--worker-class thread`."""
        if not self._loop_bound or self._config.worker_class == "thread":
            return None
        names = ", ".join(self._loop_bound)
        return f"The app keeps objects of one event loop where all worker threads share them ({names})."

    def _report(self, key: _Key, line: str, bound: bool) -> None:
        self._named.add(key)
        logger.warning("%s %s.", line, _WAYS_OUT)
        if bound:
            self._loop_bound.append(_name(key))

    def _loops_in(self, value: Any) -> set[int]:
        """Ids of the event loops that can be reached from an object by a bounded walk."""
        found: set[int] = set()
        seen: set[int] = {id(self._app)}
        level: list[Any] = [value]
        for _ in range(_MAX_DEPTH):
            following: list[Any] = []
            for item in level:
                if id(item) in seen or isinstance(item, _CODE):
                    continue
                seen.add(id(item))
                if isinstance(item, asyncio.AbstractEventLoop):
                    found.add(id(item))
                elif gc.is_tracked(item):
                    following.append(item)
            self._budget -= len(following)
            if not following or self._budget < 0 or len(seen) > _MAX_OBJECTS:
                break
            level = gc.get_referents(*following)
        return found


def innermost(app: Any) -> Any:
    """The user's app, under the middleware that the server and common frameworks put around it."""
    for _ in range(32):
        if not hasattr(app, "app") or hasattr(app, "state"):
            break
        app = app.app
    return app


def _name(key: _Key) -> str:
    return ".".join(key)


def _may_hold_a_loop(value: Any) -> bool:
    """Counters, dates, texts, code and loggers are rebound without harm."""
    return gc.is_tracked(value) and not isinstance(value, _CODE)


def _is_async_resource(value: Any) -> bool:
    """Whether it binds itself to a loop once it is used: asyncio's own primitives, clients and pools that are closed
    by awaiting something."""
    if isinstance(value, _PRIMITIVES):
        return True
    kind = type(value)
    return hasattr(kind, "__aenter__") or any(
        inspect.iscoroutinefunction(getattr(kind, name, None)) for name in ("aclose", "close", "dispose", "disconnect")
    )


def _bindings(app: Any) -> Iterator[tuple[_Key, Any]]:
    """What the app's state and the project's modules are bound to."""
    state = getattr(app, "state", None)
    if state is not None:
        # Starlette's State keeps its values in `_state`; other frameworks use plain attributes.
        values = getattr(state, "_state", None)
        if not isinstance(values, dict):
            values = getattr(state, "__dict__", {})
        for name, value in list(values.items()):
            yield ("app.state", str(name)), value
    for module in _own_modules():
        for name, value in list(vars(module).items()):
            if not name.startswith("__"):
                yield (module.__name__, name), value


def _own_modules() -> list[types.ModuleType]:
    """Modules of the project itself: not the standard library's, not installed packages', not this server's."""
    paths = sysconfig.get_paths()
    foreign = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")} | set(site.getsitepackages())
    foreign.add(site.getusersitepackages())
    foreign.add(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    prefixes = tuple(os.path.join(path, "") for path in foreign)
    return [
        module
        for module in list(sys.modules.values())
        if isinstance(module, types.ModuleType)
        and isinstance(getattr(module, "__file__", None), str)
        and not os.path.abspath(str(module.__file__)).startswith(prefixes)
    ]

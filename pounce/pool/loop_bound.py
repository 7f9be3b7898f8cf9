"""Tells what belongs to one event loop, by looking at objects without running any code of theirs.

Proxies and lazy objects answer to every name, claim another class than their own, and do their work when they are
asked: for an attribute, an `isinstance`, a hash, a comparison. So only what the interpreter itself keeps is read:
types, namespaces of classes and instances, and what the garbage collector follows.

Runs on: the server's thread. Must not know: apps, startups, what follows from an answer.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import inspect
import logging
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

#: Objects looked at below one value, and how deep.
_MAX_OBJECTS = 2_000
_MAX_DEPTH = 6
_MAX_DEPTH_OF_CLIENTS = 5

#: From here everything can be reached, so a walk goes no further; and nobody's startup makes one of these for a loop.
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

#: They take the loop on which they are first waited for, and raise on any other.
_LOCKS = (
    asyncio.Lock,
    asyncio.Event,
    asyncio.Condition,
    asyncio.Semaphore,
    asyncio.Barrier,
    asyncio.Queue,
    asyncio.Future,
)
#: AnyIO's, which hold one of those once they are used.
_LOCKS_OF_ANYIO = ("Lock", "Event", "Condition", "Semaphore", "CapacityLimiter")

_LOOPS = (asyncio.AbstractEventLoop,)
_CONTAINERS = (dict, list, tuple, set, frozenset, collections.deque)

#: A class's own, which its metaclass cannot hide.
mro = type.__dict__["__mro__"].__get__
class_namespace = type.__dict__["__dict__"].__get__
_qualname = type.__dict__["__qualname__"].__get__


class Look:
    """A look at many values, which stops after so many objects in all."""

    def __init__(self, is_own: Callable[[type], bool], left_out: object = None) -> None:
        """`is_own` tells the classes of the project from those of installed packages. `left_out` is never entered."""
        self._is_own = is_own
        self._left_out = left_out
        self._budget = 200_000
        self._clients: dict[int, tuple[type, bool]] = {}
        anyio = namespace(sys.modules.get("anyio"))
        self._locks = (*_LOCKS, *(anyio[name] for name in _LOCKS_OF_ANYIO if type(anyio.get(name)) is type))

    def loops_in(self, value: Any) -> set[int]:
        """Ids of the event loops that can be reached from an object by a bounded walk."""
        return {id(item) for item, _ in self._walk(value, _MAX_DEPTH) if is_a(item, _LOOPS)}

    def bound_thing_in(self, value: Any) -> Any:
        """The object itself or something it holds, if that binds itself to a loop once it is used; else None.

        That is a client, an engine or a pool, wherever it is held; and a lock or a queue that is held by a container,
        by an object of the project, or by what is entered with `async with`. Others see to their locks themselves.
        """
        generator = generator_in(value)
        if generator is not None:
            return generator
        for item, holder in self._walk(value, _MAX_DEPTH_OF_CLIENTS):
            if self.is_client(item):
                return item
            if is_a(item, self._locks):
                kind = type(holder)
                if holder is None or self._is_own(kind) or _is_awaited(kind, "__aenter__"):
                    return item
        return None

    def _walk(self, value: Any, depth: int) -> Iterator[tuple[Any, Any]]:
        """What can be reached from an object, itself included, with what holds it; from loops and code no further."""
        seen: set[int] = {id(self._left_out)}
        level: list[tuple[Any, Any]] = [(value, None)]
        for _ in range(depth):
            following: list[tuple[Any, Any]] = []
            for item, holder in level:
                if id(item) in seen or is_a(item, _CODE):
                    continue
                seen.add(id(item))
                yield item, holder
                if gc.is_tracked(item) and not is_a(item, _LOOPS):
                    holder = holder if any(type(item) is container for container in _CONTAINERS) else item
                    following.extend((inner, holder) for inner in gc.get_referents(item))
            self._budget -= len(following)
            if not following or self._budget < 0 or len(seen) > _MAX_OBJECTS:
                break
            level = following[:_MAX_OBJECTS]

    def is_client(self, value: Any) -> bool:
        """Whether it has to be closed by awaiting something, so that there are connections or tasks in it."""
        kind = type(value)
        known = self._clients.get(id(kind))
        if known is None:
            known = self._clients[id(kind)] = (kind, _is_closed_by_awaiting(kind))
        return known[1] and not _is_engine_without_pool(value)


def _is_closed_by_awaiting(kind: type) -> bool:
    if any(_is_awaited(kind, name) for name in ("close", "dispose", "disconnect")):
        return True
    if _is_awaited(kind, "__aenter__"):
        return any(_is_awaited(kind, name) for name in ("aclose", "shutdown", "stop", "wait_closed"))
    # A `close` beside it that is not awaited: a thing for threads with a courtesy to coroutines (Django's caches).
    return _is_awaited(kind, "aclose") and class_attribute(kind, "close") is None


def _is_awaited(kind: type, name: str) -> bool:
    """Whether the class defines this as a coroutine function: what a proxy forwards is none."""
    function = class_attribute(kind, name)
    for _ in range(8):  # decorators
        if type(function) is not types.FunctionType:
            return False
        if function.__code__.co_flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE):
            return True
        function = function.__dict__.get("__wrapped__")
    return False


def _is_engine_without_pool(value: Any) -> bool:
    """SQLAlchemy's asynchronous engine with a NullPool: no connection stays, so it serves any number of loops."""
    return class_name(attribute(attribute(value, "sync_engine"), "pool")) == "NullPool"


def generator_in(value: Any) -> Any:
    """An asynchronous generator, or the first one of a list; else None. It goes on where it began, and only once."""
    for item in value if type(value) is list else (value,):
        if type(item) is types.AsyncGeneratorType:
            return item
    return None


def may_hold_a_loop(value: Any) -> bool:
    """Counters, dates, texts, code and loggers are rebound without harm."""
    return gc.is_tracked(value) and not is_a(value, _CODE)


def is_a(value: Any, kinds: tuple[type, ...]) -> bool:
    """`isinstance`, without asking the object for its `__class__`."""
    return issubclass(type(value), kinds)


def class_name(value: Any) -> str:
    """The name of an object's class, whatever the object says."""
    return str(_qualname(type(value)))


def class_attribute(kind: type, name: str) -> Any:
    """What a class or its bases have under this name, as it is stored; None if nothing."""
    for base in mro(kind):
        stored = class_namespace(base)
        if name in stored:
            return stored[name]
    return None


def namespace(value: Any) -> dict[str, Any]:
    """What is stored in an object's own namespace, which its slots are not in; a module's is its globals.

    Of objects whose class is written in Python. An extension's `__dict__` may be another object's (wrapt's proxies).
    """
    descriptor = class_attribute(type(value), "__dict__")
    if type(descriptor) is types.GetSetDescriptorType:
        if not str(descriptor.__doc__).startswith("dictionary for instance variables"):
            return {}
    elif type(descriptor) is not types.MemberDescriptorType:
        return {}
    stored = descriptor.__get__(value)
    return stored if type(stored) is dict else {}


def attribute(value: Any, name: str) -> Any:
    """What an object has in its namespace or in a slot under this name; None if nothing."""
    slot = class_attribute(type(value), name)
    if type(slot) is types.MemberDescriptorType:
        try:
            return slot.__get__(value)
        except AttributeError:  # not filled
            return None
    return namespace(value).get(name)


def module_of(kind: type) -> str | None:
    """The name of the module that defines a class."""
    name = class_namespace(kind).get("__module__")
    return name if type(name) is str else None

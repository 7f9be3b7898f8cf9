"""Exceptions of every awkward kind, made by name, and raised once so that they have a traceback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


def raised(exc: BaseException) -> BaseException:
    """The exception with a traceback."""
    try:
        raise exc
    except BaseException as caught:
        return caught


def member_with_its_group_as_context() -> BaseException:
    """What `raise group.exceptions[0]` behind `except` makes, as Starlette and Django do: a cycle."""
    try:
        try:
            raise ExceptionGroup("many", [ValueError("one")])
        except BaseExceptionGroup as group:
            raise group.exceptions[0]
    except ValueError as exc:
        return exc
    raise AssertionError


def cycle_of_causes() -> BaseException:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return raised(one)


def chain(length: int = 10_000) -> BaseException:
    last = ValueError("0")
    for number in range(1, length):
        following = ValueError(str(number))
        following.__context__ = last
        last = following
    return raised(last)


def nested_groups(depth: int = 600) -> BaseException:
    exc: Exception = ValueError("inner")
    for _ in range(depth):
        exc = ExceptionGroup("outer", [exc])
    return raised(exc)


def shared_groups(depth: int = 40) -> BaseException:
    """Two members each, the same one twice: 2 to the power of `depth` ways to the inner one."""
    exc: Exception = ValueError("inner")
    for _ in range(depth):
        exc = ExceptionGroup("outer", [exc, exc])
    return raised(exc)


def wide_group() -> BaseException:
    return raised(ExceptionGroup("wide", [ValueError(str(number)) for number in range(10_000)]))


def long_text() -> BaseException:
    return raised(ValueError("x" * 10_000_000))


def many_lines() -> BaseException:
    return raised(ValueError("x\n" * 100_000))


def many_notes() -> BaseException:
    exc = ValueError("noted")
    for _ in range(100_000):
        exc.add_note("note")
    return raised(exc)


def deep_recursion() -> BaseException:
    def even(number: int) -> None:
        odd(number - 1)

    def odd(number: int) -> None:
        if number < 0:
            raise ValueError("deep")
        even(number - 1)

    try:
        even(500)
    except ValueError as exc:
        return exc
    raise AssertionError


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class UnspeakableExit(SystemExit):
    def __str__(self) -> str:
        raise KeyboardInterrupt


EXCEPTIONS: dict[str, Callable[[], BaseException]] = {
    "plain": lambda: raised(ValueError("plain")),
    "no traceback": lambda: ValueError("plain"),
    "member of its context": member_with_its_group_as_context,
    "cycle": cycle_of_causes,
    "chain": chain,
    "nested groups": nested_groups,
    "shared groups": shared_groups,
    "wide group": wide_group,
    "long text": long_text,
    "many lines": many_lines,
    "many notes": many_notes,
    "deep recursion": deep_recursion,
    "__str__ raises": lambda: raised(Unspeakable()),
    "__str__ is interrupted": lambda: raised(UnspeakableExit()),
    "KeyboardInterrupt": lambda: raised(KeyboardInterrupt()),
    "SystemExit": lambda: raised(SystemExit(5)),
    "GeneratorExit": lambda: raised(GeneratorExit()),
    "CancelledError": lambda: raised(asyncio.CancelledError()),
    "StopAsyncIteration": lambda: raised(StopAsyncIteration()),
}

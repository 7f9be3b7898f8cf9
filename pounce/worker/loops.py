"""Event loops by name (`--loop auto|asyncio|uvloop|zuvloop`), and running a coroutine on one.

A loop factory is called as `factory(use_subprocess=...)` and returns what makes a loop. Runs on: any thread.
Answers to: uvicorn's loops/*.py and its `asyncio_run`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

_T = TypeVar("_T")


def asyncio_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """asyncio's own loop: the selector loop, but on Windows the proactor loop where the parent shares no sockets."""
    if sys.platform == "win32" and not use_subprocess:
        return asyncio.ProactorEventLoop
    return asyncio.SelectorEventLoop


def uvloop_loop_factory(use_subprocess: bool = False) -> LoopFactory:  # noqa: ARG001
    """uvloop. Raises `ModuleNotFoundError` with the package to install where it is missing."""
    try:
        import uvloop
    except ModuleNotFoundError as exc:
        raise _missing("uvloop", exc) from None
    factory: LoopFactory = uvloop.new_event_loop
    return factory


def zuvloop_loop_factory(use_subprocess: bool = False) -> LoopFactory:  # noqa: ARG001
    """zuvloop. Raises `ModuleNotFoundError` with the package to install where it is missing."""
    try:
        import zuvloop
    except ModuleNotFoundError as exc:
        raise _missing("zuvloop", exc) from None
    factory: LoopFactory = zuvloop.new_event_loop
    return factory


def auto_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """uvloop where it can be imported, else asyncio's own loop."""
    try:
        return uvloop_loop_factory(use_subprocess=use_subprocess)
    except ImportError:
        return asyncio_loop_factory(use_subprocess=use_subprocess)


def _missing(package: str, exc: ModuleNotFoundError) -> ModuleNotFoundError:
    if exc.name != package:
        return exc  # it is there, and misses something of its own
    return ModuleNotFoundError(f"--loop {package} needs the {package} package: pip install {package}", name=package)


def asyncio_run(
    main: Coroutine[Any, Any, _T], *, debug: bool | None = None, loop_factory: LoopFactory | None = None
) -> _T:
    """`asyncio.run` of Python 3.12, on 3.11 too: run `main` on a new loop made by `loop_factory`, return its result.

    `debug` None leaves asyncio's debug mode to the environment. Where somebody has replaced `asyncio.run` to run inside
    a loop that runs (nest_asyncio, in notebooks) and there is such a loop, `main` runs on that one.
    """
    if sys.version_info >= (3, 12) and asyncio.run.__module__ == "asyncio.runners":
        return asyncio.run(main, debug=debug, loop_factory=loop_factory)
    if asyncio.run.__module__ != "asyncio.runners" and _is_loop_running():
        return asyncio.run(main)
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


def _is_loop_running() -> bool:
    return asyncio._get_running_loop() is not None

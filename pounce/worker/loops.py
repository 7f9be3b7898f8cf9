"""Event loops by name (`--loop auto|asyncio|uvloop|zuvloop`), and running a coroutine on one.

A loop factory is called as `factory(use_subprocess=...)` and returns what makes a loop. Runs on: any thread.
Compatible with uvicorn's loops/*.py and its `asyncio_run`.
"""

from __future__ import annotations

import asyncio
import importlib
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
    return _new_event_loop_of("uvloop")


def zuvloop_loop_factory(use_subprocess: bool = False) -> LoopFactory:  # noqa: ARG001
    """zuvloop. Raises `ModuleNotFoundError` with the package to install where it is missing."""
    return _new_event_loop_of("zuvloop")


def auto_loop_factory(use_subprocess: bool = False) -> LoopFactory:
    """uvloop where it can be imported, else asyncio's own loop."""
    try:
        return uvloop_loop_factory(use_subprocess=use_subprocess)
    except ImportError:
        return asyncio_loop_factory(use_subprocess=use_subprocess)


def _new_event_loop_of(package: str) -> LoopFactory:
    try:
        factory: LoopFactory = importlib.import_module(package).new_event_loop
    except ModuleNotFoundError as exc:
        if exc.name != package:
            raise  # it is there, and misses something of its own
        message = f"--loop {package} needs the {package} package: pip install {package}"
        raise ModuleNotFoundError(message, name=package) from None
    return factory


def asyncio_run(
    main: Coroutine[Any, Any, _T], *, debug: bool | None = None, loop_factory: LoopFactory | None = None
) -> _T:
    """`asyncio.run` of Python 3.12, on 3.11 too: run `main` on a new loop made by `loop_factory`, return its result.

    `debug` None leaves asyncio's debug mode to the environment. Where somebody has replaced `asyncio.run` to run inside
    a loop that runs (nest_asyncio, in notebooks) and there is such a loop, `main` runs on that one.
    """
    if sys.version_info >= (3, 12) and asyncio.run.__module__ == "asyncio.runners":
        return asyncio.run(main, debug=debug, loop_factory=loop_factory)
    if asyncio.run.__module__ != "asyncio.runners" and asyncio._get_running_loop() is not None:
        return asyncio.run(main)
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)

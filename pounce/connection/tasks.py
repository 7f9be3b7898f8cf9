"""How an exchange's coroutine becomes a task: at once where the loop allows it, else as the loop's own `create_task`.

An eager task (Python 3.12+) runs inside the read callback until it first has to wait, so that a request which needs
no waiting costs no turn of the loop. A task factory or loop class that the user chose is respected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any

TaskStarter = Callable[[Coroutine[Any, Any, None], Context | None], "asyncio.Task[None]"]

#: Modules whose loops run plain `asyncio.Task`s, so that making the task ourselves changes nothing for the app.
_LOOPS_WITH_PLAIN_TASKS = ("asyncio.", "uvloop", "zuvloop")


def can_start_eagerly(loop: Any) -> bool:
    """Whether `asyncio.Task(..., eager_start=True)` on this loop does what `loop.create_task` would do, only sooner."""
    if not hasattr(asyncio, "eager_task_factory") or not isinstance(loop, asyncio.AbstractEventLoop):
        return False  # Python 3.11, or a test double
    return type(loop).__module__.startswith(_LOOPS_WITH_PLAIN_TASKS) and loop.get_task_factory() is None


def start_task_on(loop: asyncio.AbstractEventLoop) -> TaskStarter:
    """A function `(coroutine, context or None) -> task` for this loop; must be called on the loop's thread."""
    if can_start_eagerly(loop):
        task_class = asyncio.Task

        def start_eagerly(coro: Coroutine[Any, Any, None], context: Context | None) -> asyncio.Task[None]:
            return task_class(coro, loop=loop, context=context, eager_start=True)  # type: ignore[call-arg]

        return start_eagerly

    def start_soon(coro: Coroutine[Any, Any, None], context: Context | None) -> asyncio.Task[None]:
        # Only `create_task(coro)` when there is no context: user loops and test doubles may know no more.
        return loop.create_task(coro) if context is None else loop.create_task(coro, context=context)

    return start_soon

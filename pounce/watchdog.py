"""Ends a process that does not end by itself: says in the log who keeps it alive, flushes, and leaves by `os._exit`.

What keeps one alive when its server is done: a thread of an executor or of the app, a handler of `atexit`, a task that
swallows its cancellation, a loop that is blocked. It waits on a daemon thread, which exists from the first deadline on.
Knows nothing of: servers, and when a process has to end; whoever owns the process says that (`Server`, `child`, `cli`).
uvicorn raises SIGTERM again with its default action and so joins nobody; the interpreter's own end is
`threading._shutdown` and then `atexit`.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from pounce.names import LOGGER_ERROR

if TYPE_CHECKING:
    import asyncio  # a supervisor does without

#: Seconds that a finished process gets for the rest: its loop's end, its threads, `atexit`.
GRACE = 1.0

#: The same after a start that failed: an error may be on its way to whoever collects errors.
GRACE_AFTER_FAILURE = 5.0

#: Seconds for the last words: a log that nobody reads must not keep the process either. And where the user waits.
TIMEOUT_LAST_WORDS = 1.0
TIMEOUT_HASTY_WORDS = 0.25

#: How much is said: threads, tasks and processes in all, and the innermost frames of each.
_MAX_NAMED = 8
_MAX_FRAMES = 16

UNWILLING = "This process does not end by itself."

logger = logging.getLogger(LOGGER_ERROR)


class _Deadline(NamedTuple):
    at: float
    exit_code: int
    why: str
    words: float


class Watchdog:
    """One deadline for this process. Every method may be called from any thread, and by a signal's handler."""

    def __init__(self) -> None:
        #: The loop whose tasks may be what keeps the process.
        self.loop: asyncio.AbstractEventLoop | None = None
        # Its `put` is reentrant: a signal's handler may interrupt it and call it.
        self._deadlines: SimpleQueue[_Deadline | None] = SimpleQueue()
        #: The process whose thread is waiting; a fork has none.
        self._pid: int | None = None
        self._guards_interpreter: tuple[int, float, int, float] | None = None
        self._is_registered = False
        #: Whether this process ends with its server, because it is the command's; else it is a caller's, who goes on.
        self.ends_with_server = False
        #: Called as well where the process is left before its end.
        self.last_duty: Callable[[], object] = lambda: None

    def expect_end(
        self,
        seconds: float,
        exit_code: int,
        why: str = UNWILLING,
        words: float = TIMEOUT_LAST_WORDS,
    ) -> None:
        """Leave with this exit code in so many seconds, unless the process has ended. Replaces the deadline before.

        `why` opens the last words, for which there are `words` more seconds.
        """
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._deadlines = SimpleQueue()
            # Not a `threading.Thread`: starting one takes a lock, whose owner a signal's handler may have interrupted.
            _thread.start_new_thread(self._watch, ())
        self._deadlines.put(_Deadline(time.monotonic() + seconds, exit_code, why, words))

    def call_off(self) -> None:
        """There is no deadline any more."""
        self._guards_interpreter = None
        if self._pid == os.getpid():
            self._deadlines.put(None)

    def expect_end_of_interpreter(self, seconds: float, exit_code: int, words: float = TIMEOUT_LAST_WORDS) -> None:
        """Once the interpreter ends, give it so many seconds for threads and `atexit`; not before."""
        # The last to register is called first: before executors wait for their threads.
        import concurrent.futures.thread  # noqa: F401

        self._guards_interpreter = (os.getpid(), seconds, exit_code, words)
        # Private, and the only thing that is called before threads are joined.
        register = getattr(threading, "_register_atexit", None)
        if register is not None and not self._is_registered:
            self._is_registered = True
            with contextlib.suppress(RuntimeError):  # it is ending
                register(self._on_interpreters_end)

    def leave(self, exit_code: int, why: str, words: float = TIMEOUT_LAST_WORDS) -> None:
        """End the process now. Does not return."""
        try:
            speaker = threading.Thread(target=self._say_last_words, args=(exit_code, why), daemon=True)
            speaker.start()
            speaker.join(words)
        finally:
            os._exit(exit_code)

    def _on_interpreters_end(self) -> None:
        if self._guards_interpreter is not None:
            pid, seconds, exit_code, words = self._guards_interpreter
            if pid == os.getpid():
                self.expect_end(seconds, exit_code, words=words)

    def _watch(self) -> None:
        deadline: _Deadline | None = None
        while True:
            timeout = None if deadline is None else max(0.0, deadline.at - time.monotonic())
            try:
                deadline = self._deadlines.get(timeout=timeout)
            except Empty:
                assert deadline is not None
                self.leave(deadline.exit_code, deadline.why, deadline.words)

    def _say_last_words(self, exit_code: int, why: str) -> None:
        def speak() -> None:
            logger.error("%s Leaving it with exit code %d. What keeps it:\n%s", why, exit_code, who_is_alive(self.loop))

        flushes = [stream.flush for stream in (sys.stdout, sys.stderr) if stream is not None]
        for duty in (speak, self.last_duty, _end_daemonic_children, *flushes, logging.shutdown):
            with contextlib.suppress(Exception):
                duty()


def who_is_alive(*loops: asyncio.AbstractEventLoop | None) -> str:
    """What may keep this process from its end, a stack for each: threads, child processes, or the tasks of loops."""
    try:
        frames = sys._current_frames()
        children = [f"Child process {child.name} [{child.pid}]" for child in _children(daemonic=False)]
        found = [*_busy_threads(frames), *children] or [*_pending_tasks(*loops)]
        if not found:  # whatever the main thread waits for
            main = threading.main_thread()
            found = [f"Thread {main.name}:\n{stack_of_thread(main.ident)}"]
    except Exception as exc:  # what runs meanwhile may change under the eyes of who looks
        return f"(not to be found out: {exc!r})"
    if len(found) > _MAX_NAMED:
        found[_MAX_NAMED:] = [f"... and {len(found) - _MAX_NAMED} more"]
    return "\n".join(found)


def stack_of(frame: FrameType) -> str:
    """The innermost frames of a thread as a traceback shows them, the innermost last."""
    return "".join(traceback.format_stack(frame, limit=_MAX_FRAMES)).rstrip()


def stack_of_thread(ident: int | None) -> str:
    """Where a thread is right now."""
    frame = sys._current_frames().get(ident or 0)
    return stack_of(frame) if frame is not None else "(the thread has ended)"


def _busy_threads(frames: dict[int, FrameType]) -> Iterator[str]:
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is None or thread is threading.current_thread() or _waits(frame):
            continue
        if not thread.daemon or _works_for_executor(frame):  # those are joined, daemons or not
            yield f"Thread {thread.name}:\n{stack_of(frame)}"


_EXECUTOR = os.path.join("concurrent", "futures", "thread.py")
#: Where a thread waits that keeps nobody: an executor's for work; any for another thread; the main thread for all of
#: them, or for what its loop has to do.
_WAITING = {
    (_EXECUTOR, "_worker"),
    ("threading.py", "join"),
    ("threading.py", "_shutdown"),
    ("selectors.py", "select"),
    (os.path.join("asyncio", "runners.py"), "run"),  # uvloop
    (os.path.join("asyncio", "runners.py"), "close"),
    (os.path.join("asyncio", "runners.py"), "_cancel_all_tasks"),
}


def _waits(frame: FrameType) -> bool:
    for code in _codes(frame):
        if any(code.co_name == name and code.co_filename.endswith(source) for source, name in _WAITING):
            return True
        if not code.co_filename.endswith("threading.py"):
            break
    return False


def _works_for_executor(frame: FrameType) -> bool:
    return any(code.co_filename.endswith(_EXECUTOR) for code in _codes(frame))


def _codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _pending_tasks(*loops: asyncio.AbstractEventLoop | None) -> Iterator[str]:
    import asyncio  # is loaded where there is a loop

    for task in (task for loop in loops if loop is not None for task in asyncio.all_tasks(loop)):
        stack = traceback.StackSummary.extract(_awaiting(task.get_coro()))
        yield f"Task {task.get_name()}:\n{''.join(traceback.format_list(stack[-_MAX_FRAMES:])).rstrip()}"


def _awaiting(awaitable: Any) -> Iterator[tuple[FrameType, int]]:
    """The frames of coroutines that wait for one another, with their line numbers."""
    while (frame := getattr(awaitable, "cr_frame", None)) is not None:
        yield frame, frame.f_lineno
        awaitable = awaitable.cr_await


def _children(daemonic: bool) -> list[Any]:
    multiprocessing = sys.modules.get("multiprocessing")
    children = [] if multiprocessing is None else multiprocessing.active_children()
    return [child for child in children if child.daemon is daemonic]


def _end_daemonic_children() -> None:
    """As `multiprocessing` does it when an interpreter ends."""
    for child in _children(daemonic=True):
        child.terminate()


#: This process's own.
watchdog = Watchdog()

"""pounce/watchdog.py, in interpreters of their own: who is named, what is done last, and with which code they end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pounce.watchdog import who_is_alive
from tests.process.serving import PATIENCE, ROOT

START = """
import atexit, logging, multiprocessing, os, sys, threading, time
from pounce.watchdog import Watchdog, watchdog
logging.basicConfig(format="%(message)s")

def is_stuck():
    time.sleep(1000)
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """A program of which output may be in its buffers."""
    return subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def test_the_deadline_ends_the_process() -> None:
    """With the exit code; buffers and log handlers are flushed; the last words name the thread and show its stack."""
    done = run(
        """
        class Late(logging.StreamHandler):
            def emit(self, record): self.held = self.format(record)
            def flush(self): sys.__stderr__.write(getattr(self, "held", "") + "\\n"); sys.__stderr__.flush()
        logging.getLogger("uvicorn.error").addHandler(Late())
        logging.getLogger("uvicorn.error").propagate = False
        print("in a buffer")
        watchdog.last_duty = lambda: print("the last duty")
        threading.Thread(target=is_stuck, name="the culprit").start()
        watchdog.expect_end(0.1, 7, "It is late.")
        """
    )
    assert (done.returncode, done.stdout) == (7, "in a buffer\nthe last duty\n")
    assert "It is late. Leaving it with exit code 7." in done.stderr
    assert "Thread the culprit:" in done.stderr
    assert "in is_stuck" in done.stderr
    assert "MainThread" not in done.stderr, "it only waits for the other"


@pytest.mark.parametrize("after", ["watchdog.call_off()", "watchdog.expect_end(1000, 8)"], ids=["off", "later"])
def test_a_deadline_can_be_moved(after: str) -> None:
    """The last word counts."""
    done = run(f"watchdog.expect_end(0.2, 7); {after}; time.sleep(0.5); print('alive')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "alive\n", "")


def test_a_process_that_ends_by_itself_is_left_alone() -> None:
    """The watchdog's thread keeps nobody, and a deadline that is far away changes no exit code."""
    done = run("watchdog.expect_end(1000, 7); watchdog.expect_end_of_interpreter(1000, 8); sys.exit(5)")
    assert (done.returncode, done.stderr) == (5, "")


@pytest.mark.parametrize(
    "what",
    [
        "threading.Thread(target=is_stuck).start()",
        "atexit.register(is_stuck)",
        "from concurrent.futures import ThreadPoolExecutor; pool = ThreadPoolExecutor(); pool.submit(is_stuck)",
    ],
    ids=["thread", "atexit", "executor"],
)
@pytest.mark.parametrize("order", ["before", "after"])
def test_the_interpreters_end_is_bounded(what: str, order: str) -> None:
    """Its time begins when the program is over, and not before; it makes no difference who registers first."""
    bound = "watchdog.expect_end_of_interpreter(0.1, 6)"
    lines = [bound, what] if order == "before" else [what, bound]
    done = run("\n".join([*lines, "time.sleep(0.3)", "print('the program is over', flush=True)"]))
    assert (done.returncode, done.stdout) == (6, "the program is over\n")
    assert "in is_stuck" in done.stderr


def test_a_fork_has_its_own_deadlines() -> None:
    """A forked child is not ended by what its parent was told, and may be told itself."""
    if not hasattr(sys, "getwindowsversion"):
        done = run(
            """
            watchdog.expect_end(1000, 7)
            watchdog.expect_end_of_interpreter(0.1, 7)
            pid = os.fork()
            if pid == 0:
                atexit.register(time.sleep, 0.5)
                sys.exit(4)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            pid = os.fork()
            if pid == 0:
                watchdog.expect_end(0.1, 3)
                is_stuck()
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            """
        )
        assert (done.returncode, done.stdout) == (0, "4\n3\n"), done.stderr


def test_a_log_that_nobody_can_write_keeps_no_process() -> None:
    """A handler that is stuck has a second; the end does not depend on it."""
    done = run(
        """
        class Stuck(logging.Handler):
            def emit(self, record): time.sleep(1000)
        logging.getLogger("uvicorn.error").addHandler(Stuck())
        watchdog.expect_end(0.1, 7)
        is_stuck()
        """
    )
    assert done.returncode == 7


def test_daemonic_children_end_with_the_process() -> None:
    """As they would at the end of the interpreter: what they hold, a port say, becomes free."""
    done = run(
        """
        fork = multiprocessing.get_context("fork")
        child = fork.Process(target=is_stuck, daemon=True)
        child.start()
        print(child.pid, flush=True)
        watchdog.expect_end(0.1, 7)
        is_stuck()
        """
    )
    # Its output is the parent's: `run` would not have returned before it ended.
    assert done.returncode == 7


def test_threads_that_wait_for_work_are_not_named() -> None:
    """An executor's idle threads end when they are told to; those that work are named, daemons or not."""
    begun, may_end = threading.Event(), threading.Event()

    def works() -> None:
        begun.set()
        may_end.wait(PATIENCE)

    with ThreadPoolExecutor(thread_name_prefix="idle") as idle, ThreadPoolExecutor(thread_name_prefix="busy") as busy:
        idle.submit(int).result()
        busy.submit(works)
        begun.wait(PATIENCE)
        text = who_is_alive()
        may_end.set()
    assert "Thread busy_0:" in text
    assert "in works" in text
    assert "idle_0" not in text


def test_what_is_said_is_bounded() -> None:
    """Eight threads, and the innermost frames of each."""
    started, may_end = threading.Barrier(13), threading.Event()

    def deep(depth: int = 100) -> None:
        if depth:
            deep(depth - 1)
        else:
            started.wait(PATIENCE)
            may_end.wait(PATIENCE)

    threads = [threading.Thread(target=deep, name=f"deep-{number}") for number in range(12)]
    for thread in threads:
        thread.start()
    started.wait(PATIENCE)
    text = who_is_alive()
    may_end.set()
    for thread in threads:
        thread.join()
    assert text.count("Thread deep-") == 8
    assert "more" in text.splitlines()[-1]
    assert len(text) < 8 * 16 * 200

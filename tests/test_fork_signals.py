"""pounce/fork_signals.py: signals to a child in the moments behind fork(2)."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.process.serving import PATIENCE, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork(2), and glibc's hook inside of it")

#: A server that captures signals, and a thread of its app that forks. glibc calls `on_fork` in the child before the
#: interpreter is in order there; on a thread that is not the main one yet, so that no handler runs inside of it.
START = """
import ctypes, os, signal, sys, threading, time
from types import SimpleNamespace
from pounce.ending import Ending
from pounce.settings import Settings

ending = Ending(SimpleNamespace(timeout_graceful_shutdown=None, settings=Settings.of({})))

def handler(sig, frame):
    print(os.getpid(), "has heard", sig)

libc = ctypes.CDLL(None)
on_fork = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), NUMBER))

def fork():
    libc.__register_atfork(None, None, on_fork, None)
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)
        while True:
            time.sleep(10)
    statuses.append(os.waitpid(pid, 0)[1])

statuses = []
"""


def run(number: str, code: str) -> None:
    """A program that asserts."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START.replace("NUMBER", number) + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("number", ["signal.SIGTERM", "signal.SIGINT"])
@pytest.mark.parametrize("owner", ["ending.owning_process()", "open(os.devnull)"], ids=["own process", "embedded"])
def test_a_signal_that_comes_at_once_is_not_lost(number: str, owner: str) -> None:
    """It ends the child, and the parent hears nothing of it."""
    run(
        number,
        f"""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        with {owner}, ending.capturing(handler):
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        assert os.waitstatus_to_exitcode(statuses[0]) == -{number}, statuses
        """,
    )


def test_an_interrupt_that_comes_at_once_ends_the_child() -> None:
    """As a program dies of it that catches no KeyboardInterrupt: Python's own handler could only raise in a hook."""
    run(
        "signal.SIGINT",
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with ending.capturing(handler):
            thread = threading.Thread(target=fork)
            thread.start()
            thread.join()
        assert os.waitstatus_to_exitcode(statuses[0]) == -signal.SIGINT, statuses
        """,
    )


def test_a_child_has_the_handlers_of_before() -> None:
    """It hears its signals itself, and what it sets for its own children stays."""
    run(
        "0",
        """
        heard = []
        signal.signal(signal.SIGTERM, lambda sig, frame: heard.append(sig))

        def end(is_right):
            os._exit(0 if is_right else 1)

        with ending.owning_process(), ending.capturing(handler):
            if os.fork() == 0:
                signal.raise_signal(signal.SIGTERM)
                time.sleep(0.3)  # for a watch of the parent's that hears of it
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                if os.fork() == 0:
                    end(signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)
                end(heard == [signal.SIGTERM] and os.wait()[1] == 0)
            assert os.wait()[1] == 0
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
        assert heard == []
        """,
    )


def test_a_child_has_the_handlers_that_the_app_has_set() -> None:
    """They came after the server's: `SIG_IGN` around the start of a `multiprocessing.Pool`, for example."""
    run(
        "0",
        """
        def of_the_app(sig, frame):
            os._exit(42)

        with ending.owning_process(), ending.capturing(handler):
            ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
            term = signal.signal(signal.SIGTERM, of_the_app)
            if os.fork() == 0:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == 42
            signal.signal(signal.SIGINT, ours)
            signal.signal(signal.SIGTERM, term)
        """,
    )


def test_a_handler_of_the_app_that_calls_the_one_before_has_its_former_effect() -> None:
    """In a child: there is no server that the signal would end."""
    run(
        "0",
        """
        def captured(sig, frame):
            if not ending.is_for_a_fork(sig):
                print("the server has heard", sig)

        with ending.owning_process(), ending.capturing(captured):
            before = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda sig, frame: before(sig, frame))
            if os.fork() == 0:
                signal.raise_signal(signal.SIGTERM)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGTERM
        """,
    )


def test_of_two_servers_either_may_end_first() -> None:
    """What one has found, the other one's handler, is not given to a child where it does not apply any more."""
    run(
        "0",
        """
        other = Ending(SimpleNamespace(timeout_graceful_shutdown=None, settings=Settings.of({})))
        first, second = ending.capturing(handler), other.capturing(lambda sig, frame: print("the other one has heard"))
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        if os.fork() == 0:
            signal.raise_signal(signal.SIGTERM)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == -signal.SIGTERM
        """,
    )


def test_hooks_of_the_app_and_their_threads_have_no_signals_blocked() -> None:
    """In the parent and in the child."""
    run(
        "0",
        """
        masks = []

        def look():
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, []))

        def start():
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()

        os.register_at_fork(before=start, after_in_parent=start, after_in_child=start)
        with ending.capturing(handler):
            if os.fork() == 0:
                os._exit(masks != [set(), set()])
            assert os.wait()[1] == 0
            assert masks == [set(), set()]
        """,
    )


def test_an_undo_that_fails_keeps_nobody_from_his_signals() -> None:
    """The others are called, and the mask is as it was."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
                import os, signal
                from pounce.fork_signals import undone_in_children

                called = []
                with undone_in_children(lambda: called.append(1)), undone_in_children(lambda: 1 / 0):
                    if os.fork() == 0:
                        os._exit(not (called == [1] and not signal.pthread_sigmask(signal.SIG_BLOCK, [])))
                    assert os.wait()[1] == 0 and not called
                """
            ),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0
    assert done.stderr.count("ZeroDivisionError") == 1


def test_a_child_that_leaves_as_the_server_does_ends_nothing_of_its_parents() -> None:
    """Its way out is through the same `with` statements; the parent's watch goes on."""
    run(
        "0",
        """
        try:
            with ending.owning_process(), ending.capturing(handler):
                if os.fork() == 0:
                    raise InterruptedError
                assert os.wait()[1] == 0
                assert [thread.name for thread in threading.enumerate()] == ["MainThread", "pounce-signal-watch"]
        except InterruptedError:
            os._exit(0)
        """,
    )


def test_whoever_blocks_signals_has_them_blocked_behind_a_fork() -> None:
    """The mask is as it was, on both sides."""
    run(
        "0",
        """
        with ending.capturing(handler):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            if os.fork() == 0:
                os._exit(signal.pthread_sigmask(signal.SIG_BLOCK, []) != {signal.SIGTERM})
            assert os.wait()[1] == 0
            assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == {signal.SIGTERM}
        """,
    )

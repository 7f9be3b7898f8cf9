"""pounce/signal_watch.py: in interpreters of their own, whose main threads handle signals, or cannot."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.process.serving import PATIENCE, ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

START = """
import asyncio, ctypes, os, signal, threading, time
from pounce.signal_watch import SignalWatch

handled = []
def handler(number, frame):
    handled.append((number, threading.current_thread().name))

watch = SignalWatch(handler, (signal.SIGINT,))
signal.signal(signal.SIGINT, watch.handle)

def kill(): os.kill(os.getpid(), signal.SIGINT)

def later(*delays):
    def run():
        for delay in delays:
            time.sleep(delay)
            kill()
    threading.Thread(target=run, daemon=True).start()

def wait_in_c(seconds):
    # No signal ends it, the GIL is free, and no handler runs.
    libc = ctypes.CDLL(None)
    mutex = (ctypes.c_char * 64)()
    libc.pthread_mutex_lock(mutex)
    threading.Timer(seconds, libc.pthread_mutex_unlock, (mutex,)).start()
    libc.pthread_mutex_lock(mutex)

MAIN, WATCH = (2, "MainThread"), (2, "pounce-signal-watch")
"""


def run(code: str, tries: int = 3) -> None:
    """A program that asserts.

    What it says is said in tenths of a second: on a machine that keeps a thread waiting for longer it is tried again.
    """
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode and tries > 1:
        run(code, tries - 1)
    else:
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("how", ["time.sleep(2)", "[None for _ in iter(lambda: len(handled) < 3, False)]"])
def test_a_main_thread_that_can_handles_its_signals(how: str) -> None:
    """Each once, and nobody else does so a moment later."""
    run(
        f"""
        watch.start()
        later(0.3, 0.3, 0.3)
        {how}
        time.sleep(0.5)
        assert handled == [MAIN] * 3, handled
        """
    )


def test_a_main_thread_that_cannot_is_helped() -> None:
    """Each signal is handled while it is in C, and not once more when it is back."""
    run(
        """
        watch.start()
        later(0.2, 0.5)
        wait_in_c(1.5)
        assert handled == [WATCH] * 2, handled
        time.sleep(0.3)
        assert handled == [WATCH] * 2, handled
        kill()
        time.sleep(0.3)
        assert handled == [WATCH, WATCH, MAIN], handled
        """
    )


def test_a_watch_that_is_late_finds_it_handled() -> None:
    """On a machine that keeps it from reading for longer than the main thread has: one Ctrl+C must not count as two."""
    run(
        """
        class Late:
            def __getattr__(self, name):
                return getattr(os, name)

            def read(self, *arguments):
                numbers = os.read(*arguments)
                time.sleep(0.4)
                return numbers

        import pounce.signal_watch
        pounce.signal_watch.os = Late()
        watch.start()
        later(0.1, 0.5, 0.1)
        time.sleep(0.05)
        until = time.monotonic() + 2
        while time.monotonic() < until: time.sleep(0.01)
        assert handled == [MAIN] * 3, handled
        """
    )


def test_signals_that_come_together_count_once() -> None:
    """As for the main thread: whoever signals a process and its group has one wish."""
    run(
        """
        watch.start()
        def burst():
            time.sleep(0.2)
            for _ in range(50): kill()
        threading.Thread(target=burst, daemon=True).start()
        wait_in_c(1.0)
        time.sleep(0.3)
        assert handled == [WATCH], handled
        """
    )


def test_a_signal_that_comes_while_the_first_waits_is_the_same() -> None:
    """One wish by two ways is not two: the main thread, had it got to it, would have seen one."""
    run(
        """
        class Watch(SignalWatch):
            def _is_handled(self, number, *rest):
                if not came:  # the watch has read the first one, and waits for the main thread
                    came.append(number)
                    kill()
                return super()._is_handled(number, *rest)

        came = []
        watch = Watch(handler, (signal.SIGINT,))
        signal.signal(signal.SIGINT, watch.handle)
        watch.start()
        later(0.2)
        wait_in_c(1.0)
        time.sleep(0.3)
        assert came, handled
        assert handled == [WATCH], handled
        """
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loop_goes_on_waking_up_by_signals(loop: str) -> None:
    """It has its own descriptor, before the watch and after it; signals that a loop handles reach it all the same."""
    pytest.importorskip(loop)
    run(
        f"""
        import {loop}
        watch.start()
        async def main():
            loop = asyncio.get_running_loop()
            got = asyncio.Event()
            loop.add_signal_handler(signal.SIGUSR1, got.set)
            watch.on_loop()
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            await asyncio.wait_for(got.wait(), 5)
            later(0.1)
            await asyncio.sleep(0.5)
            assert handled == [MAIN], handled
            watch.off_loop()
            loop.remove_signal_handler(signal.SIGUSR1)
        with asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:
            runner.run(main())
        watch.stop()
        assert signal.set_wakeup_fd(-1) == -1
        """
    )


def test_nothing_is_left_of_it() -> None:
    """Neither its descriptors nor its thread; and what somebody else has set meanwhile stays."""
    run(
        """
        before = len(os.listdir("/dev/fd"))
        watch.start()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        watch.stop()
        deadline = time.monotonic() + 5
        while threading.active_count() > 1 and time.monotonic() < deadline: time.sleep(0.01)
        assert threading.active_count() == 1
        assert signal.set_wakeup_fd(-1) == writer
        assert len(os.listdir("/dev/fd")) == before
        """
    )

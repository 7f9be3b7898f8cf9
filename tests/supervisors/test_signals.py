from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from pounce.supervisors.signals import SignalInbox


@pytest.fixture
def inbox() -> Iterator[SignalInbox]:
    inbox = SignalInbox()
    yield inbox
    inbox.close()


def test_a_signal_ends_the_sleep(inbox: SignalInbox) -> None:
    """A sleeping supervisor wakes as soon as a signal arrives, not at the end of its sleep."""
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()
    begun = time.monotonic()
    inbox.sleep([], 30.0)
    assert time.monotonic() - begun < 10.0
    assert inbox.queue == [signal.SIGHUP]


def test_a_signal_before_the_sleep_ends_it_too(inbox: SignalInbox) -> None:
    """A signal that arrived between two looks is not slept over, even where only the list knows of it."""
    inbox.queue.append(signal.SIGTERM)
    begun = time.monotonic()
    inbox.sleep([], 30.0)
    assert time.monotonic() - begun < 10.0


def test_a_flood_of_signals_does_not_block_the_handler(inbox: SignalInbox) -> None:
    """The wake-up channel may be full; every signal is kept all the same."""
    for _ in range(5000):
        inbox._on_signal(signal.SIGWINCH, None)
    assert len(inbox.queue) == 5000


def test_a_ready_sentinel_is_reported(inbox: SignalInbox) -> None:
    """`sleep` names the sentinels that are ready and no other."""
    quiet, quiet_end = os.pipe()
    ready, ready_end = os.pipe()
    try:
        os.write(ready_end, b"x")
        assert inbox.sleep([quiet, ready], 5.0) == [ready]
    finally:
        for fd in (quiet, quiet_end, ready, ready_end):
            os.close(fd)


def test_handlers_are_given_back() -> None:
    """After `close` the signals go where they went before."""
    former = signal.getsignal(signal.SIGTERM)
    inbox = SignalInbox()
    assert signal.getsignal(signal.SIGTERM) != former
    inbox.close()
    assert signal.getsignal(signal.SIGTERM) == former

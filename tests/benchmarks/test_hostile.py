"""The harness of hostile clients: it sees what is left behind, what comes late and who was not sent away."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import hostile
from benchmarks.leftovers import MIB, Reading, Result, Round, table
from benchmarks.load.hostile.client import BUDGET, Client, Ended, Fates, Kind, Wrong, crowd
from benchmarks.load.hostile.kinds import BY_NAME, KINDS
from benchmarks.load.normal import Answers, Line
from tests.hostile.test_hostile import Subject, subject
from tests.process.serving import PATIENCE

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads what a process has from /proc")


@on_linux
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_a_server_has_is_counted(loop: str) -> None:
    """A client whose request waits is a descriptor, a connection, and a task with a timer."""
    with subject(loop) as found:
        with found.server.connect() as waiting:
            waiting.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
            waits = {"descriptors": 1, "connections": 1, "tasks": 1, "timers": 1}
            assert _once_there(found, waits) == waits
        found.settles()


def _once_there(found: Subject, expected: dict[str, int]) -> dict[str, int]:
    """What there is besides. The connection that asked before may still be there."""
    limit = time.monotonic() + PATIENCE
    while (left := found.read().left(found.before)) != expected and time.monotonic() < limit:
        time.sleep(0.05)
    return left


BEFORE = Reading(10, 2, 3, 1, 1, 1000, 30 * MIB, 30 * MIB, {})
QUIET = {"kept": Answers(count=400, p99=2.0), "new": Answers(count=400, p99=7.0)}


def result(fates: Fates | None = None, ends_by: str = "", rounds: int = 2, cpu: float = 0.5, **changes: Any) -> Result:
    """All is well, but for the changes to the last round."""
    beside = changes.pop("beside", QUIET)
    kind = Kind("some", "", BY_NAME["silent"].attack, ends_by, descriptors=changes.pop("limit", None))
    good = Round(Fates(ended=5), QUIET, 0.5, BEFORE)
    last = Round(fates or Fates(ended=5), beside, cpu, dataclasses.replace(BEFORE, **changes))
    return Result(kind, QUIET, 0.49, BEFORE, [*[good] * (rounds - 1), last], [])


@pytest.mark.parametrize(
    "found, fault",
    [
        (result(), ""),
        (result(beside=QUIET | {"kept": Answers(p99=9.9), "new": Answers(p99=13.9)}), ""),
        (result(beside=QUIET | {"kept": Answers(p99=10.1)}), "kept p99 10.1 ms (bar 10)"),
        (result(beside=QUIET | {"new": Answers(p99=14.1)}), "new p99 14.1 ms (bar 14)"),
        (result(beside=QUIET | {"new": Answers(failures=["reset"] * 2)}), "2 new requests failed: reset"),
        (result(descriptors=11), "1 descriptors left"),
        (result(tasks=4, timers=4), "2 tasks left; 1 timers left"),
        (result(threads=2), "1 threads left"),
        (result(connections=2), "1 connections left"),
        (result(trimmed=32 * MIB), ""),
        (result(trimmed=32 * MIB + 1), "memory +2.0 MiB in the second round"),
        (result(trimmed=40 * MIB, rounds=1), ""),
        (result(memory=40 * MIB), ""),
        (result(Fates(ended=1, left=1, stayed=1)), ""),
        (result(Fates(ended=1, left=1, stayed=1), BUDGET), "2 clients were not sent away"),
        (result(Fates(wrong={"no answer": 3})), "3 x no answer"),
        (result(cpu=0.9), ""),
        (result(cpu=0.53, limit=100), ""),
        (result(cpu=0.55, limit=100), "6.0% more of a core without descriptors"),
    ],
)
def test_bars(found: Result, fault: str) -> None:
    """What misses one is said, and nothing else."""
    assert "; ".join(found.faults()) == fault
    assert found.row()[-1] == (fault or "ok")


def test_a_table() -> None:
    """All columns, aligned."""
    lines = table([result().row()]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 3


@contextlib.contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[tuple[str, int]]:
    """Each connection is given to `serve`, one after the other, and then closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    accepted, _ = listener.accept()
                    with accepted:
                        serve(accepted)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_line_counts_from_when_it_was_due() -> None:
    """A server that stands still once is late with all requests that were due meanwhile."""
    seen = threading.Semaphore(0)
    stands_still = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        stands_still.wait(0.5)
        stands_still.set()
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\nHello, world!")
        seen.release()

    with listening(serve) as address:
        line = Line(address, keeps=False)
        line.start()
        for _ in range(40):
            assert seen.acquire(timeout=20)
        line.stop()
    answers = line.answers()
    assert answers.failures == []
    assert answers.p50 > 20  # milliseconds; every request but the first took one or so


def test_a_line_tells_of_failures() -> None:
    """An end without an answer, and a wrong answer; the next request has a new connection."""
    seen = threading.Semaphore(0)
    said = iter([b"", b"HTTP/1.1 500 No\r\n\r\nHello, world!"])

    def serve(sock: socket.socket) -> None:
        sock.recv(65536)
        sock.sendall(next(said, b"HTTP/1.1 200 OK\r\n\r\nHello, world!"))
        seen.release()

    with listening(serve) as address:
        line = Line(address, keeps=True)
        line.start()
        for _ in range(3):
            assert seen.acquire(timeout=20)
        line.stop()
    failures = line.answers().failures
    assert failures[:2] == ["no answer, but an end", "a wrong answer: b'HTTP/1.1 500 No\\r\\n\\r\\nHello, world!'"]
    assert line.answers() == Answers()


def test_fates() -> None:
    """Those whom the server ends, who leave, who are kept, and to whom it does wrong."""

    async def attack(client: Client, seconds: float) -> None:
        await client.send(b"x")
        match client.number:
            case 0:
                await client.until_end()
            case 1:
                await asyncio.sleep(60)
            case 2:
                raise Wrong("so")

    with listening(lambda sock: sock.recv(1)) as address:
        fates = asyncio.run(crowd(Kind("some", "", attack), address, 4, 1000, 0.1, 0.1))
    assert fates == Fates(ended=1, left=1, stayed=1, wrong={"so": 1})


def test_an_answer_that_is_due() -> None:
    """An end without it is wrong."""

    async def attack(client: Client, seconds: float) -> None:
        await client.send(b"x")
        await client.until_answered_and_ended(b"answer")

    for answer, expected in ((b"an answer", Fates(ended=1)), (b"no", Fates(wrong={"b'answer' is missing": 1}))):
        with listening(lambda sock, answer=answer: (sock.recv(1), sock.sendall(answer))) as address:
            fates = asyncio.run(crowd(Kind("some", "", attack), address, 1, 1000, 5, 5))
        assert (fates.ended, [said.partition(" in the")[0] for said in fates.wrong]) == (
            expected.ended, list(expected.wrong),
        )  # fmt: skip


def test_a_flood_has_an_end() -> None:
    """After so many bytes, or when nobody takes them any more."""

    async def attack(client: Client, seconds: float) -> None:
        await client.flood(b"x" * 100, 10)
        raise Wrong("enough")

    def serve(sock: socket.socket) -> None:
        while sock.recv(65536):
            pass

    with listening(serve) as address:
        fates = asyncio.run(crowd(Kind("some", "", attack), address, 1, 1000, 10, 0, most=1000))
    assert fates.wrong == {"enough": 1}
    with listening(socket.socket.close) as address:
        fates = asyncio.run(crowd(Kind("some", "", attack), address, 1, 1000, 10, 0))
    assert fates.ended == 1


def test_names() -> None:
    """Each kind has its own, and is listed."""
    assert len(BY_NAME) == len(KINDS)
    listed = CliRunner().invoke(hostile.main, ["--list"])
    assert [line.split()[0] for line in listed.output.splitlines()] == [kind.name for kind in KINDS]


def test_ended_is_no_answer() -> None:
    """`Ended` is not an error of the operating system, which would count as wrong."""
    assert not issubclass(Ended, OSError)

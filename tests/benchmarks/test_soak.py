"""The soak in small: it counts exactly, sees growth and failures, and its clients leave as they are meant to."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import soak
from benchmarks.load import counted, visits
from benchmarks.load.counted import Batch
from benchmarks.load.outcome import LoadError
from benchmarks.procfs import Memory

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
with_h2load = pytest.mark.skipif(shutil.which("h2load") is None, reason="needs h2load")

MIB = 2**20


@pytest.mark.parametrize("total, parts", [(99, 10), (990_000, 10), (3, 10), (0, 5), (7, 1)])
def test_steps_add_up(total: int, parts: int) -> None:
    """To what was asked for, each as large as the others but for one, none empty."""
    found = list(soak.shares(total, parts))
    assert sum(found) == total
    assert all(found)
    assert not found or max(found) - min(found) <= 1


def test_batches_have_a_limit() -> None:
    """Each has new connections, so it is no larger than that."""
    assert list(soak.batches(2 * soak.BATCH + 1)) == [6667, 6667, 6667]
    assert list(soak.batches(soak.BATCH)) == [soak.BATCH]
    assert list(soak.batches(0)) == []


def test_the_first_requests_are_warm_up() -> None:
    """The first 10,000 and 200 connections of a real soak; half of a small one."""
    real, small = soak.Plan(1_000_000, 10_000, False), soak.Plan(100, 20, True)
    assert (real.warm_requests, real.warm_visits, real.connections, real.streams) == (10_000, 200, 32, 0)
    assert (small.warm_requests, small.warm_visits, small.connections, small.streams) == (50, 10, 10, 100)


@pytest.mark.parametrize("requests, connections", [(100, 1), (100, 7), (32, 32), (33, 32), (8000, 32)])
def test_the_404s_of_a_batch_are_known(requests: int, connections: int) -> None:
    """Each connection takes the targets from the first on; the first ones have one request more."""
    batch = Batch(5, requests, connections)
    counts = [len(range(number, requests, connections)) for number in range(connections)]
    assert batch.missing == sum("missing" in target for count in counts for target in batch.targets[:count])
    assert len(batch.targets) == max(counts)
    assert Batch(5, requests, connections, posts=True).missing == 0


def test_no_target_comes_twice(tmp_path: Path) -> None:
    """Neither in a batch nor in another; field values are the batch's own too."""
    first, second = Batch(1, 600, 2), Batch(2, 600, 2)
    targets = first.targets + second.targets
    assert len(set(targets)) == len(targets) == 600
    words, others = first.command(8000, tmp_path), second.command(8000, tmp_path)
    assert {word for word in words if "session" in word}.isdisjoint(others)
    assert "--h1" in words
    assert "--h1" not in Batch(1, 600, 2, streams=100).command(8000, tmp_path)


H2LOAD = """\
finished in 1.00s, 500.00 req/s, 4.01KB/s
requests: 10 total, 10 started, 10 done, 8 succeeded, 2 failed, 0 errored, 0 timeout
status codes: 8 2xx, 0 3xx, 2 4xx, 0 5xx
"""


def test_every_answer_of_a_batch_is_accounted_for() -> None:
    """So many of that status, none more, none less."""
    Batch(1, 10, 2).check(H2LOAD)


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("0 errored", "3 errored", "^3 requests met errors, 10 were answered"),
        ("0 timeout", "2 timeout", "^2 requests timed out"),
        ("10 done", "9 done", "^9 of 10 requests were answered"),
        ("8 2xx", "7 2xx", "^answers by status"),
        ("2 4xx", "3 4xx", "^answers by status"),
        ("0 5xx", "1 5xx", "^answers by status"),
        ("requests:", "asked:", "^h2load gave no result"),
    ],
)
def test_a_batch_with_wrong_answers_fails(right: str, wrong: str, message: str) -> None:
    """Errors, time-outs, lost requests and other statuses."""
    assert right in H2LOAD
    with pytest.raises(LoadError, match=message):
        Batch(1, 10, 2).check(H2LOAD.replace(right, wrong))


def readings(*rss: float) -> Callable[[], Memory]:
    """Memory that reads so many MiB in turn, the last for ever."""
    left = list(rss)
    return lambda: Memory(0, int((left.pop(0) if len(left) > 1 else left[0]) * MIB), 0)


def test_memory_has_settled_when_it_falls_no_more() -> None:
    """What rises counts as it is; a small step down is none."""
    pauses: list[float] = []
    assert soak.settled(readings(40, 39, 38, 38, 38, 37, 37.01), pauses.append).rss == int(37.01 * MIB)
    assert len(pauses) == 5 + soak.STEADY
    assert soak.settled(readings(40, 39.99, 41), pauses.append).rss == 41 * MIB


def test_memory_that_falls_for_ever_is_not_awaited_for_ever() -> None:
    """There is a limit, in seconds of the clock."""
    now = 0.0

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    falling = iter(range(1000, 0, -1))
    soak.settled(lambda: Memory(0, next(falling) * MIB, 0), pause, lambda: now)
    assert now == soak.SETTLE_LIMIT


class Answering:
    """A server for one connection: an answer to what it receives first, and how it ended."""

    def __init__(self, answer: bytes, closes: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._answer, self._closes = answer, closes
        self.port = int(self._listener.getsockname()[1])
        self.received = b""
        self.end = ""

    def serve_one(self) -> None:
        with self._listener.accept()[0] as sock:
            try:
                self.received = sock.recv(65536)
                if self.received:
                    sock.sendall(self._answer)
                if self._closes:
                    sock.shutdown(socket.SHUT_WR)
                while part := sock.recv(65536):
                    self.received += part
                self.end = "closed"
            except ConnectionError:
                self.end = "reset"

    def visited(self, way: str, http2: bool) -> None:
        """One visit of that kind."""
        thread = threading.Thread(target=self.serve_one)
        thread.start()
        try:
            visits.visit(self.port, visits.WAYS.index(way), http2)
        finally:
            thread.join(10)
            self._listener.close()


HTTP1 = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!"
HTTP2 = visits.frame(4, 0, 0) + visits.frame(1, 4, 1, b"\x88") + visits.frame(0, 1, 1, b"Hello, world!")


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    "way, closes, end",
    [
        ("answered", False, "closed"),
        ("ended", True, "closed"),
        ("silent", False, "closed"),
        ("within head", False, "reset"),
        ("within body", False, "reset"),
        ("unread", False, "reset"),
    ],
)
def test_visitors_leave_in_their_way(way: str, closes: bool, end: str, http2: bool) -> None:
    """With an answer, without one, by a close, by a reset."""
    server = Answering(HTTP2 if http2 else HTTP1, closes)
    server.visited(way, http2)
    assert server.end == end
    if way == "answered":
        assert (visits.PREFACE if http2 else b"GET /fields?n=v0 ") in server.received


@pytest.mark.parametrize(
    "answer, http2",
    [
        (HTTP1.replace(b"200", b"500"), False),
        (HTTP1[:-1], False),
        (b"", False),
        (visits.frame(3, 0, 1, bytes(4)), True),
        (HTTP2[:-1], True),
        (HTTP2.replace(b"world", b"World"), True),
    ],
)
def test_a_visitor_with_a_wrong_answer_complains(answer: bytes, http2: bool) -> None:
    """Another status, half an answer, none, a reset stream, another body."""
    with pytest.raises(LoadError, match="new connection"):
        Answering(answer, closes=True).visited("answered", http2)


def test_half_of_the_visits_are_broken_off_or_end_otherwise() -> None:
    """All ways come in turns."""
    assert len(visits.WAYS) == 10
    assert visits.WAYS.count("answered") == 5
    assert {visits.way_of(number) for number in range(20)} == set(visits.WAYS)


@on_linux
@with_h2load
@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("options", [[], ["--http2"], ["--workers", "2", "--http", "h11"]])
def test_a_small_soak_is_within_bounds(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it, with pounce: it answers all, and does not grow without limit."""
    if "--http2" in options:
        pytest.importorskip("h2")
    monkeypatch.setattr(soak, "LOOK", 0.05)
    words = ["--requests", "2000", "--connections", "40", "--bound-mib", "16", *options]
    done = CliRunner().invoke(soak.main, words)
    assert done.exit_code == 0, done.output
    assert "at the end       2,000           40" in done.output
    assert "ok: RSS " in done.output


class Grown:
    """Stands for `soak.soak`: memory that grew by so many MiB."""

    def __init__(self, mib: float) -> None:
        self._growth = int(mib * MIB)

    def __call__(self, *_: object) -> Memory:
        return Memory(0, self._growth, 0)


@on_linux
@pytest.mark.parametrize("mib, code", [(1.9, 0), (2.1, 1), (-1.9, 0), (-2.1, 1)])
def test_the_exit_code_says_whether_memory_stayed(mib: float, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """0 within 2 MiB, either way, 1 beyond."""
    monkeypatch.setattr(soak, "missing_tool", lambda _: None)
    monkeypatch.setattr(soak, "soak", Grown(mib))
    done = CliRunner().invoke(soak.main, [])
    assert done.exit_code == code
    assert f"RSS {mib:+.2f} MiB" in done.output


@on_linux
def test_a_server_that_fails_the_soak_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its memory does."""

    def failing(*_: object) -> Memory:
        raise LoadError("9 requests met errors")

    monkeypatch.setattr(soak, "missing_tool", lambda _: None)
    monkeypatch.setattr(soak, "soak", failing)
    done = CliRunner().invoke(soak.main, [])
    assert done.exit_code == 1
    assert "FAILED: 9 requests met errors" in done.output


@on_linux
def test_a_soak_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a line, with exit code 2."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    done = CliRunner().invoke(soak.main, [])
    assert (done.exit_code, done.output) == (2, "soak: h2load is not installed (Debian package: nghttp2-client)\n")
    monkeypatch.undo()
    monkeypatch.setattr(soak, "missing_tool", lambda _: None)
    done = CliRunner().invoke(soak.main, ["--python", "/no/such/python"])
    assert (done.exit_code, done.output) == (2, "soak: no interpreter at /no/such/python\n")


@with_h2load
def test_a_server_that_hangs_is_not_awaited_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """h2load itself would wait."""
    monkeypatch.setattr(counted, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(LoadError, match="no end of 4 requests"):
        counted.send(Batch(1, 4, 2), listener.getsockname()[1], tmp_path)

"""A few of each kind of hostile client, beside one that behaves: it is served, they go, and nothing of them is left.

`python -m benchmarks.hostile` does the same with a thousand of each, and measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.hostile import DEADLINES
from benchmarks.leftovers import Reading
from benchmarks.load.hostile import http2
from benchmarks.load.hostile.client import DEADLINE, Fates, Kind, crowd
from benchmarks.load.hostile.kinds import BY_NAME, KINDS
from benchmarks.load.normal import Line
from tests.beside.test_clients import tls_and_http2
from tests.process.serving import PATIENCE, Served, environment, served

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads what a process has from /proc")

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
APP = "benchmarks.apps.hostile_app:app"
COUNT = 10

#: Bytes that each sends of a flood that may go on for ever.
FLOOD = 10_000

#: Those that wait for a deadline do so together; the others have one crowd each.
PLAIN = [kind for kind in KINDS if not kind.tls and kind.descriptors is None]
WAITING = [kind for kind in PLAIN if kind.ends_by == DEADLINE]
ACTIVE = [kind for kind in PLAIN if kind.ends_by != DEADLINE]


class Subject:
    """A server, the well-behaved client beside it, and what the server had before anybody came."""

    def __init__(self, server: Served, tls: bool = False) -> None:
        self.server = server
        self._tls = tls
        self.before = Reading.at_rest(self.read)

    def read(self) -> Reading:
        """What it has now; the connection that asks counts."""
        status, body = self.server.get("/vitals")
        assert status == 200
        return Reading(len(os.listdir(f"/proc/{self.server.process.pid}/fd")), memory=0, trimmed=0, **json.loads(body))

    def visited_by(self, kinds: Sequence[Kind], count: int = COUNT, seconds: float = 1.0) -> list[Fates]:
        """All of them at once. The other client is answered throughout, and nothing is left."""
        lines = [Line(self.server.address, keeps, self._tls) for keeps in (True, False)]
        for line in lines:
            line.start()
        try:
            fates = asyncio.run(self._crowds(kinds, count, seconds))
        finally:
            for line in lines:
                line.stop()
        for line in lines:
            answers = line.answers()
            assert answers.failures == []
            assert answers.count > 0
        self.settles()
        return fates

    async def _crowds(self, kinds: Sequence[Kind], count: int, seconds: float) -> list[Fates]:
        address = self.server.address
        most = {kind: math.inf if kind.ends_by else FLOOD for kind in kinds}
        crowds = (crowd(kind, address, count, 1000, seconds, PATIENCE, most[kind]) for kind in kinds)
        return list(await asyncio.gather(*crowds))

    def settles(self) -> None:
        """Until nothing is left."""
        limit = time.monotonic() + PATIENCE
        while left := (now := self.read()).left(self.before):
            if time.monotonic() > limit:
                grown = {name: count - self.before.types.get(name, 0) for name, count in now.types.items()}
                pytest.fail(f"left: {left}; {dict(sorted(grown.items(), key=lambda item: -item[1])[:20])}")
            time.sleep(0.05)


OPTIONS = (*DEADLINES, *http2.OPTIONS, "--http2-resets", "20", "--no-access-log")

LOOPS: dict[str, Any] = {
    "asyncio": ("--loop", "asyncio"),
    "uvloop": ("--loop", "uvloop"),
    "threads": ("--workers", "2", "--worker-class", "thread"),
}


@contextlib.contextmanager
def subject(loop: str, *options: str, tls: Any = None) -> Iterator[Subject]:
    """A server with short deadlines."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    if loop == "threads" and not FREE_THREADED:
        pytest.skip("threads are for free-threaded builds")
    pytest.importorskip("h2")
    env = environment(PYTHON_GIL="0") if loop == "threads" else None
    with served(APP, *LOOPS[loop], *OPTIONS, *options, tls=tls, env=env) as server:
        yield Subject(server, tls is not None)


@pytest.fixture(scope="module", params=list(LOOPS))
def plain(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """Without TLS."""
    with subject(request.param) as made:
        # The first of each protocol makes what stays: modules, tables.
        made.visited_by([BY_NAME["ws-reset"], BY_NAME["h2-reset"]], 5)
        made.before = Reading.at_rest(made.read)
        yield made


@pytest.fixture(scope="module", params=list(LOOPS))
def encrypted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """With TLS."""
    folder: Path = tmp_path_factory.mktemp("tls")
    options, context = tls_and_http2(folder)
    with subject(request.param, *(word for word in options if word != "--http2"), tls=context) as made:
        yield made


def check(kind: Kind, fates: Fates) -> None:
    """What became of them is what may."""
    assert fates.wrong == {}, kind.name
    if kind.ends_by:
        assert fates.ended, kind.name
        assert not fates.left, kind.name
        assert not fates.stayed, kind.name


def test_those_that_wait(plain: Subject) -> None:
    """Each of them is sent away, all in the same seconds."""
    for kind, fates in zip(WAITING, plain.visited_by(WAITING, seconds=3.0), strict=True):
        check(kind, fates)


@pytest.mark.parametrize("kind", ACTIVE, ids=lambda kind: kind.name)
def test_those_that_do_not(kind: Kind, plain: Subject) -> None:
    """They reset, or send without a pause."""
    check(kind, *plain.visited_by([kind]))


def test_those_that_speak_no_tls(encrypted: Subject) -> None:
    """Or not to its end."""
    kinds = [kind for kind in KINDS if kind.tls]
    for kind, fates in zip(kinds, encrypted.visited_by(kinds), strict=True):
        check(kind, fates)

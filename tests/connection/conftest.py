"""Loops and parsers that the tests of HTTP/1.1 connections run over."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.connection import http2_client
from tests.connection.real_sockets import Pair
from tests.fakes import PROTOCOLS, LoopDouble, plain_task_factory

LOOPS: list[Any] = ["asyncio", "asyncio with a task factory", "double"]
if sys.platform != "win32" and importlib.util.find_spec("uvloop") is not None:
    LOOPS.append("uvloop")


@pytest.fixture(params=LOOPS)
def loop_kind(request: pytest.FixtureRequest) -> str:
    """Eager tasks (from Python 3.12 on) with asyncio and uvloop; none with a task factory, nor on the double."""
    return str(request.param)


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """asyncio, on uvloop where the test asks for that."""
    kind = request.getfixturevalue("loop_kind") if "loop_kind" in request.fixturenames else "asyncio"
    return ("asyncio", {"use_uvloop": kind == "uvloop"})


@pytest.fixture(params=sorted(PROTOCOLS))
def parser(request: pytest.FixtureRequest) -> str:
    """The name of an HTTP/1.1 parser."""
    return str(request.param)


@pytest.fixture
async def loop(loop_kind: str, anyio_backend: Any) -> Any:
    """What to give a connection as its `_loop`."""
    running = asyncio.get_running_loop()
    if loop_kind == "double":
        yield LoopDouble()
    elif loop_kind == "asyncio with a task factory":
        running.set_task_factory(plain_task_factory)
        yield running
        running.set_task_factory(None)
    else:
        yield running


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's socket, and the accepted one."""
    made = Pair()
    yield made
    made.close()


@pytest.fixture(params=["native", "h2"])
def http2_wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the wire of all HTTP/2 connections in the test."""
    monkeypatch.setattr(http2_client, "WIRE", request.param)
    return str(request.param)

"""The floors give right answers: what a case asks of every server, and what its load takes for granted."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cases import BY_NAME as CASE, CASES, Case
from benchmarks.load import http, websocket
from benchmarks.process import ServerProcess, free_port
from benchmarks.servers import BY_NAME, Launch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="benchmarks run on Linux")

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
def floor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """The port of the floor of that kind, on asyncio's own loop."""
    port = free_port()
    launch = Launch(Path(sys.executable), "", port, floor=request.param)
    command = [{"uvloop": "asyncio"}.get(word, word) for word in BY_NAME["floor"].command(launch)]
    with ServerProcess(command, dict(os.environ), tmp_path, os.sched_getaffinity(0)) as server:
        server.await_ready(lambda: socket.create_connection(("127.0.0.1", port), timeout=5).close())
        yield port


@pytest.mark.parametrize(
    ("case", "floor"),
    [pytest.param(case, case.floor, id=case.name) for case in CASES if case.floor],
    indirect=["floor"],
)
def test_a_floor_gives_the_right_answer(case: Case, floor: int) -> None:
    """Byte for byte, more than once, as every server has to."""
    for _ in range(2):
        if case.message_size:
            found = websocket.run(floor, case.message_size, connections=2, seconds=0.05)
            assert found["requests"] > 0
        else:
            http.probe(case, floor)


def received(sock: socket.socket, least: int) -> bytes:
    """So many answers to GET, or all until the connection's end."""
    found = b""
    while found.count(b"Hello, world!") < least and (part := sock.recv(65536)):
        found += part
    return found


@pytest.mark.parametrize("floor", ["pipelined"], indirect=True)
@pytest.mark.parametrize("cut", [10, len(GET) - 1, len(GET), 2 * len(GET) + 1])
def test_requests_in_a_row_are_answered_one_by_one(floor: int, cut: int) -> None:
    """Wherever the bytes are cut behind the first head, there are as many answers as requests."""
    sent = GET * 3
    with socket.create_connection(("127.0.0.1", floor), timeout=5) as sock:
        sock.sendall(GET)
        assert received(sock, 1).count(b"HTTP/1.1 200 OK") == 1
        sock.sendall(sent[:cut])
        answers = received(sock, cut // len(GET))
        sock.sendall(sent[cut:])
        answers += received(sock, 3 - cut // len(GET))
        assert answers.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("floor", ["connections"], indirect=True)
def test_a_connection_ends_with_its_answer(floor: int) -> None:
    """The server closes it."""
    with socket.create_connection(("127.0.0.1", floor), timeout=5) as sock:
        sock.sendall(GET)
        assert received(sock, 2).count(b"connection: close") == 1


@pytest.mark.parametrize("floor", ["download"], indirect=True)
def test_a_slow_reader_gets_the_whole_download(floor: int) -> None:
    """The transport pauses the writes, and they go on when there is room."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(5)
        sock.connect(("127.0.0.1", floor))
        for _ in range(2):
            sock.sendall(GET)
            found = bytearray()
            while b"\r\n\r\n" not in found or not CASE["download"].is_right(bytes(found.partition(b"\r\n\r\n")[2])):
                part = sock.recv(65536)
                assert part
                found += part


def test_every_floor_is_of_a_case() -> None:
    """And every case that has one names one that there is."""
    text = (Path(__file__).parents[2] / "benchmarks/apps/floor.py").read_text()
    kinds = text[text.index("\nKINDS") :].partition("}")[0]
    for case in CASES:
        assert not case.floor or f'"{case.floor}":' in kinds, case.name
        assert case.takes(BY_NAME["floor"]) is bool(case.floor)

"""The link on loopback: order, delay, bandwidth, back-pressure, ends and resets."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from benchmarks.relay import Link, Relay

LIMIT = 20.0  # seconds for what is sure to happen


@contextmanager
def linked(link: Link) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client and a server at the two ends of a link."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.settimeout(LIMIT)
        relay = stack.enter_context(Relay(listener.getsockname()[1], link))
        client = stack.enter_context(socket.create_connection(("127.0.0.1", relay.port)))
        server = stack.enter_context(listener.accept()[0])
        client.settimeout(LIMIT)
        server.settimeout(LIMIT)
        yield client, server


def read_all(sock: socket.socket) -> bytes:
    """Until the end."""
    return b"".join(iter(lambda: sock.recv(65536), b""))


def in_thread(work: Callable[[], object]) -> threading.Thread:
    """Started."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("link", [Link(), Link(delay=3), Link(bandwidth=200), Link(delay=3, bandwidth=200)], ids=str)
def test_bytes_arrive_in_order_both_ways(link: Link) -> None:
    """All of them, at the same time in both directions, and an end on one side leaves the other one open."""
    there, back = os.urandom(300_000), os.urandom(200_000)

    def send() -> None:
        client.sendall(there)
        client.shutdown(socket.SHUT_WR)

    with linked(link) as (client, server):
        sender = in_thread(send)
        answerer = in_thread(lambda: server.sendall(back))
        assert read_all(server) == there
        answerer.join(LIMIT)
        server.sendall(b"behind the end")
        server.shutdown(socket.SHUT_WR)
        assert read_all(client) == back + b"behind the end"
        sender.join(LIMIT)


def test_what_is_sent_takes_the_delay() -> None:
    """A byte needs it one way; a hundred in a row need it once, not a hundred times."""
    with linked(Link(delay=40)) as (client, server):
        start = time.monotonic()
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        server.sendall(b"y")
        assert client.recv(1) == b"y"
        assert time.monotonic() - start >= 0.08
    with linked(Link(delay=300)) as (client, server):
        start = time.monotonic()
        for _ in range(100):
            client.sendall(b"x")
        client.shutdown(socket.SHUT_WR)
        assert read_all(server) == b"x" * 100
        assert 0.3 <= time.monotonic() - start < 30


def test_no_more_than_the_bandwidth_arrives() -> None:
    """A megabit at 4 Mbit/s takes a quarter of a second, and does not come in one piece."""
    with linked(Link(bandwidth=4)) as (client, server):
        start = time.monotonic()
        sender = in_thread(lambda: (client.sendall(b"x" * 125_000), client.shutdown(socket.SHUT_WR)))
        size, pieces = 0, 0
        while data := server.recv(65536):
            size += len(data)
            pieces += 1
            assert size * 8 <= 4e6 * (time.monotonic() - start) + 0.05e6  # a piece leaves before its time is over
        assert size == 125_000
        assert pieces > 2
        sender.join(LIMIT)


@pytest.mark.parametrize("link", [Link(window=65536), Link(delay=5, window=65536), Link(bandwidth=1000, window=65536)])
def test_a_side_that_does_not_read_is_felt(link: Link) -> None:
    """The sender comes to a halt when the window and the kernel's buffers are full; all it sent arrives once read."""
    with linked(link) as (client, server):
        client.setblocking(False)
        sent, since = 0, time.monotonic()
        while time.monotonic() - since < 0.5:  # until nothing has moved for so long
            try:
                sent += client.send(b"x" * 65536)
                since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            assert sent < 200 * 1024 * 1024
        client.shutdown(socket.SHUT_WR)
        assert len(read_all(server)) == sent


def test_a_reset_is_one_on_the_other_side() -> None:
    """Behind what was sent before it."""
    with linked(Link(delay=5)) as (client, server):
        client.sendall(b"before")
        assert server.recv(6) == b"before"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with pytest.raises(ConnectionResetError):
            server.recv(1)


def test_no_server_is_a_reset() -> None:
    """The client does not wait for ever. The reset may come before its call of `connect` is over."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with (
            Relay(probe.getsockname()[1], Link()) as relay,
            pytest.raises(ConnectionResetError),
            socket.create_connection(("127.0.0.1", relay.port), LIMIT) as client,
        ):
            client.recv(1)


def test_closing_cuts_what_is_open() -> None:
    """Both sides, though one of them reads nothing, and nobody can connect any more."""
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, Relay(listener.getsockname()[1], Link(window=1024)) as relay:
        client = socket.create_connection(("127.0.0.1", relay.port), LIMIT)
        server, _ = listener.accept()
        server.settimeout(LIMIT)
        with client, server:
            client.sendall(b"x")
            assert server.recv(1) == b"x"
            relay.close()
            for sock in (client, server):
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", relay.port), LIMIT)


def test_it_is_a_process() -> None:
    """Prints its port; mistakes are named."""
    command = [sys.executable, "-m", "benchmarks.relay"]
    root = Path(__file__).parent.parent.parent
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = ["--to", str(listener.getsockname()[1]), "--delay", "1", "--bandwidth", "100"]
        with subprocess.Popen([*command, *arguments], cwd=root, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                with socket.create_connection(("127.0.0.1", int(process.stdout.readline())), LIMIT) as client:
                    server, _ = listener.accept()
                    with server:
                        client.sendall(b"x")
                        assert server.recv(1) == b"x"
            finally:
                process.kill()
    done = subprocess.run([*command, "--to", "1", "--delay", "-1"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith("error: neither delay nor bandwidth can be negative\n")

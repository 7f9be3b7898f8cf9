"""A link with a delay and a bandwidth, on loopback: `python -m benchmarks.relay --to PORT --delay 5 --bandwidth 10`.

Accepts connections and makes one to the server for each. What either side sends arrives at the other in order, after
the delay, no faster than the bandwidth, each direction of each connection for itself; an end arrives as an end, a reset
as a reset. A side that does not read is felt by the other one: no more than a window is under way.

Threads with blocking sockets, since `time.sleep` is exact to 0.1 ms, the timers of event loops to 1 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass

#: Bytes under way in one direction, with any bandwidth: 4 MiB in 100 ms are 335 Mbit/s.
WINDOW = 4 * 1024 * 1024

#: Bytes of a read where the bandwidth has no bound, and of a segment where it has one.
READ_SIZE = 65536
SEGMENT = 1460

#: Seconds of bandwidth that one read may take: the slower the link, the smaller its pieces.
GRAIN = 0.002

#: Milliseconds between two looks of a writer whose peer does not read.
LOOK = 50


@dataclass(frozen=True)
class Link:
    """Milliseconds one way, megabits per second each way (0: without a bound), bytes under way at most."""

    delay: float = 0.0
    bandwidth: float = 0.0
    window: int = WINDOW

    @property
    def read_size(self) -> int:
        """Bytes to take at a time."""
        if not self.bandwidth:
            return READ_SIZE
        return max(SEGMENT, min(READ_SIZE, int(GRAIN * self.bandwidth * 1e6 / 8)))

    def seconds(self, size: int) -> float:
        """How long so many bytes take to be sent."""
        return size * 8 / (self.bandwidth * 1e6) if self.bandwidth else 0.0


class Direction:
    """From one socket to the other: a thread reads and says when each piece is due, another writes it then."""

    def __init__(self, link: Link, source: socket.socket, sink: socket.socket) -> None:
        self.partner = self  # the other direction, once there is one
        self._link = link
        self._source = source
        self._sink = sink
        self._changed = threading.Condition()
        self._pieces: deque[tuple[float, bytes | None]] = deque()  # an empty one is the end, None a reset
        self._size = 0
        self._is_cut = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._read, self._write)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Until all has arrived, or the connection is cut."""
        for thread in self._threads:
            thread.join()

    def cut(self) -> None:
        """Both directions end at once, whatever is under way. Their sockets are reset when they are closed."""
        for way in (self, self.partner):
            with way._changed:
                way._is_cut = True
                way._changed.notify_all()
        for sock in (self._source, self._sink):
            reset_when_closed(sock)
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads there

    def _read(self) -> None:
        link, free = self._link, 0.0  # when the link has sent what it has
        while True:
            data: bytes | None
            try:
                data = self._source.recv(link.read_size)
            except OSError:
                data = None
            size = len(data or b"")
            free = max(free, time.monotonic()) + link.seconds(size)
            with self._changed:
                self._pieces.append((free + link.delay / 1000, data))
                self._size += size
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._size < link.window or self._is_cut)
                if self._is_cut or not data:
                    return
            # The link is busy: what comes meanwhile waits with its sender.
            if (busy := free - time.monotonic()) > 0:
                time.sleep(busy)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._is_cut)
                if self._is_cut:
                    return
                due, data = self._pieces.popleft()
            if (early := due - time.monotonic()) > 0:
                time.sleep(early)
            try:
                if not data:
                    break
                self._send(data)
            except OSError:
                data = None  # nobody is there to take it
                break
            with self._changed:
                self._size -= len(data)
                self._changed.notify_all()
        if data is None:
            self.cut()
            return
        with contextlib.suppress(OSError):  # it is gone, which its own direction notices
            self._sink.shutdown(socket.SHUT_WR)

    def _send(self, data: bytes) -> None:
        """As `sendall`, but it ends where the connection is cut meanwhile."""
        rest = memoryview(data)
        room = select.poll()
        room.register(self._sink, select.POLLOUT)
        while rest and not self._is_cut:
            try:
                rest = rest[self._sink.send(rest, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                room.poll(LOOK)


def reset_when_closed(sock: socket.socket) -> None:
    """Its peer is told that the connection broke, not that it ended."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Relay:
    """`with Relay(port, Link(delay=5)) as relay`: clients connect to `relay.port` of 127.0.0.1."""

    def __init__(self, to: int, link: Link, port: int = 0) -> None:
        """`to` is the server's port on 127.0.0.1. Raises OSError where `port` is taken."""
        self._to = to
        self._link = link
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._lock = threading.Lock()
        self._open: set[Direction] = set()
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Relay:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """No more connections; those that there are are cut."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._lock:
            for way in self._open:
                way.cut()

    def serve(self) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client:
            time.sleep(2 * self._link.delay / 1000)  # the handshake's way and back, before anything can be sent
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                reset_when_closed(client)
                return
            with server:
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                there, back = Direction(self._link, client, server), Direction(self._link, server, client)
                there.partner, back.partner = back, there
                with self._lock:
                    self._open.add(there)
                there.start()
                back.start()
                there.join()
                back.join()
                with self._lock:
                    self._open.discard(there)


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=int, required=True, metavar="PORT", help="the server's, on 127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="to listen on; default: a free one, which is printed")
    parser.add_argument("--delay", type=float, default=0.0, metavar="MS", help="one way; default: none")
    parser.add_argument("--bandwidth", type=float, default=0.0, metavar="MBIT", help="per second; default: no bound")
    options = parser.parse_args()
    if options.delay < 0 or options.bandwidth < 0:
        parser.error("neither delay nor bandwidth can be negative")
    relay = Relay(options.to, Link(options.delay, options.bandwidth), options.port)
    print(relay.port, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        relay.serve()


if __name__ == "__main__":
    main()

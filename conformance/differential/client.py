"""The client's side of one case: plain sockets, no parser. What is compared is what arrives."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import time
from typing import Any

from conformance.differential.case import (
    AwaitEnd,
    Case,
    Close,
    HalfClose,
    Reached,
    Reading,
    Release,
    Reset,
    Settle,
    Step,
    Use,
)

#: Seconds for what happens at once, on a busy machine.
PATIENCE = 60.0


class Stuck(Exception):
    """A server, or the process it runs in, does not answer."""


class Connection:
    """One connection to the server."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.received = bytearray()
        self.reading = True
        #: How the server ended it, or how this side did.
        self.end = ""

    def pull(self) -> bool:
        """Take what has arrived. Whether something had."""
        found = False
        while self.reading and not self.end:
            try:
                data = self.sock.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError:
                self.end = "closed by the server"
                return True
            if not data:
                self.end = "closed by the server"
                return True
            self.received += data
            found = True
        return found

    def send(self, data: bytes) -> None:
        """Send all of it, reading meanwhile. A connection that the server has ended takes nothing, silently."""
        view, until = memoryview(data), time.monotonic() + PATIENCE
        while view and time.monotonic() < until:
            self.pull()
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                select.select([self.sock] if self.reading else [], [self.sock], [], 0.5)
            except OSError:
                return

    def finish(self, how: str, *, reset: bool = False) -> None:
        self.pull()
        if not self.end:
            self.end = how
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Lane:
    """One server of one product, as this side sees it: its control connection and its port."""

    def __init__(self, control_port: int, settings: dict[str, Any]) -> None:
        self.control = socket.create_connection(("127.0.0.1", control_port), PATIENCE)
        self.pending = b""
        self.connections: dict[int, Connection] = {}
        self.port: int = self.ask({"do": "start", "settings": settings})["port"]

    def close(self) -> None:
        self.control.close()

    def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """The reply to a command. What the server sends meanwhile is taken. Raises Stuck."""
        self.control.sendall(json.dumps(command).encode() + b"\n")
        until = time.monotonic() + PATIENCE
        while b"\n" not in self.pending:
            waiting = [c.sock for c in self.connections.values() if c.reading and not c.end]
            readable, _, _ = select.select([self.control, *waiting], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                raise Stuck(f"no reply to {command}")
            for connection in self.connections.values():
                connection.pull()
            if self.control in readable:
                data = self.control.recv(1 << 16)
                if not data:
                    raise Stuck(f"the server's process ended at {command}")
                self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise Stuck(f"{command}: {reply['error']}")
        return reply

    def settle(self) -> None:
        """Until the server is quiet and sends nothing more."""
        while True:
            before = sum(len(c.received) for c in self.connections.values())
            self.ask({"do": "settle"})
            for connection in self.connections.values():
                connection.pull()
            if before == sum(len(c.received) for c in self.connections.values()):
                return

    def run(self, case: Case) -> dict[str, Any]:
        """What came of a case: `sent` and `ends` by connection, `calls` and `logs` as the host recorded them."""
        self.connections = {}
        self.ask({"do": "begin", "app": case.app})
        try:
            self.current = self._connection(0)
            for step in case.steps:
                self._take(step)
            self.settle()
            for connection in self.connections.values():
                connection.reading = True
                connection.finish("open")
            found = self.ask({"do": "collect"})
        finally:
            for connection in self.connections.values():
                with contextlib.suppress(OSError):
                    connection.sock.close()
        seen = sorted(self.connections.items())
        self.connections = {}
        return {"sent": [bytes(c.received) for _, c in seen], "ends": [c.end for _, c in seen], **found}

    def _connection(self, number: int) -> Connection:
        if number not in self.connections:
            self.connections[number] = Connection(self.port)
        return self.connections[number]

    def _take(self, step: Step) -> None:
        match step:
            case bytes():
                self.current.send(step)
            case Settle():
                self.settle()
            case Reached(point):
                if not self.ask({"do": "reached", "point": point})["done"]:
                    raise Stuck(f"the app did not reach {point!r}")
            case Release(point):
                self.ask({"do": "release", "point": point})
            case HalfClose():
                with contextlib.suppress(OSError):
                    self.current.sock.shutdown(socket.SHUT_WR)
            case Close():
                self.current.finish("closed by the client")
            case Reset():
                self.current.finish("reset by the client", reset=True)
            case AwaitEnd(seconds):
                until = time.monotonic() + seconds
                while not self.current.end and time.monotonic() < until:
                    select.select([self.current.sock], [], [], 0.5)
                    self.current.pull()
            case Reading(on):
                self.current.reading = on
            case Use(number):
                self.current = self._connection(number)

"""Single HTTP requests: the probe before and after a measurement, and the connections that stay idle during one."""

from __future__ import annotations

import http.client
import socket
import ssl

from benchmarks.cases import Case
from benchmarks.load.outcome import LoadError

WAIT = 10.0  # seconds


def probe(case: Case, port: int) -> None:
    """One request, its answer compared byte for byte. Raises LoadError if it is wrong, OSError if nobody answers."""
    connection: http.client.HTTPConnection
    if case.tls:
        trusting = ssl._create_unverified_context()  # our own certificate, on this machine
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=WAIT, context=trusting)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT)
    try:
        connection.request("GET" if case.upload is None else "POST", case.path, case.upload)
        response = connection.getresponse()
        body = response.read()
    except http.client.RemoteDisconnected as exc:
        raise ConnectionResetError(str(exc)) from None
    except http.client.HTTPException as exc:
        raise LoadError(f"not an HTTP answer: {exc!r}") from None
    finally:
        connection.close()
    if response.status != case.status:
        raise LoadError(f"answered {response.status} instead of {case.status}")
    if not case.is_right(body):
        raise LoadError(f"the wrong body, {len(body)} bytes")


class IdleConnections:
    """Keep-alive connections that made one request each and then wait: `with IdleConnections(port, 256) as idle`."""

    def __init__(self, port: int, count: int) -> None:
        self._port = port
        self._count = count
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> IdleConnections:
        for _ in range(self._count):
            idle = socket.create_connection(("127.0.0.1", self._port), timeout=WAIT)
            self._sockets.append(idle)
            idle.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            if not idle.recv(65536).startswith(b"HTTP/1.1 200"):
                raise LoadError("a connection that was to be idle got no answer")
            idle.settimeout(0)
        return self

    def __exit__(self, *_: object) -> None:
        for idle in self._sockets:
            idle.close()

    def check(self) -> None:
        """Raises LoadError if the server has closed one."""
        gone = sum(_is_closed(idle) for idle in self._sockets)
        if gone:
            raise LoadError(f"{gone} of {self._count} idle connections were closed")


def _is_closed(idle: socket.socket) -> bool:
    try:
        return not idle.recv(65536)  # bytes may be the rest of the answer
    except BlockingIOError:
        return False
    except OSError:
        return True

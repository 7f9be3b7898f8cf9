"""When TLS handshakes begin: behind the client's first message, one after the other, a few in each turn of the loop.

Runs on the worker's loop, before an accepted socket gets its transport. A handshake costs its client a few hundred
bytes that it has at hand, and the server a signature: those of a thousand clients which come at once would be a second
in which nobody else has a turn. So the first message is waited for, and left on the socket (MSG_PEEK), and then a turn.
Who leaves meanwhile costs no handshake. Knows nothing of: certificates, transports, protocols.

A handshake is counted where it begins. One whose client spreads its first message over several records, or is asked for
a second one (HelloRetryRequest, RFC 8446 section 4.1.4), has its signature made when that is there.
"""

from __future__ import annotations

import asyncio
import contextvars
import select
import socket
from collections import deque

from pounce.connection.accepted_socket import until

#: How many begin in a turn of the loop. With its signature one takes 0.4 ms (ECDSA) or 1.2 ms (RSA of 2,048 bits). With
#: fewer, clients that come a few at a time would wait for each other, and uvloop would turn more often.
_PER_TURN = 3

#: Of clients that are found to have left, how many give way to the next one in a turn: each costs 30 to 60 us.
_MOST_LEFT = 16

#: Type of a TLS record that begins a handshake, bytes in front of a record, and bytes in one at most: RFC 8446 section
#: 5.1, and what older versions may add to it.
_HANDSHAKE = 22
_PREFIX = 5
_LONGEST_RECORD = 16384 + 256

#: What poll(2) says of a client that has closed, or only its side: it cannot finish a handshake.
_LEFT = getattr(select, "POLLRDHUP", 0) | getattr(select, "POLLHUP", 0) | getattr(select, "POLLERR", 0)


class NoHandshake(OSError):
    """The client did not begin, or has left before its turn."""


class Handshakes:
    """Those of one worker."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[socket.socket, asyncio.Future[None]]] = deque()
        self._left = _PER_TURN  # that may begin in this turn without waiting
        self._are_woken = False  # those for whom this is the turn
        self._is_due = False  # another turn will come
        self._context = contextvars.copy_context()  # not that of whichever connection comes first

    async def first_message(self, sock: socket.socket, seconds: float) -> None:
        """Wait for the client's first record, or whatever comes in its place.

        Raises NoHandshake after so many seconds, or if the client leaves; and what a broken socket raises.
        """
        record = _FirstRecord(sock)
        try:
            await until(sock, record.is_there, seconds, NoHandshake("no TLS handshake in time"))
        finally:
            record.forget()

    async def turn(self, sock: socket.socket) -> None:
        """Wait until the handshake on this socket may begin. Raises NoHandshake if the client leaves meanwhile."""
        loop = asyncio.get_running_loop()
        if not self._is_due:
            self._is_due = True
            self._left = _PER_TURN
            loop.call_soon(self._run, loop, context=self._context)
        if self._left and not self._waiting:
            self._left -= 1
            return
        place = loop.create_future()
        self._waiting.append((sock, place))
        await place

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn begins. Those that have waited for longest are woken, and begin in the next one."""
        woken = have_left = 0
        while self._waiting and woken < _PER_TURN and have_left < _MOST_LEFT:
            sock, place = self._waiting.popleft()
            if place.done():  # cancelled
                continue
            if _has_left(sock):
                have_left += 1
                place.set_exception(NoHandshake("the client left before its TLS handshake"))
            else:
                woken += 1
                place.set_result(None)
        self._left = 0 if woken or self._are_woken else _PER_TURN
        self._are_woken = woken > 0
        self._is_due = self._are_woken or bool(self._waiting)
        if self._is_due:
            loop.call_soon(self._run, loop, context=self._context)


class _FirstRecord:
    """How much there is of it. The system wakes us for the whole of it, and not for each of its bytes."""

    __slots__ = ("_size", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._size = 1  # bytes for which we are woken

    def is_there(self) -> bool:
        """Whether it is, or never will be."""
        try:
            data = self._sock.recv(_PREFIX + _LONGEST_RECORD, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        if not data:
            raise NoHandshake("the client left before its TLS handshake")
        size = _size_of_record(data)
        if len(data) >= size or size <= self._size:  # woken too early: it closed, or the system has no such mark
            return True
        self._size = size
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        return False

    def forget(self) -> None:
        """Whoever comes next is woken for each byte."""
        if self._size > 1:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _size_of_record(data: bytes) -> int:
    """How many bytes the record has that begins so, as far as these say."""
    if data[0] != _HANDSHAKE:
        return 1
    if len(data) < _PREFIX:
        return _PREFIX
    return _PREFIX + min(int.from_bytes(data[3:_PREFIX], "big"), _LONGEST_RECORD)


def _has_left(sock: socket.socket) -> bool:
    """Whether the client has, behind what it sent."""
    poll = select.poll()
    poll.register(sock, _LEFT)
    return bool(poll.poll(0))

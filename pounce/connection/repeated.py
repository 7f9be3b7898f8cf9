"""Requests that come again, byte for byte: what the parser would make of them it has said already.

A client that keeps its connection repeats a request on that (`HTTP1Protocol`); one that does not, a health check or a
proxy, comes again on another connection of the same worker. Runs on the worker's loop; nothing here is locked.
"""

from __future__ import annotations

from typing import Any

from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.exchange.scope import http_scope_again

#: Bytes of a request that is kept to be compared with others.
_MAX_SIZE = 4096

#: Requests that a worker keeps. Clients that send something else every time must not fill the memory.
_MOST = 64

_END_OF_HEAD = b"\r\n\r\n"

#: Fields of one person: nothing to be kept longer than the connection.
_SECRETS = frozenset((b"authorization", b"cookie", b"proxy-authorization"))


def is_one_whole_request(cycle: RequestResponseCycle, data: bytes) -> bool:
    """Whether this segment is all of the request that the parser has just made of it, and nothing else."""
    return (
        not cycle.more_body
        and not cycle.body
        and not cycle.waiting_for_100_continue
        and len(data) <= _MAX_SIZE
        and data.find(_END_OF_HEAD) == len(data) - len(_END_OF_HEAD)
    )


class SingleRequests:
    """Requests that were the first and the last of their connections, and the scopes of those that came twice."""

    __slots__ = ("_scopes", "get")

    def __init__(self) -> None:
        self._scopes: dict[bytes, dict[str, Any] | None] = {}
        #: The scope of a request, or None: all but `server`, `client`, `scheme` and `state` is any connection's.
        self.get = self._scopes.get

    def __len__(self) -> int:
        return len(self._scopes)

    def add(self, data: bytes, scope: dict[str, Any]) -> None:
        """Keep a request; and a copy of its scope, when it has come before."""
        if data in self._scopes:
            self._scopes[data] = http_scope_again(scope, {})
            return
        if scope["http_version"] != "1.1":
            return  # its response is delimited in another way, which the wire knows from parsing it
        if not _SECRETS.isdisjoint([name for name, _ in scope["headers"]]):
            return
        if len(self._scopes) >= _MOST:
            del self._scopes[next(iter(self._scopes))]  # the oldest
        self._scopes[data] = None

"""A writer that stands before another one, and passes a response's head on together with the first part of its body.

For features whose fields depend on whether the body is whole (`compression`, `server_timing`). What the app sent is not
held for longer than the head of a plain response is: until the body begins, or the loop's turn ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Iterable
from typing import Any

from pounce.errors import MisusedByApp
from pounce.exchange.http_cycle import RequestResponseCycle, ResponseState
from pounce.wire.response_fields import Headers, checked_head


class HeldHead:
    """An `ExtendedWriter` before that of the exchange. Subclasses change the head in `on_head`, and what follows."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = weakref.ref(cycle)  # whose writer this is: no cycle of references
        self.next: Any = cycle.writer
        #: What waits for the body: status, fields, whether it answers HEAD, whether the connection goes on.
        self.head: tuple[int, Headers, bool, bool] | None = None
        self._flush_soon: asyncio.Handle | None = None
        cycle.writer = self

    @property
    def cycle(self) -> RequestResponseCycle | None:
        """The exchange, as long as anybody has it."""
        return self._cycle()

    def on_head(self, status: int, headers: Headers, is_head: bool, body: Any, is_whole: bool) -> Headers:
        """The fields to send. `body` is the first part of the body (all of it, if `is_whole`), None: not known yet."""
        return headers

    def send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        is_head: bool,
        keep_alive: bool,
        body_follows: bool = False,
    ) -> None:
        """See `HttpWriter.send_head`."""
        fields = list(headers)
        checked_head(status, fields, takes_text=True)  # what is wrong with it the app hears now
        self.hold(status, fields, is_head, keep_alive)

    def hold(self, status: int, fields: Headers, is_head: bool, keep_alive: bool) -> None:
        """Keep a checked head until the body begins, or the turn ends."""
        self.head = (status, fields, is_head, keep_alive)
        self.due_soon()

    def due_soon(self) -> None:
        """Pass the head on when the turn ends, unless the body has begun by then."""
        self._flush_soon = asyncio.get_running_loop().call_soon(self.on_turn_over)

    def on_turn_over(self) -> None:
        """Pass the head on without a body, where it still waits for one."""
        cycle = self._cycle()
        if cycle is not None and not cycle.disconnected:
            with contextlib.suppress(MisusedByApp):  # the app hears with its next message that the head was refused
                self.pass_head(None, False)

    def flush(self) -> None:
        """See `HttpWriter.flush`."""
        with contextlib.suppress(MisusedByApp):  # of a head that is refused only now nothing is sent
            self.pass_head(None, False)
        self.next.flush()

    def pass_head(self, body: Any, is_whole: bool) -> None:
        """Pass the head on, if that is still to be done."""
        if self.head is None:
            return
        status, headers, is_head, keep_alive = self.head
        headers = self.on_head(status, headers, is_head, body, is_whole)
        self.head = None
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        try:
            self.next.send_head(status, headers, is_head, keep_alive, is_whole)
        except Exception:
            if (cycle := self._cycle()) is not None:
                cycle.state = ResponseState.REFUSED  # nothing was sent, and no body may follow
            raise

    def send_body(self, body: Any, more_body: bool) -> None:
        """See `HttpWriter.send_body`."""
        self.pass_head(body, not more_body)
        self.next.send_body(body, more_body)

    def send_continue(self) -> None:
        """See `HttpWriter.send_continue`."""
        self.next.send_continue()

    def send_early_hint(self, links: Iterable[bytes]) -> None:
        """See `ExtendedWriter.send_early_hint`."""
        self.next.send_early_hint(links)

    def check_trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """See `ExtendedWriter.check_trailers`."""
        return self.next.check_trailers(fields)  # type: ignore[no-any-return]

    def send_trailers(self, fields: list[tuple[bytes, bytes]]) -> None:
        """See `ExtendedWriter.send_trailers`."""
        self.pass_head(None, False)
        self.next.send_trailers(fields)

    def send_file(self, file: int, offset: int, count: int, more_body: bool) -> Awaitable[None]:
        """See `ExtendedWriter.send_file`."""
        self.pass_head(None, False)
        return self.next.send_file(file, offset, count, more_body)  # type: ignore[no-any-return]

"""ASGI extensions of HTTP responses: each is rows of an exchange's table, for channels that can do it.

Implements `http.response.early_hint` and `http.response.trailers`. A channel names its extensions (`with_extensions`)
and its writer has their methods; the scope advertises what it names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from pounce.exchange.channel import HttpWriter
from pounce.exchange.http_cycle import MESSAGES, Handler, Messages, RequestResponseCycle, ResponseState
from pounce.exchange.scope import EARLY_HINT, TRAILERS

#: Tables that are remembered, per worker and purpose.
_MAX_TABLES = 16


class ExtendedWriter(HttpWriter, Protocol):
    """A writer that can do all of them."""

    def send_early_hint(self, links: Iterable[bytes]) -> None:
        """Send 103 with a Link field each. Raises MisusedByApp."""

    def check_trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The fields that can be sent. Raises MisusedByApp."""

    def send_trailers(self, fields: list[tuple[bytes, bytes]]) -> None:
        """End the response with checked trailers; without, where it can't have any."""

    def send_file(self, file: int, offset: int, count: int, more_body: bool) -> Awaitable[None]:
        """Send `count` bytes of a file from `offset` on, as a part of the body; done when they have left.

        `file` is a descriptor that stays open meanwhile and whose position is not looked at. Raises MisusedByApp for
        more bytes than were declared, at once; where the file has become shorter, the connection (or stream) ends.
        """


def takes_trailers(scope: Any) -> bool:
    """Whether the client says that it does (RFC 9110 section 10.1.4); others may drop them, or mistake them."""
    said = [value for name, value in scope["headers"] if name == b"te"]
    return bool(said) and b"trailers" in [token.strip(b" \t").lower() for token in b",".join(said).split(b",")]


def _on_early_hint(cycle: RequestResponseCycle, message: Any) -> bool:
    writer: ExtendedWriter = cycle.writer  # type: ignore[assignment]
    writer.send_early_hint(message.get("links", ()))
    return True


def _on_body(cycle: RequestResponseCycle, message: Any) -> bool:
    cycle.on_response_body({**message, "more_body": True})
    if not message.get("more_body", False):
        cycle.state = ResponseState.BODY
    return True


def _on_trailers(cycle: RequestResponseCycle, message: Any) -> bool:
    writer: ExtendedWriter = cycle.writer  # type: ignore[assignment]
    cycle.trailers = [*cycle.trailers, *writer.check_trailers(message.get("headers", ()))]
    more = bool(message.get("more_trailers", False))
    if not more:
        writer.send_trailers(cycle.trailers if takes_trailers(cycle.scope) else [])
        cycle.state = ResponseState.ALL
        cycle.finish_record()
        cycle.channel.on_response_complete(cycle)
    return more


EXTENSIONS: Mapping[str, Mapping[ResponseState, Mapping[str, Handler]]] = {
    EARLY_HINT: {ResponseState.NOTHING: {EARLY_HINT: _on_early_hint}},
    TRAILERS: {
        ResponseState.HEAD_OF_TRAILERS: {"http.response.body": _on_body},
        ResponseState.BODY: {TRAILERS: _on_trailers},
    },
}


def with_extensions(*names: str) -> Messages:
    """The table of a channel that can do these."""
    return [
        {**MESSAGES[state], **{kind: row for name in names for kind, row in EXTENSIONS[name].get(state, {}).items()}}
        for state in ResponseState
    ]


class DerivedTables:
    """Tables made of other tables, each once: those of the channels are few, and stay."""

    def __init__(self, derive: Callable[[Messages], Messages]) -> None:
        self._derive = derive
        self._known: dict[int, tuple[Messages, Messages]] = {}

    def of(self, messages: Messages) -> Messages:
        """What is made of this table."""
        known = self._known.get(id(messages))
        if known is None:
            if len(self._known) >= _MAX_TABLES:
                self._known.clear()
            known = self._known[id(messages)] = (messages, self._derive(messages))  # kept, so that no other has its id
        return known[1]

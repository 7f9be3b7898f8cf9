"""How long a request waited and took, in the field Server-Timing, for clients that may know.

`ServerTimer` is the feature of one worker: it gives each app `scope["extensions"]["pounce.timing"]` (`Timing`) and
puts a `TimedWriter` before the writer of exchanges with allowed clients. Implements the Server-Timing field of the W3C
(https://www.w3.org/TR/server-timing/) and trailers by RFC 9110 section 6.5.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from threading import Lock
from time import monotonic
from typing import Any

from pounce.exchange.admission import Admitted
from pounce.exchange.extensions import takes_trailers
from pounce.exchange.held_head import HeldHead
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.settings import ServerTiming
from pounce.wire.response_fields import BODILESS, Headers, as_bytes

#: The name under which a scope has the app's `Timing`.
EXTENSION = "pounce.timing"

#: Who may know, where the settings name nobody; `unix`: clients of a socket that has no addresses.
LOOPBACK = ("127.0.0.0/8", "::1", "unix")

#: Names that an app may use in one exchange; further ones are left out.
MAX_NAMES = 32

_FIELD = b"server-timing"

#: Longest possible DNS name. What is longer cannot be an address either, and is kept out of the cache.
_MAX_HOST_SIZE = 253

#: What proxies add to a request, besides all that begins with x-forwarded-.
_OF_PROXIES = frozenset((b"forwarded", b"via", b"x-real-ip"))

_is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_text = re.compile(r"[\t\x20-\x7e]*").fullmatch


class Timing:
    """What an app adds to the Server-Timing of its response. May be used from any thread."""

    __slots__ = ("_entries", "_lock")

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        #: By name: a description, or a duration in seconds.
        self._entries: dict[str, str | float] = {}

    def mark(self, name: str, description: str = "") -> None:
        """Add an entry without a duration, such as `mark("cache", "miss")`. Raises ValueError for what can't be sent.

        The later description of a name replaces the earlier one, or a duration.
        """
        _check_name(name)
        if not _is_text(description):
            raise ValueError(f"A description in Server-Timing is printable ASCII, not {description!r}.")
        with self._lock:
            if name in self._entries or len(self._entries) < MAX_NAMES:
                self._entries[name] = description

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add how long a `with` block takes to the duration of a name. Raises ValueError for what is no token."""
        _check_name(name)
        start = monotonic()
        try:
            yield
        finally:
            duration = monotonic() - start
            with self._lock:
                before = self._entries.get(name)
                if before is not None or len(self._entries) < MAX_NAMES:
                    self._entries[name] = duration + (before if isinstance(before, float) else 0.0)

    def entries(self) -> dict[str, str | float]:
        """What there is until now."""
        with self._lock:
            return self._entries.copy()


class Clock:
    """The times of one exchange, by `time.monotonic`. 0: not yet."""

    __slots__ = ("answered", "received", "started")

    def __init__(self, received: float) -> None:
        #: The first byte of the request came; its app was started; the app sent its first message.
        self.received = received
        self.started = 0.0
        self.answered = 0.0


class Allowed:
    """Who may know the times of a request."""

    def __init__(self, entries: Iterable[str]) -> None:
        """`entries`: addresses, networks, `unix`, and `Header=value`."""
        entries = tuple(entries) or LOOPBACK
        self._unix = "unix" in entries
        self._networks = [ip_network(one) for one in entries if "=" not in one and one != "unix"]
        #: By name in lower case, the values that open it.
        self._secrets: dict[bytes, list[bytes]] = {}
        for one in entries:
            name, separator, value = one.partition("=")
            if separator:
                self._secrets.setdefault(name.lower().encode(), []).append(value.encode())
        # Parsing an address costs more than all the rest, and most clients come again.
        self._place_of = lru_cache(maxsize=1024)(self._find)

    def may_know(self, scope: Any, peer: Any) -> bool:
        """Whether this request's client may. `peer` is who has connected, as it was before a proxy was believed."""
        secrets = self._secrets
        if secrets:
            for name, value in scope["headers"]:
                # In constant time for each: how much of a guess was right must not be measurable.
                if name in secrets and True in [hmac.compare_digest(value, one) for one in secrets[name]]:
                    return True
        client = scope["client"]
        host = client[0] if client else None
        if host is not None and len(host) > _MAX_HOST_SIZE:
            return False
        listed, local = self._place_of(host)
        if not listed:
            return False
        # Through a proxy that is not believed, or that says nothing more, anybody seems to be the proxy.
        return not (local or client == peer) or not any(
            name in _OF_PROXIES or name.startswith(b"x-forwarded-") for name, _ in scope["headers"]
        )

    def _find(self, host: str | None) -> tuple[bool, bool]:
        """Whether a host is listed, and whether it is this machine."""
        if host is None:
            return self._unix, True
        try:
            address = ip_address(host)
        except ValueError:  # what a proxy says may be anything
            return False, False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks), address.is_loopback


class ServerTimer:
    """The feature: told each exchange before its app runs."""

    def __init__(self, settings: ServerTiming) -> None:
        self._allowed = Allowed(settings.allow)
        self._lock = Lock()

    def __call__(self, cycle: RequestResponseCycle) -> None:
        """Give the app its `Timing`, and stand before the exchange's writer if the client may know."""
        scope = cycle.scope
        timing = scope["extensions"][EXTENSION] = Timing(self._lock)
        if self._allowed.may_know(scope, cycle.channel.client):
            clock = Clock(cycle.channel.first_byte_at or monotonic())
            # In a queue the app has not started yet (`Admitted`).
            runs = cycle.app if isinstance(cycle.app, Admitted) else cycle
            runs.app = _timed(runs.app, clock)
            TimedWriter(cycle, clock, timing)


def _timed(inner: Any, clock: Clock) -> Any:
    """The app, with its start and its first message noted."""

    async def app(scope: Any, receive: Any, send: Any) -> Any:
        def timed_send(message: Any) -> Awaitable[None]:
            if not clock.answered:
                clock.answered = monotonic()
            return send(message)  # type: ignore[no-any-return]

        clock.started = monotonic()
        return await inner(scope, receive, timed_send)

    return app


class TimedWriter(HeldHead):
    """Adds the field to a response's head; and the total to its end, where that is later and the client takes it."""

    #: Whether the response ends with trailers of ours.
    _has_trailer = False

    def __init__(self, cycle: RequestResponseCycle, clock: Clock, timing: Timing) -> None:
        super().__init__(cycle)
        self._clock = clock
        self._timing = timing
        version = cycle.scope["http_version"]
        self._is_http2 = version == "2"
        self._can_trail = (
            version in ("1.1", "2") and hasattr(self.next, "send_trailers") and takes_trailers(cycle.scope)
        )
        #: What the head says of the app's entries.
        self._said: dict[str, str | float] = {}

    def on_head(self, status: int, headers: Headers, is_head: bool, body: Any, is_whole: bool) -> Headers:
        """See `HeldHead.on_head`."""
        clock = self._clock
        now = monotonic()
        self._said = self._timing.entries()
        started = clock.started or now
        # A response of the server's own is no message of the app.
        parts = [_entry("queue", started - clock.received), _entry("app", (clock.answered or now) - started)]
        parts += [_entry(name, what) for name, what in self._said.items()]
        if is_whole:
            parts.append(_entry("total", now - clock.received))
        elif self._can_trail and not is_head and status not in BODILESS and (self._is_http2 or _is_chunked(headers)):
            self._has_trailer = True
            headers = with_field(headers, b"trailer", b"Server-Timing")
        return with_field(headers, _FIELD, ", ".join(parts).encode())

    def _trailers(self, fields: Headers) -> Headers:
        """Those of the app, with what the head could not say."""
        said = self._said
        parts = [_entry(name, what) for name, what in self._timing.entries().items() if said.get(name) != what]
        parts.append(_entry("total", monotonic() - self._clock.received))
        return self.next.check_trailers(with_field(fields, _FIELD, ", ".join(parts).encode()))  # type: ignore[no-any-return]

    def send_body(self, body: Any, more_body: bool) -> None:
        """See `HttpWriter.send_body`."""
        self.pass_head(body, not more_body)
        if more_body or not self._has_trailer:
            self.next.send_body(body, more_body)
            return
        if body:
            self.next.send_body(body, True)
        self.next.send_trailers(self._trailers([]))

    def send_trailers(self, fields: Headers) -> None:
        """See `ExtendedWriter.send_trailers`."""
        self.pass_head(None, False)
        self.next.send_trailers(self._trailers(fields) if self._has_trailer else fields)

    def send_file(self, file: int, offset: int, count: int, more_body: bool) -> Awaitable[None]:
        """See `ExtendedWriter.send_file`."""
        self.pass_head(None, False)
        if more_body or not self._has_trailer:
            return self.next.send_file(file, offset, count, more_body)  # type: ignore[no-any-return]
        return self._end_behind(self.next.send_file(file, offset, count, True))

    async def _end_behind(self, sent: Awaitable[None]) -> None:
        await sent
        cycle = self.cycle
        if cycle is not None and not cycle.disconnected:
            self.next.send_trailers(self._trailers([]))


def with_field(fields: Headers, name: bytes, value: bytes) -> Headers:
    """The fields with one more value in the list of a name, behind those that it has, in one field."""
    others: Headers = []
    values: list[bytes] = []
    for given, content in fields:
        if as_bytes(given, True).lower() == name:
            values.append(as_bytes(content, True))
        else:
            others.append((given, content))
    return [*others, (name, b", ".join([*values, value]))]


def _is_chunked(headers: Headers) -> bool:
    """Whether a body of HTTP/1.1 with these fields has chunks (RFC 9112 section 6)."""
    names = {as_bytes(name, True).lower() for name, _ in headers}
    return b"transfer-encoding" in names or b"content-length" not in names


def _entry(name: str, what: str | float) -> str:
    """One metric: a duration, which is given in seconds, in milliseconds; or a description."""
    if isinstance(what, float):
        return f"{name};dur={round(what * 1000, 3)}"
    if not what:
        return name
    text = what.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name};desc="{text}"'


def _check_name(name: str) -> None:
    if not _is_token(name):
        raise ValueError(f"A name in Server-Timing is a token (letters, digits, - and _), not {name!r}.")

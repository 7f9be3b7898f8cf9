"""What one HTTP/2 connection may ask of the server: sizes, counts, and budgets for frames that cost but bring nothing.

A budget is a bucket: what a frame costs is taken out, time and useful work fill it up again; when it is empty, the
connection ends with ENHANCE_YOUR_CALM. Answers to: RFC 9113 section 10.5; CVE-2019-9511 to 9518, CVE-2023-44487 (rapid
reset), CVE-2024-27316 and others (CONTINUATION), CVE-2025-8671 (resets that the server is made to send).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from pounce.errors import explain
from pounce.wire.http2_frames import LARGEST_WINDOW


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Limits of one connection. Sizes in bytes, times in seconds."""

    #: Streams at a time; apps that still run after their stream was reset count as well.
    concurrent_streams: int = 128
    #: Of a request's header list, as RFC 9113 section 10.5.1 counts it; above it 431, far above it the end.
    header_list_size: int = 65536
    #: Fields of a request; above it 431.
    header_count: int = 256
    #: CONTINUATION frames after one HEADERS.
    continuations: int = 32
    #: What a client may send before the app reads, on one stream and on all together.
    stream_window: int = 131072
    connection_window: int = 1048576
    #: Resets, by the client or provoked by it: how many at once, and how many more each second.
    resets: int = 1000
    resets_per_second: int = 33
    #: Frames without use (PING, SETTINGS, PRIORITY, empty DATA and so on), likewise.
    control_frames: int = 2000
    control_frames_per_second: int = 200
    #: How long a client may leave responses waiting for its window, if more than `stalled_size` of them waits.
    stalled_size: int = 262144
    stalled_seconds: int = 60

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 65535 if field.name.endswith("_window") else 0 if field.name.endswith("_per_second") else 1
            if not isinstance(value, int) or not least <= value <= LARGEST_WINDOW:
                allowed = f"an integer from {least} to {LARGEST_WINDOW}"
                line = f"The HTTP/2 limit {field.name} must be {allowed}, not {value!r}"
                raise explain(ValueError(line), line)

    @classmethod
    def of(cls, given: Http2Limits | Mapping[str, int] | None) -> Http2Limits:
        """The limits as given, the defaults for all others. Raises an explained ValueError."""
        if isinstance(given, Http2Limits):
            return given
        known = {field.name for field in fields(cls)}
        for name in given or ():
            if name not in known:
                line = f"There is no HTTP/2 limit '{name}'; there are: {', '.join(sorted(known))}"
                raise explain(ValueError(line), line)
        return cls(**(given or {}))


class Budget:
    """A bucket of `size` tokens that gets `per_second` new ones. Knows no clock: it is told the time."""

    __slots__ = ("_per_second", "_refilled_at", "size", "spent")

    def __init__(self, size: int, per_second: int) -> None:
        self.size = size
        self._per_second = per_second
        self.spent = 0.0
        self._refilled_at = 0.0

    def spend(self, cost: int = 1) -> bool:
        """Take tokens; False if there were not enough."""
        self.spent += cost
        return self.spent <= self.size

    def earn(self, tokens: int) -> None:
        """Give tokens back for useful work."""
        self.spent = max(0.0, self.spent - tokens)

    def refill(self, now: float) -> None:
        """It is `now` (seconds of any clock that only goes forward)."""
        self.spent = max(0.0, self.spent - (now - self._refilled_at) * self._per_second)
        self._refilled_at = now

"""HTTP/2: whether it is spoken, by which implementation, and what one connection may ask of the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pounce.settings.group import Group, option
from pounce.settings.kinds import Flag, Integer, OneOf

Http2WireType = Literal["native", "h2"]

_MOST = 2**31 - 1
_COUNT = Integer(1, _MOST)
_REFILL = Integer(0, _MOST)
_BYTES = Integer(1, _MOST, unit="bytes")
_WINDOW = Integer(65535, _MOST, unit="bytes")


@dataclass(frozen=True, slots=True)
class Http2(Group):
    """The settings of HTTP/2; all limits are those of one connection. docs/http2.md says what is above them."""

    name: ClassVar = "http2"
    heading: ClassVar = "HTTP/2"
    lead: ClassVar = "enabled"

    enabled: bool = option(True, Flag(), "Speak HTTP/2 as well. Needs the h2 package.", is_uvicorns=True)
    wire: Http2WireType = option(
        "native", OneOf(get_args(Http2WireType)), "Implementation: pounce's own, or that of the h2 library."
    )
    concurrent_streams: int = option(
        128,
        _COUNT,
        "Streams at a time; an app that still runs after its stream was reset counts. Above: REFUSED_STREAM.",
    )
    header_list_size: int = option(
        65536, _BYTES, "Bytes of a request's fields, 32 more for each. Above: 431; above twice as much: the end."
    )
    header_count: int = option(256, _COUNT, "Fields of a request. Above: 431.")
    continuations: int = option(32, _COUNT, "CONTINUATION frames of one header block.")
    stream_window: int = option(131072, _WINDOW, "Bytes that a client may send on a stream before the app reads.")
    connection_window: int = option(1048576, _WINDOW, "Bytes that it may send on all streams together.")
    resets: int = option(1000, _COUNT, "Streams reset by the client, or because of what it did, at once.")
    resets_per_second: int = option(33, _REFILL, "How many more of them each second.")
    control_frames: int = option(2000, _COUNT, "Frames that bring nothing (PING, SETTINGS, empty DATA, ...), at once.")
    control_frames_per_second: int = option(200, _REFILL, "How many more of them each second.")
    waiting_size: int = option(
        8388608,
        _BYTES,
        "Bytes of responses that may wait for the client on more than 8 streams. Above: requests wait as well.",
    )
    stalled_size: int = option(262144, _BYTES, "Bytes of responses that may wait for a client that takes none.")
    stalled_seconds: int = option(60, Integer(1, _MOST, unit="seconds"), "Seconds that more than these may wait.")
    unread_size: int = option(
        65536, _BYTES, "Bytes of frames, bodies apart, that a client may leave unread. Above: not read from."
    )

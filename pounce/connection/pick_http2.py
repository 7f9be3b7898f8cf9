"""`--http2-wire`: the wire of HTTP/2 connections."""

from __future__ import annotations

from functools import cache

from pounce.wire.http2 import Http2Wire
from pounce.wire.http2_native import NativeWire


@cache
def http2_wire(name: str) -> type[Http2Wire]:
    """The class by its short name; the h2 library is imported where it is asked for."""
    if name == "h2":
        from pounce.wire.http2_h2 import H2Wire

        return H2Wire
    return NativeWire

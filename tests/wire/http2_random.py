"""A random client's frames, and whether the books of the wire that they were fed to balance."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pounce.wire.http2_native import NativeWire
from tests.wire.http2_peer import (
    END,
    ENDH,
    GET,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    post,
    priority,
    priority_update,
    rst,
    settings,
    window,
)


def any_frame(rng: random.Random) -> bytes:
    """A frame that a client might send; now and then one that it must not."""
    number = rng.choice((1, 3, 5, 7, 9, 11, 13, 2, 0)) if rng.random() < 0.3 else rng.randrange(1, 40, 2)
    makers: list[Callable[[], bytes]] = [
        lambda: headers(number),
        lambda: headers(number, [*GET, ("priority", rng.choice(("u=0", "u=7, i", "i", "x")))]),
        lambda: post(number),
        lambda: post(number, ("content-length", str(rng.randrange(20)))),
        lambda: data(number, b"x" * rng.choice((0, 1, 10, 16384)), rng.choice((0, END))),
        lambda: rst(number),
        lambda: window(rng.choice((0, number)), rng.choice((0, 1, 1000, 1 << 20, (1 << 31) - 1))),
        lambda: settings((rng.randrange(10), rng.choice((0, 1, 100, 16384, 65535, 1 << 20)))),
        lambda: ping(),
        lambda: priority(number),
        lambda: priority_update(number, b"u=%d" % rng.randrange(8)),
        lambda: headers(number, block(GET)[:9], rng.choice((0, END))) + continuation(number, block(GET)[9:]),
        lambda: headers(number, [("x", "y")], END | ENDH),
        lambda: frame(rng.randrange(20), rng.randrange(256), number, rng.randbytes(rng.randrange(30))),
        lambda: goaway(),
    ]
    weights = [6, 3, 6, 3, 8, 3, 6, 3, 2, 1, 1, 2, 1, 0.3, 0.3]
    return rng.choices(makers, weights)[0]()


def balance(wire: Any) -> None:
    """What the wire counts is what there is."""
    open_streams = wire.streams.values()
    assert wire.queued_size == sum(stream.queued_size for stream in open_streams)
    for stream in open_streams:
        assert stream.queued_size == sum(map(len, stream.queue or ()))
        assert stream.is_ready <= bool(stream.queue)
        assert stream.remote_open or stream.local_open
    if not isinstance(wire, NativeWire):
        return
    for stream in open_streams:
        assert bool(stream.queue) == stream.is_ready or stream.send_window <= 0
    assert sum(map(len, wire.scheduler.levels.values())) == sum(stream.is_ready for stream in open_streams)
    unread = sum(stream.unread for stream in open_streams)
    assert wire._receive_window + wire._consumed + unread == wire.limits.connection_window

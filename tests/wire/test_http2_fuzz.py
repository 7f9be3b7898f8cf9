"""Random clients: whatever the bytes, the wire raises nothing but a fault, and its books balance."""

from __future__ import annotations

import random

import pytest

from tests.wire.http2_peer import PREFACE, Peer, settings
from tests.wire.http2_random import any_frame, balance

pytestmark = pytest.mark.usefixtures("http2_wire")


@pytest.mark.parametrize("seed", range(300))
def test_a_random_client(seed: int) -> None:
    """Frames in random order, answered at random; some bytes flipped."""
    rng = random.Random(seed)
    peer = Peer(concurrent_streams=6).open()
    answered: set[int] = set()
    for _ in range(rng.choice((20, 200))):
        piece = any_frame(rng)
        if rng.random() < 0.01:
            at = rng.randrange(len(piece))
            piece = piece[:at] + bytes((rng.randrange(256),)) + piece[at + 1 :]
        peer.feed(piece)
        if peer.over:
            break
        for stream in list(peer.wire.streams.values()):
            if rng.random() < 0.2 and stream.unread:
                peer.wire.consumed(stream, stream.unread)
            if rng.random() < 0.3 and stream.local_open and not stream.ends:
                body = b"y" * rng.choice((0, 5, 16384, 100000))
                if stream.id not in answered:
                    answered.add(stream.id)
                    peer.wire.send_head(stream, 200, [(b"x", b"%d" % rng.randrange(3))], [])
                peer.wire.send_data(stream, body, rng.random() < 0.5)
            elif rng.random() < 0.05:
                peer.wire.reset(stream.id, 8)
        balance(peer.wire)
        if rng.random() < 0.5:
            peer.wire.pump(rng.choice((1, 20000, 1 << 30)))
            balance(peer.wire)
            peer.take_out()
    peer.take()


@pytest.mark.parametrize("seed", range(100))
def test_random_bytes(seed: int) -> None:
    """Also without any order."""
    rng = random.Random(seed)
    peer = Peer()
    peer.wire.start()
    if seed % 2:
        peer.feed(PREFACE + settings())
    for _ in range(30):
        peer.feed(rng.randbytes(rng.randrange(1, 100)))
    peer.take_out()

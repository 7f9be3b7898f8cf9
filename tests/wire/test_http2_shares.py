"""Both wires parse a share of what they are fed, and the rest in other turns: the same is told and answered."""

from __future__ import annotations

import pytest

from tests.wire.http2_peer import (
    END,
    GET,
    PREFACE,
    Peer,
    block,
    continuation,
    data,
    headers,
    ping,
    post,
    rst,
    settings,
    window,
)

pytestmark = pytest.mark.usefixtures("http2_wire")

LARGE = block([*GET, ("x", "y" * 2000)])
STREAM = b"".join(
    [
        PREFACE,
        settings((4, 1000)),
        ping(),
        headers(1),
        post(3, ("content-length", "5")),
        data(3, b"he"),
        data(3, b"llo", END),
        headers(5, LARGE[:1000], END),
        continuation(5, LARGE[1000:1500], 0),
        continuation(5, LARGE[1500:]),
        post(7),
        data(7, b"x" * 200),
        rst(7),
        window(0, 100),
        ping(b"87654321"),
        headers(9),
    ]
)


def seen(share: int, cut: int) -> tuple[list[str], list[str], int]:
    """What was told and answered, and how many turns that took."""
    peer = Peer()
    peer.wire.start()
    peer.left = share
    turns = 0
    has_more = False
    for at in range(0, len(STREAM), cut):
        has_more = peer.wire.feed(STREAM[at : at + cut])
    while has_more:
        has_more = peer.wire.feed(b"")
        turns += 1
    return peer.events, peer.take(), turns


@pytest.mark.parametrize("cut", [1, 100, 1500, len(STREAM)])
@pytest.mark.parametrize("share", [1, 5, 20, 300])
def test_the_same_in_shares(share: int, cut: int) -> None:
    """Wherever bytes are cut, and also where more come before the rest of the last ones is parsed."""
    expected, output, turns = seen(2**40, len(STREAM))
    assert (len(expected), turns) == (7, 0)
    told, answered, turns = seen(share, cut)
    assert (told, answered) == (expected, output)
    if cut == len(STREAM) and share < 20:
        assert turns >= 2


def test_what_is_kept_comes_first() -> None:
    """Bytes that are put off are parsed before those that come behind them, be they half a frame."""
    peer = Peer().open()
    first, rest = ping(b"1" * 8) + ping(b"2" * 8)[:12], ping(b"2" * 8)[12:] + ping(b"3" * 8)
    peer.wire.keep(first)
    peer.wire.keep(rest[:3])
    assert peer.events == []
    peer.wire.feed(rest[3:])
    peer.take()
    assert [payload[:1] for _, _, _, payload in peer.payloads] == [b"1", b"2", b"3"]


def test_heads_are_more_of_a_share_than_other_frames() -> None:
    """By their bytes, since each may be a field."""
    peer = Peer().open(settings())
    peer.left = 100
    assert not peer.wire.feed(headers(1) + headers(3))
    assert peer.wire.feed(headers(5, [*GET, ("x", "y" * 2000)]) + ping())

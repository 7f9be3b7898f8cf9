"""A response over HTTP/2 that ends before its Content-Length: all of it leaves, then the stream is reset."""

from __future__ import annotations

import pytest

from pounce.errors import MisusedByApp
from tests.wire.http2_peer import ENDH, POST, Peer, block, frame, headers, settings, window

pytestmark = pytest.mark.usefixtures("http2_wire")

LENGTH = [(b"content-length", b"99999")]


def short(peer: Peer, stream_id: int, *parts: bytes) -> None:
    """The app's response; the last part ends it."""
    stream = peer.streams[stream_id]
    assert peer.wire.send_head(stream, 200, LENGTH, []) == 99999
    for part in parts[:-1]:
        peer.wire.send_data(stream, part, False)
    peer.wire.send_data(stream, parts[-1], True, breaks_off=True)


@pytest.mark.parametrize("parts", [[b"abc"], [b"a", b"bc"], [b"abc", b""]])
def test_all_that_was_sent_leaves_before_the_reset(parts: list[bytes]) -> None:
    """DATA without END_STREAM, then RST_STREAM; the next stream is served."""
    peer = Peer().open(headers(1))
    short(peer, 1, *parts)
    data = [f"DATA 1 {len(part)}" for part in parts if part]
    assert peer.take() == ["HEADERS 1", *data, "RST_STREAM 1 INTERNAL_ERROR"]
    assert peer.wire.streams == {}
    peer.feed(headers(3))
    peer.answer(3, b"ok")
    assert peer.take() == ["HEADERS 3", "DATA 3 2 END"]


def test_a_response_of_nothing_does_not_end_with_its_head() -> None:
    """The head that declares a length carries no END_STREAM."""
    peer = Peer().open(headers(1))
    short(peer, 1, b"")
    assert peer.take() == ["HEADERS 1", "RST_STREAM 1 INTERNAL_ERROR"]


def test_the_reset_waits_for_what_waits_for_the_client() -> None:
    """Where the client's window is smaller than the body, the reset comes behind the last of it."""
    peer = Peer().open(settings((4, 10)))
    peer.take()
    peer.feed(headers(1))
    short(peer, 1, b"x" * 12, b"y" * 3)
    assert peer.take() == ["HEADERS 1", "DATA 1 10"]
    assert list(peer.wire.streams) == [1]
    peer.feed(window(1, 4))
    assert peer.take() == ["DATA 1 2", "DATA 1 2"]
    peer.feed(window(1, 4))
    assert peer.take() == ["DATA 1 1", "RST_STREAM 1 INTERNAL_ERROR"]
    assert (peer.wire.streams, peer.wire.queued_size) == ({}, 0)


def test_one_reset_ends_both_directions() -> None:
    """Where the request's body is still on its way, too."""
    peer = Peer().open(frame(1, ENDH, 1, block(POST)))
    short(peer, 1, b"abc")
    assert peer.take() == ["HEADERS 1", "DATA 1 3", "RST_STREAM 1 INTERNAL_ERROR"]


def test_a_refused_head_leaves_no_frame() -> None:
    """Nor does it change the table of either side's header compression: a 500 can take its place."""
    peer = Peer().open(headers(1))
    for fields in ([(b"x-new", b"1"), (b"x y", b"2")], [(b"content-length", b"+1")]):
        with pytest.raises(MisusedByApp):
            peer.wire.send_head(peer.streams[1], 200, fields, [])
    peer.answer(1, status=500, fields=[(b"x-new", b"1")])
    assert peer.take() == ["HEADERS 1 END"]
    assert peer.decoder.decode(peer.payloads[0][3]) == [(":status", "500"), ("x-new", "1")]

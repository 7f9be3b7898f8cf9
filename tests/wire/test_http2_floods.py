"""What an attacker may try: each flood ends the connection, soon, and neither time nor memory grow with it.

FIELD: CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2024-27316, CVE-2025-8671, CVE-2016-6581.
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain, count, repeat

import pytest

from pounce.wire.http2_limits import Budget
from tests.wire.http2_differences import FLOODS as ENDED_BY_H2
from tests.wire.http2_peer import (
    ACK,
    CODES,
    END,
    ENDH,
    GET,
    Peer,
    block,
    continuation,
    data,
    frame,
    headers,
    ping,
    post,
    priority,
    priority_update,
    rst,
    settings,
    window,
)

pytestmark = pytest.mark.usefixtures("http2_wire")

#: The most that a flood may cost until it is stopped. Generous: a slow machine under load must pass.
SECONDS = 3.0
#: Some of h2's errors refer to themselves, and so wait for the garbage collector.
MEMORY = {"native": 2_000_000, "h2": 10_000_000}

#: Frames after which every flood must be over.
ENOUGH = 300_000


def odd() -> Iterator[int]:
    """Stream numbers."""
    return count(1, 2)


FLOODS: dict[str, Callable[[], Iterator[bytes]]] = {
    "rapid reset": lambda: (headers(number) + rst(number) for number in odd()),
    "rapid reset of uploads": lambda: (post(number) + data(number, b"x") + rst(number) for number in odd()),
    "provoked by an empty window": lambda: (post(number) + window(number, 0) for number in odd()),
    "provoked by a window too large": lambda: (post(number) + window(number, 2**31 - 1) for number in odd()),
    "provoked by DATA after the end": lambda: (headers(number) + data(number, b"x") for number in odd()),
    "provoked by HEADERS after the end": lambda: (headers(number) + headers(number) for number in odd()),
    "provoked by a bad PRIORITY": lambda: (post(number) + priority(number, b"x") for number in odd()),
    "provoked by bad fields": lambda: (headers(number, [*GET, ("Bad", "x")]) for number in odd()),
    "provoked by content-length": lambda: (
        headers(number, [*GET, ("content-length", "1")], ENDH) + data(number, b"", END) for number in odd()
    ),
    "streams beyond the limit": lambda: (post(number) for number in odd()),
    "DATA on a stream that was reset": lambda: chain([post(1), rst(1)], repeat(data(1, b"x"))),
    "refused heads": lambda: (headers(number, [*GET, *[("x", "y")] * 300]) for number in odd()),
    "refused heads, of few bytes": lambda: (headers(number, block(GET) + b"\x90" * 1000) for number in odd()),
    "large heads with a bad field": lambda: (
        headers(number, block([*GET, ("x", "y" * 10_000), ("Bad", "x")])) for number in odd()
    ),
    "PING": lambda: repeat(ping()),
    "PING answers": lambda: repeat(ping(flags=ACK)),
    "SETTINGS": lambda: repeat(settings((3, 1))),
    "SETTINGS, many at a time": lambda: repeat(settings(*[(4, 100), (4, 200)] * 1300)),
    "SETTINGS of all numbers": lambda: (
        settings(*[(number % 65536, 0) for number in range(first, first + 40)]) for first in count(10, 40)
    ),
    "SETTINGS answers": lambda: repeat(settings(flags=ACK)),
    "SETTINGS that change the table": lambda: chain.from_iterable(repeat((settings((1, 0)), settings((1, 4096))))),
    "PRIORITY": lambda: (priority(number) for number in odd()),
    "PRIORITY_UPDATE": lambda: (priority_update(number, b"u=1") for number in odd()),
    "WINDOW_UPDATE": lambda: repeat(window(0, 1)),
    "WINDOW_UPDATE of a closed stream": lambda: chain([headers(1), rst(1)], repeat(window(1, 1))),
    "RST_STREAM of a closed stream": lambda: chain([headers(1)], repeat(rst(1))),
    "unknown frames": lambda: repeat(frame(0xBB, 0, 0, b"x" * 100)),
    "empty DATA": lambda: chain([post(1)], repeat(data(1))),
    "DATA of padding only": lambda: chain([post(1)], repeat(frame(0, 0x8, 1, b"\x05" + b"\0" * 5))),
    "empty CONTINUATION": lambda: chain([headers(1, GET, END)], repeat(continuation(1, b"", 0))),
    "CONTINUATION": lambda: chain([headers(1, GET, END)], repeat(continuation(1, block([("x", "y" * 1000)]), 0))),
    "changes of the header table": lambda: (headers(number, b"\x20\x3f\xe1\x1f" * 4000) for number in odd()),
    "HPACK bomb": lambda: chain(
        [headers(1, block(GET) + b"\x40" + block([("a", "x" * 4000)])[1:])],
        (headers(number, block(GET) + b"\xbe" * 16000) for number in count(3, 2)),
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_over_soon(name: str, http2_wire: str) -> None:
    """GOAWAY with ENHANCE_YOUR_CALM, within a bound of frames, time and memory."""
    peer = Peer().open()
    peer.payloads.clear()
    output = 0
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        began = time.process_time()
        sent = 0
        for sent, piece in enumerate(FLOODS[name]()):
            peer.feed(piece)
            peer.events.clear()
            for known in (peer.streams, peer.heads, peer.bodies):
                known.clear()
            for part in peer.take_out():
                output += len(part)
                last = bytes(part)
            if peer.over or sent > ENOUGH or time.process_time() - began > 10 * SECONDS:
                break
        took = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peer.over, f"not over after {sent} pieces"
    assert last[3] == 7
    code = CODES[int.from_bytes(last[13:17], "big")]
    if http2_wire == "h2" and name in ENDED_BY_H2:
        assert (sent, code) == (0, ENDED_BY_H2[name][0])
    else:
        assert code == "ENHANCE_YOUR_CALM"
    assert sent < ENOUGH
    assert took < SECONDS
    assert peak < MEMORY[http2_wire]
    assert output < 500_000


@pytest.mark.parametrize("name", ["rapid reset", "PING", "SETTINGS"])
def test_memory_returns_to_where_it_was(name: str) -> None:
    """A hundred such connections, one after the other, leave nothing behind."""

    def attack() -> None:
        peer = Peer(resets=50, control_frames=50).open()
        for piece in FLOODS[name]():
            peer.feed(piece)
            if peer.over:
                break
        peer.wire.closed()

    attack()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(3):  # a table of the interpreter may grow in one of them; what is left of attacks is so in each
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(100):
                attack()
            for _ in range(3):  # without the GIL memory is freed with a delay
                gc.collect()
            left = tracemalloc.get_traced_memory()[0] - before
            if left < 50_000:
                break
        assert left < 50_000
    finally:
        tracemalloc.stop()


def test_a_block_in_tiny_frames_costs_no_more_than_its_bytes() -> None:
    """A frame that arrives byte by byte is not copied again for each of them."""
    peer = Peer().open(post(1))
    began = time.process_time()
    for number in range(8):
        for piece in data(1, bytes([number]) * 16000):
            peer.feed(bytes((piece,)))
    assert len(peer.bodies[1]) == 128000
    assert time.process_time() - began < SECONDS


def test_no_more_than_the_usual_header_table_is_used() -> None:
    """A client that offers 2 GiB does not get as much of the server's memory."""
    peer = Peer().open(settings((1, 2**31)))
    for number in range(1, 401, 2):
        peer.feed(headers(number))
        peer.answer(number, fields=[(b"x-%d" % number, b"y" * 100)])
        peer.take()
        for kind, _, _, payload in peer.payloads:
            if kind == 1:  # decoded with a table of 4096 bytes
                assert (f"x-{number}", "y" * 100) in peer.decoder.decode(payload)


@pytest.mark.parametrize(
    ("name", "most"), [("refused heads", 60), ("refused heads, of few bytes", 20), ("large heads with a bad field", 20)]
)
def test_what_is_refused_costs_by_its_size(name: str, most: int) -> None:
    """Heads that are too large, or wrong, are cut off after less work than a thousand resets."""
    peer = Peer().open()
    sent = 0
    for piece in FLOODS[name]():
        peer.feed(piece)
        if peer.over:
            break
        sent += 1
    assert 2 <= sent < most


# --- What must not be taken for a flood


def test_too_much_of_cookies_now_and_then_is_fine() -> None:
    """A page with three requests of 70 KB of fields each, loaded again every ten seconds, gets 431 for each."""
    peer = Peer().open()
    large = block([*GET, *[("cookie", "x" * 4000)] * 17])
    first, *more, last = [large[at : at + 16000] for at in range(0, len(large), 16000)]
    for number in range(1, 300, 2):
        if number % 6 == 1:
            peer.wire.control.refill(10.0 * number)
        parts = [continuation(number, part, 0) for part in more]
        peer.feed(b"".join([headers(number, first, END), *parts, continuation(number, last)]))
        peer.answer(number, status=431)
    assert not peer.over
    assert peer.events == [f"request {number} 431" for number in range(1, 300, 2)]


def test_resets_now_and_then_are_fine() -> None:
    """A browser that cancels what it does not need any more, at 33 a second, for a quarter of an hour."""
    peer = Peer().open()
    numbers = odd()
    for second in range(1, 900, 10):
        peer.wire.resets.refill(second)
        peer.wire.control.refill(second)
        for _ in range(330):
            number = next(numbers)
            peer.feed(headers(number) + rst(number))
    assert not peer.over


def test_a_client_may_acknowledge_every_frame() -> None:
    """Two WINDOW_UPDATEs for each DATA are paid for by the DATA, without any time passing."""
    peer = Peer().open(window(0, 2**31 - 1 - 65535))
    for number in range(1, 400, 2):
        peer.feed(headers(number))
        peer.answer(number, b"x" * 300000)
        for _ in range(40):
            peer.take()
            for kind, _, stream_id, payload in peer.payloads:
                if kind == 0 and number in peer.wire.streams:
                    peer.feed(window(0, len(payload)) + window(stream_id, len(payload)))
        assert number not in peer.wire.streams
    assert not peer.over


def test_small_data_frames_are_fine() -> None:
    """One byte in each is slow, but it is what the client has to say."""
    peer = Peer().open(post(1))
    for _ in range(10000):
        peer.feed(data(1, b"x"))
    assert not peer.over
    assert len(peer.bodies[1]) == 10000


def test_a_budget_fills_up_with_time_and_with_work() -> None:
    """Not above its size, and a clock that stands still gives nothing."""
    budget = Budget(3, 2)
    budget.refill(100.0)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    budget.refill(100.0)
    assert not budget.spend()
    budget.refill(101.0)
    assert budget.spent == 3
    budget.earn(2)
    assert budget.spent == 1
    budget.refill(200.0)
    assert budget.spent == 0
    assert budget.spend(3)
    assert not budget.spend()

"""The two wires against each other: generated clients and apps, the same for both, and all that the two make of them.

Both are fed the same frames, cut at random. What differs and is not listed in `http2_differences` is a fault of one.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import HealthCheck, given, settings as hypothesis_settings, strategies as st

from tests.wire.http2_differences import GENERATED
from tests.wire.http2_peer import (
    ACK,
    END,
    ENDH,
    GET,
    PADDED,
    POST,
    PREFACE,
    PRIO,
    Peer,
    block,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    priority_update,
    rst,
    settings,
    window,
)
from tests.wire.http2_sides import Side, Step, is_listed, is_turn, run

#: Without a time limit, on a busy machine. The profile (tests/conftest.py) says how many examples, and which.
GENERATES = hypothesis_settings(deadline=None, suppress_health_check=list(HealthCheck))

#: Fields that make a request something else, or a bad one.
FIELDS = st.lists(
    st.sampled_from([
        ("x", "y"), ("cookie", "a=1"), ("te", "trailers"), ("te", "gzip"), ("priority", "u=0, i"),
        ("host", "a.example"), ("host", "b"), ("content-length", "0"), ("content-length", "10"),
        ("content-length", "x"), ("Upper", "x"), ("connection", "close"), (":path", "/"), (":status", "200"), ("", "x"),
        ("x", "a\nb"), ("x", " a"), ("expect", "100-continue"),
    ]),
    max_size=3,
)  # fmt: skip
STARTS = st.sampled_from(
    [GET, POST, GET[:3], [*GET[:2], GET[3]], [(":method", "CONNECT"), (":authority", "a:1")], [("x", "y")]]
)
GOOD_FIELDS = st.sampled_from(
    [GET, POST, [*POST, ("cookie", "a=1"), ("cookie", "b")], [*POST, ("content-length", "20")]]
)
ANY_FIELDS = st.tuples(STARTS, FIELDS).map(lambda two: [*two[0], *two[1]])

ODD_NUMBERS = st.sampled_from((0, 1, 2, 3, 5, 2**31 - 1))
SIZES = st.sampled_from((0, 1, 10, 1000, 16384))
INCREMENTS = st.sampled_from((1, 5, 1000, 1 << 20, 1 << 20))


@cache
def fine(number: int) -> st.SearchStrategy[Step]:
    """Frames of a client that keeps to the rules, on an open stream; settings and the like as well."""
    return st.one_of(
        st.builds(lambda size, flags: data(number, b"x" * size, flags), SIZES, st.sampled_from((0, 0, 0, END))),
        st.just(data(number, b"\x05abc" + b"\0" * 5, PADDED)),
        st.just(headers(number, [("x-sum", "1")])),
        st.just(rst(number)),
        st.builds(window, st.sampled_from((0, number)), INCREMENTS),
        st.builds(lambda size: settings((4, size)), st.sampled_from((0, 10, 40000, 65535))),
        st.builds(lambda *pair: settings(pair), st.integers(0, 9), st.sampled_from((0, 1, 16384))),
        st.builds(ping, flags=st.sampled_from((0, ACK))),
        st.just(priority(number)),
        st.builds(priority_update, st.sampled_from((number, number + 2)), st.sampled_from((b"u=0", b"u=7, i"))),
        st.just(goaway()),
        st.builds(frame, st.integers(17, 255), st.just(0xFF), st.just(number), st.just(b"x")),
    )


@cache
def odd(number: int) -> st.SearchStrategy[Step]:
    """And of one that does not."""
    itself = number.to_bytes(4, "big") + b"\x10"
    return st.one_of(
        st.builds(headers, st.sampled_from((number, number + 2)), ANY_FIELDS, st.sampled_from((ENDH, ENDH | END))),
        st.builds(priority, st.just(number), st.sampled_from((itself, b"\0\0\0"))),
        st.builds(priority_update, ODD_NUMBERS, st.just(b"x")),
        st.builds(window, ODD_NUMBERS, st.sampled_from((0, (1 << 31) + 5))),
        st.builds(lambda *pair: settings(pair), st.integers(0, 9), st.integers(0, (1 << 32) - 1)),
        st.builds(frame, st.integers(0, 20), st.integers(0, 255), ODD_NUMBERS, st.binary(max_size=12)),
    )


@cache
def server(number: int) -> st.SearchStrategy[Step]:
    """What an app or the connection does; the last number is a size."""
    answers = st.sampled_from(("answer", "begin", "begin", "trailers", "short"))
    others = st.sampled_from(("read",) * 14 + ("reset",) * 4 + ("announce", "end"))
    return st.one_of(
        st.tuples(answers, st.just(number), st.sampled_from((0, 5, 16384, 70000))),
        st.tuples(others, st.just(number), st.just(0)),
    )


@st.composite
def conversations(draw: st.DrawFn) -> list[Step]:
    """Requests, and what follows them in any order; now and then something that must not be."""
    steps: list[Step] = []
    numbers = [1]
    for _ in range(draw(st.integers(0, 60))):
        what = draw(st.sampled_from("rrrffffffsssss" * 4 + "o"))
        if what == "r":
            steps.append(request(draw, numbers[-1]))
            numbers.append(numbers[-1] + 2)
        else:
            maker = {"f": fine, "s": server, "o": odd}[what]
            steps.append(draw(maker(draw(st.sampled_from(numbers[-4:-1] or numbers)))))
    return steps


def request(draw: st.DrawFn, number: int) -> bytes:
    """HEADERS: whole or in parts, padded, with a priority."""
    encoded, flags = block(draw(GOOD_FIELDS)), draw(st.sampled_from((0, 0, END)))
    shape = draw(st.sampled_from(("whole", "whole", "whole", "parts", "padded", "priority")))
    if shape == "parts":
        cut = draw(st.integers(0, len(encoded)))
        return frame(1, flags, number, encoded[:cut]) + continuation(number, encoded[cut:])
    if shape == "padded":
        return frame(1, flags | ENDH | PADDED, number, b"\x03" + encoded + b"\0" * 3)
    if shape == "priority":
        return frame(1, flags | ENDH | PRIO, number, b"\0\0\0\0\x10" + encoded)
    return headers(number, encoded, flags | ENDH)


@pytest.mark.timeout(300)  # 5 s of work, on a machine of which others may have nearly all
@GENERATES
@given(conversations(), st.randoms(use_true_random=False))
def test_both_read_and_answer_alike(steps: list[Step], random: Any) -> None:
    """The same events, the same answers to each frame; and the same events where the bytes come cut in any way."""
    taken = run(steps)
    for wire in ("native", "h2"):
        side = Side(wire)
        expected: list[Any] = []
        pieces: list[Step] = []
        for step, _ in taken:
            # In pieces of several frames only until the app answers: what waits to be sent may go, and end its stream,
            # between two reads, and then there is room for a further request.
            if isinstance(step, bytes) and len(pieces) == 1 and isinstance(pieces[0], bytes):
                pieces[0] += step
            else:
                pieces.append(step)
        events: list[Any] = []
        for piece in pieces:
            if not isinstance(piece, bytes):
                events += side.step(piece)[0]
                continue
            while piece:
                size = random.choice((1, 3, 9, 12, 50, 20000))
                events += side.step(piece[:size])[0]
                piece = piece[size:]
        for _, news in taken:
            expected += news[0]
        assert of_sink(events) == of_sink(expected)


def of_sink(events: list[Any]) -> tuple[list[str], list[Any], dict[int, bytes]]:
    """Events in their order, heads, and bodies in one piece each."""
    bodies: dict[int, bytes] = {}
    for event in events:
        if isinstance(event, tuple):
            bodies[event[0]] = bodies.get(event[0], b"") + event[1]
    return [one for one in events if isinstance(one, str)], [one for one in events if isinstance(one, list)], bodies


#: Of each listed difference a client that shows it; the last frame does.
EXAMPLES: list[list[bytes]] = [
    [headers(1, POST, ENDH), *[data(1, b"x" * 16384)] * 4],
    [headers(1, [*POST, ("content-length", "1")], ENDH), data(1, b"xy")],
    [headers(1), ("answer", 1, 0), data(1, b"x")],
    [headers(1, POST, ENDH), headers(1, [("x", "y")], ENDH)],
    [("end", 1, 0), headers(1)],
    [frame(1, ENDH | PRIO, 1, b"\0\0\0\x01\x10" + block(GET))],
    [headers(2, POST, 0)],
    [frame(5, 0, 1, b"\0\0\0\2")],
    [headers(1, POST, ENDH), priority(1, b"\0" * 4)],
    [priority(1, b"\0\0\0\x01\x10")],
    [headers(1), rst(3)],
    [headers(1), window(1, 0)],
    [headers(1, POST, ENDH), headers(1, block([("x", "y")]), 0), continuation(1, block([("z", "y")]))],
    [window(0, (1 << 31) + 5)],
    [headers(3), headers(1)],
]  # type: ignore[list-item]


@pytest.mark.parametrize("number", range(len(GENERATED)))
def test_what_is_listed_happens(number: int) -> None:
    """Each listed difference is there: when h2 changes its mind, its row goes."""
    native, other = Side("native"), Side("h2")
    *before, last = EXAMPLES[number]
    for step in before:
        assert native.step(step) == other.step(step)
    news, others = native.step(last), other.step(last)
    assert news != others
    assert is_listed(GENERATED[number], last, native.words(news), other.words(others))
    assert len(EXAMPLES) == len(GENERATED)


def test_turns_may_differ_by_one_place() -> None:
    """TURNS is there, too: stream 1 is first in the row with h2, last with the native wire; the bytes are the same."""
    native, other = Side("native"), Side("h2")
    steps: list[Step] = [headers(1), ("answer", 1, 70000), headers(3), ("answer", 3, 70000), window(1, 1000)]
    for step in steps:
        assert native.step(step) == other.step(step)
    news, others = native.step(window(0, 900)), other.step(window(0, 900))
    assert (news[2], others[2]) == ({3: [900]}, {1: [900]})
    assert is_turn(news, others)


@GENERATES
@given(STARTS, FIELDS)
def test_h2_has_nothing_against_a_request_that_is_taken(start: Any, fields: Any) -> None:
    """The fields are checked by the same code on both wires; h2's own checks let pass what it lets pass.

    But for a request without any authority, which h2 refuses.
    """
    peer = Peer().open(headers(1, [*start, *fields], ENDH))
    if peer.events != ["request 1"] or all(name != b"host" for name, _ in peer.heads[1].headers):
        return
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    events = server.receive_data(PREFACE + settings() + headers(1, [*start, *fields], ENDH))
    assert any(isinstance(event, h2.events.RequestReceived) for event in events)

"""The two wires of HTTP/2 side by side: a client and an app for each, and what differs that is not listed."""

from __future__ import annotations

import re
from typing import Any

from tests.wire.http2_differences import GENERATED, Difference
from tests.wire.http2_peer import END, PREFACE, Peer, describe, settings

#: A client's bytes (whole frames, where both are to be compared), or what an app does: what, stream, size.
Step = bytes | tuple[str, int, int]


class Side:
    """One wire with a client and an app; what is new since it was last looked at."""

    def __init__(self, wire: str) -> None:
        self.peer = Peer(wire=wire, concurrent_streams=3, stream_window=65535, connection_window=100000)
        self.peer.wire.start()
        self.peer.feed(PREFACE + settings())
        self.peer.take()
        self._over: set[int] = set()  # streams that were reset, or that have ended
        self._answered: set[int] = set()
        self._told: dict[int, int] = {}  # bytes of bodies
        self.given = 0  # of the connection's window, by WINDOW_UPDATE

    def step(self, step: Step) -> list[Any]:
        """Take it, and say what came of it."""
        if isinstance(step, bytes):
            self.peer.feed(step)
        else:
            self._act(*step)
        return self.news()

    def _act(self, what: str, number: int, size: int) -> None:
        wire, stream = self.peer.wire, self.peer.wire.streams.get(number)
        if what == "announce":
            wire.announce_end()
        elif what == "end":
            wire.end()
        elif stream is None or self.peer.over:
            return
        elif what == "read":
            wire.consumed(stream, stream.unread)
        elif what == "reset":
            wire.reset(number, 8)
        elif stream.local_open and not stream.ends:
            if number not in self._answered:
                self._answered.add(number)
                wire.send_informational(stream, 103, [(b"link", b"x")])
                wire.send_head(stream, 200, [(b"x-size", b"%d" % size)], [(b"server", b"pounce")])
            trailers = [(b"x-sum", b"1")] if what == "trailers" else None
            wire.send_data(stream, b"y" * size, what != "begin", trailers, breaks_off=what == "short")

    def news(self) -> list[Any]:
        """What the sink was told; frames of the connection and resets; of each stream its fields, bytes and end.

        `given` adds up the windows.
        """
        events: list[Any] = self.peer.events
        self.peer.events = []
        self.peer.take()
        of_all: list[str] = []
        of_streams: dict[int, list[Any]] = {}
        for kind, flags, number, payload in self.peer.payloads:
            said = of_streams.setdefault(number, [])
            if kind == 8:
                self.given += 0 if number else int.from_bytes(payload, "big")
            elif kind == 0:
                if said and isinstance(said[-1], int):
                    said[-1] += len(payload)
                elif payload:
                    said.append(len(payload))
            elif kind == 1:
                said.append(self.peer.decoder.decode(payload))
            elif kind != 3 or number not in self._over:  # h2 repeats resets: see LATE
                of_all.append(describe(kind, flags, number, payload))
            if kind == 3:
                self._over.add(number)
            if kind in (0, 1) and flags & END:
                said.append("END")
        self._over |= {int(event.split()[1]) for event in events if event.startswith("reset")}
        for number, head in self.peer.heads.items():
            events.append([number, *(getattr(head, name) for name in type(head).__slots__)])
        self.peer.heads.clear()
        for number, body in self.peer.bodies.items():
            if len(body) > self._told.get(number, 0):
                events.append((number, body[self._told.get(number, 0) :]))
                self._told[number] = len(body)
        return [events, of_all, {number: said for number, said in of_streams.items() if said}]

    def words(self, news: list[Any]) -> str:
        """The frames of the connection and the resets, as `Difference` has them."""
        return ", ".join(news[1])

    def balance(self) -> None:
        """The app reads everything: what was sent to it is given back, but for less than half of the window."""
        for stream in list(self.peer.wire.streams.values()):
            if stream.unread:
                self.peer.wire.consumed(stream, stream.unread)
        self.news()


def run(steps: list[Step]) -> list[tuple[Step, list[Any]]]:
    """Step by step on both wires, up to a difference that is listed; the steps before it, and what came of them."""
    native, other = Side("native"), Side("h2")
    taken = []
    for step in steps:
        news, others = native.step(step), other.step(step)
        if news != others:
            words = native.words(news), other.words(others)
            listed = isinstance(step, bytes) and any(is_listed(one, step, *words) for one in GENERATED)
            assert listed or is_turn(news, others), f"{step!r}: {news}, {others}"
            break
        taken.append((step, news))
        if native.peer.over:
            break
    else:
        native.balance()
        other.balance()
        assert abs(native.given - other.given) < 50000
    return taken


def is_turn(news: list[Any], others: list[Any]) -> bool:
    """Whether they only share a window of the connection that is too small for all in different ways: see TURNS."""
    sizes = [[part for said in one[2].values() for part in said if isinstance(part, int)] for one in (news, others)]
    return news[:2] == others[:2] and sum(sizes[0]) == sum(sizes[1]) > 0


def is_listed(one: Difference, step: bytes, native: str, other: str) -> bool:
    """Whether the two may differ in that way."""
    return one.kind in (None, step[3]) and bool(re.fullmatch(one.native, native) and re.fullmatch(one.h2, other))

"""Clients made by chance: mostly such as keep to the rules, then broken, cut and interrupted; the same for one seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from random import Random

from tests.fakes import chunked, get, post
from tests.fuzz import apps
from tests.fuzz.cases import Case, Event
from tests.fuzz.mutator import mutate, pieces
from tests.wire import http1_reading as pools
from tests.wire.http2_peer import END, ENDH, PREFACE, block, continuation, data, frame, headers, rst, settings, window
from tests.wire.http2_random import any_frame
from tests.wire.ws_frames import (
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    close,
    deflated,
    frame as ws_frame,
    handshake,
)

_SIZES = (0, 1, 5, 5, 100, 3000, 70000)


def http1_request(dice: Random) -> bytes:
    """A request that is fine."""
    path = dice.choice(("/", "/a?b=c", "/%61"))
    body = b"x" * dice.choice(_SIZES)
    what = dice.randrange(6)
    if what == 0:
        return post(body, path, *(["Expect: 100-continue"] * (dice.random() < 0.3)))
    if what == 1:
        parts = [body[: len(body) // 2], body[len(body) // 2 :]]
        return chunked(*filter(None, parts), path=path, trailers=dice.choice((b"", b"", b"X-Sum: 1\r\n")))
    if what == 2:
        return get(path, method="HEAD")
    return get(path, *dice.choice(([], [], ["Cookie: a=1"], ["Connection: keep-alive"], ["Accept: */*", "X: y"])))


def http1_message(dice: Random) -> bytes:
    """A request that may be anything."""
    line = b" ".join(dice.choice(pool) for pool in (pools.METHODS, pools.TARGETS, pools.VERSIONS))
    lines = [line, *([b"Host: a"] if dice.random() < 0.9 else []), *dice.choices(pools.FIELDS, k=dice.randrange(4))]
    body = dice.choice((b"", b"hello", b"3\r\nabc\r\n0\r\n\r\n"))
    kind = dice.randrange(3)
    if kind == 0:
        lines.append(b"Content-Length: 5")
        body = b"hello"
    elif kind == 1:
        lines.append(b"Transfer-Encoding: chunked")
        body = b"".join(dice.choices(pools.CHUNKS, k=dice.randrange(4))) + dice.choice(pools.LAST_CHUNKS)
    return b"".join(one + dice.choice(pools.ENDS) for one in (*lines, b"")) + body


def _http1(dice: Random, case: Case) -> bytes:
    count = dice.choice((1, 1, 2, 3, 10))
    if dice.random() < 0.7:
        case.expects = count
        if dice.random() < 0.05:
            case.expects = count = 150
            return get() * count
        return b"".join(http1_request(dice) for _ in range(count))
    return b"".join(dice.choice((http1_request, http1_message))(dice) for _ in range(count))


def ws_frames(dice: Random, deflates: bool) -> tuple[bytes, int]:
    """Frames of a client that keeps to the rules, and how many messages that are."""
    found, messages = [], dice.choice((1, 1, 3, 10, 200))
    for _ in range(messages):
        body = b"y" * dice.choice(_SIZES if messages < 10 else _SIZES[:5])
        while dice.random() < 0.2:
            found.append(ws_frame(dice.choice((PING, PONG)), b"z" * dice.choice((0, 4, 125))))
        if deflates and dice.random() < 0.6:
            found.append(ws_frame(TEXT, deflated(body, 15), rsv=4))
        elif dice.random() < 0.3:
            found.append(ws_frame(BINARY, body, fin=False))
            if dice.random() < 0.5:
                found.append(ws_frame(PING, b"in between"))
            found.append(ws_frame(CONT, b"more"))
        else:
            found.append(ws_frame(dice.choice((TEXT, BINARY)), body))
    return b"".join(found), messages


#: Frames of one that does not.
_ODD_WS_FRAMES = (
    ws_frame(TEXT, b"\xff\xfe"), ws_frame(TEXT, b"\xc3", fin=False), ws_frame(CONT, b"c"), ws_frame(7, b"x"),
    ws_frame(PING, b"x", fin=False), ws_frame(PING, b"x" * 126), ws_frame(TEXT, b"x", masked=False),
    ws_frame(TEXT, b"x", rsv=1), ws_frame(TEXT, b"x", rsv=4), close(1005), close(1000, b"\xff"),
    ws_frame(CLOSE, b"\x03"), ws_frame(TEXT, deflated(b"y" * 3_000_000, 15), rsv=4),
    ws_frame(BINARY, zlib.compress(b"y"), rsv=4),
)  # fmt: skip


def _websocket(dice: Random, case: Case) -> bytes:
    deflates = case.settings["ws_per_message_deflate"] = dice.random() < 0.5
    extra = [DEFLATE] if dice.random() < 0.6 else []
    if dice.random() < 0.2:
        extra.append(b"Sec-WebSocket-Protocol: a, b")
    told, messages = ws_frames(dice, deflates and bool(extra) and extra[0] == DEFLATE)
    if dice.random() < 0.7:
        case.expects = messages
        return get() * dice.choice((0, 0, 0, 1)) + handshake(*extra) + told
    odd = b"".join(dice.choice(_ODD_WS_FRAMES) for _ in range(dice.choice((0, 1, 2))))
    return handshake(*extra) + told + odd + dice.choice((b"", close(1000), close(3001, b"so"), told))


def _http2(dice: Random, case: Case) -> bytes:
    found = [PREFACE, settings(*dice.choice(([], [], [(4, 1 << 20)], [(3, 100)], [(5, 20000)], [(1, 0)], [(4, 10)])))]
    if dice.random() < 0.8:
        found.append(window(0, 1 << 24))
    count = dice.choice((1, 1, 2, 5, 40))
    is_fine = dice.random() < 0.6
    open_streams: list[tuple[int, list[bytes]]] = []
    answers = 0
    for number in range(1, 2 * count, 2):
        answers += 1
        method = dice.choice(("GET", "GET", "POST", "HEAD"))
        fields = [(":method", method), (":scheme", "http"), (":authority", "a.example"), (":path", "/a?b")]
        body = b"x" * dice.choice((0, 5, 3000, 30000)) if method == "POST" and count < 10 else b""
        if dice.random() < 0.3:
            fields.append(("content-length", str(len(body))))
        if dice.random() < 0.3:
            fields.append(("priority", dice.choice(("u=0", "u=7, i", "i"))))
        ends = 0 if body else END
        encoded = block(fields)
        if dice.random() < 0.2:
            at = dice.randrange(len(encoded))
            found.append(frame(1, ends, number, encoded[:at]) + continuation(number, encoded[at:]))
        else:
            found.append(headers(number, encoded, ends | ENDH))
        parts = [body[at : at + 16384] for at in range(0, len(body), 16384)]
        frames = [data(number, part, END if at == len(parts) - 1 else 0) for at, part in enumerate(parts)]
        open_streams.append((number, [*frames, window(number, 1 << 20)]))
        while open_streams and dice.random() < 0.6:
            _, rest = one = dice.choice(open_streams)
            found.append(rest.pop(0))
            if not rest:
                open_streams.remove(one)
        if not is_fine and dice.random() < 0.4:
            found.append(any_frame(dice))
        if not is_fine and dice.random() < 0.1:
            found.append(rst(number))
    for _, rest in open_streams:
        found += rest
    if is_fine and found[1] != settings((4, 10)) and len(found[2]) == len(window(0, 1)) and found[2][3] == 8:
        case.expects = answers
    if not is_fine:
        found += [any_frame(dice) for _ in range(dice.choice((0, 3, 30)))]
    return b"".join(found)


def _http2_websocket(dice: Random, case: Case) -> bytes:
    fields = [
        (":method", "CONNECT"), (":scheme", "http"), (":authority", "a.example"), (":path", "/ws"),
        (":protocol", dice.choice(("websocket",) * 8 + ("other",))), ("sec-websocket-version", "13"),
    ]  # fmt: skip
    deflates = case.settings["ws_per_message_deflate"] = dice.random() < 0.5
    offers = dice.random() < 0.6
    if offers:
        fields.append(("sec-websocket-extensions", "permessage-deflate; client_max_window_bits"))
    found = [PREFACE, settings((4, 1 << 20)), window(0, 1 << 24)]
    for number in range(1, 2 * dice.choice((1, 1, 2, 5)), 2):
        found.append(headers(number, fields, ENDH))
        told, messages = ws_frames(dice, deflates and offers)
        if messages == 200 or len(told) > 60000:
            told = told[:60000]
        if dice.random() < 0.3:
            told += dice.choice(_ODD_WS_FRAMES)
        cut = pieces(dice, told)
        found += [data(number, part[:16384], END if dice.random() < 0.02 else 0) for part in cut]
        if dice.random() < 0.2:
            found.append(any_frame(dice))
        if dice.random() < 0.1:
            found.append(rst(number))
    return b"".join(found)


_MAKERS: dict[str, Callable[[Random, Case], bytes]] = {
    "http1": _http1, "http2": _http2, "websocket": _websocket, "websocket-http2": _http2_websocket,
}  # fmt: skip

_SETTINGS = [
    {"settings": {"limits": {"body": 1000, "linger_size": 2000}}}, {"settings": {"limits": {"pipeline": 1}}},
    {"settings": {"limits": {"request_line": 20, "fields": 3, "head_size": 200}}}, {"limit_concurrency": 2},
    {"settings": {"limits": {"linger_seconds": 0}}}, {"settings": {"asgi": {"spec": "2.3"}}}, {"ws_max_size": 1000},
    {"settings": {"http2": {"concurrent_streams": 2, "control_frames": 20, "resets": 5}}}, {"timeout_keep_alive": 0},
    {"settings": {"http2": {"waiting_size": 1000, "stalled_size": 1000, "unread_size": 100}}},
    {"ws_ping_interval": 1, "ws_ping_timeout": 1}, {"reset_contextvars": True},
]  # fmt: skip


def make(wire: str, dice: Random, others: Sequence[bytes]) -> Case:
    """One input. `others`: what pieces of bytes may come from."""
    case = Case(wire, [])
    told = _MAKERS[wire](dice, case)
    case.sweeps, case.tls = dice.random() < 0.5, dice.random() < 0.2
    case.auto = not case.tls and dice.random() < 0.3
    kinds = apps.websocket_step if wire.startswith("websocket") else apps.http_step
    if case.expects is None or dice.random() < 0.6:
        case.expects = None
        case.apps = apps.some(dice, kinds)
        if dice.random() < 0.25:
            case.settings |= dice.choice(_SETTINGS)
        if dice.random() < 0.7:
            told = mutate(dice, told, others)
    elif wire != "websocket" and dice.random() < 0.5:
        case.apps = [{"kind": dice.choice(("echo", "stream")), "parts": 3, "size": 100}]
    case.events = _events(dice, told, case.expects is not None)
    return case


def _events(dice: Random, told: bytes, is_fine: bool) -> list[Event]:
    """The bytes in their order, and what happens in between."""
    events: list[Event] = []
    for piece in pieces(dice, told):
        events.append(("data", piece))
        if dice.random() < 0.5:
            events.append(("turns", dice.choice((1, 1, 3, 10))))
        if dice.random() < 0.1:
            events.append(dice.choice((("slow", None), ("take", 1000), ("fast", None))))
    for what, argument, chance in (
        ("eof", None, 0.3), ("reset", None, 0.1), ("lose", None, 0.15), ("time", 1, 0.2), ("time", 40, 0.1),
        ("retire", None, 0.1), ("shutdown", None, 0.1), ("stop", None, 0.05), ("slow", None, 0.15),
        ("take", 20000, 0.1),
    ):  # fmt: skip
        if not is_fine and dice.random() < chance:
            at = len(events) if dice.random() < 0.4 else dice.randrange(len(events) + 1)
            events.insert(at, (what, argument))
            if dice.random() < 0.5:
                events.insert(at + 1, ("turns", dice.choice((1, 2, 5, 30))))
    return events

"""Hostile clients that speak HTTP/2 by prior knowledge (RFC 9113); what they send is made beforehand."""

from __future__ import annotations

import asyncio
import functools
import itertools
import struct

from benchmarks.load.hostile.client import BUDGET, DEADLINE, Client, Kind
from benchmarks.load.visits import DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, field, frame

PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
INITIAL_WINDOW_SIZE = 4
OPENING = PREFACE + frame(SETTINGS, 0, 0)
LARGEST = 16384  # bytes of a frame's payload
STREAMS = 100

OPTIONS = ("--http2", "--http2-stalled-seconds", "1")


def block(path: str = "/", method: str = "GET", fields: int = 0) -> bytes:
    """The fields of a request, and so many more of them."""
    wanted = {":method": method, ":scheme": "http", ":authority": "localhost", ":path": path}
    more = {f"x-{number}": "x" for number in range(fields)}
    return b"".join(field(name, value) for name, value in (wanted | more).items())


def ask(stream: int, path: str = "/", method: str = "GET") -> bytes:
    """A request; one with a method that has a body goes on."""
    flags = END_HEADERS | (END_STREAM if method == "GET" else 0)
    return frame(HEADERS, flags, stream, block(path, method))


async def silent(client: Client, seconds: float) -> None:
    """Half of the preface, or all of it and SETTINGS; then nothing."""
    await client.send(OPENING if client.number % 2 else OPENING[:12])
    await client.until_end()


async def idle(client: Client, seconds: float) -> None:
    """A request, and no other behind it."""
    await client.send(OPENING + ask(1))
    await client.until_end()


async def stopped_body(client: Client, seconds: float) -> None:
    """A part of a body, then nothing."""
    await client.send(OPENING + ask(1, "/upload", "POST") + frame(DATA, 0, 1, b"a part"))
    await client.until_end()


async def stopped_headers(client: Client, seconds: float) -> None:
    """Fields that do not end."""
    await client.send(OPENING + frame(HEADERS, 0, 1, block()))
    await client.until_end()


async def closed_window(client: Client, seconds: float) -> None:
    """Many large responses, and no window for any of them."""
    nothing = frame(SETTINGS, 0, 0, struct.pack("!HI", INITIAL_WINDOW_SIZE, 0))
    await client.send(PREFACE + nothing + b"".join(ask(2 * number + 1, "/large") for number in range(STREAMS)))
    await client.until_end()


async def reset(client: Client, seconds: float) -> None:
    """The connection, by the client: in the preface, in a head, behind it, in the body, in the response."""
    stage = client.number % 5
    post = ask(1, "/upload", "POST") + frame(DATA, 0, 1, b"a part")
    sent = (PREFACE[:12], OPENING + ask(1)[:-4], OPENING + ask(1, "/wait"), OPENING + post, OPENING + ask(1, "/large"))
    await client.send(sent[stage])
    if stage == 4:
        await client.until_heard(b"xxxx")
    elif client.number % 4 >= 2:
        await asyncio.sleep(0.05)
    client.reset()


async def half_closed(client: Client, seconds: float) -> None:
    """The client closes its side: in the preface, behind it, behind a request, in a body."""
    post = ask(1, "/upload", "POST") + frame(DATA, 0, 1, b"a part")
    await client.send((PREFACE[:12], OPENING, OPENING + ask(1, "/later"), OPENING + post)[client.number % 4])
    client.half_close()
    await client.until_end()


@functools.cache
def _resets() -> bytes:
    """CVE-2023-44487: requests, each taken back at once."""
    cancel = struct.pack("!I", 8)
    streams = range(1, 2 * 3000, 2)
    return b"".join(ask(stream) + frame(RST_STREAM, 0, stream, cancel) for stream in streams)


async def rapid_resets(client: Client, seconds: float) -> None:
    """Once; there are no more streams than these."""
    await client.send(OPENING)
    await client.send(_resets())
    await client.until_end()


@functools.cache
def _provoked_resets() -> bytes:
    """CVE-2025-8671: requests, each followed by what makes the server reset its stream."""
    nothing = bytes(4)
    return b"".join(ask(stream, "/wait") + frame(WINDOW_UPDATE, 0, stream, nothing) for stream in range(1, 2 * 3000, 2))


async def made_you_reset(client: Client, seconds: float) -> None:
    """Window updates of nothing."""
    await client.send(OPENING)
    await client.send(_provoked_resets())
    await client.until_end()


async def pings(client: Client, seconds: float) -> None:
    """Each has to be answered."""
    await client.send(OPENING)
    await client.flood(frame(PING, 0, 0, bytes(8)) * 1000, seconds)


async def settings(client: Client, seconds: float) -> None:
    """Each has to be acknowledged."""
    await client.send(OPENING)
    await client.flood(frame(SETTINGS, 0, 0, struct.pack("!HI", INITIAL_WINDOW_SIZE, 65535)) * 1000, seconds)


async def continuations(client: Client, seconds: float) -> None:
    """CVE-2024-27316: fields without an end."""
    await client.send(OPENING + frame(HEADERS, 0, 1, block()))
    await client.flood(frame(CONTINUATION, 0, 1, field("x-filler", "x")) * 1000, seconds)


async def empty_data(client: Client, seconds: float) -> None:
    """CVE-2019-9518: frames of a body that bring nothing of it."""
    await client.send(OPENING + ask(1, "/upload", "POST"))
    await client.flood(frame(DATA, 0, 1) * 1000, seconds)


@functools.cache
def _many_fields() -> list[bytes]:
    """More of them than the server takes, in parts of a frame each."""
    fields = block(fields=2000)
    return [fields[at : at + LARGEST] for at in range(0, len(fields), LARGEST)]


def _refused_head(stream: int) -> bytes:
    """A request with too many fields (431)."""
    first, *others, last = _many_fields()
    frames = [frame(HEADERS, END_STREAM, stream, first), *(frame(CONTINUATION, 0, stream, part) for part in others)]
    return b"".join([*frames, frame(CONTINUATION, END_HEADERS, stream, last)])


async def refused_heads(client: Client, seconds: float) -> None:
    """One behind the other."""
    await client.send(OPENING)
    await client.flood(map(_refused_head, itertools.count(1, 2)), seconds)


def _kind(name: str, title: str, attack: object, ends_by: str = "", **more: object) -> Kind:
    return Kind(f"h2-{name}", title, attack, ends_by, options=OPTIONS, **more)  # type: ignore[arg-type]


KINDS = (
    _kind("silent", "half of the preface, or nothing behind it", silent, DEADLINE),
    _kind("idle", "one request, then nothing", idle, DEADLINE),
    _kind("stopped-head", "fields that do not end", stopped_headers, DEADLINE),
    _kind("stopped-body", "a part of a body, then nothing", stopped_body, DEADLINE),
    _kind("closed-window", f"{STREAMS} large responses, no window", closed_window, DEADLINE),
    _kind("half-closed", "closes its side, at four stages", half_closed, DEADLINE),
    _kind("reset", "resets the connection, at five stages", reset),
    _kind("rapid-reset", "3,000 requests taken back", rapid_resets, BUDGET),
    _kind("made-you-reset", "3,000 requests that the server resets", made_you_reset, BUDGET),
    _kind("pings", "pings without a pause", pings, BUDGET),
    _kind("settings", "settings without a pause", settings, BUDGET),
    _kind("continuations", "fields without an end", continuations, BUDGET),
    _kind("empty-data", "empty frames of a body", empty_data, BUDGET),
    _kind("refused-heads", "requests of 2,000 fields", refused_heads, BUDGET),
)

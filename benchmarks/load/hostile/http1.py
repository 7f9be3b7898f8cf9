"""Hostile clients that speak HTTP/1.1, or nothing."""

from __future__ import annotations

import asyncio
import math

from benchmarks.apps.hostile_app import HELLO, HUGE, PART
from benchmarks.load.hostile.client import BUDGET, DEADLINE, Client, Kind

END = b"\r\n\r\n"


def head(method: str, path: str, *fields: str) -> bytes:
    """Of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *fields, "", ""]).encode()


HELLO_REQUEST = head("GET", "/")
UPLOAD = head("POST", "/upload", "Content-Length: 1000000")
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"10000\r\n" + PART + b"\r\n"


async def silent(client: Client, seconds: float) -> None:
    """Nothing is ever said."""
    await client.until_end()


async def slow_head(client: Client, seconds: float) -> None:
    """A byte now and then."""
    await client.trickle(head("GET", "/", "X-Filler: " + "x" * 1000))


async def half_a_head(client: Client, seconds: float) -> None:
    """A part, then nothing."""
    await client.send(HELLO_REQUEST[:-4])
    await client.until_end()


async def idle(client: Client, seconds: float) -> None:
    """A request, and no other behind it."""
    await client.send(HELLO_REQUEST)
    await client.until_heard(HELLO)
    await client.until_end()


async def stopped_body(client: Client, seconds: float) -> None:
    """A part of a body that the app reads, then nothing."""
    await client.send(UPLOAD + b"a part")
    await client.until_end()


async def slow_body(client: Client, seconds: float) -> None:
    """A byte of the body now and then, until the client has enough of it."""
    await client.send(UPLOAD)
    try:
        async with asyncio.timeout(seconds):
            await client.trickle(b"x")
    except TimeoutError:
        client.reset()


async def slow_reader(client: Client, seconds: float) -> None:
    """A large response is asked for, and nothing of it taken."""
    await client.send(head("GET", "/huge"))
    await client.reads_late(seconds, HUGE)


async def half_closed(client: Client, seconds: float) -> None:
    """The client closes its side: at once, in the head, behind the head, in the body, within the response."""
    stage = client.number % 5
    sent = (b"", HELLO_REQUEST[:-4], head("GET", "/later"), UPLOAD + b"a part", head("GET", "/large"))[stage]
    if sent:
        await client.send(sent)
    if stage == 4:
        await client.until_heard(END)
    client.half_close()
    if stage == 2:
        await client.until_answered_and_ended(HELLO)
    await client.until_end()


async def reset(client: Client, seconds: float) -> None:
    """By the client: at once, in the head, behind it, in the body, in the response, behind the response."""
    stage = client.number % 6
    sent = (b"", HELLO_REQUEST[:-4], head("GET", "/wait"), UPLOAD + b"a part", head("GET", "/large"), HELLO_REQUEST)
    if sent[stage]:
        await client.send(sent[stage])
    if stage >= 4:
        await client.until_heard(END)
    elif client.number % 4 >= 2:  # else the reset comes with what was sent
        await asyncio.sleep(0.05)
    client.reset()


async def many_heads(client: Client, seconds: float) -> None:
    """Requests behind one another without a pause; what comes back is read."""
    await client.flood(HELLO_REQUEST * 500, seconds)


async def many_heads_unread(client: Client, seconds: float) -> None:
    """The same, for larger answers, of which nothing is read."""
    await client.flood(head("GET", "/part") * 500, math.inf, hears=False)


async def endless_head(client: Client, seconds: float) -> None:
    """Fields without an end."""
    await client.send(HELLO_REQUEST[:-2])
    await client.flood(b"X-Filler: " + b"x" * 1000 + b"\r\n", seconds)


async def upload_behind_answer(client: Client, seconds: float) -> None:
    """A body without an end that the app has answered, and not read."""
    await client.send(head("POST", "/", CHUNKED) + CHUNK)
    await client.until_heard(HELLO)
    await client.flood(CHUNK, seconds)


async def tiny_chunks(client: Client, seconds: float) -> None:
    """A body without an end, in chunks of a byte."""
    await client.send(head("POST", "/upload", CHUNKED))
    await client.flood(b"1\r\nx\r\n" * 5000, seconds)


async def visits(client: Client, seconds: float) -> None:
    """A connection for nothing."""


async def held(client: Client, seconds: float) -> None:
    """Nothing is said for so long."""
    try:
        async with asyncio.timeout(seconds):
            await client.until_end()
    except TimeoutError:
        pass


KINDS = (
    Kind("silent", "connects, says nothing", silent, DEADLINE),
    Kind("slow-head", "a byte of a head now and then", slow_head, DEADLINE),
    Kind("half-head", "half a head", half_a_head, DEADLINE),
    Kind("idle", "one request, then nothing", idle, DEADLINE),
    Kind("stopped-body", "a part of a body, then nothing", stopped_body, DEADLINE),
    Kind("slow-body", "a byte of a body now and then", slow_body),
    Kind("slow-reader", "takes nothing of a response", slow_reader, DEADLINE, receive_buffer=4096),
    Kind("half-closed", "closes its side, at five stages", half_closed, DEADLINE),
    Kind("reset", "resets, at six stages", reset),
    Kind("visits", "connects and leaves", visits),
    Kind("pipelining", "heads without a pause", many_heads),
    Kind(
        "pipelining-unread",
        "heads without a pause, and no answer is read",
        many_heads_unread,
        DEADLINE,
        receive_buffer=4096,
    ),
    Kind("endless-head", "fields without an end", endless_head, BUDGET),
    Kind("late-upload", "an upload that goes on behind its answer", upload_behind_answer, BUDGET),
    Kind(
        "no-descriptors",
        "ten times as many as the server has descriptors for",
        held,
        options=("--timeout-head", "60"),
        descriptors=100,
    ),
    Kind("tiny-chunks", "a body in chunks of a byte", tiny_chunks, send_buffer=16384),
)

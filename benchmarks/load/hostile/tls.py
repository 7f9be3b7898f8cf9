"""Hostile clients of a server that speaks TLS."""

from __future__ import annotations

import functools
import random
import ssl
import time

from benchmarks.load.hostile.client import BUDGET, DEADLINE, Client, Kind


@functools.cache
def _client_hello() -> bytes:
    """The first message of a handshake, as Python's clients send it."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    try:
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


async def silent(client: Client, seconds: float) -> None:
    """A handshake that does not begin, or not end: nothing, half of the first message, all of it and then nothing."""
    hello = _client_hello()
    if stage := client.number % 3:
        await client.send(hello[: len(hello) * stage // 2])
    await client.until_end()


async def garbage(client: Client, seconds: float) -> None:
    """Bytes that are no TLS: at once, or behind a first message."""
    noise = random.Random(client.number).randbytes(2000)
    await client.send(noise if client.number % 2 else _client_hello() + noise)
    await client.until_end()


async def in_the_clear(client: Client, seconds: float) -> None:
    """A request without TLS."""
    await client.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await client.until_end()


async def handshakes(client: Client, seconds: float) -> None:
    """One handshake after the other, each of which is left where the server has signed, or has not come to it."""
    hello, end = _client_hello(), time.monotonic() + seconds
    while True:
        await client.send(hello)
        if client.number % 2:
            await client.receive()
        if time.monotonic() >= end:
            return
        await client.connect_again()


KINDS = (
    Kind("tls-silent", "a handshake that does not end", silent, DEADLINE, tls=True),
    Kind("tls-garbage", "no TLS behind which there is none", garbage, BUDGET, tls=True),
    Kind("tls-plain", "a request without TLS", in_the_clear, BUDGET, tls=True),
    Kind("tls-handshakes", "first messages of handshakes without a pause", handshakes, tls=True),
)

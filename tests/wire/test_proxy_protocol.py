"""pounce/wire/proxy_protocol.py: which headers are ones, of whom they tell, and where exactly they end."""

from __future__ import annotations

import random
import socket
import struct
from ipaddress import ip_address
from typing import Any

import pytest

from pounce.wire.proxy_protocol import MAX_LINE, MAX_SIZE, UNKNOWN_ORIGIN, HeaderReader, NoHeader, Origin

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

#: What may follow, and must stay where it is: a request, TLS, HTTP/2, another header.
BEHIND = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\0",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"PROXY UNKNOWN\r\n",
    SIGNATURE,
]


def binary(kind: int, block: bytes, *, command: int = 0x21, size: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, kind, len(block) if size is None else size) + block


def tcp(source: str, destination: str, source_port: int, destination_port: int) -> bytes:
    ends = ip_address(source).packed + ip_address(destination).packed
    return ends + struct.pack("!HH", source_port, destination_port)


def paths(source: bytes, destination: bytes) -> bytes:
    return source.ljust(108, b"\0") + destination.ljust(108, b"\0")


TCP4 = tcp("192.0.2.7", "198.51.100.1", 40000, 443)
TCP6 = tcp("2001:db8::7", "2001:db8::1", 40000, 443)
FROM_4 = Origin(("192.0.2.7", 40000), ("198.51.100.1", 443))
FROM_6 = Origin(("2001:db8::7", 40000), ("2001:db8::1", 443))
#: ALPN, a checksum that nobody checks, padding.
TLVS = b"\x01\0\x02h2" + b"\x03\0\x04\0\0\0\0" + b"\x04\0\x20" + bytes(32)

HEADERS = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n", FROM_4),
    "v1 TCP6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n", FROM_6),
    "v1 TCP6, written out": (
        b"PROXY TCP6 2001:0DB8:0000:0000:0000:0000:0000:0007 2001:db8:0:0:0:0:0:1 40000 443\r\n",
        FROM_6,
    ),
    "v1 mapped": (
        b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n",
        Origin(("::ffff:192.0.2.7", 1), ("::1", 2)),
    ),
    "v1 smallest": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Origin(("0.0.0.0", 0), ("0.0.0.0", 0))),
    "v1 largest": (
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        Origin(("255.255.255.255", 65535), ("255.255.255.255", 65535)),
    ),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", UNKNOWN_ORIGIN),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 \x80\xff garbage\r\n", UNKNOWN_ORIGIN),
    "v1 of 107 bytes": (b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 16) + b"\r\n", UNKNOWN_ORIGIN),
    "v2 TCP4": (binary(0x11, TCP4), FROM_4),
    "v2 TCP6": (binary(0x21, TCP6), FROM_6),
    "v2 TCP4 with TLVs": (binary(0x11, TCP4 + TLVS), FROM_4),
    "v2 TCP6 with broken TLVs": (binary(0x21, TCP6 + b"\xff\xff\xff"), FROM_6),
    "v2 of 4096 bytes": (binary(0x11, TCP4 + bytes(MAX_SIZE - 16 - 12)), FROM_4),
    "v2 unix": (binary(0x31, paths(b"/run/client", b"/run/proxy.sock")), Origin(None, ("/run/proxy.sock", None))),
    "v2 unix, abstract": (binary(0x31, paths(b"", b"\0abstract")), Origin(None, ("", None))),
    "v2 unix, whole field": (binary(0x31, paths(b"", b"x" * 108)), Origin(None, ("x" * 108, None))),
    "v2 unix, not UTF-8": (binary(0x31, paths(b"", b"/\xff\n")), Origin(None, ("/\\xff\n", None))),
    "v2 UNSPEC": (binary(0x00, b""), UNKNOWN_ORIGIN),
    "v2 UNSPEC with TLVs": (binary(0x00, TLVS), UNKNOWN_ORIGIN),
    "v2 datagrams": (binary(0x12, TCP4), UNKNOWN_ORIGIN),
    "v2 datagrams, IPv6": (binary(0x22, TCP6), UNKNOWN_ORIGIN),
    "v2 LOCAL": (binary(0x00, b"", command=0x20), None),
    "v2 LOCAL with addresses": (binary(0x11, TCP4, command=0x20), None),
    "v2 LOCAL with anything": (binary(0xFF, b"anything", command=0x20), None),
}

NO_HEADERS = {
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "a request to post": b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "empty lines": b"\r\n\r\nGET / HTTP/1.1\r\n",
    "NUL": b"\0",
    "lower case": b"proxy tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
    "v1 lower case": b"PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
    "v1 without a family": b"PROXY \r\n",
    "v1 other family": b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "v1 UNKNOWNS": b"PROXY UNKNOWNS\r\n",
    "v1 two spaces": b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "v1 tab": b"PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n",
    "v1 space at the end": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
    "v1 without ports": b"PROXY TCP4 1.2.3.4 5.6.7.8\r\n",
    "v1 one port": b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    "v1 port of 65536": b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    "v1 port of 14 digits": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999999999999\r\n",
    "v1 port with a zero": b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
    "v1 negative port": b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
    "v1 port with a sign": b"PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
    "v1 IPv6 as TCP4": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "v1 IPv4 as TCP6": b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    "v1 mixed": b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
    "v1 octal": b"PROXY TCP4 010.2.3.4 5.6.7.8 1 2\r\n",
    "v1 too large": b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
    "v1 name": b"PROXY TCP4 localhost 5.6.7.8 1 2\r\n",
    "v1 brackets": b"PROXY TCP6 [::1] ::1 1 2\r\n",
    "v1 zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "v1 line feed alone": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\nGET / HTTP/1.1\r\n",
    "v1 carriage return within": b"PROXY TCP4 1.2.3.4\r5.6.7.8 1 2\r\n",
    "v1 line feed in UNKNOWN": b"PROXY UNKNOWN a\nb\r\n",
    "v1 NUL": b"PROXY TCP4 1.2.3.4 5.6.7.8\0 1 2\r\n",
    "v1 of 108 bytes": b"PROXY UNKNOWN " + b"x" * (MAX_LINE - 15) + b"\r\n",
    "v1 without an end": b"PROXY UNKNOWN " + b"x" * MAX_LINE,
    "v2 version 1": binary(0x11, TCP4, command=0x11),
    "v2 version 3": binary(0x11, TCP4, command=0x31),
    "v2 other command": binary(0x11, TCP4, command=0x22),
    "v2 other family": binary(0x41, TCP4),
    "v2 family without a transport": binary(0x10, TCP4),
    "v2 transport without a family": binary(0x01, TCP4),
    "v2 short of TCP4": binary(0x11, TCP4[:-1]),
    "v2 short of TCP6": binary(0x21, TCP4),
    "v2 short of unix": binary(0x31, bytes(215)),
    "v2 empty": binary(0x11, b""),
    "v2 of 4097 bytes": binary(0x11, TCP4, size=MAX_SIZE - 16 + 1),
    "v2 of 65551 bytes": binary(0x11, TCP4, size=65535),
    "v2 LOCAL of 65551 bytes": binary(0x00, b"", command=0x20, size=65535),
    "v2 broken signature": SIGNATURE[:-1] + b"\r" + binary(0x11, TCP4)[12:],
}


def read_by(parts: list[bytes]) -> tuple[HeaderReader, bytes]:
    """A reader to which this has come, and what it has left where it was: seen again with what comes next."""
    reader, left = HeaderReader(), b""
    for part in parts:
        left += part
        if not reader.is_complete:
            size = reader.feed(left)
            assert reader.is_complete or size == len(left), "what stays would be readable for ever"
            left = left[size:]
    return reader, left


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("header,origin", HEADERS.values(), ids=HEADERS)
def test_a_header(header: bytes, origin: Origin | None, behind: bytes) -> None:
    """It is read whole, and nothing behind it, however it is cut."""
    whole = header + behind
    cuts = [[whole], [whole[at : at + 1] for at in range(len(whole))], [header, behind]]
    cuts += [[whole[:at], whole[at:]] for at in (1, 5, 6, 11, 12, 15, 16, 17, len(header) - 1, len(header) + 1)]
    for parts in cuts:
        reader, left = read_by(parts)
        assert (reader.is_complete, reader.origin, left) == (True, origin, behind)


@pytest.mark.parametrize("data", NO_HEADERS.values(), ids=NO_HEADERS)
def test_no_header(data: bytes) -> None:
    """It is refused however it is cut, and no address of it is known."""
    for parts in ([data], [data[at : at + 1] for at in range(len(data))], [data[:3], data[3:]]):
        with pytest.raises(NoHeader):
            read_by(parts)


@pytest.mark.parametrize("header,origin", HEADERS.values(), ids=HEADERS)
def test_a_part_of_a_header(header: bytes, origin: Origin | None) -> None:
    """It is taken, and more is waited for; nothing is known yet."""
    for size in range(len(header)):
        reader = HeaderReader()
        assert reader.feed(header[:size]) == size
        assert (reader.is_complete, reader.origin) == (False, None)


def test_a_size_that_is_not_allowed_is_not_waited_for() -> None:
    """The fixed part is enough to know."""
    for data in ("v2 of 4097 bytes", "v2 version 3", "v2 short of unix"):
        with pytest.raises(NoHeader):
            HeaderReader().feed(NO_HEADERS[data][:16])


def test_the_reason_names_the_fault() -> None:
    """It is for the log of whoever has set the proxy up."""
    for data, words in (
        (b"GET / HTTP/1.1\r\n", "no header of the PROXY protocol"),
        (NO_HEADERS["v1 of 108 bytes"], "more than 107 bytes"),
        (NO_HEADERS["v2 of 4097 bytes"], "4097 bytes"),
        (NO_HEADERS["v1 name"], "none of IPv4"),
        (NO_HEADERS["v1 port of 65536"], "port"),
        (NO_HEADERS["v2 version 3"], "0x31"),
        (NO_HEADERS["v2 other family"], "0x41"),
    ):
        with pytest.raises(NoHeader, match=words):
            HeaderReader().feed(data)


def test_addresses_are_written_as_the_system_writes_them() -> None:
    """An app compares them with those of connections without a proxy."""
    for header, _ in HEADERS.values():
        reader, _ = read_by([header])
        if reader.origin is not None and reader.origin.client is not None:
            host = reader.origin.client[0]
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            assert socket.inet_ntop(family, socket.inet_pton(family, host)) == host


def verdict(parts: list[bytes]) -> Any:
    """The origin and what is left; or that it is no header, or not whole."""
    try:
        reader, left = read_by(parts)
    except NoHeader:
        return NoHeader
    return (reader.origin, left) if reader.is_complete else None


def test_changed_headers_are_read_the_same_way_however_they_are_cut() -> None:
    """Bytes replaced, removed, inserted and doubled: one verdict, and no other exception."""
    dice = random.Random(16)
    known = [header for header, _ in HEADERS.values()] + list(NO_HEADERS.values())
    verdicts = set()
    for _ in range(1500):
        data = bytearray(dice.choice(known)[:300] + REQUEST)
        for _ in range(dice.randrange(1, 4)):
            at = dice.randrange(min(len(data), 60))
            data[at : at + dice.randrange(3)] = dice.choice(
                (b"", bytes([dice.randrange(256)]), b"\r\n", b" ", b"\0", b"\xff\xff", data[at : at + 4])
            )
        whole = bytes(data)
        told = verdict([whole])
        verdicts.add(told if told is NoHeader else type(told))
        assert verdict([whole[at : at + 1] for at in range(len(whole))]) == told
        middle = dice.randrange(len(whole))
        assert verdict([whole[:middle], whole[middle:]]) == told
    assert len(verdicts) == 3, "all of them are seen"

"""The header with which a proxy begins a connection, to say whose it is: the PROXY protocol, versions 1 and 2.

Sans-IO. Takes no byte of what follows behind it, which may be TLS. Implements HAProxy's specification
(doc/proxy-protocol.txt), for connections over TCP and unix sockets.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from pounce.addresses import address_of, text_of

#: With its line end, in version 1; in all, in version 2, whose own limit is 64 KiB.
MAX_LINE = 107
MAX_SIZE = 4096

_LINE_START = b"PROXY "
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

#: Version 2 behind its signature: version and command, family and transport, size of what follows.
_FIXED = struct.Struct("!BBH")
_FIXED_SIZE = len(_SIGNATURE) + _FIXED.size
_LOCAL, _PROXY = 0x20, 0x21

#: Family and transport: what comes first behind the fixed part. Datagrams make no connection to a server of HTTP.
_TCP4, _TCP6, _UNIX = 0x11, 0x21, 0x31
_SIZES = {0x00: 0, _TCP4: 12, 0x12: 12, _TCP6: 36, 0x22: 36, _UNIX: 216, 0x32: 216}

_LINE = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|TCP([46]) ([^ ]+) ([^ ]+) ([0-9]+) ([0-9]+))\r\n").fullmatch
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}").fullmatch


class Origin(NamedTuple):
    """The two ends of the connection that a proxy has accepted, as a scope has them."""

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None


#: A proxy passes a connection on, and does not say whose.
UNKNOWN_ORIGIN = Origin(None, None)


class NoHeader(Exception):
    """What comes is no header of the PROXY protocol; the message says why."""


class HeaderReader:
    """Reads the header of one connection."""

    def __init__(self) -> None:
        self.is_complete = False
        #: Once it is complete: of whom it tells; None where the proxy talks for itself (LOCAL).
        self.origin: Origin | None = None
        self._head = b""

    def feed(self, data: bytes) -> int:
        """How many of these bytes belong to the header: they are to be taken, and count as read from now on.

        All of them, until it is complete. Raises NoHeader.
        """
        before = len(self._head)
        head = self._head + data
        size = self._read_line(head) if head[:1] == _LINE_START[:1] else self._read_binary(head)
        self.is_complete = size is not None
        self._head = head[:size]
        return len(self._head) - before

    def _read_line(self, head: bytes) -> int | None:
        """The size of a whole header of version 1; None where more of it is to come."""
        _check_start(head, _LINE_START)
        end = head.find(b"\r\n", 0, MAX_LINE)
        if end < 0:
            if len(head) >= MAX_LINE:
                raise NoHeader(f"a header of more than {MAX_LINE} bytes")
            return None
        line = _LINE(head[: end + 2])
        if line is None:
            raise NoHeader("a malformed header of version 1")
        version, *ends = line.groups()
        if version is None:
            self.origin = UNKNOWN_ORIGIN
        else:
            source, destination, source_port, destination_port = ends
            host, port = _address(source, version), _port(source_port)
            self.origin = Origin((host, port), (_address(destination, version), _port(destination_port)))
        return end + 2

    def _read_binary(self, head: bytes) -> int | None:
        """As `_read_line`, of version 2."""
        _check_start(head, _SIGNATURE)
        if len(head) < _FIXED_SIZE:
            return None
        command, kind, rest_size = _FIXED.unpack_from(head, len(_SIGNATURE))
        if command not in (_LOCAL, _PROXY):
            raise NoHeader(f"a header of version 2 with version and command {command:#04x}")
        size: int = _FIXED_SIZE + rest_size
        if size > MAX_SIZE:
            raise NoHeader(f"a header of {size} bytes, which may have {MAX_SIZE}")
        if command == _PROXY and rest_size < _SIZES.get(kind, MAX_SIZE):  # of another family, no size is enough
            raise NoHeader(f"a header of version 2 with family {kind:#04x} and {rest_size} bytes")
        if len(head) < size:
            return None
        if command == _PROXY:
            self.origin = _origin(kind, head[_FIXED_SIZE:size])
        return size


def _check_start(head: bytes, start: bytes) -> None:
    if not (head.startswith(start) or start.startswith(head)):
        raise NoHeader("no header of the PROXY protocol")


def _address(text: bytes, version: bytes) -> str:
    address = address_of(text.decode("latin-1"))
    if address is None or str(address.version).encode() != version or b"%" in text:
        raise NoHeader(f"a header of version 1 with an address that is none of IPv{version.decode()}")
    return text_of(address)


def _port(text: bytes) -> int:
    if not _PORT(text) or int(text) > 0xFFFF:
        raise NoHeader("a header of version 1 with a port that is none")
    return int(text)


def _origin(kind: int, block: bytes) -> Origin:
    """What the block behind the fixed part says; the fields behind its addresses (TLVs) are left alone."""
    if kind == _TCP4:
        source, destination, source_port, destination_port = struct.unpack_from("!4s4sHH", block)
        return Origin((str(IPv4Address(source)), source_port), (str(IPv4Address(destination)), destination_port))
    if kind == _TCP6:
        source, destination, source_port, destination_port = struct.unpack_from("!16s16sHH", block)
        return Origin(
            (text_of(IPv6Address(source)), source_port), (text_of(IPv6Address(destination)), destination_port)
        )
    if kind == _UNIX:
        path = block[108:216].partition(b"\0")[0]
        return Origin(None, (path.decode("utf-8", "backslashreplace"), None))
    return UNKNOWN_ORIGIN

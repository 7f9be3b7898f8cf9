"""Header blocks: from HPACK to a request (`http2_requests`), and from a response's fields to HPACK.

What a client sends again and again is decoded and checked once per connection, what the apps answer is encoded once:
a block that changes no dynamic table means the same as long as the table stays as it is. HPACK itself is the `hpack`
library's (of the h2 project). Implements RFC 9113 section 8, RFC 7541, RFC 8441 section 4, RFC 9218 section 4.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hpack.exceptions import OversizedHeaderListError

from pounce.settings import Http2, Limits
from pounce.wire.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from pounce.wire.http2_requests import CONNECTION_FIELDS, RequestHead, read_request
from pounce.wire.request_limits import plain_size
from pounce.wire.response_fields import Headers, checked_fields, checked_head, checked_status

#: The most that is used of the header table a client offers: the usual size (RFC 9113 section 6.5.2).
MAX_TABLE_SIZE = 4096

#: What is kept per connection, and how long a kept block may be.
_MAX_BLOCKS = 64
_MAX_BLOCK_SIZE = 1024

#: Response fields that are rarely the same twice, or nobody else's business: kept out of the dynamic table.
_NEVER_INDEXED = frozenset((b"content-length", b"set-cookie", b"etag", b"last-modified", b"location", b"content-range"))


class BlockDecoder(Decoder):
    """hpack's decoder, whose only error is a ConnectionFault. Its limits are those of the connection."""

    def __init__(self, limits: Http2) -> None:
        # Twice the size that is advertised: a list that is a little too large still gets its 431.
        super().__init__(max_header_list_size=2 * limits.header_list_size)
        #: Whether the last block has left the dynamic table as it was.
        self.was_pure = True

    def decode(self, data: bytes, raw: bool = True) -> Iterable[Any]:
        """The fields of a block, as bytes. Raises ConnectionFault."""
        updates = _leading_updates(data) if data and data[0] & 0xE0 == 0x20 else 0
        if updates > 2:  # more of them make no sense (RFC 7541 section 4.2), but cost
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many changes of the header table")
        entries = self.header_table.dynamic_entries
        newest, count = (entries[0] if entries else None), len(entries)
        try:
            fields = super().decode(data, raw)
        except OversizedHeaderListError:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "header list too large") from None
        except Exception as exc:  # HPACKError, or the library's own mistake, on bytes that make no sense
            raise ConnectionFault(COMPRESSION_ERROR, "a header block that cannot be decoded") from exc
        self.was_pure = not updates and len(entries) == count and (entries[0] if entries else None) is newest
        return fields


class HeaderReader(BlockDecoder):
    """The receiving side of one connection's header compression."""

    def __init__(self, limits: Http2, allows_connect_protocol: bool, common: Limits) -> None:
        super().__init__(limits)
        self._limits = limits
        self._common = common
        self._plain = plain_size(common)
        self._allows_connect_protocol = allows_connect_protocol
        self._requests: dict[bytes, RequestHead] = {}

    def request(self, block: bytes) -> RequestHead:
        """The request of a header block; shared by equal blocks, not to be changed. Raises both kinds of faults."""
        known = self._requests.get(block)
        if known is not None:
            return known
        fields = self.decode(block)
        if not self.was_pure:
            self._requests.clear()
        head = read_request(fields, self._limits, self._allows_connect_protocol, self._common, self._plain)
        if self.was_pure and len(block) <= _MAX_BLOCK_SIZE:
            if len(self._requests) >= _MAX_BLOCKS:
                self._requests.clear()
            self._requests[block] = head
        return head

    def skip(self, block: bytes) -> Iterable[tuple[bytes, bytes]]:
        """The fields of a block that is no request's: the table must follow. Raises ConnectionFault."""
        fields = self.decode(block)
        if not self.was_pure:
            self._requests.clear()
        return fields


def _leading_updates(block: bytes) -> int:
    """How many dynamic table size updates a block begins with; three stand for any larger number."""
    at = updates = 0
    while at < len(block) and block[at] & 0xE0 == 0x20 and updates < 3:
        updates += 1
        if block[at] & 0x1F == 0x1F:  # an integer of several bytes (RFC 7541 section 5.1)
            at += 1
            while at < len(block) and block[at] & 0x80:
                at += 1
        at += 1
    return updates


class HeaderWriter:
    """The sending side of one connection's header compression."""

    __slots__ = ("_blocks", "_defaults", "_encoder")

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._defaults: Any = None
        self._blocks: dict[Any, tuple[bytes, int | None]] = {}

    def limit_table(self, size: int) -> None:
        """The client's SETTINGS_HEADER_TABLE_SIZE."""
        size = min(size, MAX_TABLE_SIZE)
        if size != self._encoder.header_table_size:
            self._encoder.header_table_size = size
            merge_table_changes(self._encoder)
            self._blocks.clear()

    def response(
        self, status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
    ) -> tuple[bytes, int | None]:
        """The block of a response's head, and the Content-Length it declares. Raises MisusedByApp."""
        if defaults is not self._defaults:
            self._defaults = defaults
            self._blocks.clear()
        fields = tuple(fields)
        key: Any = (status, fields)
        try:
            known = self._blocks.get(key)
        except (TypeError, ValueError):  # a list, or what can be changed: allowed, but not hashable
            key = known = None
        if known is not None:
            return known
        encoded, length = response_fields(status, fields, defaults)
        block, is_pure = self._encode(encoded)
        if is_pure and key is not None and len(block) <= _MAX_BLOCK_SIZE:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            self._blocks[key] = (block, length)
        return block, length

    def block(self, fields: Headers) -> bytes:
        """The block of an interim response, or of trailers."""
        return self._encode(fields)[0]

    def _encode(self, fields: Headers) -> tuple[bytes, bool]:
        """The block, and whether it leaves the dynamic table as it is."""
        encoder = self._encoder
        entries = encoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        resizes = encoder.header_table.resized
        block = encoder.encode(fields)
        if resizes or (entries[0] if entries else None) is not newest:
            self._blocks.clear()
            return block, False
        return block, True


def merge_table_changes(encoder: Encoder) -> None:
    """Of the changes since the last block, the smallest and the last one are told (RFC 7541 section 4.2)."""
    changes = encoder.table_size_changes
    if len(changes) > 2:
        changes[:] = [min(changes), changes[-1]]


def response_fields(
    status: int, fields: Iterable[tuple[bytes, bytes]], defaults: Headers
) -> tuple[Headers, int | None]:
    """What the block of a response's head has in it, and the Content-Length it declares. Raises MisusedByApp."""
    status = checked_status(status)
    checked, length, _ = checked_head(status, (*defaults, *fields))
    return for_hpack([(b":status", b"%d" % status), *_for_http2(checked)]), length


def informational_fields(status: int, fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The same of an interim response. Raises MisusedByApp."""
    return for_hpack([(b":status", b"%d" % status), *_for_http2(checked_fields(fields))])


def for_hpack(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The fields, those marked that are kept out of the dynamic table."""
    return [NeverIndexedHeaderTuple(*field) if field[0] in _NEVER_INDEXED else field for field in fields]


def _for_http2(fields: Headers) -> Headers:
    """Checked fields as HTTP/2 has them: lower case, nothing of the connection."""
    lower = [(name.lower(), value) for name, value in fields]
    return [
        (name, value)
        for name, value in lower
        if name not in CONNECTION_FIELDS and (name != b"te" or value.lower() == b"trailers")
    ]

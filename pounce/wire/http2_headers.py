"""Header blocks: from HPACK to a request that is checked, and from a response's fields to HPACK.

What a client sends again and again is decoded and checked once per connection, what the apps answer is encoded once:
a block that changes no dynamic table means the same as long as the table stays as it is. HPACK itself is the `hpack`
library's (of the h2 project). Answers to: RFC 9113 section 8, RFC 7541, RFC 8441 section 4, RFC 9218 section 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple
from hpack.exceptions import OversizedHeaderListError

from pounce.errors import MisusedByApp
from pounce.wire.http2_frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PROTOCOL_ERROR, ConnectionFault, StreamFault
from pounce.wire.http2_limits import Http2Limits
from pounce.wire.response_fields import Headers, as_bytes, bad_in_value, checked_fields, checked_head, checked_status

#: Fields that belong to a connection and have no place in HTTP/2 (RFC 9113 section 8.2.2).
CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_path = re.compile(rb"(?:/[\x21\x22\x24-\x7e]*|\*)").fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch
_is_authority = re.compile(rb"[\x21-\x22\x24-\x2e\x30-\x3e\x41-\x5b\x5d-\x7e]*").fullmatch  # no "/", "?", "#", "@", "\"

_PADDING = (b" ", b"\t", b"")

#: The priority of a request that says nothing: urgency 3, not incremental (RFC 9218 section 4).
DEFAULT_URGENCY = 3

#: What is kept per connection, and how long a kept block may be.
_MAX_BLOCKS = 64
_MAX_BLOCK_SIZE = 1024

#: A request's fields that say how its connection or body is handled, or that are joined.
_SPECIAL = frozenset((b"te", b"host", b"cookie", b"content-length", b"expect", b"priority"))

#: Response fields that are rarely the same twice, or nobody else's business: kept out of the dynamic table.
_NEVER_INDEXED = frozenset((b"content-length", b"set-cookie", b"etag", b"last-modified", b"location", b"content-range"))


class RequestHead:
    """A checked request. `refusal` is the status it is answered with instead of by the app, or 0."""

    __slots__ = (
        "content_length",
        "expect_continue",
        "headers",
        "incremental",
        "method",
        "path",
        "protocol",
        "query",
        "refusal",
        "urgency",
    )

    def __init__(self) -> None:
        self.method = ""
        self.path = b""
        self.query = b""
        self.protocol = b""
        self.headers: Headers = []
        self.content_length: int | None = None
        self.expect_continue = False
        self.urgency = DEFAULT_URGENCY
        self.incremental = False
        self.refusal = 0


class HeaderReader:
    """The receiving side of one connection's header compression."""

    __slots__ = ("_allows_connect_protocol", "_decoder", "_limits", "_requests")

    def __init__(self, limits: Http2Limits, allows_connect_protocol: bool) -> None:
        self._limits = limits
        self._allows_connect_protocol = allows_connect_protocol
        # Twice the size that is advertised: a list that is a little too large still gets its 431.
        self._decoder = Decoder(max_header_list_size=2 * limits.header_list_size)
        self._requests: dict[bytes, RequestHead] = {}

    def request(self, block: bytes) -> RequestHead:
        """The request of a header block; shared by equal blocks, not to be changed. Raises both kinds of faults."""
        known = self._requests.get(block)
        if known is not None:
            return known
        fields, is_pure = self._decode(block)
        if not is_pure:
            self._requests.clear()
        head = self._read(fields)
        if is_pure and len(block) <= _MAX_BLOCK_SIZE:
            if len(self._requests) >= _MAX_BLOCKS:
                self._requests.clear()
            self._requests[block] = head
        return head

    def trailers(self, block: bytes) -> None:
        """Take the trailers of a request (ASGI has no place for them). Raises both kinds of faults."""
        fields, is_pure = self._decode(block)
        if not is_pure:
            self._requests.clear()
        for name, value in fields:
            _check_field(name, value)

    def skip(self, block: bytes) -> None:
        """Take a block that nobody waits for: the table must follow. Raises ConnectionFault."""
        if not self._decode(block)[1]:
            self._requests.clear()

    def _decode(self, block: bytes) -> tuple[Iterable[tuple[bytes, bytes]], bool]:
        """The fields, and whether the dynamic table is as it was before. Raises ConnectionFault."""
        updates = _leading_updates(block)
        if updates > 2:  # more of them make no sense (RFC 7541 section 4.2), but cost
            raise ConnectionFault(ENHANCE_YOUR_CALM, "too many changes of the header table")
        entries = self._decoder.header_table.dynamic_entries
        newest, count = (entries[0] if entries else None), len(entries)
        try:
            fields = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "header list too large") from None
        except HPACKError as exc:
            raise ConnectionFault(COMPRESSION_ERROR, "a header block that cannot be decoded") from exc
        except Exception as exc:  # the library's own mistake, on bytes that make no sense
            raise ConnectionFault(COMPRESSION_ERROR, "a header block that cannot be decoded") from exc
        is_pure = not updates and len(entries) == count and (entries[0] if entries else None) is newest
        return fields, is_pure

    def _read(self, fields: Iterable[tuple[bytes, bytes]]) -> RequestHead:
        head = RequestHead()
        headers = head.headers
        pseudo: dict[bytes, bytes] = {}
        host: bytes | None = None
        crumbs: list[bytes] = []
        cookie_at = 0
        size = count = 0
        for name, value in fields:
            size += 32 + len(name) + len(value)
            count += 1
            if name[:1] == b":":
                if headers or crumbs or name not in _PSEUDO or name in pseudo:
                    raise StreamFault(PROTOCOL_ERROR, "a pseudo-header field that is unknown, twice there or too late")
                if bad_in_value(value):
                    raise StreamFault(PROTOCOL_ERROR, "a control character in a pseudo-header field")
                pseudo[name] = value
                continue
            _check_field(name, value)
            if name in _SPECIAL:
                if name == b"cookie":
                    if not crumbs:
                        cookie_at = len(headers)
                    crumbs.append(value)
                    continue
                if name == b"host":
                    if host is not None:
                        raise StreamFault(PROTOCOL_ERROR, "two Host fields")
                    host = value
                elif name == b"content-length":
                    if head.content_length is not None or not value.isdigit() or len(value) > 18:
                        raise StreamFault(PROTOCOL_ERROR, "a bad or second Content-Length")
                    head.content_length = int(value)
                elif name == b"expect":
                    head.expect_continue = b"100-continue" in [token.strip() for token in value.lower().split(b",")]
                elif name == b"priority":
                    head.urgency, head.incremental = read_priority(value)
            headers.append((name, value))
        if crumbs:  # RFC 9113 section 8.2.3
            headers.insert(cookie_at, (b"cookie", b"; ".join(crumbs)))
        self._read_pseudo(head, pseudo, host)
        if size > self._limits.header_list_size or count > self._limits.header_count:
            head.refusal = 431
        return head

    def _read_pseudo(self, head: RequestHead, pseudo: dict[bytes, bytes], host: bytes | None) -> None:
        """RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4."""
        method, authority, path = pseudo.get(b":method", b""), pseudo.get(b":authority"), pseudo.get(b":path")
        if not _is_method(method):
            raise StreamFault(PROTOCOL_ERROR, "no or no valid :method")
        if authority is not None:
            if not _is_authority(authority):
                raise StreamFault(PROTOCOL_ERROR, "no valid :authority")
            if host is None:
                head.headers.insert(0, (b"host", authority))
            elif host.lower() != authority.lower():
                raise StreamFault(PROTOCOL_ERROR, "Host is not :authority")
        elif host is not None and not _is_authority(host):
            raise StreamFault(PROTOCOL_ERROR, "no valid Host")
        head.method = method.decode("ascii")
        protocol = pseudo.get(b":protocol")
        if protocol is not None and (not self._allows_connect_protocol or method != b"CONNECT" or not authority):
            raise StreamFault(PROTOCOL_ERROR, ":protocol has no place here")
        if method == b"CONNECT" and protocol is None:
            if b":scheme" in pseudo or path is not None or not authority:
                raise StreamFault(PROTOCOL_ERROR, "CONNECT with a scheme or a path, or without an authority")
            head.refusal = 400  # as with HTTP/1.1: no app can make a tunnel of it
            return
        if not _is_scheme(pseudo.get(b":scheme", b"")) or path is None or not _is_path(path):
            raise StreamFault(PROTOCOL_ERROR, "no or no valid :scheme or :path")
        if path == b"*" and method != b"OPTIONS":
            raise StreamFault(PROTOCOL_ERROR, "* is for OPTIONS")
        head.protocol = protocol or b""
        head.path, _, head.query = path.partition(b"?")


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


def _check_field(name: bytes, value: bytes) -> None:
    """RFC 9113 sections 8.2.1 and 8.2.2, for a field that is no pseudo-header field."""
    if not _is_name(name):
        raise StreamFault(PROTOCOL_ERROR, "a field name that is not allowed")
    if bad_in_value(value) or (value and (value[:1] in _PADDING or value[-1:] in _PADDING)):
        raise StreamFault(PROTOCOL_ERROR, "a field value that is not allowed")
    if name in CONNECTION_FIELDS or (name == b"te" and value.lower() != b"trailers"):
        raise StreamFault(PROTOCOL_ERROR, "a connection-specific field")


def read_priority(value: bytes) -> tuple[int, bool]:
    """Urgency and incremental of a Priority field value; what cannot be read counts as not there (RFC 9218)."""
    urgency, incremental = DEFAULT_URGENCY, False
    for item in value[:256].split(b","):
        key, _, given = item.strip().partition(b"=")
        given = given.partition(b";")[0]
        if key == b"u":
            urgency = int(given) if len(given) == 1 and given in b"01234567" else DEFAULT_URGENCY
        elif key.partition(b";")[0] == b"i":
            incremental = given in (b"", b"?1")
    return urgency, incremental


class HeaderWriter:
    """The sending side of one connection's header compression."""

    __slots__ = ("_blocks", "_defaults", "_encoder")

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._defaults: Any = None
        self._blocks: dict[Any, tuple[bytes, int | None]] = {}

    def limit_table(self, size: int) -> None:
        """The client's SETTINGS_HEADER_TABLE_SIZE; more than the usual 4096 bytes is never used."""
        size = min(size, 4096)
        if size != self._encoder.header_table_size:
            self._encoder.header_table_size = size
            changes = self._encoder.table_size_changes
            if len(changes) > 2:  # the smallest and the last one have to be told (RFC 7541 section 4.2)
                changes[:] = [min(changes), size]
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
        status = checked_status(status)
        checked, length, _ = checked_head(status, (*defaults, *fields))
        block, is_pure = self._encode([(b":status", b"%d" % status), *_for_http2(checked)])
        if is_pure and key is not None and len(block) <= _MAX_BLOCK_SIZE:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._blocks.clear()
            self._blocks[key] = (block, length)
        return block, length

    def informational(self, status: int, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The block of an interim response. Raises MisusedByApp."""
        return self._encode([(b":status", b"%d" % status), *_for_http2(checked_fields(fields))])[0]

    def trailers(self, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The block of trailers that `checked_trailers` has approved of."""
        return self._encode(list(fields))[0]

    def _encode(self, fields: Headers) -> tuple[bytes, bool]:
        """The block, and whether it leaves the dynamic table as it is."""
        encoder = self._encoder
        entries = encoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        resizes = encoder.header_table.resized
        block = encoder.encode(
            [NeverIndexedHeaderTuple(*field) if field[0] in _NEVER_INDEXED else field for field in fields]
        )
        if resizes or (entries[0] if entries else None) is not newest:
            self._blocks.clear()
            return block, False
        return block, True


def _for_http2(fields: Headers) -> Headers:
    """Checked fields as HTTP/2 has them: lower case, nothing of the connection."""
    lower = [(name.lower(), value) for name, value in fields]
    return [
        (name, value)
        for name, value in lower
        if name not in CONNECTION_FIELDS and (name != b"te" or value.lower() == b"trailers")
    ]


def checked_trailers(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """An app's trailers, without what has no place in them. Raises MisusedByApp."""
    fields = list(fields)
    if any(as_bytes(name)[:1] == b":" for name, _ in fields):
        raise MisusedByApp("Pseudo headers are not allowed in HTTP response trailers")
    return [field for field in _for_http2(checked_fields(fields)) if field[0] not in (b"te", b"content-length")]

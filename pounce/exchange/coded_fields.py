"""The fields of a response whose body is coded, or might have been.

Implements RFC 9110 sections 8.4, 8.8.3 and 12.5.5.
"""

from __future__ import annotations

from pounce.wire.response_fields import Headers, as_bytes

#: Fields that are about the very bytes that were coded: their length; digests of them (RFC 1864, RFC 3230, RFC 9530
#: sections 2 and 3); and ranges (RFC 9110 section 14.3), which would be of the coded body, too, and nobody keeps that.
_OF_THE_BYTES = frozenset(
    (b"content-length", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"accept-ranges")
)


def members(value: bytes) -> list[bytes]:
    """The members of a field that is a list, in lower case."""
    return [member.strip(b" \t") for member in value.lower().split(b",")]


def varied(headers: Headers) -> Headers:
    """The fields, with a Vary field that names Accept-Encoding (RFC 9110 section 12.5.5)."""
    values = [as_bytes(value, True) for name, value in headers if as_bytes(name, True).lower() == b"vary"]
    if not values:
        return [*headers, (b"vary", b"Accept-Encoding")]
    named = [member for value in values for member in members(value)]
    if b"*" not in named and b"accept-encoding" not in named:
        values.append(b"Accept-Encoding")
    merged = (b"vary", b", ".join(value for value in values if value.strip(b" \t")))
    return [*(field for field in headers if as_bytes(field[0], True).lower() != b"vary"), merged]


def coded_fields(headers: Headers, coding: str, length: int | None) -> Headers:
    """The fields of the response when its body is coded, and of this length: None, where that is not known."""
    fields: Headers = []
    is_chunked = False
    for given, value in varied(headers):
        name = as_bytes(given, True).lower()
        if name in _OF_THE_BYTES:
            continue
        if name == b"etag":
            value = _weak(as_bytes(value, True))
        is_chunked = is_chunked or name == b"transfer-encoding"
        fields.append((given, value))
    fields.append((b"content-encoding", coding.encode("ascii")))
    if length is not None and not is_chunked:
        fields.append((b"content-length", b"%d" % length))
    return fields


def _weak(tag: bytes) -> bytes:
    """RFC 9110 section 8.8.3.3: coded and not, the bytes are not the same."""
    tag = tag.strip(b" \t")
    return tag if tag.startswith(b"W/") else b"W/" + tag

"""What the head of a response says about compressing its body, and what its fields are when that is done.

Implements RFC 9110 sections 8.4, 8.8.3 and 12.5.5.
"""

from __future__ import annotations

from collections.abc import Callable

from pounce.wire.response_fields import Headers, as_bytes, checked_head

#: Responses that are not a whole representation (RFC 9110 sections 15.3.7 and 15.4.5), or have no body.
_NEVER = frozenset((204, 206, 304))

#: Fields of a body that is coded already (RFC 9110 section 8.4), or a part of one (section 14.4).
_KEPT = frozenset((b"content-encoding", b"content-range"))

#: Fields that are about the very bytes that were coded: their length; digests of them (RFC 1864, RFC 3230, RFC 9530
#: sections 2 and 3); and ranges (RFC 9110 section 14.3), which would be of the coded body, too, and nobody keeps that.
_OF_THE_BYTES = frozenset(
    (b"content-length", b"content-md5", b"digest", b"content-digest", b"repr-digest", b"accept-ranges")
)


class HeadFields:
    """The fields of one head. Shared by all responses that have the same."""

    __slots__ = ("_coded", "given", "is_chunked", "is_plain", "length", "media_type", "varied")

    def __init__(self, status: int, fields: Headers, listed: Callable[[bytes], str]) -> None:
        """`listed` makes the media type of a Content-Type: nothing, if it is not to be compressed.

        Raises MisusedByApp.
        """
        #: As the app gave them.
        self.given = fields
        checked, self.length, self.is_chunked = checked_head(status, fields, takes_text=True)
        named = [(name.lower(), value) for name, value in checked]
        self.media_type = ""
        #: Whether the body may be coded.
        self.is_plain = status not in _NEVER
        for name, value in named:
            if name == b"content-type":
                self.media_type = listed(value)
            elif forbids_coding(name, value):
                self.is_plain = False
        if not self.media_type:
            self.is_plain = False
        #: With a Vary field that names Accept-Encoding (RFC 9110 section 12.5.5).
        self.varied = _varied(fields) if self.is_plain else fields
        self._coded: dict[str, Headers] = {}

    def coded(self, coding: str, length: int | None) -> Headers:
        """The fields when the body is coded, and of this length: None, where that is not known."""
        known = self._coded.get(coding)
        if known is None:
            known = self._coded[coding] = [*self._without_bytes(), (b"content-encoding", coding.encode("ascii"))]
        if length is None or self.is_chunked:
            return known
        return [*known, (b"content-length", b"%d" % length)]

    def _without_bytes(self) -> Headers:
        fields: Headers = []
        for given, value in self.varied:
            name = as_bytes(given, True).lower()
            if name == b"etag":
                value = _weak(as_bytes(value, True))
            if name not in _OF_THE_BYTES:
                fields.append((given, value))
        return fields


def forbids_coding(name: bytes, value: bytes) -> bool:
    """Whether a field, whose name is in lower case, says that the body has to stay as it is."""
    return name in _KEPT or (name == b"cache-control" and b"no-transform" in _members(value))


def _members(value: bytes) -> list[bytes]:
    """The members of a field that is a list, in lower case."""
    return [member.strip(b" \t") for member in value.lower().split(b",")]


def _varied(headers: Headers) -> Headers:
    values = [as_bytes(value, True) for name, value in headers if as_bytes(name, True).lower() == b"vary"]
    if not values:
        return [*headers, (b"vary", b"Accept-Encoding")]
    named = [member for value in values for member in _members(value)]
    if b"*" not in named and b"accept-encoding" not in named:
        values.append(b"Accept-Encoding")
    merged = (b"vary", b", ".join(value for value in values if value.strip(b" \t")))
    return [*(field for field in headers if as_bytes(field[0], True).lower() != b"vary"), merged]


def _weak(tag: bytes) -> bytes:
    """RFC 9110 section 8.8.3.3: coded and not, the bytes are not the same."""
    tag = tag.strip(b" \t")
    return tag if tag.startswith(b"W/") else b"W/" + tag

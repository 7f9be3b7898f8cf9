"""What an app's response may carry: one table for every parser, for HTTP/2 and for both WebSocket libraries.

What would break the message, or be read in two ways, is refused (MisusedByApp) before a byte of it exists; what has no
place in it, but can go without changing its meaning, is left out. Implements RFC 9110 sections 5.5, 5.6.2, 8.6 and 15,
RFC 9112 sections 4 and 6, RFC 6455 section 4.2.2.
"""

from __future__ import annotations

import http
import re
from collections.abc import Collection, Iterable
from typing import Any

from pounce.errors import MisusedByApp

Headers = list[tuple[bytes, bytes]]


def status_phrase(status: int) -> bytes:
    """The registered reason phrase of a status code, or nothing (RFC 9110 section 15)."""
    try:
        return http.HTTPStatus(status).phrase.encode("ascii")
    except ValueError:
        return b""


STATUS_PHRASES = {status: status_phrase(status) for status in range(100, 600)}
STATUS_LINE = {status: b"HTTP/1.1 %d %s\r\n" % (status, phrase) for status, phrase in STATUS_PHRASES.items()}

#: Responses without a body, whatever their fields say (RFC 9110 section 6.4.1). Those to HEAD have none either.
BODILESS = frozenset((204, 304))

#: White space around a value, which is no part of it.
OWS = b" \t"

#: A field name, in capitals or not: RFC 9110 section 5.6.2.
is_token = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch

#: In a value no control character is allowed, but for the tab; all else passes, as with uvicorn.
bad_in_value = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search

INVALID_NAME = "Invalid HTTP header name."
INVALID_VALUE = "Invalid HTTP header value."

#: Digits of a length: no file has more bytes.
_MAX_DIGITS = 18

#: What has no place in trailers, and changes nothing by being left out.
_OF_THE_CONNECTION = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"))

#: What is too late in trailers: it frames the message, says how to read it, or what is to be done with it.
_NOT_IN_TRAILERS = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"trailer", b"host"),
        *(b"content-encoding", b"content-range", b"content-type"),
        *(b"age", b"cache-control", b"date", b"expires", b"location", b"retry-after", b"vary"),
        *(b"proxy-authenticate", b"set-cookie", b"www-authenticate"),
    )
)

#: What the app is told whose body is not as long as its head says.
TOO_LONG = "Response content longer than Content-Length"
TOO_SHORT = "Response content shorter than Content-Length"

#: Of a 101: what the handshake itself says, and what frames a body, which a 101 does not have.
_OF_THE_HANDSHAKE = frozenset((b"connection", b"content-length", b"transfer-encoding", b"upgrade"))

#: Of a 101: what a client accepts once, and only with the server's own value.
_SERVERS_OWN = frozenset((b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-key"))


def checked_status(status: Any) -> int:
    """The status code of a final response. After 1xx a client would wait for another response."""
    if status not in STATUS_LINE or status < 200:
        raise MisusedByApp(f"Invalid HTTP status code '{status}' in response.")
    return int(status)


def as_bytes(given: Any, takes_text: bool = False) -> bytes:
    """A name or value as bytes, whatever kind of buffer it is; with `takes_text` also ASCII in a str."""
    if type(given) is bytes:
        return given
    if takes_text and isinstance(given, str) and given.isascii():
        return given.encode("ascii")
    try:
        return bytes(memoryview(given))
    except TypeError:
        kind = type(given).__name__
        raise MisusedByApp(f"HTTP header names and values must be bytes, not {kind}.") from None


def body_bytes(body: Any) -> bytes:
    """A part of a body as bytes: None is an empty one, a buffer is copied, as the app may change it after `send()`."""
    if type(body) is bytes:
        return body
    if body is None:
        return b""
    try:
        return bytes(memoryview(body))
    except TypeError:
        raise MisusedByApp(f"The body of a response must be bytes, not {type(body).__name__}.") from None


def checked_name(name: Any, takes_text: bool = False) -> bytes:
    """A field name as the app wrote it."""
    checked = as_bytes(name, takes_text)
    if not is_token(checked):
        raise MisusedByApp(INVALID_NAME)
    return checked


def checked_value(value: Any, takes_text: bool = False) -> bytes:
    """A field value without the white space around it, which is no part of it (RFC 9110 section 5.5)."""
    checked = as_bytes(value, takes_text)
    if bad_in_value(checked):
        raise MisusedByApp(INVALID_VALUE)
    return checked.strip(OWS)


def declared_length(value: bytes, before: int | None) -> int:
    """Bytes that a Content-Length declares; `before` is what an earlier one of the same head did, if there was one."""
    digits = value.strip(OWS)
    if not digits.isdigit() or len(digits) > _MAX_DIGITS:  # `int` takes signs and underscores, too
        raise MisusedByApp("Invalid Content-Length in response.")
    length = int(digits)
    if before is not None and before != length:
        raise MisusedByApp("Two different Content-Lengths in response.")
    return length


def check_coding(value: bytes) -> None:
    """The server applies chunks, and nothing else: a body that says to be coded in another way could not be read."""
    if value.strip(OWS).lower() != b"chunked":
        raise MisusedByApp("Invalid Transfer-Encoding in response: only 'chunked' is supported.")


def checked_fields(fields: Iterable[tuple[Any, Any]], takes_text: bool = False) -> Headers:
    """Fields that say nothing about a body: the names as the app wrote them."""
    checked: Headers = []
    for name, value in fields:
        if type(name) is bytes and type(value) is bytes and is_token(name) and not bad_in_value(value):
            checked.append((name, value.strip(OWS)))  # without a call, as nearly all are
        else:
            checked.append((checked_name(name, takes_text), checked_value(value, takes_text)))
    return checked


def checked_trailers(fields: Iterable[tuple[Any, Any]]) -> Headers:
    """An app's trailers, the names in lower case, without those of the connection (RFC 9110 section 6.5.1)."""
    checked: Headers = []
    for name, value in fields:
        lower = as_bytes(name).lower()
        if lower[:1] == b":":
            raise MisusedByApp("Pseudo headers are not allowed in HTTP response trailers")
        if lower in _NOT_IN_TRAILERS:
            raise MisusedByApp(f"The header {lower.decode()!r} is not allowed in HTTP response trailers.")
        if lower not in _OF_THE_CONNECTION:
            checked += checked_fields([(lower, value)])
    return checked


def checked_head(
    status: int, fields: Iterable[tuple[Any, Any]], takes_text: bool = False
) -> tuple[Headers, int | None, bool]:
    """A final response's fields, the length that they declare, and whether they say that the body is chunked.

    Then there is no length (RFC 9112 section 6.2); with 204 there is neither (RFC 9110 section 8.6, RFC 9112
    section 6.1).
    """
    checked: Headers = []
    length: int | None = None
    is_chunked = False
    for name, value in checked_fields(fields, takes_text):
        lower = name.lower()
        if lower == b"content-length":
            is_first = length is None
            length = declared_length(value, length)
            if not is_first:
                continue
        elif lower == b"transfer-encoding":
            check_coding(value)
            if is_chunked:
                continue
            is_chunked = True
        checked.append((name, value))
    if status == 204:
        checked = [field for field in checked if field[0].lower() not in (b"content-length", b"transfer-encoding")]
        return checked, None, False
    if is_chunked and length is not None:
        checked = [field for field in checked if field[0].lower() != b"content-length"]
        length = None
    return checked, length, is_chunked


def checked_accept(subprotocol: str | None, fields: Iterable[tuple[Any, Any]], offered: Collection[str]) -> Headers:
    """What the app adds to the 101 that accepts a WebSocket, beside its subprotocol: one of those that are offered."""
    checked: Headers = []
    chosen = [subprotocol] if subprotocol else []
    for name, value in checked_fields(fields):
        lower = name.lower()
        if lower in _OF_THE_HANDSHAKE:
            continue
        if lower in _SERVERS_OWN:
            raise MisusedByApp(f"The header {lower.decode()!r} of a WebSocket handshake is the server's.")
        if lower == b"sec-websocket-protocol":
            chosen.append(value.decode("latin-1"))
        checked.append((name, value))
    if len(chosen) > 1:
        raise MisusedByApp("Two subprotocols for one WebSocket.")
    if chosen and chosen[0] not in offered:
        raise MisusedByApp(f"unexpected subprotocol {chosen[0]}")
    return checked


class ResponseBody:
    """Counts what an app sends as the body of a response against what its head declares."""

    __slots__ = ("_is_head", "dropped", "has_none", "is_short", "left")

    def __init__(self, status: int = 200, is_head: bool = False, length: int | None = None) -> None:
        self._is_head = is_head
        #: There is no body, and so no trailers either (RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5).
        self.has_none = is_head or status in BODILESS
        #: Bytes that are still to come; None: their number was not declared.
        self.left = None if self.has_none else length
        #: The body ended before that.
        self.is_short = False
        #: Bytes were sent as the body of a 204 or 304. Whoever reports it sets it back.
        self.dropped = False

    def take(self, data: bytes, more_body: bool) -> bytes:
        """What of a part is to be sent. Raises MisusedByApp, and counts nothing, where it is more than was declared."""
        if self.has_none:
            if data and not self._is_head:
                self.dropped = True
            return b""
        if self.left is not None:
            left = self.left - len(data)
            if left < 0:
                raise MisusedByApp(TOO_LONG)
            self.left = left
            if left and not more_body:
                self.is_short = True
        return data

    def takes(self, size: int) -> bool:
        """Whether a part of so many bytes, at least one, is to be sent, which is not counted yet. Raises as `take`."""
        if self.has_none:
            if not self._is_head:
                self.dropped = True
            return False
        if self.left is not None and size > self.left:
            raise MisusedByApp(TOO_LONG)
        return True

    def count(self, size: int) -> None:
        """Count a part that is sent past whoever sends the others, and behind which more may follow."""
        if self.left is not None:
            self.left -= size

    @property
    def is_open_ended(self) -> bool:
        """Whether there is a body and its length was not declared: such a one is chunked, in HTTP/1.1."""
        return self.left is None and not self.has_none

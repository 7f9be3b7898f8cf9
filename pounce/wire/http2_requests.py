"""What a request over HTTP/2 may say: from the fields of its block to a request that is checked.

Implements RFC 9113 section 8, RFC 8441 section 4, RFC 9218 section 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from pounce.settings import Http2, Limits
from pounce.wire.http2_frames import ENHANCE_YOUR_CALM, PROTOCOL_ERROR, StreamFault
from pounce.wire.request_limits import refusal_of
from pounce.wire.response_fields import Headers, bad_in_value
from pounce.wire.strictness import NO_TRAILERS, is_host

#: Fields that belong to a connection and have no place in HTTP/2 (RFC 9113 section 8.2.2).
CONNECTION_FIELDS = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_is_path = re.compile(rb"(?:/[\x21\x22\x24-\x7e]*|\*)").fullmatch
_is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch

_PADDING = (b" ", b"\t", b"")

#: The priority of a request that says nothing: urgency 3, not incremental (RFC 9218 section 4).
DEFAULT_URGENCY = 3

#: A request's fields that say how its connection or body is handled, or that are joined.
_SPECIAL = frozenset((b"te", b"host", b"cookie", b"content-length", b"expect", b"priority"))


class RequestHead(NamedTuple):
    """A checked request."""

    method: str
    path: bytes
    query: bytes
    headers: Headers
    content_length: int | None
    expect_continue: bool
    takes_trailers: bool
    urgency: int
    incremental: bool
    #: Of an extended CONNECT (RFC 8441 section 4).
    protocol: bytes
    #: The status it is answered with instead of by the app, or 0.
    refusal: int
    #: Bytes of its fields, and 32 for each (RFC 9113 section 6.5.2).
    size: int


def read_request(
    fields: Iterable[tuple[bytes, bytes]], limits: Http2, allows_connect_protocol: bool, common: Limits, plain: int
) -> RequestHead:
    """The request that these fields are. Raises StreamFault.

    `common`: the limits of requests of any version; `plain` is their `plain_size`.
    """
    headers: Headers = []
    pseudo: dict[bytes, bytes] = {}
    host: bytes | None = None
    content_length: int | None = None
    expect_continue = takes_trailers = incremental = False
    urgency = DEFAULT_URGENCY
    crumbs: list[bytes] = []
    cookie_at = 0
    size = count = 0
    for name, value in fields:
        size += 32 + len(name) + len(value)
        count += 1
        if bad_in_value(value):
            raise StreamFault(PROTOCOL_ERROR, "a control character in a field value")
        if name[:1] == b":":
            if headers or crumbs or name not in _PSEUDO or name in pseudo:
                raise StreamFault(PROTOCOL_ERROR, "a pseudo-header field that is unknown, twice there or too late")
            pseudo[name] = value
            continue
        if not _is_name(name) or name in CONNECTION_FIELDS:  # RFC 9113 sections 8.2.1 and 8.2.2
            raise StreamFault(PROTOCOL_ERROR, "a field name that is not allowed")
        if value and (value[:1] in _PADDING or value[-1:] in _PADDING):
            raise StreamFault(PROTOCOL_ERROR, "white space around a field value")
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
                if content_length is not None or not value.isdigit() or len(value) > 18:
                    raise StreamFault(PROTOCOL_ERROR, "a bad or second Content-Length")
                content_length = int(value)
            elif name == b"expect":
                expect_continue = b"100-continue" in [token.strip() for token in value.lower().split(b",")]
            elif name == b"priority":
                urgency, incremental = read_priority(value)
            elif value.lower() != b"trailers":
                raise StreamFault(PROTOCOL_ERROR, "TE that is not trailers")
            else:
                takes_trailers = True
        headers.append((name, value))
    if crumbs:  # RFC 9113 section 8.2.3
        headers.insert(cookie_at, (b"cookie", b"; ".join(crumbs)))

    # RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4
    method, authority, path = pseudo.get(b":method", b""), pseudo.get(b":authority"), pseudo.get(b":path")
    if not _is_method(method):
        raise StreamFault(PROTOCOL_ERROR, "no or no valid :method")
    if authority is not None:
        if not is_host(authority):
            raise StreamFault(PROTOCOL_ERROR, "no valid :authority")
        if host is None:
            headers.insert(0, (b"host", authority))
        elif host.lower() != authority.lower():
            raise StreamFault(PROTOCOL_ERROR, "Host is not :authority")
    elif host is not None and not is_host(host):
        raise StreamFault(PROTOCOL_ERROR, "no valid Host")
    protocol = pseudo.get(b":protocol")
    if protocol is not None and (not allows_connect_protocol or method != b"CONNECT" or not authority):
        raise StreamFault(PROTOCOL_ERROR, ":protocol has no place here")
    refusal = 0
    if size > plain or count > common.fields or content_length:
        refusal = refusal_of(method, path or b"", headers, size, content_length, common)
    if size > limits.header_list_size or count > limits.header_count:
        refusal = refusal or 431
    if method == b"CONNECT" and protocol is None:
        if b":scheme" in pseudo or path is not None or not authority:
            raise StreamFault(PROTOCOL_ERROR, "CONNECT with a scheme or a path, or without an authority")
        refusal = refusal or 400  # as with HTTP/1.1: no app can make a tunnel of it
        path = b""
    elif not _is_scheme(pseudo.get(b":scheme", b"")) or path is None or not _is_path(path):
        raise StreamFault(PROTOCOL_ERROR, "no or no valid :scheme or :path")
    elif path == b"*" and method != b"OPTIONS":
        raise StreamFault(PROTOCOL_ERROR, "* is for OPTIONS")
    elif authority is None and host is None:  # as with HTTP/1.1; RFC 9114 section 4.3.1 says so of HTTP/3
        refusal = refusal or 400
    path, _, query = path.partition(b"?")
    return RequestHead(
        method.decode("ascii"),
        path,
        query,
        headers,
        content_length,
        expect_continue,
        takes_trailers,
        urgency,
        incremental,
        protocol or b"",
        refusal,
        size,
    )


def check_trailers(fields: Iterable[tuple[bytes, bytes]], common: Limits) -> None:
    """A request's trailers, for which ASGI has no place. Raises StreamFault."""
    fields = list(fields)
    if refusal_of(b"", b"", fields, common.head_size + 1, None, common):
        raise StreamFault(ENHANCE_YOUR_CALM, "trailers too large")
    for name, value in fields:
        if not _is_name(name) or name in CONNECTION_FIELDS or name in NO_TRAILERS:
            raise StreamFault(PROTOCOL_ERROR, "a trailer that is not allowed")
        if bad_in_value(value) or (value and (value[:1] in _PADDING or value[-1:] in _PADDING)):
            raise StreamFault(PROTOCOL_ERROR, "a trailer's value that is not allowed")


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

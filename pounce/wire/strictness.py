"""What a request over HTTP/1.1 may say beyond what its parser checks: one rule for all of them, or as with uvicorn.

The wires of a worker are handed one such object. What is checked here costs nothing where a head is of the plain kind:
the parsers' own checks do for that, and a Host that has passed is known. Implements RFC 9112 sections 2 to 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pounce.errors import BadRequest
from pounce.settings import Parsing

Headers = list[tuple[bytes, bytes]]

INVALID_REQUEST = "Invalid HTTP request received."
_UNKNOWN_CODING = "Transfer coding not implemented."

#: Digits of a Content-Length: no body is larger, and no parser counts further.
MAX_LENGTH_DIGITS = 18

#: Hosts that are known to be valid, at most.
_MOST_HOSTS = 64

#: Fields that no recipient may take from behind a body (RFC 9110 section 6.5.1).
NO_TRAILERS = frozenset(
    (
        b"connection", b"content-encoding", b"content-length", b"content-range", b"content-type", b"host", b"te",
        b"trailer", b"transfer-encoding", b"upgrade",
    )
)  # fmt: skip

_has_control_character = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search

# RFC 9112 section 3.2, RFC 3986 section 3.2 without user information and without the comma, which would be two hosts.
_HOST = (
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})*"
    rb"|\[[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%25[A-Za-z0-9\-._~]+)?\])"
)
_PORT = rb"(?::(?:[0-9]{0,4}|[0-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"

#: Whether bytes are a host as `Host` and `:authority` have it, perhaps with a port. Empty ones are.
is_host = re.compile(_HOST + _PORT).fullmatch

_absolute_form = re.compile(rb"(?i:https?)://([^/?#]+)([^#]*)").fullmatch
_is_handshake_key = re.compile(rb"[A-Za-z0-9+/]{22}==").fullmatch  # 16 bytes in base64
_codings_before_chunked = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9a-z]+(?:[ \t]*;[^,]*)?[ \t]*,[ \t]*)+chunked").fullmatch


def body_framing(http_version: str, lengths: list[bytes], codings: list[bytes]) -> int:
    """How the body of a request is delimited: its length, or -1 where it is chunked (RFC 9112 section 6.3).

    The values are those of all Content-Length and Transfer-Encoding fields. Raises BadRequest.
    """
    if codings:
        coding = b",".join(codings).strip(b" \t").lower()
        if lengths or http_version == "1.0":
            raise BadRequest(INVALID_REQUEST)
        if coding != b"chunked":
            if _codings_before_chunked(coding) and coding.count(b"chunked") == 1:
                raise BadRequest(_UNKNOWN_CODING, status=501)
            raise BadRequest(INVALID_REQUEST)
        return -1
    if not lengths:
        return 0
    length = lengths[0].strip(b" \t")
    if len(lengths) > 1 or not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        raise BadRequest(INVALID_REQUEST)
    return int(length)


def framing_of(head: bytes) -> int:
    """The same of a head as it came, in lower case."""
    if b"\ncontent-length" not in head and b"\ntransfer-encoding" not in head:
        return 0
    line, *lines = head.split(b"\r\n")
    fields = [field.partition(b":") for field in lines]
    lengths = [value for name, _, value in fields if name == b"content-length"]
    codings = [value for name, _, value in fields if name == b"transfer-encoding"]
    return body_framing("1.0" if line.endswith(b" http/1.0") else "1.1", lengths, codings)


class Rules:
    """RFC 9112, where it leaves a choice the one that no other recipient can read in another way."""

    is_strict = True

    def __init__(self) -> None:
        #: Values of Host that need not be looked at again.
        self.hosts: set[bytes | None] = set()

    def check(self, method: str, target: bytes, http_version: str, headers: Headers) -> bool:
        """Raise BadRequest for a head that may not be, where the parser lets it pass. Changes values that need it.

        Returns whether the head says how a body is delimited.
        """
        host: bytes | None = None
        lengths: list[bytes] = []
        codings: list[bytes] = []
        for field in headers:
            name, value = field
            if name == b"host":
                if host is not None:
                    raise BadRequest(INVALID_REQUEST)
                host = value
                if value not in self.hosts:
                    headers[headers.index(field)] = (name, self._learn(value))
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
                headers[headers.index(field)] = (name, value.strip(b" \t").lower())
        if http_version != "1.1" and http_version != "1.0":
            raise BadRequest(INVALID_REQUEST)
        if (host is None and http_version == "1.1") or not target.isascii():
            raise BadRequest(INVALID_REQUEST)
        if method == "CONNECT" or method == "PRI":
            self.method(method)
        if not lengths and not codings:
            return False
        body_framing(http_version, lengths, codings)
        return True

    def _learn(self, host: bytes) -> bytes:
        """A host that was not seen before, as it has to be. Raises BadRequest where it is none."""
        host = host.strip(b" \t")
        if not is_host(host):
            raise BadRequest(INVALID_REQUEST)
        if len(self.hosts) >= _MOST_HOSTS:
            self.hosts.clear()
        self.hosts.add(host)
        return host

    def method(self, method: str) -> str:
        """A method that is none of the usual ones. Raises BadRequest for those that mean no request to an app."""
        if method in ("CONNECT", "PRI"):  # RFC 9110 section 9.3.6: no app can make a tunnel; RFC 9113 section 3.4
            raise BadRequest(INVALID_REQUEST)
        return method

    def origin_form(self, method: str, target: bytes, headers: Headers) -> bytes | None:
        """The target in origin form, or `*`, of one in another form (RFC 9112 section 3.2). Raises BadRequest.

        The authority of an absolute-form is put in Host's place in the headers.
        """
        if target == b"*" and method == "OPTIONS":
            return target
        found = _absolute_form(target)
        if found is None or not is_host(found[1]) or found[1][:1] == b":":
            raise BadRequest(INVALID_REQUEST)
        headers[:] = [(b"host", found[1]), *(field for field in headers if field[0] != b"host")]
        path = found[2]
        if path[:1] != b"/":
            path = b"*" if method == "OPTIONS" and not path else b"/" + path
        return path

    def check_trailers(self, trailers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise BadRequest for fields that have no place behind a body. Their names are in lower case."""
        for name, value in trailers:
            if name in NO_TRAILERS or _has_control_character(value):
                raise BadRequest(INVALID_REQUEST)

    def check_handshake(self, http_version: str, headers: Headers) -> None:
        """Raise BadRequest for a request for a WebSocket that a library might let pass (RFC 6455 section 4.2.1)."""
        has_key = False
        for name, value in headers:
            if name == b"sec-websocket-key":
                if has_key or not _is_handshake_key(value):
                    raise BadRequest(INVALID_REQUEST)
                has_key = True
        if http_version == "1.0":
            raise BadRequest(INVALID_REQUEST)

    def refusal_of(self, data: bytes) -> BadRequest:
        """What to raise for bytes with a head that a parser has refused, where it does not say why."""
        for head in data.lower().split(b"\r\n\r\n"):
            try:
                framing_of(head)
            except BadRequest as exc:
                if exc.status == 501:
                    return exc.with_traceback(None)
        return BadRequest(INVALID_REQUEST)


class UvicornRules(Rules):
    """As uvicorn on the same parser, but for a head that two recipients may read in two ways: where it ends, or for
    whom it is (RFC 9112 sections 3.2, 6.1 and 6.3, RFC 9113 section 3.4).
    """

    is_strict = False

    def check(self, method: str, target: bytes, http_version: str, headers: Headers) -> bool:
        """See `Rules.check`."""
        hosts = lengths = 0
        coding = known = None
        for name, value in headers:
            if name == b"host":
                hosts += 1
                known = value
            elif name == b"content-length":
                lengths += 1
            elif name == b"transfer-encoding":
                coding = value if coding is None else coding + b"," + value
            if _has_control_character(value):
                raise BadRequest(INVALID_REQUEST)
        if hosts > 1 or lengths > 1 or method == "PRI" or not http_version.startswith("1."):
            raise BadRequest(INVALID_REQUEST)
        if coding is not None and (lengths or http_version == "1.0" or coding.strip().lower() != b"chunked"):
            raise BadRequest(INVALID_REQUEST)
        if len(self.hosts) >= _MOST_HOSTS:
            self.hosts.clear()
        self.hosts.add(known)
        return lengths > 0 or coding is not None

    def method(self, method: str) -> str:
        """See `Rules.method`."""
        return method

    def origin_form(self, method: str, target: bytes, headers: Headers) -> bytes | None:
        """See `Rules.origin_form`. None: it is what the parser's wire makes of it."""
        return None

    def check_handshake(self, http_version: str, headers: Headers) -> None:
        """See `Rules.check_handshake`."""

    def refusal_of(self, data: bytes) -> BadRequest:
        """See `Rules.refusal_of`."""
        return BadRequest(INVALID_REQUEST)

    def check_trailers(self, trailers: Iterable[tuple[bytes, bytes]]) -> None:
        """See `Rules.check_trailers`."""


def rules_of(parsing: Parsing) -> Rules:
    """The rules that the settings ask for, for one worker."""
    return Rules() if parsing.rules == "strict" else UvicornRules()

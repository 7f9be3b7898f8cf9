"""What trusted proxies say of a request, read from their fields and applied to its scope.

Runs on: the loop of the worker. Knows nothing of: who is trusted, connections. Implements RFC 7239, and the customs of
X-Forwarded-Host, -Port and -Prefix. docs/behind-a-proxy.md has the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv6Address
from typing import Any, NamedTuple, TypeVar

from pounce.addresses import MAX_HOST_SIZE, address_of, split_port

#: The header field of each one that `--forwarded-fields` may list.
FIELD_NAMES = {
    "for": b"x-forwarded-for",
    "proto": b"x-forwarded-proto",
    "host": b"x-forwarded-host",
    "port": b"x-forwarded-port",
    "prefix": b"x-forwarded-prefix",
    "forwarded": b"forwarded",
}

_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_WEBSOCKET_SCHEME = {"http": "ws", "https": "wss"}
_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

_AUTHORITY = re.compile(r"([A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?").fullmatch
_PORT = re.compile(r"[0-9]{1,5}").fullmatch
#: Segments of unreserved characters and delimiters. None that is encoded: `root_path` is one text in two forms.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+;=:@-]+)*/?").fullmatch

#: RFC 7239 section 4. Real proxies do not always quote addresses with ports.
_PAIR = r"""([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+))"""
_ELEMENT = re.compile(rf"(?:{_PAIR})?(?:[ \t]*;[ \t]*(?:{_PAIR})?)*", re.DOTALL).fullmatch
_find_pairs = re.compile(_PAIR, re.DOTALL).findall
#: Commas within the quoted strings of one element, beyond which it is garbage.
_MAX_COMMAS = 8

T = TypeVar("T")

Client = tuple[str, int]


class Told(NamedTuple):
    """What the fields of one request say. What they do not say, or say wrongly, is None or empty."""

    client: Client | None
    #: Any text.
    scheme: str
    #: A host, perhaps with a port.
    host: str | None
    port: int | None
    #: Without a slash at its end.
    prefix: str


def read(
    headers: Iterable[tuple[bytes, bytes]],
    fields: frozenset[bytes],
    is_trusted: Callable[[str], bool],
    hops: int | None,
) -> Told:
    """What is told of a request whose peer is trusted.

    `fields`: the names of those that count. `hops`: how many proxies there are; None: those that `is_trusted`.
    """
    lines: dict[bytes, list[str]] = {name: [] for name in fields}
    for name, value in headers:
        if name in lines:
            lines[name].append(value.decode("latin-1"))

    def last(field: str) -> str | None:
        return _value_of(lines.get(FIELD_NAMES[field], ()), hops)

    prefix = last("prefix") or ""
    port, prefix = _port(last("port")), prefix.rstrip("/") if _is_prefix(prefix) else ""
    forwarded = lines.get(b"forwarded")
    if forwarded:
        element = deciding(_elements(", ".join(forwarded)), lambda pairs: pairs.get("for", ""), is_trusted, hops)
        if element is None:
            return Told(None, "", None, port, prefix)
        client, host = client_in(element.get("for", "")), element.get("host")
        proto = element.get("proto", "").lower()
    else:
        chain = lines.get(b"x-forwarded-for")
        entry = deciding(_entries(", ".join(chain)), lambda entry: entry, is_trusted, hops) if chain else None
        client, host = client_in(entry or ""), last("host")
        said = lines.get(b"x-forwarded-proto")
        # Of several in one line uvicorn believes none.
        proto = (said[-1].strip(" \t") if said and hops is None else last("proto")) or ""
    return Told(client, proto, host if host and _is_authority(host) else None, port, prefix)


def deciding(
    from_the_right: Iterable[T], host_of: Callable[[T], str], is_trusted: Callable[[str], bool], hops: int | None
) -> T | None:
    """Which element of a chain of proxies is about the client. Each proxy has appended one, about its own peer.

    With `hops` the one so many from the right; None where there are fewer. Else the first one that is about none of our
    proxies, or the left-most, for a request that a proxy's machine has made itself.
    """
    element = None
    for number, element in enumerate(from_the_right, 1):
        if number == hops:
            return element
        if hops is None and not is_trusted(split_port(host_of(element))[0]):
            return element
    return None if hops else element


def client_in(entry: str) -> Client | None:
    """The address and the port (0: not told) of an entry; None for `unknown`, `_hidden` and all that is no address."""
    host, port = split_port(entry)
    if not port and ":_" in entry:  # a port that is hidden (RFC 7239 section 6.3)
        host = split_port(entry.partition(":_")[0])[0]
    return None if address_of(host) is None else (host, port)


def apply(scope: dict[str, Any], told: Told) -> None:
    """Change a scope of HTTP or WebSocket by what was told: client, scheme, server, `Host`, root_path and paths."""
    if told.client is not None:
        scope["client"] = told.client
    set_scheme(scope, told.scheme)
    if told.host is not None or told.port is not None:
        _set_host(scope, told.host, told.port)
    prefix = told.prefix
    if prefix:
        scope["root_path"] = prefix + scope["root_path"]
        scope["path"] = prefix + scope["path"]
        if scope.get("raw_path") is not None:
            scope["raw_path"] = prefix.encode("ascii") + scope["raw_path"]


def set_scheme(scope: dict[str, Any], scheme: str) -> None:
    """As a proxy has told it, where that is one; of a WebSocket it may say http."""
    if scheme in _SCHEMES:
        scope["scheme"] = _WEBSOCKET_SCHEME.get(scheme, scheme) if scope["type"] == "websocket" else scheme


def _set_host(scope: dict[str, Any], told_host: str | None, told_port: int | None) -> None:
    headers = scope["headers"]
    authority = told_host
    if authority is None:
        authority = next((value.decode("latin-1") for name, value in headers if name == b"host"), "")
        if not _is_authority(authority):
            return
    host, colon, port = authority, "", ""
    if not authority.endswith("]"):
        host, colon, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
    usual = _DEFAULT_PORTS.get(scope["scheme"], 80)
    if told_port is not None:
        authority = host if told_port == usual else f"{host}:{told_port}"
    scope["server"] = (host.strip("[]"), told_port or (int(port) if colon else usual))
    scope["headers"] = [(b"host", authority.encode("ascii")), *(field for field in headers if field[0] != b"host")]


def _value_of(lines: Iterable[str], hops: int | None) -> str | None:
    """The value that counts of a field which most proxies replace, and some append to.

    A single one is what the nearest proxy wrote or passed on. Of several it is the nearest one's, with `hops` the
    farthest proxy's; None where there are fewer.
    """
    values = [value.strip(" \t") for line in lines for value in line.split(",")]
    if len(values) < 2 or hops is None:
        return values[-1] if values else None
    return values[-hops] if len(values) >= hops else None


def _entries(chain: str) -> Iterator[str]:
    return (entry.strip(" \t") for entry in reversed(chain.split(",")))


def _elements(value: str) -> Iterator[dict[str, str]]:
    """The elements of Forwarded from the right, so that nothing a client has sent changes how a proxy's are read.

    What is no element comes out empty, and is the last one.
    """
    end = len(value)
    while end >= 0:
        start = end
        for _ in range(_MAX_COMMAS + 1):
            start = value.rfind(",", 0, start)
            text = value[start + 1 : end].strip(" \t")
            if _ELEMENT(text) or start < 0:
                break
        pairs = _pairs(text)
        if pairs is None:
            yield {}
            return
        yield pairs
        end = start


def _pairs(element: str) -> dict[str, str] | None:
    if not _ELEMENT(element):
        return None
    found = [(name.lower(), re.sub(r"\\(.)", r"\1", quoted) or token) for name, quoted, token in _find_pairs(element)]
    return dict(found) if len({name for name, _ in found}) == len(found) else None


def _port(text: str | None) -> int | None:
    return int(text) if text and _PORT(text) and 0 < int(text) < 65536 else None


def _is_authority(text: str) -> bool:
    found = _AUTHORITY(text)
    if found is None or len(found[1]) > MAX_HOST_SIZE or (found[2] and _port(found[2]) is None):
        return False
    return found[1][0] != "[" or isinstance(address_of(found[1][1:-1]), IPv6Address)


def _is_prefix(text: str) -> bool:
    return _PREFIX(text) is not None and not {".", ".."} & set(text.split("/"))

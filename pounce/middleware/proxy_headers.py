"""Client address and scheme as a trusted proxy reports them (`X-Forwarded-For`, `X-Forwarded-Proto`).

Runs on: the loop of the worker whose app it wraps. Knows nothing of: connections, parsers, threads.
Compatible with uvicorn's middleware; `--forwarded-allow-ips` says who is trusted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pounce.asgi import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_SCHEMES = frozenset({"http", "https", "ws", "wss"})
_WEBSOCKET_SCHEME = {"http": "ws", "https": "wss"}

#: What a proxy tells of its client. Names in a scope are in lower case.
FORWARDED_FIELDS = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})

#: Longest possible DNS name. What is longer cannot be an address either, and is kept out of the cache.
_HOST_SIZE_MAX = 253
_CACHED_HOSTS_MAX = 4096

_HOST_PORT = re.compile(r"\[(?P<v6>[^]]*)\](:(?P<v6_port>\d{1,18})|:.*)?|(?P<host>[^:]*):(?P<port>\d{1,18})", re.DOTALL)


class ProxyHeadersMiddleware:
    """Sets `scope["client"]` and `scope["scheme"]` from the forwarded headers of a trusted peer.

    `trusted_hosts`: addresses, networks (`10.0.0.0/8`) and literals (such as a unix socket's name), as a list or as
    one comma-separated string; `"*"` trusts everybody.
    """

    def __init__(self, app: ASGI3Application, trusted_hosts: list[str] | str = "127.0.0.1") -> None:
        self.app = app
        self.trusted_hosts = _TrustedHosts(trusted_hosts)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan":
            client = scope.get("client")
            if self.trusts(client[0] if client else None):
                self.rewrite(scope)  # type: ignore[arg-type]
        await self.app(scope, receive, send)

    def trusts(self, host: str | None) -> bool:
        """Whether forwarded headers of this peer count. The answer for a host never changes, so it may be kept."""
        return host in self.trusted_hosts

    def rewrite(self, scope: dict[str, Any], /) -> None:
        """Apply the forwarded headers to an http or websocket scope, in place.

        The caller has made sure that the peer is one that `trusts()` accepts. Header names in the scope are lower-case.
        """
        forwarded_proto: bytes | None = None
        forwarded_for: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded_for.append(value)
            elif name == b"x-forwarded-proto":
                forwarded_proto = value

        if forwarded_proto is not None:
            scheme = forwarded_proto.decode("latin-1").strip()
            if scheme in _SCHEMES:
                scope["scheme"] = _WEBSOCKET_SCHEME.get(scheme, scheme) if scope["type"] == "websocket" else scheme

        if forwarded_for:
            # Several header lines are one list (RFC 9110 section 5.3).
            chain = b", ".join(forwarded_for).decode("latin-1")
            client = self.trusted_hosts.get_trusted_client_address(chain)
            if client[0]:  # an empty entry says nothing: the peer stays the client
                scope["client"] = client


def _parse_raw_hosts(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


def _parse_host_port(value: str) -> tuple[str, int]:
    """Split one entry of the chain into host and port (0 where there is none).

    Known forms: a bare address, `1.2.3.4:port`, `[v6]` and `[v6]:port`. Anything else comes back whole, so that
    garbage never turns into an address that somebody trusts.
    """
    match = _HOST_PORT.fullmatch(value)
    if match is None:
        return value, 0
    host = match["v6"] if match["host"] is None else match["host"]
    return host, int(match["port"] or match["v6_port"] or 0)


class _TrustedHosts:
    """The set of peers whose forwarded headers count. `host in trusted` is the question it answers.

    Addresses are compared as addresses, because IPv6 has many spellings for one; what is neither an address nor a
    network is a literal and matches itself only.
    """

    def __init__(self, trusted_hosts: list[str] | str) -> None:
        self.always_trust: bool = trusted_hosts in ("*", ["*"])
        self.trusted_literals: set[str] = set()
        self.trusted_hosts: set[_IPAddress] = set()
        self.trusted_networks: set[_IPNetwork] = set()

        if not self.always_trust:
            for entry in _parse_raw_hosts(trusted_hosts) if isinstance(trusted_hosts, str) else trusted_hosts:
                self._add(entry)

        # A proxy's address comes with every request, and parsing it costs more than the rest of the middleware.
        self._trusts_cached: Callable[[str], bool] = lru_cache(maxsize=_CACHED_HOSTS_MAX)(self._trusts)

    def _add(self, entry: str) -> None:
        try:
            if "/" in entry:
                self.trusted_networks.add(ipaddress.ip_network(entry))
            else:
                self.trusted_hosts.add(ipaddress.ip_address(entry))
        except ValueError:
            self.trusted_literals.add(entry)

    def __contains__(self, host: str | None) -> bool:
        if self.always_trust:
            return True
        if not host:
            return False
        return self._trusts_cached(host) if len(host) <= _HOST_SIZE_MAX else self._trusts(host)

    def _trusts(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host in self.trusted_literals
        return address in self.trusted_hosts or any(address in network for network in self.trusted_networks)

    def get_trusted_client_address(self, x_forwarded_for: str) -> tuple[str, int]:
        """The client's `(host, port)` in a chain of proxies; the port is 0 where the chain names none.

        Each proxy appends the peer it saw, so the first entry from the right that is not a proxy of ours is the
        client. Where every entry is trusted, the client is the left-most (a request from a proxy machine itself).
        """
        chain = _parse_raw_hosts(x_forwarded_for)
        if not self.always_trust:
            for entry in reversed(chain):
                client = _parse_host_port(entry)
                if client[0] not in self:
                    return client
        return _parse_host_port(chain[0])

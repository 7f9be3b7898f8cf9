"""What a trusted proxy tells of its client: `X-Forwarded-For`, `X-Forwarded-Proto`, others where they are asked for.

Runs on: the loop of the worker whose app it wraps. Knows nothing of: connections, parsers, threads.
Compatible with uvicorn's middleware; `--forwarded-allow-ips` says who is trusted. docs/behind-a-proxy.md has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from pounce import names
from pounce.addresses import (
    EVERYBODY,
    MAX_CACHED_HOSTS,
    MAX_HOST_SIZE,
    UNIX,
    IPAddress,
    IPNetwork,
    address_of,
    both_forms,
    both_forms_of_network,
    split_port as _parse_host_port,
)
from pounce.asgi import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from pounce.middleware.forwarded import FIELD_NAMES, apply, read, set_scheme

#: What uvicorn believes.
_USUAL_FIELDS = ("for", "proto")


class ProxyHeadersMiddleware:
    """Sets `scope["client"]` and `scope["scheme"]` from the forwarded headers of a trusted peer.

    `trusted_hosts`: addresses, networks (`10.0.0.0/8`) and literals (`unix`: whoever comes by a unix socket), as a list
    or as one comma-separated string; `"*"` trusts everybody. `fields`: which of `FIELD_NAMES` are believed. `hops`: the
    number of proxies, the peer included, whose entries count whatever addresses they have; None: those that are listed.
    """

    def __init__(
        self,
        app: ASGI3Application,
        trusted_hosts: list[str] | str = "127.0.0.1",
        *,
        fields: Iterable[str] = _USUAL_FIELDS,
        hops: int | None = None,
    ) -> None:
        self.app = app
        self.trusted_hosts = _TrustedHosts(trusted_hosts)
        #: The names of the fields that are believed. Without one of them `rewrite` changes nothing.
        self.field_names = frozenset(FIELD_NAMES[field] for field in fields)
        self._hops = hops
        self._is_usual = hops is None and self.field_names == {FIELD_NAMES[field] for field in _USUAL_FIELDS}
        # uvicorn's own tests have texts become clients that are no addresses.
        self._takes_any_text = names.product() == "uvicorn"

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "lifespan" and self.trusts(scope.get("client"), scope.get("server")):
            self.rewrite(scope)  # type: ignore[arg-type]
        await self.app(scope, receive, send)

    def trusts(self, client: Any, server: Any) -> bool:
        """Whether forwarded headers of the peer with these ends of its connection count, as a scope has them."""
        if client:
            return client[0] in self.trusted_hosts
        # Without an address, and with a path in place of the server's port: a unix socket.
        return (UNIX if server and server[1] is None else None) in self.trusted_hosts

    def rewrite(self, scope: dict[str, Any], /) -> None:
        """Apply the forwarded headers to an http or websocket scope, in place.

        The caller has made sure that the peer is one that `trusts()` accepts. Header names in the scope are lower-case.
        """
        if not self._is_usual:
            apply(scope, read(scope["headers"], self.field_names, self.trusted_hosts.__contains__, self._hops))
            return
        forwarded_proto: bytes | None = None
        forwarded_for: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded_for.append(value)
            elif name == b"x-forwarded-proto":
                forwarded_proto = value

        if forwarded_proto is not None:
            set_scheme(scope, forwarded_proto.decode("latin-1").strip())

        if forwarded_for:
            # Several header lines are one list (RFC 9110 section 5.3).
            chain = b", ".join(forwarded_for).decode("latin-1")
            client, is_address = self.trusted_hosts.find_client(chain)
            # An entry that is empty or no address says nothing: the peer stays the client.
            if is_address or (self._takes_any_text and client[0]):
                scope["client"] = client


def _parse_raw_hosts(value: str) -> list[str]:
    return [item.strip() for item in value.split(",")]


class _TrustedHosts:
    """The set of peers whose forwarded headers count. `host in trusted` is the question it answers.

    Addresses are compared as addresses, because IPv6 has many spellings for one, and one for each of IPv4; what is
    neither an address nor a network is a literal and matches itself only.
    """

    def __init__(self, trusted_hosts: list[str] | str) -> None:
        self.always_trust: bool = trusted_hosts in (EVERYBODY, [EVERYBODY])
        self.trusted_literals: set[str] = set()
        self.trusted_hosts: set[IPAddress] = set()
        self.trusted_networks: set[IPNetwork] = set()

        if not self.always_trust:
            for entry in _parse_raw_hosts(trusted_hosts) if isinstance(trusted_hosts, str) else trusted_hosts:
                self._add(entry)

        # A proxy's address comes with every request, and parsing it costs more than the rest of the middleware.
        self._known: Callable[[str], tuple[bool, bool]] = lru_cache(maxsize=MAX_CACHED_HOSTS)(self._look_up)

    def _add(self, entry: str) -> None:
        try:
            if "/" in entry:
                self.trusted_networks.update(both_forms_of_network(ip_network(entry)))
            else:
                self.trusted_hosts.update(both_forms(ip_address(entry)))
        except ValueError:
            self.trusted_literals.add(entry)

    def __contains__(self, host: str | None) -> bool:
        if self.always_trust:
            return True
        if not host:
            return False
        return (self._known(host) if len(host) <= MAX_HOST_SIZE else self._look_up(host))[0]

    def _look_up(self, host: str) -> tuple[bool, bool]:
        """Whether a host is trusted, and whether it is an address."""
        address = address_of(host)
        if address is None:
            return host != "" and host in self.trusted_literals, False
        forms = both_forms(address)
        is_trusted = any(form in self.trusted_hosts for form in forms) or any(
            form in network for form in forms for network in self.trusted_networks
        )
        return is_trusted, True

    def get_trusted_client_address(self, x_forwarded_for: str) -> tuple[str, int]:
        """The client's `(host, port)` in a chain of proxies; the port is 0 where the chain names none.

        Each proxy appends the peer it saw, so the first entry from the right that is not a proxy of ours is the
        client. Where every entry is trusted, the client is the left-most (a request from a proxy machine itself).
        """
        return self.find_client(x_forwarded_for)[0]

    def find_client(self, x_forwarded_for: str) -> tuple[tuple[str, int], bool]:
        """As `get_trusted_client_address`, and whether that is an address."""
        chain = x_forwarded_for.split(",")
        for entry in chain[:1] if self.always_trust else reversed(chain):
            client = _parse_host_port(entry.strip())
            host = client[0]
            is_trusted, is_address = self._known(host) if len(host) <= MAX_HOST_SIZE else self._look_up(host)
            if not is_trusted:
                break
        return client, is_address

"""Proxies before the server: what is believed of what they tell. docs/behind-a-proxy.md explains each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, ClassVar

from pounce.addresses import EVERYBODY, UNIX, problem_with
from pounce.errors import wrong_value
from pounce.settings.group import Group, option
from pounce.settings.kinds import Integer, Kind, Names

#: What `--forwarded-fields` may list: the fields of X-Forwarded-NAME, and that of RFC 7239.
FIELDS = ("for", "proto", "host", "port", "prefix", "forwarded")


class TrustedHosts(Kind):
    """Addresses, networks and literals, as a list or in one string with commas. It stays as it was given."""

    optional = True
    metavar = "TEXT"
    words = "a list of addresses, networks and names"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        list(_entries(value))
        return value

    def checked(self, value: Any, called: str = "") -> Any:
        """See `Kind`. What is meant as a network and is none would match nobody's address."""
        checked = super().checked(value, called)
        for problem in filter(None, map(problem_with, _entries(value or ()))):
            raise wrong_value(f"{called}: {problem}" if called else problem)
        return checked


class PeerList(Kind):
    """Peers by where they are: networks, addresses, `unix`, or `*` for all of them; by comma, or a list."""

    metavar = "LIST"
    words = "a list of networks (10.0.0.0/8), addresses, unix, or *"

    def read(self, value: Any) -> Any:
        """See `Kind`: a tuple."""
        entries = tuple(dict.fromkeys(_entries(value or ())))
        for one in entries:
            if one not in (UNIX, EVERYBODY):
                ip_network(one)
        return entries


def _entries(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from filter(None, map(str.strip, value.split(",")))
    else:
        for one in value:
            yield from _entries(one)


@dataclass(frozen=True, slots=True)
class Forwarded(Group):
    """Which fields of a trusted proxy count, and how far back they are believed."""

    name: ClassVar = "forwarded"
    heading: ClassVar = "Protocols"

    fields: tuple[str, ...] = option(
        ("for", "proto"),
        Names(FIELDS),
        "Fields to believe of a trusted proxy: for, proto, host, port, prefix (X-Forwarded-...), and forwarded.",
    )
    hops: int | None = option(
        None,
        Integer(1, optional=True),
        "Number of proxies in front: the client is so many addresses from the right. Not given: the first untrusted.",
    )


@dataclass(frozen=True, slots=True)
class ProxyProtocol(Group):
    """Whose connections begin with a header of the PROXY protocol."""

    name: ClassVar = "proxy_protocol"
    heading: ClassVar = "Protocols"
    lead: ClassVar = "peers"

    peers: tuple[str, ...] = option(
        (),
        PeerList(),
        "Peers that must begin each connection with the PROXY protocol: networks, addresses, unix; by comma.",
        flag="--proxy-protocol-from",
    )

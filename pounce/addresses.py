"""Addresses of clients and proxies as text: what is one, which networks hold it, how a port is written behind it.

Used wherever somebody is trusted or believed for his address. Implements RFC 4291 section 2.2 for IPv6, and the forms
`1.2.3.4:80` and `[::1]:80` of RFC 3986 section 3.2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

#: Who comes by a unix socket, in lists of peers.
UNIX = "unix"
EVERYBODY = "*"

#: Longest possible DNS name. What is longer cannot be an address either, and is kept out of caches.
MAX_HOST_SIZE = 253
MAX_CACHED_HOSTS = 4096

_MAX_PORT = 65535

#: A zone (RFC 4007 section 11) may be any text to `ipaddress`; here it is the name of an interface.
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(%[0-9A-Za-z._~-]+)?").fullmatch
_HOST_PORT = re.compile(r"\[(?P<v6>[^]]*)\](:(?P<v6_port>[0-9]{1,5})|:.*)?|(?P<host>[^:]*):(?P<port>[0-9]{1,5})", re.S)

#: What nobody calls a host or a path: digits with dots, dashes and asterisks; hexadecimal digits around two colons, or
#: around one with a number behind a slash; such in brackets.
_MEANT_AS_NETWORK = re.compile(
    r"(?=[^/]*[0-9])[0-9.*:-]+(/.*)?|(?=[^/]*:[^/]*:)[0-9A-Fa-f:.*]+(/.*)?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*/[0-9]+|\[[0-9A-Fa-f:.]*\].*"
).fullmatch


def address_of(text: str) -> IPAddress | None:
    """The address that a text is; None for anything else."""
    if len(text) > MAX_HOST_SIZE or not _ADDRESS(text):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def text_of(address: IPAddress) -> str:
    """An address as the system writes it, mapped ones with dots: before Python 3.13 `str` does not."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(address) if mapped is None else f"::ffff:{mapped}"


def split_port(text: str) -> tuple[str, int]:
    """A text in host and port: `1.2.3.4:80`, `[v6]:80`, `[v6]`. The port is 0 where there is none.

    Behind brackets what is no port is dropped (uvicorn). Everything else comes back whole, so that garbage never turns
    into an address that somebody trusts.
    """
    if ":" not in text and text[:1] != "[":
        return text, 0
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        return text, 0
    if match["host"] is None:
        port = int(match["v6_port"] or 0)
        return match["v6"], port if port <= _MAX_PORT else 0
    port = int(match["port"])
    return (match["host"], port) if port <= _MAX_PORT else (text, 0)


def both_forms(address: IPAddress) -> tuple[IPAddress, ...]:
    """An address, and the IPv4 address that it stands for where IPv6 maps one (RFC 4291 section 2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (address,) if mapped is None else (address, mapped)


def both_forms_of_network(network: IPNetwork) -> tuple[IPNetwork, ...]:
    """As `both_forms`, of a network."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        first = network.network_address.ipv4_mapped
        if first is not None:
            return network, IPv4Network((first, network.prefixlen - 96))
    return (network,)


def problem_with(entry: str) -> str | None:
    """What is wrong with an entry of a list of trusted hosts; None for addresses, networks, names and paths."""
    if not _MEANT_AS_NETWORK(entry):
        return None
    try:
        ip_network(entry)
    except ValueError:
        try:
            network = ip_network(entry, strict=False)
        except ValueError:
            return f"'{entry}' is neither an address nor a network"
        return f"'{entry}' is an address within a network; the network is {network}"
    return None


class Peers:
    """A list of addresses and networks, `unix` and `*`; and whether a peer is in it. Raises ValueError for others."""

    def __init__(self, entries: Iterable[str]) -> None:
        entries = list(entries)
        self._everybody = EVERYBODY in entries
        self._unix = self._everybody or UNIX in entries
        self._networks = [
            form
            for entry in entries
            if entry not in (UNIX, EVERYBODY)
            for form in both_forms_of_network(ip_network(entry))
        ]
        # A proxy comes again and again.
        self._knows: Callable[[str], bool] = lru_cache(maxsize=MAX_CACHED_HOSTS)(self._look_up)

    def include(self, host: str | None) -> bool:
        """Whether this address is listed; None stands for a unix socket."""
        if host is None:
            return self._unix
        return self._everybody or self._knows(host)

    def _look_up(self, host: str) -> bool:
        address = address_of(host)
        if address is None:
            return False
        return any(form in network for form in both_forms(address) for network in self._networks)

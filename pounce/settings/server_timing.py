"""The Server-Timing field: whether responses have it, and for whom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Flag, Kind

#: `Header=value`: visible characters; a comma ends it in the list.
_is_secret = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+=[!-~]+").fullmatch


class Clients(Kind):
    """Clients by where they are or what they send: networks, addresses, `unix`, `Header=value`; by comma, or a list."""

    several = True
    metavar = "LIST"
    words = "a list of networks (10.0.0.0/8), addresses, unix and Header=value"

    def read(self, value: Any) -> Any:
        """See `Kind`: a tuple."""
        entries = tuple(dict.fromkeys(self._entries(value or ())))
        for one in entries:
            if one != "unix" and not _is_secret(one):
                ip_network(one)
        return entries

    def _entries(self, value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield from filter(None, map(str.strip, value.split(",")))
        else:
            for one in value:
                yield from self._entries(one)


@dataclass(frozen=True, slots=True)
class ServerTiming(Group):
    """How long a request waited, and how long the app took, for who may know."""

    name: ClassVar = "server_timing"
    heading: ClassVar = "Responses"
    lead: ClassVar = "enabled"

    enabled: bool = option(False, Flag(), "Say in the Server-Timing field how long a request waited and took.")
    allow: tuple[str, ...] = option(
        (),
        Clients(),
        "Who is told: networks, addresses, unix, Header=value; by comma. None: loopback and unix sockets.",
        flag="--server-timing-for",
    )

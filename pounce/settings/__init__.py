"""What pounce can be told beyond uvicorn's parameters, in groups. One option is one field of one group.

Imports nothing that `pounce --help` can do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pounce.settings.asgi import Asgi
from pounce.settings.capacity import Capacity
from pounce.settings.compression import Compression
from pounce.settings.deadlines import Deadlines
from pounce.settings.group import Group
from pounce.settings.http2 import Http2
from pounce.settings.limits import Limits
from pounce.settings.parsing import Parsing
from pounce.settings.proxies import Forwarded, ProxyProtocol
from pounce.settings.server_timing import ServerTiming
from pounce.settings.static import Static
from pounce.settings.worker_class import WorkerClass

__all__ = [
    "GROUPS",
    "Asgi",
    "Capacity",
    "Compression",
    "Deadlines",
    "Forwarded",
    "Group",
    "Http2",
    "Limits",
    "Parsing",
    "ProxyProtocol",
    "ServerTiming",
    "Settings",
    "Static",
    "WorkerClass",
]

#: By the parameter of `Config` and `run`.
GROUPS: dict[str, type[Group]] = {
    group.name: group
    for group in (
        WorkerClass,
        Http2,
        Deadlines,
        Limits,
        Capacity,
        Parsing,
        Asgi,
        Compression,
        ServerTiming,
        Static,
        Forwarded,
        ProxyProtocol,
    )
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All groups of one config. Who needs one is handed that one."""

    http2: Http2
    deadlines: Deadlines
    limits: Limits
    capacity: Capacity
    parsing: Parsing
    worker_class: WorkerClass
    asgi: Asgi
    compression: Compression
    server_timing: ServerTiming
    static: Static
    forwarded: Forwarded
    proxy_protocol: ProxyProtocol

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """The groups from the parameters of `Config`; those that are not given have their defaults."""
        return cls(**{name: group.of(given[name]) if name in given else group() for name, group in GROUPS.items()})  # type: ignore[arg-type]

    def leading(self) -> dict[str, Any]:
        """The plain values of the groups that can be given as one, by parameter."""
        return {name: getattr(getattr(self, name), group.lead) for name, group in GROUPS.items() if group.lead}

    def vain(self) -> list[tuple[str, str]]:
        """The settings that have no effect, each with the one that it needs."""
        return [pair for name in GROUPS for pair in getattr(self, name).vain()]

    def copy(self) -> Settings:
        """Groups of its own for a worker thread, so that their reference counts are local to it."""
        return Settings(**{name: replace(getattr(self, name)) for name in GROUPS})

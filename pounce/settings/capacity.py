"""How much a server takes at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Integer, Seconds


@dataclass(frozen=True, slots=True)
class Capacity(Group):
    """How many requests run at a time, and how many wait, for how long. docs/capacity.md says how to choose."""

    name: ClassVar = "capacity"
    heading: ClassVar = "Limits"

    running: int = option(
        0,
        Integer(),
        "Requests that run at a time, per worker; others wait for their turn. 0: no limit.",
        flag="--limit-running",
    )
    queue: int = option(
        100, Integer(), "Requests that may wait for their turn. Above: 503 with Retry-After.", flag="--limit-queue"
    )
    queue_timeout: float = option(
        5,
        Seconds(),
        "Seconds that a request may wait for its turn, then 503. 0: no limit.",
        flag="--limit-queue-timeout",
    )
    connections: int = option(
        0,
        Integer(),
        "Connections of a process; idle ones make room for new ones. Above: 503, with TLS the end. 0: no limit.",
        flag="--limit-connections",
    )
    connections_per_client: int = option(
        0,
        Integer(),
        "The same, of a client's address; none for unix sockets and --forwarded-allow-ips. 0: no limit.",
        flag="--limit-connections-per-client",
    )

    def vain(self) -> list[tuple[str, str]]:
        """See `Group`: there is no queue where any number may run."""
        changed = self.changed() if not self.running else ()
        return [(f"capacity.{name}", "capacity.running") for name in ("queue", "queue_timeout") if name in changed]

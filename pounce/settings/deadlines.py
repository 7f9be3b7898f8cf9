"""How long a client may take for what it owes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Seconds


@dataclass(frozen=True, slots=True)
class Deadlines(Group):
    """What ends connections that are held open for nothing. Exact to half a second; 0: never."""

    name: ClassVar = "deadlines"
    heading: ClassVar = "Limits"

    head: float = option(
        30,
        Seconds(),
        "Seconds for the head of a request, and before it for the TLS handshake. 0: no limit.",
        flag="--timeout-head",
    )

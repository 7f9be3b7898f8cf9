"""The Server-Timing field: whether responses have it, and for whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Flag


@dataclass(frozen=True, slots=True)
class ServerTiming(Group):
    """How long a request waited, and how long the app took, for who may know."""

    name: ClassVar = "server_timing"
    heading: ClassVar = "Responses"
    lead: ClassVar = "enabled"

    enabled: bool = option(False, Flag(), "Say in the Server-Timing field how long a request waited and took.")

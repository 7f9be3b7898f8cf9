"""What pounce can be told beyond uvicorn's parameters, in groups. One option is one field of one group.

Imports nothing that `pounce --help` can do without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pounce.settings.group import Group
from pounce.settings.http2 import Http2
from pounce.settings.worker_class import WorkerClass

__all__ = ["GROUPS", "Group", "Http2", "Settings", "WorkerClass"]

#: By the parameter of `Config` and `run`.
GROUPS: dict[str, type[Group]] = {group.name: group for group in (WorkerClass, Http2)}


@dataclass(frozen=True, slots=True)
class Settings:
    """All groups of one config. Who needs one is handed that one."""

    http2: Http2
    worker_class: WorkerClass

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """The groups from the parameters of `Config`."""
        return cls(**{name: group.of(given[name]) for name, group in GROUPS.items()})  # type: ignore[arg-type]

    def copy(self) -> Settings:
        """Groups of its own for a worker thread, so that their reference counts are local to it."""
        return Settings(**{name: replace(getattr(self, name)) for name in GROUPS})

"""What the workers of a server are: threads or processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pounce.settings.group import Group, option
from pounce.settings.kinds import OneOf

WorkerClassType = Literal["auto", "thread", "process"]

KIND = OneOf(get_args(WorkerClassType), optional=True)


@dataclass(frozen=True, slots=True)
class WorkerClass(Group):
    """What a worker is. `Config` looks at $POUNCE_WORKER_CLASS where nothing is given."""

    name: ClassVar = "worker_class"
    heading: ClassVar = "Workers and reload"
    lead: ClassVar = "kind"

    kind: WorkerClassType | None = option(
        None,
        KIND,
        "What a worker is. auto: a thread where Python runs without the GIL, else a process.  [default: auto]",
    )

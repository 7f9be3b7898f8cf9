"""What a server has before, between and after crowds of hostile clients, and the bars that this is held against."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.load.hostile.client import Fates, Kind
from benchmarks.load.normal import Answers

MIB = 2**20
LEAST_BAR = 10.0  # milliseconds
MEMORY_BAR = 2 * MIB
FULL_BAR = 0.05  # of a core, while no descriptor is left

#: What has to be as it was before; and how often it is looked at for that.
COUNTED = ("descriptors", "tasks", "timers", "threads", "connections")
LOOKS, LOOK = 5, 0.12  # seconds


@dataclass(frozen=True)
class Reading:
    """What the server has at a moment; memory in bytes, as it stands and without what malloc keeps free."""

    descriptors: int
    tasks: int
    timers: int
    threads: int
    connections: int
    objects: int
    memory: int
    trimmed: int
    types: dict[str, int] = field(repr=False)

    def left(self, before: Reading) -> dict[str, int]:
        """What there is more of than before, by name."""
        found = {name: getattr(self, name) - getattr(before, name) for name in COUNTED}
        return {name: count for name, count in found.items() if count > 0}

    @classmethod
    def at_rest(cls, read: Callable[[], Reading]) -> Reading:
        """The most that is there in some looks: what ticks has a timer and a task now and then."""
        looks = [read()]
        while len(looks) < LOOKS:
            time.sleep(LOOK)
            looks.append(read())
        return dataclasses.replace(looks[-1], **{name: max(getattr(one, name) for one in looks) for name in COUNTED})


@dataclass
class Round:
    """One crowd, what the well-behaved client met meanwhile, and what was there afterwards."""

    fates: Fates
    beside: dict[str, Answers]
    cpu: float
    after: Reading


@dataclass
class Result:
    """Of one kind."""

    kind: Kind
    quiet: dict[str, Answers]
    quiet_cpu: float
    before: Reading
    rounds: list[Round]
    log: list[str]

    def faults(self) -> list[str]:
        """Which bars it misses, each in a few words."""
        found = []
        for name, quiet in self.quiet.items():
            bar = max(2 * quiet.p99, LEAST_BAR)
            beside = max((each.beside[name] for each in self.rounds), key=lambda answers: answers.p99)
            if beside.p99 >= bar:
                found.append(f"{name} p99 {beside.p99:.1f} ms (bar {bar:.0f})")
            failures = [text for each in self.rounds for text in each.beside[name].failures]
            if failures:
                found.append(f"{len(failures)} {name} requests failed: {failures[0]}")
        for each in self.rounds:
            found += [f"{count} {name} left" for name, count in each.after.left(self.before).items()]
            if self.kind.ends_by and (kept := each.fates.left + each.fates.stayed):
                found.append(f"{kept} clients were not sent away")
            found += [f"{count} x {said}" for said, count in each.fates.wrong.items()]
            if self.kind.descriptors and (more := each.cpu - self.quiet_cpu) > FULL_BAR:
                found.append(f"{more:.1%} more of a core without descriptors")
        if abs(grown := self.grown("trimmed")) > MEMORY_BAR:
            found.append(f"memory {grown / MIB:+.1f} MiB in the second round")
        if tracebacks := sum("Traceback" in line for line in self.log):
            found.append(f"{tracebacks} tracebacks in the log")
        return list(dict.fromkeys(found))

    def grown(self, name: str) -> int:
        """By how many bytes there is more memory after the second round than after the first."""
        first, second = (self.rounds * 2)[:2]
        return int(getattr(second.after, name) - getattr(first.after, name))

    def row(self) -> list[str]:
        """Of the table."""
        last = self.rounds[-1]
        fates = "/".join(str(max(getattr(each.fates, name) for each in self.rounds)) for name in _FATES)
        beside = {
            name: max((each.beside[name] for each in self.rounds), key=lambda answers: answers.p99)
            for name in self.quiet
        }
        left = last.after.left(self.before)
        counted = " ".join(f"{left.get(name, 0):+d}" for name in ("descriptors", "tasks", "timers", "threads"))
        return [
            self.kind.name,
            fates,
            _pair(self.quiet, "p99"),
            _pair(beside, "p99"),
            _pair(beside, "worst"),
            f"{max(each.cpu for each in self.rounds):.0%}",
            counted,
            " ".join(f"{each.after.memory / MIB:.1f}" for each in self.rounds),
            " ".join(f"{each.after.trimmed / MIB:.1f}" for each in self.rounds),
            f"{last.after.objects - self.rounds[0].after.objects:+d}",
            str(len(self.log)),
            "; ".join(self.faults()) or "ok",
        ]


_FATES = ("ended", "left", "stayed")
COLUMNS = (
    "kind", "ended/left/stayed", "p99 quiet", "p99 beside", "worst", "CPU", "left over", "MiB", "trimmed",
    "objects", "log", "verdict",
)  # fmt: skip


def _pair(answers: dict[str, Answers], name: str) -> str:
    return " ".join(f"{getattr(found, name):.1f}" for found in answers.values())


def table(rows: Sequence[Sequence[str]]) -> str:
    """In Markdown, aligned."""
    cells = [COLUMNS, *rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def leaks(result: Result) -> list[str]:
    """The types of which there are more objects after the last round than after the first, most first."""
    first, last = result.rounds[0].after.types, result.rounds[-1].after.types
    grown = {name: count - first.get(name, 0) for name, count in last.items()}
    return [f"{count:+d} {name}" for name, count in sorted(grown.items(), key=lambda item: -item[1])[:8] if count > 0]

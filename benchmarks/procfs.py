"""What Linux says of a tree of processes: its processor time and its memory. Parsing is apart from reading.

The processor time of a tree is utime + stime of every process (all threads, ended ones too) + what the ended
children used (cutime + cstime): a child that ends between two readings is not lost, it moves to its parent.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import astuple, dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class Stat:
    """Of one process: its parent, and its processor time with that of its ended children, in clock ticks."""

    parent: int
    ticks: int


@dataclass(frozen=True)
class Memory:
    """In bytes: proportional and resident set size, and the part of the latter that belongs to no file."""

    pss: int
    rss: int
    anonymous: int


def parse_stat(text: str) -> Stat:
    """From /proc/PID/stat. The command's name may hold blanks and parentheses: what counts begins after the last."""
    fields = text[text.rindex(")") + 1 :].split()
    return Stat(parent=int(fields[1]), ticks=sum(int(field) for field in fields[11:15]))


def parse_pss(text: str) -> int:
    """Proportional memory in bytes, from /proc/PID/smaps_rollup. Raises ValueError where the line is missing."""
    return parse_rollup(text, "Pss")


def parse_rollup(text: str, wanted: str) -> int:
    """That line of /proc/PID/smaps_rollup, in bytes. Raises ValueError where it is missing."""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == wanted:
            return int(value.split()[0]) * 1024
    raise ValueError(f"no {wanted} line")


def parse_busy(text: str) -> int:
    """Clock ticks in which any processor ran a process, from /proc/stat: user, nice and system time, no interrupts."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == "cpu":
            return sum(int(field) for field in fields[:3])
    raise ValueError("no cpu line")


def descendants(root: int, parents: dict[int, int]) -> set[int]:
    """`root` and all below it, from a map of process to parent."""
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _stats() -> dict[int, Stat]:
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = parse_stat((entry / "stat").read_text(errors="replace"))
            except OSError:  # it ended meanwhile
                continue
    return found


def cpu_seconds(root: int) -> float:
    """Processor time that the tree below `root` has used so far."""
    stats = _stats()
    found = descendants(root, {pid: stat.parent for pid, stat in stats.items()})
    return sum(stats[pid].ticks for pid in found if pid in stats) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Processor time that all processes of the machine have used so far."""
    return parse_busy((PROC / "stat").read_text()) / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> set[int]:
    """`root` and all processes below it."""
    return descendants(root, {pid: stat.parent for pid, stat in _stats().items()})


def memory(root: int) -> int:
    """Proportional set size of the tree, in bytes: pages that several share count once in all."""
    return usage(root).pss


def usage(root: int) -> Memory:
    """Of the tree in all. In `pss`, pages that several share count once; in the others, once in each."""
    found = [Memory(0, 0, 0)]
    for pid in tree(root):
        try:
            text = (PROC / str(pid) / "smaps_rollup").read_text()
            found.append(Memory(*(parse_rollup(text, name) for name in ("Pss", "Rss", "Anonymous"))))
        except (OSError, ValueError):  # it ended meanwhile, or has no memory any more
            continue
    return Memory(*(sum(column) for column in zip(*map(astuple, found), strict=True)))


def open_files(root: int) -> int:
    """Descriptors that the tree has open."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):  # it ended meanwhile
            total += len(list((PROC / str(pid) / "fd").iterdir()))
    return total

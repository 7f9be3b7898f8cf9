"""Pure: the known differences, and what a run's differences mean beside them. Strict in both directions.

The differences of a case in a combination must be those of the known entries that cover it, line by line: one more
fails the run, and so does one that is gone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from conformance.cache import SetupError
from conformance.differential.case import Combination

#: By case and combination: the lines of the difference, empty where there is none.
Differences = Mapping[tuple[str, Combination], list[str]]

_PARTS = ("http", "loop", "ws")


@dataclass(frozen=True, eq=False)
class Known:
    """One entry: which cases, in which combinations, differ in which lines; how the row of the deviations begins."""

    cases: tuple[str, ...]
    row: str
    lines: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def covers(self, case: str, combination: Combination) -> bool:
        """Whether the entry is about this case in this combination."""
        if not any(fnmatchcase(case, pattern) for pattern in self.cases):
            return False
        return all(getattr(combination, part) in values for part, values in self.where.items())

    def __str__(self) -> str:
        where = "".join(f", {part} {'/'.join(values)}" for part, values in self.where.items())
        return f"{' '.join(self.cases)}{where} ({self.row})"


def read_known(text: Mapping[str, Any], rows: Iterable[str]) -> list[Known]:
    """The entries of `known.toml`. Raises SetupError for one that is malformed or names no row of the deviations."""
    rows, entries = list(rows), []
    for given in text.get("known", []):
        entry = dict(given)
        try:
            cases, row, diff = entry.pop("cases"), entry.pop("row"), entry.pop("diff")
        except KeyError as exc:
            raise SetupError(f"differential/known.toml: an entry without {exc}: {given}")
        lines = tuple(line for line in diff.splitlines() if line)
        if set(entry) - set(_PARTS) or not lines or any(line[0] not in "-+" for line in lines):
            raise SetupError(f"differential/known.toml: malformed: {given}")
        if not row or not any(found.startswith(row) for found in rows):
            raise SetupError(f"differential/known.toml: docs/deviations.md has no row that begins with {row!r}")
        entries.append(Known(tuple(cases), row, lines, {part: tuple(values) for part, values in entry.items()}))
    return entries


def deviation_rows(markdown: str) -> list[str]:
    """The first cells of the table's rows, as they are written."""
    rows = [line.split(" | ")[0].removeprefix("| ") for line in markdown.splitlines() if line.startswith("| ")]
    return [row for row in rows if row != "Behaviour"]


@dataclass(frozen=True, eq=False)
class Everywhere:
    """A line that may differ in any case, whatever else does: what `line` matches of a difference is left out."""

    row: str
    line: re.Pattern[str]

    def __str__(self) -> str:
        return f"everywhere ({self.row})"


def read_everywhere(text: Mapping[str, Any], rows: Iterable[str]) -> list[Everywhere]:
    """The entries of `known.toml` for all cases. Raises SetupError as `read_known`."""
    rows, entries = list(rows), []
    for given in text.get("everywhere", []):
        if set(given) != {"row", "line"}:
            raise SetupError(f"differential/known.toml: malformed: {given}")
        if not any(found.startswith(given["row"]) for found in rows):
            raise SetupError(
                f"differential/known.toml: docs/deviations.md has no row that begins with {given['row']!r}"
            )
        entries.append(Everywhere(given["row"], re.compile(given["line"])))
    return entries


def left_out(differences: Differences, everywhere: Iterable[Everywhere]) -> tuple[Differences, list[Everywhere]]:
    """The differences without what is known everywhere, and the entries that match nothing."""
    idle = []
    for entry in everywhere:
        left = {run: [line for line in lines if not entry.line.fullmatch(line)] for run, lines in differences.items()}
        if left == differences:
            idle.append(entry)
        differences = left
    return differences, idle


@dataclass
class Verdict:
    """What is wrong with a run: nothing, if both are empty."""

    #: Lines that no entry has.
    unknown: dict[tuple[str, Combination], list[str]] = field(default_factory=dict)
    #: Entries, with the runs in which they no longer are true.
    vanished: dict[Known, list[tuple[str, Combination]]] = field(default_factory=dict)
    #: Entries that cover no run at all.
    idle: list[Known | Everywhere] = field(default_factory=list)
    same: int = 0
    known: int = 0

    @property
    def good(self) -> bool:
        return not (self.unknown or self.vanished or self.idle)


def judge(differences: Differences, known: Iterable[Known], *, whole: bool) -> Verdict:
    """Judge a run. Only a whole one can tell that an entry is about nothing."""
    verdict = Verdict()
    entries = list(known)
    idle = dict.fromkeys(entries)
    for run, lines in differences.items():
        left = Counter(lines)
        covering = [entry for entry in entries if entry.covers(*run)]
        for entry in covering:
            idle.pop(entry, None)
            wanted = Counter(entry.lines)
            if wanted <= left:
                left -= wanted
            else:
                verdict.vanished.setdefault(entry, []).append(run)
        if left:
            verdict.unknown[run] = list(left.elements())
        verdict.same += not lines
        verdict.known += bool(lines) and not left
    if whole:
        verdict.idle = [*idle]
    return verdict

"""Pure: what a run's outcomes mean beside the known list and the reference's outcomes. No files, no processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: Test id to (outcome, one-line message); an outcome is "passed", "failed" or "skipped".
Outcomes = dict[str, tuple[str, str]]

#: So many failures may be a busy machine's doing: several of uvicorn's tests sleep for 0.1 s, and take it that by then
#: something has happened. They fail with uvicorn as well where a step takes longer.
_MOST_TO_REPEAT = 3


@dataclass(frozen=True)
class Known:
    """One entry of the known list: a test's id, or the file or function above several."""

    test: str
    reason: str

    def covers(self, test: str) -> bool:
        return test == self.test or test.startswith((f"{self.test}::", f"{self.test}["))


@dataclass
class Row:
    """One line of the table."""

    collected: int = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    known: int = 0

    def add(self, outcome: str, known: bool) -> None:
        self.collected += 1
        setattr(self, outcome, getattr(self, outcome) + 1)
        self.known += known


@dataclass
class Verdict:
    """The table, and every reason to call the run a failure (empty: the run is good)."""

    rows: dict[str, Row] = field(default_factory=dict)
    total: Row = field(default_factory=Row)
    #: Failed, not on the list, and not failed by the reference either.
    broken: dict[str, str] = field(default_factory=dict)
    #: Skipped though the reference passes it, and not on the list.
    not_run: dict[str, str] = field(default_factory=dict)
    #: On the list, and passed.
    stale: list[str] = field(default_factory=list)
    #: Failed here and with the reference: the environment's doing.
    failed_by_both: dict[str, str] = field(default_factory=dict)
    #: Failed, but passed twice behind that: they count as passed.
    repeated: dict[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not (self.broken or self.not_run or self.stale)

    @property
    def last_line(self) -> str:
        told = f"{self.total.passed} passed, {self.total.failed} failed, {self.total.skipped} skipped"
        return f"{told}; {len(self.repeated)} of them not at once" if self.repeated else told


def judge(outcomes: Outcomes, known: Iterable[Known], reference: Outcomes | None = None) -> Verdict:
    """Judge a run. Without the reference's outcomes every failure counts and every skip is let pass."""
    known = list(known)
    reference = reference or {}
    verdict = Verdict()
    passed_only = {entry.test: True for entry in known if any(entry.covers(test) for test in outcomes)}
    for test, (outcome, message) in sorted(outcomes.items()):
        entries = [entry for entry in known if entry.covers(test)]
        by_reference = reference.get(test, ("", ""))[0]
        excused = bool(entries) and (outcome == "failed" or (outcome == "skipped" and by_reference == "passed"))
        for row in (verdict.rows.setdefault(test.partition("::")[0], Row()), verdict.total):
            row.add(outcome, excused)
        for entry in entries:
            passed_only[entry.test] &= outcome == "passed"
        if excused:
            continue
        if outcome == "failed" and by_reference == "failed":
            verdict.failed_by_both[test] = message
        elif outcome == "failed":
            verdict.broken[test] = message
        elif outcome == "skipped" and by_reference == "passed":
            verdict.not_run[test] = message
    verdict.stale = [test for test, stale in passed_only.items() if stale]
    return verdict


def to_repeat(verdict: Verdict) -> list[str]:
    """The tests whose files are to be run again, before they count as failed. None where there are many."""
    return list(verdict.broken) if len(verdict.broken) <= _MOST_TO_REPEAT else []


def settle(outcomes: Outcomes, failed: Iterable[str], attempts: Iterable[Outcomes]) -> dict[str, str]:
    """Count those of the failed tests as passed that pass in every attempt. Returns what they had failed with."""
    attempts = list(attempts)
    passed = [test for test in failed if all(attempt.get(test, ("", ""))[0] == "passed" for attempt in attempts)]
    messages = {test: outcomes[test][1] for test in passed}
    outcomes |= dict.fromkeys(passed, ("passed", ""))
    return messages


def table(verdict: Verdict) -> list[str]:
    """The lines of the table, the total last."""
    names = ("collected", "passed", "failed", "skipped", "known")
    width = max([len(name) for name in verdict.rows], default=0)
    width = max(width, len("test file"))
    lines = [f"{'test file':<{width}}" + "".join(f"{name:>11}" for name in names)]
    for label, row in [*sorted(verdict.rows.items()), ("total", verdict.total)]:
        lines.append(f"{label:<{width}}" + "".join(f"{getattr(row, name):>11}" for name in names))
    lines.insert(-1, "-" * len(lines[0]))
    return lines

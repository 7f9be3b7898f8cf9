"""What was measured: samples, medians, ratios, and the report that is saved, loaded and put together as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

BASELINE = "pounce"


@dataclass(frozen=True)
class Sample:
    """One measurement, or the median of several.

    Latencies in milliseconds (None: not known), processor time in µs, memory in bytes. `foreign` is the share (0 to 1)
    of all processors that went to neither the server nor the load. `round` is when its round began, in seconds since
    the epoch: samples that have it in common were measured next to each other (None: from before this was saved).
    """

    requests_per_second: float
    cpu_us: float
    p50: float | None
    p99: float | None
    p999: float | None
    memory: float
    foreign: float = 0.0
    round: float | None = None


@dataclass
class Row:
    """One server in one case: a sample per round, or why it failed (then the samples do not count)."""

    samples: list[Sample] = field(default_factory=list)
    failure: str | None = None

    @property
    def median(self) -> Sample | None:
        """Of each figure by itself; None where the server failed."""
        if self.failure or not self.samples:
            return None
        columns = list(zip(*(dataclasses.astuple(sample) for sample in self.samples), strict=True))
        medians: list[Any] = [None if None in column else median(column) for column in columns]
        return Sample(*medians)

    def ratio(self, base: Row, figure: str) -> float | None:
        """How often this row has the base's figure (`requests_per_second`, `cpu_us`); None where one has none.

        The median of the rounds' own ratios: what slows the machine down for a while slows both down and falls out.
        Where no round has both, the ratio of the medians.
        """
        if self.median is None or base.median is None:
            return None
        pairs = self._measured_with(base) or [(self.median, base.median)]
        ratios = [getattr(mine, figure) / getattr(other, figure) for mine, other in pairs if getattr(other, figure)]
        return median(ratios) if ratios else None

    def _measured_with(self, base: Row) -> list[tuple[Sample, Sample]]:
        """Samples of the same rounds. Reports without rounds have them in their order, if as many of both."""
        if all(sample.round is None for sample in (*self.samples, *base.samples)):
            return list(zip(self.samples, base.samples, strict=True)) if len(self.samples) == len(base.samples) else []
        others = {sample.round: sample for sample in base.samples if sample.round is not None}
        return [(sample, others[sample.round]) for sample in self.samples if sample.round in others]


@dataclass
class Report:
    """All of one run: `facts` (machine, interpreter, versions, command) and rows by case and server, in order."""

    facts: dict[str, Any] = field(default_factory=dict)
    cases: dict[str, dict[str, Row]] = field(default_factory=dict)

    @property
    def foreign(self) -> float:
        """The largest share that other processes took of a sample, 0 to 1."""
        every = (sample for rows in self.cases.values() for row in rows.values() for sample in row.samples)
        return max((sample.foreign for sample in every), default=0.0)

    def row(self, case: str, server: str) -> Row:
        """That row, made if it is new."""
        return self.cases.setdefault(case, {}).setdefault(server, Row())

    def add(self, other: Report) -> None:
        """Take the cases of another report; a row that both have gets the samples of both."""
        self.facts = {**other.facts, **self.facts}
        for case, rows in other.cases.items():
            for server, row in rows.items():
                mine = self.row(case, server)
                mine.samples += row.samples
                mine.failure = mine.failure or row.failure

    def as_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Raises ValueError where the text is not a report."""
        try:
            found = json.loads(text)
            cases = {
                case: {
                    server: Row([Sample(**sample) for sample in row["samples"]], row["failure"])
                    for server, row in rows.items()
                }
                for case, rows in found["cases"].items()
            }
            return cls(dict(found["facts"]), cases)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"not a report ({exc!r})") from None

    @classmethod
    def load(cls, path: Path) -> Report:
        """Raises OSError, or ValueError where the file is not a report."""
        return cls.from_json(path.read_text())

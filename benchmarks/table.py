"""The report as text: one Markdown table per case, aligned so that a terminal shows it well too."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.cases import BY_NAME
from benchmarks.results import BASELINE, Report, Row

COLUMNS = ("server", "requests/s", "ratio", "CPU µs", "ratio", "p50 ms", "p99 ms", "p99.9 ms", "memory MiB")


def tables(report: Report) -> str:
    """All tables, then what failed and why. Ratios are to pounce's row, each the median of the rounds' own ratios."""
    blocks = []
    for name, rows in report.cases.items():
        title = BY_NAME[name].title if name in BY_NAME else name
        blocks.append(f"### {title} (`{name}`)\n\n{table(rows)}")
        if why := [f"- {server} failed: {row.failure}" for server, row in rows.items() if row.failure]:
            blocks.append("\n".join(why))
    return "\n\n".join(blocks)


def table(rows: Mapping[str, Row]) -> str:
    """One case."""
    base = rows.get(BASELINE, Row())
    cells = [list(COLUMNS)]
    cells += [_cells(server, row, base) for server, row in rows.items()]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    ruler = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(line, widths) for line in [cells[0], ruler, *cells[1:]])


def _line(cells: list[str], widths: list[int]) -> str:
    aligned = [
        cells[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
    ]
    return f"| {' | '.join(aligned)} |"


def _cells(server: str, row: Row, base: Row) -> list[str]:
    found = row.median
    if found is None:
        return [server, "failed", *[""] * (len(COLUMNS) - 2)]
    return [
        server,
        f"{found.requests_per_second:,.0f}",
        _ratio(row.ratio(base, "requests_per_second")),
        f"{found.cpu_us:,.1f}",
        _ratio(row.ratio(base, "cpu_us")),
        *("" if value is None else f"{value:.2f}" for value in (found.p50, found.p99, found.p999)),
        f"{found.memory / 2**20:.1f}",
    ]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"

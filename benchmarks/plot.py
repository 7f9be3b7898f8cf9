"""The report as an SVG: a panel per case, a bar per server, as long as its requests per second."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from benchmarks.cases import BY_NAME
from benchmarks.results import Report, Row
from benchmarks.servers import BY_NAME as SERVERS

COLUMNS = 3
PANEL_WIDTH = 400
GUTTER = 36
MARGIN = 32
HEADER = 92
NAME_WIDTH = 112  # of the column of server names
VALUE_WIDTH = 118  # kept free for the figures beside the longest bar
BAR = 13
PITCH = 20
TITLE = 26
PANEL_GAP = 30

INK, MUTED, RULE, PAPER = "#1f2328", "#6e7781", "#d8dee4", "#ffffff"
OWN, PEER, REFERENCE, FAILED = "#d9480f", "#8c96a0", "#dfe3e8", "#b42318"
FONT = "-apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def plot(report: Report) -> str:
    """The whole picture. Panels stand in rows, each row as high as its longest panel."""
    names = list(report.cases)
    lines = [names[start : start + COLUMNS] for start in range(0, len(names), COLUMNS)]
    width = 2 * MARGIN + min(COLUMNS, len(names)) * (PANEL_WIDTH + GUTTER) - GUTTER if names else 2 * MARGIN
    width = max(width, 2 * MARGIN + 2 * PANEL_WIDTH + GUTTER)
    parts, top = [], HEADER
    for line in lines:
        for column, name in enumerate(line):
            parts += panel(MARGIN + column * (PANEL_WIDTH + GUTTER), top, name, report.cases[name])
        top += TITLE + PITCH * max(len(report.cases[name]) for name in line) + PANEL_GAP
    height = top + MARGIN - PANEL_GAP
    heading = [
        text(MARGIN, 38, "Requests per second, longer is better", size=20, weight=600),
        text(MARGIN, 60, f"{subtitle(report)} · beside each bar: requests/s · CPU per request", size=12, fill=MUTED),
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="{FONT}">',
            f'<rect width="{width}" height="{height}" fill="{PAPER}"/>',
            *heading,
            *parts,
            "</svg>\n",
        ]
    )


def subtitle(report: Report) -> str:
    """Interpreter and machine, as far as the report knows them."""
    return " · ".join(str(report.facts[name]) for name in ("python", "machine") if report.facts.get(name))


def panel(left: int, top: int, name: str, rows: Mapping[str, Row]) -> list[str]:
    """One case: the fastest first, references and failures last."""
    title = BY_NAME[name].title if name in BY_NAME else name
    parts = [
        text(left, top + 12, title, size=14, weight=600),
        f'<line x1="{left}" y1="{top + 20}" x2="{left + PANEL_WIDTH}" y2="{top + 20}" stroke="{RULE}"/>',
    ]
    medians = {server: row.median for server, row in rows.items()}
    speeds = {server: found.requests_per_second for server, found in medians.items() if found}
    longest = max(speeds.values(), default=1.0)
    room = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH
    for place, server in enumerate(sorted(rows, key=lambda server: (_is_reference(server), -speeds.get(server, 0)))):
        middle = top + TITLE + place * PITCH + PITCH // 2
        own = server.startswith("pounce")
        weight = 600 if own else 400
        parts.append(text(left + NAME_WIDTH - 8, middle + 4, server, anchor="end", weight=weight))
        found = medians[server]
        if found is None:
            parts.append(text(left + NAME_WIDTH, middle + 4, "failed", fill=FAILED))
            continue
        length = max(1.5, room * found.requests_per_second / longest)
        fill = OWN if own else REFERENCE if _is_reference(server) else PEER
        parts.append(
            f'<rect x="{left + NAME_WIDTH}" y="{middle - BAR / 2}" width="{length:.1f}" height="{BAR}" rx="2" '
            f'fill="{fill}"/>'
        )
        figures = f"{found.requests_per_second:,.0f} · {_microseconds(found.cpu_us)} µs"
        parts.append(
            text(left + NAME_WIDTH + length + 6, middle + 4, figures, fill=INK if own else MUTED, weight=weight)
        )
    return parts


def text(
    x: float, y: float, content: str, *, size: int = 11, fill: str = INK, weight: int = 400, anchor: str = "start"
) -> str:
    """A text element."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(content)}</text>'
    )


def _is_reference(server: str) -> bool:
    return server in SERVERS and SERVERS[server].reference


def _microseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"

"""`python -m benchmarks`: install the peers, measure them in turns, print tables, write JSON and SVG.

Exit code 0: measured (a server that failed a case is a result); 1: pounce itself failed a case; 2: it could not be run.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import click

from benchmarks import cases as all_cases, servers as all_servers
from benchmarks.cases import Case
from benchmarks.compare import compare
from benchmarks.environments import Installed, commit, install
from benchmarks.instructions import instructions
from benchmarks.machine import machine, missing_tool
from benchmarks.measure import Certificate
from benchmarks.plot import plot
from benchmarks.process import leave_politely
from benchmarks.results import BASELINE, Report
from benchmarks.rounds import run
from benchmarks.servers import Server
from benchmarks.table import tables
from conformance.cache import SetupError
from conformance.environment import Interpreter

#: Share of the processors that other processes may take before the reader is told.
DISTURBED = 0.05


class NameList(click.ParamType):  # type: ignore[type-arg]
    """Names separated by commas, each one of `known`."""

    name = "name,..."

    def __init__(self, known: Iterable[str]) -> None:
        self._known = list(known)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        names = [name.strip() for name in value.split(",") if name.strip()]
        if unknown := [name for name in names if name not in self._known]:
            self.fail(f"{unknown[0]!r} is not one of: {', '.join(self._known)}", param, ctx)
        return names


def say(line: str) -> None:
    """A line for the one who waits; standard output is for the tables."""
    click.echo(line, err=True)


def installed(wanted: Sequence[Server], interpreter: Interpreter, upgrade: bool) -> list[Installed]:
    """Those that can be had for the interpreter; says which cannot and why."""
    found = []
    for server in wanted:
        try:
            found.append(install(server, interpreter, upgrade, say))
        except SetupError as exc:
            say(f"left out: {server.name}: {exc}")
    return found


def facts(interpreter: Interpreter, peers: Sequence[Installed], rounds: int, seconds: float) -> dict[str, Any]:
    """What a reader needs to judge the figures, and to repeat them."""
    return {
        "python": str(interpreter),
        "machine": machine(),
        "date": date.today().isoformat(),
        "commit": commit(),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "rounds": rounds,
        "seconds": seconds,
        "load_python": platform.python_version(),
        "servers": {peer.server.name: peer.version for peer in peers},
        "packages": {peer.server.name: peer.versions for peer in peers},
    }


def finish(report: Report, json_file: Path | None, svg_file: Path | None) -> NoReturn:
    """Print and write the report, and end."""
    known = report.facts
    click.echo(
        f"{known.get('python', '')} · {known.get('machine', '')} · medians of {known.get('rounds', '?')} rounds of "
        f"{known.get('seconds', 0):g} s · ratios are to {BASELINE}, medians of the rounds' own ratios\n"
        + ", ".join(f"{server} {version}" for server, version in known.get("servers", {}).items())
        + "\n"
    )
    click.echo(tables(report))
    if report.foreign > DISTURBED:
        say(f"note: other processes took up to {report.foreign:.0%} of the processors: the figures are disturbed")
    try:
        if json_file:
            json_file.write_text(report.as_json())
        if svg_file:
            svg_file.write_text(plot(report))
    except OSError as exc:
        raise click.ClickException(f"could not write: {exc}") from None
    sys.exit(any(row.failure for rows in report.cases.values() for name, row in rows.items() if _is_own(name)))


def _is_own(name: str) -> bool:
    return name.startswith(BASELINE)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
@click.option(
    "--servers", type=NameList(all_servers.BY_NAME), help="Servers to measure.  [default: all but pounce-zttp]"
)
@click.option("--cases", type=NameList(all_cases.BY_NAME), help="Cases to measure.  [default: all]")
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="How often each is measured.")
@click.option(
    "--duration",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="Length of a measurement.",
)
@click.option(
    "--python", default=sys.executable, metavar="PATH", help="Interpreter of the servers.  [default: this one]"
)
@click.option("--upgrade", is_flag=True, help="Bring the peers that were installed before to their newest releases.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Save the results here."
)
@click.option(
    "--svg", "svg_file", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Draw the plot here."
)
@click.option(
    "--load",
    "loaded",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Show saved results instead of measuring; may be repeated, they are put together.",
)
@click.option("--list", "listing", is_flag=True, help="List servers and cases.")
def main(
    context: click.Context,
    servers: list[str] | None,
    cases: list[str] | None,
    rounds: int,
    duration: int,
    python: str,
    upgrade: bool,
    json_file: Path | None,
    svg_file: Path | None,
    loaded: tuple[Path, ...],
    listing: bool,
) -> None:
    """Measure pounce and its peers side by side on this machine.

    Needs Linux, wrk and, for the HTTP/2 cases, h2load. The server is pinned to the first core, the load to the others.
    """
    if context.invoked_subcommand is not None:
        return
    if listing:
        click.echo("\n".join(["servers:", *(f"  {name}" for name in all_servers.BY_NAME), "cases:"]))
        click.echo("\n".join(f"  {case.name:<20}{case.title}" for case in all_cases.CASES))
        return
    if loaded:
        report = Report()
        for path in loaded:
            try:
                report.add(Report.load(path))
            except (OSError, ValueError) as exc:
                fail(f"{path}: {exc}")
        order = list(all_cases.BY_NAME)
        report.cases = dict(sorted(report.cases.items(), key=lambda item: [*order, item[0]].index(item[0])))
        finish(report, json_file, svg_file)
    if sys.platform != "linux":
        fail("measuring needs Linux: processor time and memory are read from /proc")
    os.environ.pop("PYTHON_GIL", None)  # meant for us; an interpreter with a GIL would not start with it
    chosen = [case for case in all_cases.CASES if cases is None or case.name in cases]
    if missing := missing_tool({tool for case in chosen for tool in case.tools}):
        fail(missing)
    wanted = [server for server in all_servers.SERVERS if _is_wanted(server, servers, chosen)]
    try:
        interpreter = Interpreter.ask(python)
        peers = installed(wanted, interpreter, upgrade)
    except SetupError as exc:
        fail(str(exc).partition("\n")[0])
    if not peers:
        fail("no server is left to measure")
    with tempfile.TemporaryDirectory(prefix="pounce-bench-") as folder:
        certificate = None
        if any(case.tls for case in chosen):
            try:
                certificate = Certificate.issued(Path(folder))
            except ImportError:
                fail("the TLS case needs trustme: pip install trustme")
        report = run(chosen, peers, rounds, duration, certificate)
    report.facts = facts(interpreter, peers, rounds, duration)
    finish(report, json_file, svg_file)


main.add_command(compare)
main.add_command(instructions)


def _is_wanted(server: Server, named: list[str] | None, chosen: Sequence[Case]) -> bool:
    by_name = server.by_default if named is None else server.name in named
    return by_name and any(case.takes(server) for case in chosen)


def fail(why: str) -> NoReturn:
    """One line, exit code 2."""
    say(f"benchmarks: {why}")
    sys.exit(2)


if __name__ == "__main__":
    leave_politely()
    main(prog_name="python -m benchmarks")

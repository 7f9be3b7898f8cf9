"""`python -m benchmarks compare REV`: this tree against another revision of it, in turns, on the same interpreter.

The other revision is exported into a temporary folder and found by PYTHONPATH; both have the installed dependencies,
and apps and load of this tree. Figures are processor time per request: medians, and the median of the rounds' own
ratios. Exit code 0: no case is above the bound; 1: one is, or failed; 2: it could not be measured.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from benchmarks.cases import BY_NAME as CASE, Case
from benchmarks.environments import CHECKOUT, Installed, environ_for
from benchmarks.machine import missing_tool
from benchmarks.measure import Certificate
from benchmarks.results import BASELINE, Report
from benchmarks.rounds import run
from benchmarks.servers import BY_NAME as SERVER

#: What is measured unless cases are named: every protocol once, and what a change slows down first.
DEFAULT_CASES = ("hello-varied", "post-echo", "sse", "404-access-log", "connections-varied", "h2c-hello", "ws-128")

#: Name of the other revision's row.
OTHER = "other"


class NotExported(Exception):
    """Why the other revision is not to be had, in one line."""


def export(revision: str, folder: Path) -> None:
    """That revision's package into `folder`. Raises NotExported."""
    try:
        done = subprocess.run(["git", "-C", str(CHECKOUT), "archive", revision, "pounce"], capture_output=True)
    except OSError as exc:
        raise NotExported(f"git does not run: {exc}") from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise NotExported(f"{revision}: {lines[-1] if lines else 'git archive failed'}")
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True)


def tree(name: str, folder: Path) -> Installed:
    """The server as it is in `folder`, on this interpreter. Raises NotExported where another one would be found."""
    free_threaded = not getattr(sys, "_is_gil_enabled", lambda: True)()
    server = dataclasses.replace(SERVER[BASELINE], name=name)
    environ = environ_for(server, free_threaded, dict(os.environ))
    environ["PYTHONPATH"] = environ["PYTHONPATH"].replace(str(CHECKOUT), str(folder), 1)
    asked = [sys.executable, "-c", "import pounce; print(pounce.__file__)"]
    done = subprocess.run(asked, env=environ, cwd=folder, capture_output=True, text=True)
    found = done.stdout.strip() or done.stderr.strip().rpartition("\n")[2]
    if Path(found).parent.parent.resolve() != folder.resolve():
        raise NotExported(f"{name}: not to be imported from {folder}: {found}")
    return Installed(server, Path(sys.executable), environ, {})


def judge(report: Report, bound: float) -> tuple[list[str], bool]:
    """A table in Markdown, and whether a case is above the bound or was not measured."""
    lines = ["| case | CPU µs | of the other | ratio | rounds |", "| --- | ---: | ---: | ---: | --- |"]
    failed = False
    for case, rows in report.cases.items():
        mine, other = rows[BASELINE], rows[OTHER]
        ratio = mine.ratio(other, "cpu_us")
        if ratio is None or mine.median is None or other.median is None:
            why = f"this tree: {mine.failure}" if mine.failure else f"the other: {other.failure or 'no figures'}"
            lines.append(f"| {case} | failed | | | {why} |")
            failed = True
            continue
        above = ratio > bound
        failed |= above
        rounds = " ".join(
            f"{one.cpu_us / two.cpu_us:.2f}" for one, two in zip(mine.samples, other.samples, strict=True)
        )
        told = f"**{ratio:.3f}**, above {bound:g}" if above else f"{ratio:.3f}"
        lines.append(f"| {case} | {mine.median.cpu_us:.1f} | {other.median.cpu_us:.1f} | {told} | {rounds} |")
    return lines, failed


def chosen_cases(named: Sequence[str]) -> list[Case]:
    """The cases named, or the default ones whose tools are here: the others are left out with a word."""
    if named:
        cases = [CASE[name] for name in named]
        if missing := missing_tool({tool for case in cases for tool in case.tools}):
            fail(missing)
        return cases
    cases = []
    for name in DEFAULT_CASES:
        if missing := missing_tool(CASE[name].tools):
            click.echo(f"left out: {name}: {missing}", err=True)
        else:
            cases.append(CASE[name])
    return cases


@click.command()
@click.argument("revision")
@click.option("--case", "cases", type=click.Choice(list(CASE)), multiple=True, metavar="NAME", help="May be repeated.")
@click.option("--bound", type=click.FloatRange(min=0, min_open=True), default=1.03, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=7, show_default=True)
@click.option("--duration", type=click.IntRange(min=1), default=2, show_default=True, metavar="SECONDS")
def compare(revision: str, cases: tuple[str, ...], bound: float, rounds: int, duration: int) -> None:
    """Measure this tree against REVISION of it; exit code 1 where it takes more than --bound times the CPU."""
    if sys.platform != "linux":
        fail("measuring needs Linux: processor time is read from /proc")
    chosen = chosen_cases(cases)
    with tempfile.TemporaryDirectory(prefix="pounce-compare-") as name:
        folder = Path(name)
        certificate = None
        try:
            export(revision, folder)
            peers = [tree(BASELINE, CHECKOUT), tree(OTHER, folder)]
            if any(case.tls for case in chosen):
                certificate = Certificate.issued(folder)
        except NotExported as exc:
            fail(str(exc))
        except ImportError:
            fail("the TLS cases need trustme: pip install trustme")
        report = run(chosen, peers, rounds, duration, certificate)
    lines, failed = judge(report, bound)
    click.echo(f"This tree against {revision}; medians of {rounds} rounds of {duration} s, a ratio in every round.\n")
    click.echo("\n".join(lines))
    click.echo(f"\nOther processes took up to {report.foreign:.0%} of the processors.")
    sys.exit(int(failed))


def fail(why: str) -> NoReturn:
    """One line, exit code 2."""
    click.echo(f"benchmarks: {why}", err=True)
    sys.exit(2)

"""`python -m conformance differential`: runs the table against both servers, compares, judges."""

from __future__ import annotations

import itertools
import json
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from conformance.cache import SetupError
from conformance.differential import cases_apps, cases_http, cases_websocket
from conformance.differential.case import Case, Combination
from conformance.differential.client import Lane, Stuck
from conformance.differential.known import Verdict, deviation_rows, judge, left_out, read_everywhere, read_known
from conformance.differential.observed import difference, lines_of
from conformance.environment import Environment, Interpreter, environment
from conformance.replay import CHECKOUT, clean_environment, put_on_path
from conformance.upstream import upstream

HERE = Path(__file__).resolve().parent
CASES: list[Case] = [*cases_http.CASES, *cases_apps.CASES, *cases_websocket.CASES]

PARSERS = ("h11", "httptools", "zttp")
LOOPS = ("asyncio", "uvloop")
#: By its short name. uvicorn's `websockets` is the library's old implementation, which pounce does not have.
WEBSOCKETS = {"websockets": "websockets-sansio", "wsproto": "wsproto"}

#: Servers that run at once, of each product.
LANES = 12


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    python: str
    #: Names or patterns of cases; none: all.
    cases: tuple[str, ...] = ()
    #: Show what came of each run, not only the differences.
    show: bool = False
    #: Print unknown differences as entries for the list.
    propose: bool = False


Run = tuple[str, Combination]


@dataclass(frozen=True)
class Job:
    """Cases that go, one after the other, to one server."""

    combination: Combination
    settings: dict[str, Any]
    cases: tuple[Case, ...]


def differential(request: Request, say: Callable[[str], None] = print) -> int:
    """Run it; 0 if all differences are known and all known ones are there, 1 if not. Raises SetupError."""
    started = time.monotonic()
    pins = tomllib.loads((HERE.parent / "pins.toml").read_text(encoding="utf-8"))
    rows = deviation_rows((CHECKOUT / "docs" / "deviations.md").read_text(encoding="utf-8"))
    listed = tomllib.loads((HERE / "known.toml").read_text(encoding="utf-8"))
    known, everywhere = read_known(listed, rows), read_everywhere(listed, rows)
    interpreter = Interpreter.ask(request.python)
    source = upstream(pins["uvicorn"]["version"], pins["uvicorn"]["sha256"])
    venv = environment(interpreter, pins["environment"]["required"], pins["environment"]["optional"], say)
    chosen = [case for case in CASES if is_chosen(case, request.cases)]
    if not chosen:
        raise SetupError(f"no case of that name: {', '.join(request.cases)}")
    jobs = list(make_jobs(chosen, venv, say))
    free_threaded = ", PYTHON_GIL=0" if interpreter.free_threaded else ""
    say(f"uvicorn {source.version} and pounce on {interpreter}{free_threaded}: {len(chosen)} cases")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="differential-")))
        ours = put_on_path(scratch / "path")
        both = [
            stack.enter_context(host("uvicorn", source.reference, venv, interpreter, source.version)),
            stack.enter_context(host("pounce", ours, venv, interpreter)),
        ]
        reference, checked = run_both(both, jobs)
    if request.show:
        for (case, combination), lines in checked.items():
            say(f"\n{case} on {combination}: pounce")
            for line in lines:
                say(f"  {line}")
    differences = {run: difference(reference[run], checked[run]) for run in reference}
    differences, nowhere = left_out(differences, everywhere)
    whole = not request.cases and not is_partial(venv)
    verdict = judge(differences, known, whole=whole)
    if whole:
        verdict.idle += nowhere
    report(verdict, say, request.propose)
    wrong = len(verdict.unknown.keys() | {run for runs in verdict.vanished.values() for run in runs})
    seconds = time.monotonic() - started
    say(f"{len(differences)} runs in {seconds:.0f} s: {verdict.same} the same, {verdict.known} different as listed")
    say(f"{len(differences) - wrong} passed, {wrong + len(verdict.idle)} failed")
    return 0 if verdict.good else 1


def is_chosen(case: Case, names: tuple[str, ...]) -> bool:
    return not names or any(fnmatchcase(case.name, name) for name in names)


def is_partial(venv: Environment) -> bool:
    return not all(package in venv.installed for package in ("httptools", "zttp", "uvloop", "websockets", "wsproto"))


def make_jobs(cases: list[Case], venv: Environment, say: Callable[[str], None]) -> Iterator[Job]:
    """The cases by combination and settings, those first that take longest."""
    there = {name for name in (*PARSERS, *LOOPS, *WEBSOCKETS) if name in venv.installed or name == "asyncio"}
    for name in {*PARSERS, *LOOPS, *WEBSOCKETS} - there:
        say(f"left out: {name} is not installed")
    first_ws = next((name for name in WEBSOCKETS if name in there), "none")
    jobs: dict[tuple[Combination, str, str], list[Case]] = {}
    for http, loop, ws in itertools.product(PARSERS, LOOPS, WEBSOCKETS):
        if {http, loop, ws} <= there:
            for case in cases:
                if case.websocket or ws == first_ws:
                    # What such a server logs depends on what it refused in the last second: one for each case.
                    alone = case.name if "limit_concurrency" in case.settings else ""
                    key = Combination(http, loop, ws), json.dumps(case.settings), alone
                    jobs.setdefault(key, []).append(case)
    for (combination, settings, _), together in sorted(jobs.items(), key=lambda item: -len(item[1])):
        yield Job(combination, json.loads(settings), tuple(together))


@contextmanager
def host(
    name: str, path: Path, venv: Environment, interpreter: Interpreter, version: str | None = None
) -> Iterator[int]:
    """A process that runs one product's servers; its control port. Raises SetupError if it is not the one meant."""
    variables = clean_environment()
    variables["PYTHONPATH"] = str(path)
    # uvicorn's own deprecations are not what this is about.
    variables["PYTHONWARNINGS"] = "ignore"
    if interpreter.free_threaded:
        variables["PYTHON_GIL"] = "0"
    command = [str(venv.python), str(HERE / "host"), name]
    process = subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise SetupError(f"the process for {name} did not start")
        facts = json.loads(line)
        if version not in (None, facts["version"]) or not Path(facts["file"]).is_relative_to(path):
            raise SetupError(f"`import {name}` finds the wrong one: {facts}")
        yield facts["port"]
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def run_both(ports: list[int], jobs: list[Job]) -> tuple[dict[Run, list[str]], dict[Run, list[str]]]:
    """The lines of every run, of the reference and of the checked server. Raises SetupError if one gets stuck."""
    with ThreadPoolExecutor(2 * LANES) as pool:
        # One after the other in turn, so that both products' processes are busy from beginning to end.
        pending = [[pool.submit(run_job, port, job) for port in ports] for job in jobs]
        results: tuple[dict[Run, list[str]], dict[Run, list[str]]] = ({}, {})
        for futures in pending:
            for result, future in zip(results, futures, strict=True):
                result.update(future.result())
    return results


def run_job(port: int, job: Job) -> dict[Run, list[str]]:
    """The lines of one job's runs."""
    combination = job.combination
    settings = {"http": combination.http, "loop": combination.loop, "ws": WEBSOCKETS.get(combination.ws, "none")}
    lane, outcomes = Lane(port, settings | job.settings), {}
    try:
        for case in job.cases:
            try:
                outcomes[case.name, combination] = lines_of(lane.run(case))
            except (Stuck, OSError) as exc:
                outcomes[case.name, combination] = [f"stuck {exc}"]
                lane.close()
                lane = Lane(port, settings | job.settings)
    finally:
        lane.close()
    return outcomes


def report(verdict: Verdict, say: Callable[[str], None], propose: bool) -> None:
    """Say what is wrong."""
    for lines, runs in grouped(verdict.unknown):
        say("")
        if propose:
            for line in proposal(lines, runs):
                say(line)
            continue
        for case in sorted({case for case, _ in runs}):
            say(f"{case} differs on {', '.join(str(where) for name, where in runs if name == case)}:")
        for line in lines:
            say(f"  {line}")
    for entry, runs in verdict.vanished.items():
        say(f"\nlisted, but not (or no longer) so: {entry}")
        for case, combination in runs:
            say(f"  {case} on {combination}")
    for entry in verdict.idle:
        say(f"\nlisted, but there is no such run: {entry}")


def grouped(unknown: dict[Run, list[str]]) -> list[tuple[tuple[str, ...], list[Run]]]:
    """Runs with the same difference together."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run, lines in unknown.items():
        groups.setdefault(tuple(lines), []).append(run)
    return list(groups.items())


def proposal(lines: tuple[str, ...], runs: list[Run]) -> Iterator[str]:
    """Entries for `known.toml` that cover these runs; which row of the deviations says why is left to the reader."""
    where: dict[str, list[Combination]] = {}
    for case, combination in runs:
        where.setdefault(case, []).append(combination)
    for together, cases in itertools.groupby(sorted(where, key=lambda case: str(where[case])), key=where.__getitem__):
        found = list(cases)
        yield "[[known]]"
        yield f"cases = {json.dumps(found)}"
        for part, all_values in (("http", PARSERS), ("loop", LOOPS), ("ws", tuple(WEBSOCKETS))):
            values = {getattr(combination, part) for combination in together}
            if len(values) < len(all_values) and not (part == "ws" and not is_websocket(found)):
                yield f"{part} = {json.dumps(sorted(values))}"
        yield 'row = ""'
        yield "diff = '''"
        yield from lines
        yield "'''"


def is_websocket(names: list[str]) -> bool:
    """Whether these cases run with each WebSocket library."""
    return any(case.websocket for case in CASES if case.name in names)

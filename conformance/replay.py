"""One replay: uvicorn's tests, unmodified, against pounce behind the shim (or against uvicorn itself: the reference).

Every test that uvicorn passes in an environment must pass with pounce in the same one, but for `known.toml`. The
reference's outcomes are kept beside the environment; a full replay makes them first where they are missing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from conformance.cache import SetupError, building
from conformance.environment import Environment, Interpreter, environment
from conformance.judge import Known, Outcomes, judge, settle, table, to_repeat
from conformance.surface import TABLE, differences, read_table, surface, write_table
from conformance.upstream import Upstream, upstream

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
#: Bound by uvicorn's test_socket_bind.
DEFAULT_PORT = 8000
SHIM = CHECKOUT / "compat" / "pounce_compat" / "shim"


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line."""

    python: str
    http: str | None = None
    reference: bool = False
    pytest_args: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        return not (self.http or self.pytest_args)


@dataclass(frozen=True)
class NamesRequest:
    """The same, of `names`."""

    write: bool = False


def load_known() -> list[Known]:
    """The known list. Raises SetupError for an entry without a reason."""
    entries = tomllib.loads((HERE / "known.toml").read_text(encoding="utf-8")).get("known", [])
    if any(not entry.get("test") or not entry.get("reason") for entry in entries):
        raise SetupError("known.toml: every entry needs a test and a reason")
    return [Known(entry["test"], entry["reason"]) for entry in entries]


def load_pins() -> dict[str, Any]:
    """What is fetched, and in which version."""
    return tomllib.loads((HERE / "pins.toml").read_text(encoding="utf-8"))


def compare_names(request: NamesRequest, say: Callable[[str], None] = print) -> int:
    """Hold the table of uvicorn's names against uvicorn, or make it anew; 0 if right, 1 if not. Raises SetupError."""
    pins = load_pins()["uvicorn"]
    if not names_are_right(upstream(pins["version"], pins["sha256"]), say, write=request.write):
        return 1
    say(f"{TABLE.name} is right for uvicorn {pins['version']}")
    return 0


def names_are_right(source: Upstream, say: Callable[[str], None], *, write: bool = False) -> bool:
    """Whether the table of uvicorn's names is that of this uvicorn; says what is not. `write` makes it so."""
    real = surface(source.reference / "uvicorn")
    if write:
        write_table(real)
    found = differences(read_table(), real)
    for line in found:
        say(f"wrong in {TABLE.name}: {line}")
    return not found


def replay(request: Request, say: Callable[[str], None] = print) -> int:
    """Run it, print the table; 0 if good, 1 if not. Raises SetupError."""
    pins = load_pins()
    known = load_known()
    interpreter = Interpreter.ask(request.python)
    source = upstream(pins["uvicorn"]["version"], pins["uvicorn"]["sha256"])
    venv = environment(interpreter, pins["environment"]["required"], pins["environment"]["optional"], say)
    say(f"uvicorn {source.version}'s tests on {interpreter}{', PYTHON_GIL=0' if interpreter.free_threaded else ''}")
    shown = ("httptools", "zttp", "uvloop", "websockets", "wsproto", "h11")
    say("with " + ", ".join(f"{name} {venv.installed[name]}" for name in shown if name in venv.installed))
    for entry in venv.left_out:
        say(f"left out, no wheel for this interpreter: {entry}")
    say("the tests in tests/benchmarks run like all others: what they measure is not measured here")
    right_names = names_are_right(source, say)
    if not is_free(DEFAULT_PORT):
        say(f"port {DEFAULT_PORT} is taken by somebody: a test that binds the default port may fail")

    if request.reference:
        outcomes = run_tests(request, interpreter, venv, source, say)
        if request.full:
            keep(outcomes, venv)
        verdict = judge(outcomes, ())
    else:
        baseline = kept(venv)
        if baseline is None and request.full:
            say("the reference first, once per environment:")
            baseline = run_tests(Request(request.python, reference=True), interpreter, venv, source, say)
            keep(baseline, venv)
        outcomes = run_tests(request, interpreter, venv, source, say)
        verdict = judge(outcomes, known, baseline)
        if failed := to_repeat(verdict):
            say(f"failed; their files run twice more: {', '.join(failed)}")
            again = replace(request, pytest_args=tuple(sorted({test.partition("::")[0] for test in failed})))
            attempts = [run_tests(again, interpreter, venv, source, say) for _ in range(2)]
            repeated = settle(outcomes, failed, attempts)
            verdict = judge(outcomes, known, baseline)
            verdict.repeated = repeated
        if not request.full:
            # Part of the tests of an entry may well pass: only a full run can tell that all of them do.
            verdict.stale = [test for test in verdict.stale if test in outcomes]

    say("")
    for line in table(verdict):
        say(line)
    for title, found in (
        ("failed", verdict.broken),
        ("failed, and passed twice behind that", verdict.repeated),
        ("skipped, though uvicorn passes it here", verdict.not_run),
        ("failed, but so it does with uvicorn here", verdict.failed_by_both),
    ):
        for test, message in found.items():
            say(f"{title}: {test}: {message[:200]}")
    for test in verdict.stale:
        say(f"on the known list, but it passes: {test}")
    say(verdict.last_line)
    return 0 if verdict.good and right_names else 1


def run_tests(
    request: Request, interpreter: Interpreter, venv: Environment, source: Upstream, say: Callable[[str], None]
) -> Outcomes:
    """Run pytest in the environment; its output goes to the terminal. Raises SetupError if it recorded nothing."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        results = Path(scratch, "results.json")
        if request.reference:
            root, path = source.reference, [source.reference]
        else:
            root, path = source.tests, [SHIM, put_on_path(Path(scratch, "path"))]
        variables = clean_environment()
        variables["PYTHONPATH"] = os.pathsep.join(map(str, [*path, HERE / "recorder"]))
        variables["CONFORMANCE_RESULTS"] = str(results)
        if request.http:
            variables["CONFORMANCE_HTTP"] = request.http
        if not request.reference:
            # The supervisor's tests count processes; the other tests have one worker, to which the class is nothing.
            variables["POUNCE_WORKER_CLASS"] = "process"
            say("with POUNCE_WORKER_CLASS=process")
        if interpreter.free_threaded:
            variables["PYTHON_GIL"] = "0"
        check_path(venv, variables, root, reference=request.reference)

        command = [str(venv.python), "-m", "pytest", "-p", "conformance_recorder", "-p", "no:cacheprovider"]
        command += ["-o", "addopts=", "-q", "--tb=short", "--timeout=60", "-n", "2"]
        # A test that fails before it runs the tasks of its mock loop leaves them behind: their warning, an error here,
        # would hit whichever test runs when they are collected: on free-threaded builds, a later one.
        command += ["-W", "ignore:coroutine 'RequestResponseCycle.run' was never awaited:RuntimeWarning"]
        command += request.pytest_args or ["tests"]
        started = time.monotonic()
        code = subprocess.run(command, cwd=root, env=variables).returncode
        say(f"{'uvicorn' if request.reference else 'pounce'}: {time.monotonic() - started:.0f} s")
        if not results.exists():
            raise SetupError(f"pytest ended with exit code {code} and no results")
        tests = json.loads(results.read_text(encoding="utf-8"))["tests"]
    if not tests:
        raise SetupError("no test was run")
    return {test: (found["outcome"], found["message"]) for test, found in tests.items()}


def put_on_path(folder: Path) -> Path:
    """A folder with this checkout's two packages and nothing else, so that its `tests` cannot pass for uvicorn's."""
    folder.mkdir()
    for package in (CHECKOUT / "pounce", CHECKOUT / "compat" / "pounce_compat"):
        try:
            (folder / package.name).symlink_to(package, target_is_directory=True)
        except OSError:  # Windows without the right to link
            shutil.copytree(package, folder / package.name)
    return folder


def clean_environment() -> dict[str, str]:
    """The caller's environment less what would change the outcome of a test."""
    unwanted = ("UVICORN_", "POUNCE_", "PYTEST_", "COVERAGE_", "VIRTUAL_ENV")
    names = ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PYTHONPATH", "PYTHONWARNINGS", "PYTHON_GIL", "PYTHONSTARTUP")
    return {key: value for key, value in os.environ.items() if key not in names and not key.startswith(unwanted)}


def check_path(venv: Environment, variables: dict[str, str], root: Path, *, reference: bool) -> None:
    """Raise SetupError unless `import uvicorn` finds what this run is about."""
    where = "import importlib.util as u; print(u.find_spec('uvicorn').origin)"
    done = subprocess.run([venv.python, "-c", where], cwd=root, env=variables, capture_output=True, text=True)
    shim = "pounce_compat" in Path(done.stdout.strip()).parts
    if done.returncode or shim == reference:
        raise SetupError(f"`import uvicorn` finds the wrong one: {done.stdout}{done.stderr}")


def is_free(port: int) -> bool:
    """Whether the port of the loopback interface can be bound."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def keep(outcomes: Outcomes, venv: Environment) -> None:
    """Keep the reference's outcomes beside the environment they belong to."""
    with building(f"{venv.folder.name}-reference"):
        (venv.folder / "reference.json").write_text(json.dumps(outcomes, indent=1), encoding="utf-8")


def kept(venv: Environment) -> Outcomes | None:
    """The reference's outcomes in this environment, if a full run of it was made."""
    path = venv.folder / "reference.json"
    if not path.exists():
        return None
    return {test: (found[0], found[1]) for test, found in json.loads(path.read_text(encoding="utf-8")).items()}

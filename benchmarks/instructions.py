"""`python -m benchmarks instructions`: processor instructions per request of five paths, by callgrind.

Time on a shared machine is off by a third from one hour to the next; a count hardly moves. It is of one interpreter,
compiled in one way, so the figures that are kept (`counts/3.11.json` and so on, one file per minor version) say which
that was, and are compared with no other. What a count does not see: caches, system calls, and collections of garbage.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from benchmarks.environments import CHECKOUT
from benchmarks.paths import PATHS

#: Repetitions of the shorter of the two counts of a path.
REPETITIONS = 100

#: Share by which a path may cost more than the figure that is kept; and less, before we say that it can be renewed.
TOLERANCE = 0.03

#: Exit code of a check that could not be made, with the reason on standard error.
SKIPPED = 77

COUNTS = Path(__file__).parent / "counts"
PACKAGES = ("h11", "h2", "hpack", "httptools", "wsproto")

#: Called by `benchmarks.paths` at its borders, and by nothing else.
BORDER = "getppid"


class NotCounted(Exception):
    """Why there are no figures, in one line."""


@dataclass(frozen=True)
class Counts:
    """What was counted: instructions per request by path, the interpreter's build, and what else was installed."""

    build: str
    packages: dict[str, str]
    instructions: dict[str, int]

    @classmethod
    def load(cls, path: Path) -> Counts:
        """Raises OSError, and ValueError for another file."""
        try:
            return cls(**json.loads(path.read_text()))
        except TypeError:
            raise ValueError(f"{path}: not a table of counts") from None

    def save(self, path: Path) -> None:
        """Raises OSError."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def table_file() -> Path:
    """Where this interpreter's figures are kept."""
    return COUNTS / f"{sys.version_info[0]}.{sys.version_info[1]}.json"


def build() -> str:
    """What of the interpreter and its machine decides over the number of instructions."""
    flags = " ".join(str(sysconfig.get_config_var(name) or "") for name in ("CONFIG_ARGS", "OPT", "PY_CFLAGS"))
    told = [name for name in ("--enable-optimizations", "--with-lto", "--enable-shared", "-O2", "-O3") if name in flags]
    words = [platform.python_version(), platform.python_compiler(), *platform.libc_ver(), platform.machine(), *told]
    return " ".join(word for word in words if word)


def packages() -> dict[str, str]:
    """Versions of what a path runs besides pounce."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError as exc:
            raise NotCounted(f"{exc.name} is not installed") from None
    return found


def missing() -> str | None:
    """Why this interpreter cannot be counted on this machine, None if it can."""
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "a free-threaded build is not counted: Valgrind runs one thread at a time, and its counts vary"
    if platform.python_implementation() != "CPython" or sys.platform != "linux":
        return "only CPython on Linux is counted"
    if shutil.which("valgrind") is None:
        return "valgrind is not installed (Debian package: valgrind)"
    return None


def totals(folder: Path) -> list[int]:
    """Instructions between two borders, in order: the dumps are numbered, the last one has no number."""
    numbered = sorted((int(path.suffix[1:]), path) for path in folder.glob("counts.*"))
    found = []
    for _, path in numbered:
        match = re.search(r"^totals: (\d+)", path.read_text(errors="replace"), re.MULTILINE)
        if match is None:
            raise NotCounted("callgrind wrote a file without totals")
        found.append(int(match[1]))
    return found


def per_request(found: list[int], names: list[str], repetitions: int) -> dict[str, int]:
    """From three dumps for each path: what came before, N repetitions, 2N. Their difference holds no border."""
    if len(found) != 3 * len(names):
        raise NotCounted(f"callgrind dumped {len(found)} times, not {3 * len(names)}")
    return {
        name: round((found[3 * place + 2] - found[3 * place + 1]) / repetitions) for place, name in enumerate(names)
    }


def count() -> Counts:
    """Run the paths below callgrind. Raises NotCounted."""
    if why := missing():
        raise NotCounted(why)
    known = packages()
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "LC_ALL")}
    environ = {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONHASHSEED": "0"}
    paths = ["-m", "benchmarks.paths"]
    with tempfile.TemporaryDirectory(prefix="pounce-count-") as name:
        folder = Path(name)
        # Once without Valgrind: that compiles what is not compiled yet, and names a mistake without its banners.
        _run([sys.executable, *paths, "1"], folder, environ)
        callgrind = ["valgrind", "--tool=callgrind", f"--dump-before={BORDER}", f"--callgrind-out-file={name}/counts"]
        _run([*callgrind, sys.executable, *paths, str(REPETITIONS)], folder, environ)
        return Counts(build(), known, per_request(totals(folder), list(PATHS), REPETITIONS))


def _run(command: list[str], folder: Path, environ: dict[str, str]) -> None:
    try:
        done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise NotCounted(f"{command[0]} did not come to an end") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("==")]
        raise NotCounted(f"{command[0]} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")


def judge(now: Counts, kept: Counts) -> tuple[list[str], bool]:
    """Lines to print, and whether a path costs more than it may."""
    lines = [f"{'path':<24}{'instructions':>14}{'kept':>12}{'change':>10}"]
    worse, better = [], []
    for name, value in now.instructions.items():
        before = kept.instructions.get(name)
        if before is None:
            lines.append(f"{name:<24}{value:>14,}{'':>12}{'new':>10}")
            continue
        change = value / before - 1
        lines.append(f"{name:<24}{value:>14,}{before:>12,}{change:>+10.1%}")
        if change > TOLERANCE:
            worse.append(name)
        elif change < -TOLERANCE:
            better.append(name)
    if now.packages != kept.packages:
        other = [f"{name} {now.packages.get(name)} (was {was})" for name, was in kept.packages.items()
                 if now.packages.get(name) != was]  # fmt: skip
        lines.append(f"other versions than those that were counted: {', '.join(other)}")
    if worse:
        lines.append(f"more than {TOLERANCE:.0%} dearer: {', '.join(worse)}")
    if better:
        lines.append(f"more than {TOLERANCE:.0%} cheaper: {', '.join(better)}; the table can be renewed: --write")
    return lines, bool(worse)


@click.command()
@click.option("--check", is_flag=True, help=f"Fail where a path costs over {TOLERANCE:.0%} more than what is kept.")
@click.option("--write", is_flag=True, help="Keep these figures.")
def instructions(check: bool, write: bool) -> None:
    """Count processor instructions per request with Valgrind, in process, and compare them with the figures kept.

    Exit code 0: counted; 1: --check failed; 2: it could not be counted; 77: --check had nothing to compare.
    """
    path = table_file()
    kept: Any = None
    if path.exists():
        try:
            kept = Counts.load(path)
        except (OSError, ValueError) as exc:
            leave(str(exc), 2)
    why = missing()
    if check and not why:
        if kept is None:
            why = f"there are no figures of Python {path.stem}; --write makes them"
        elif kept.build != build():
            why = f"the figures are of another build ({kept.build}; this is {build()})"
    if check and why:
        leave(why, SKIPPED)
    try:
        now = count()
    except NotCounted as exc:
        leave(str(exc), 2)
    lines, failed = judge(now, kept if kept is not None else Counts("", now.packages, {}))
    click.echo("\n".join(lines))
    if kept is not None and kept.build != now.build:
        click.echo(f"the figures kept are of another build: {kept.build}; this is {now.build}")
    if write:
        now.save(path)
    sys.exit(int(check and failed))


def leave(why: str, code: int) -> Any:
    """One line, and that exit code."""
    click.echo(f"benchmarks: {why}", err=True)
    sys.exit(code)

"""Counted instructions: the paths themselves, what is read from callgrind, and what a check says."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command, instructions, paths
from benchmarks.instructions import Counts, NotCounted, judge, per_request, totals

KEPT = Counts("this build", {"h11": "0.16.0"}, {"one": 1000, "two": 2000})


@pytest.mark.parametrize("name", paths.PATHS)
def test_a_path_is_taken_and_answered(name: str) -> None:
    """With a border before, between and behind; `take` looks at the last answer itself."""
    borders: list[int] = []
    asyncio.run(paths.take(name, 2, lambda: borders.append(1)))
    assert len(borders) == 3


@pytest.mark.parametrize("name", paths.PATHS)
def test_requests_of_a_path_differ(name: str) -> None:
    """And have the same size, but for what HPACK saves: what is counted does not depend on which ones they are."""
    make = paths.PATHS[name][2]()
    made = [make(number) for number in range(100, 110)]
    assert len(set(made)) == 10
    assert len({len(request) for request in made}) == 1 or name == "http2-get"


def test_dumps_are_read_in_their_order(tmp_path: Path) -> None:
    """The tenth behind the ninth; what callgrind wrote at the end does not count."""
    for number in range(1, 13):
        (tmp_path / f"counts.{number}").write_text(f"version: 1\ntotals: {number}00\n")
    (tmp_path / "counts").write_text("totals: 7\n")
    assert totals(tmp_path) == [number * 100 for number in range(1, 13)]
    (tmp_path / "counts.13").write_text("cut off")
    with pytest.raises(NotCounted, match="without totals"):
        totals(tmp_path)


def test_the_difference_is_the_cost() -> None:
    """Of N and 2N repetitions; what is counted before, and at every border, falls out."""
    assert per_request([9999, 105, 205, 5000, 1007, 2007], ["one", "two"], 10) == {"one": 10, "two": 100}
    with pytest.raises(NotCounted, match="dumped 5 times, not 6"):
        per_request([1, 2, 3, 4, 5], ["one", "two"], 10)


@pytest.mark.parametrize(
    "one, failed, line",
    [
        (1000, False, ""),
        (1029, False, ""),
        (1031, True, "more than 3% dearer: one"),
        (971, False, ""),
        (969, False, "more than 3% cheaper: one; the table can be renewed: --write"),
    ],
)
def test_a_path_may_cost_three_percent_more(one: int, failed: bool, line: str) -> None:
    """Above that a check fails; below minus three it says that the table can be renewed."""
    lines, found = judge(Counts("this build", KEPT.packages, {"one": one, "two": 2000}), KEPT)
    assert found is failed
    assert lines[3:] == ([line] if line else [])


def test_what_else_has_changed_is_named() -> None:
    """Versions of the libraries; a path that is new fails no check."""
    lines, failed = judge(Counts("this build", {"h11": "0.17.0"}, {**KEPT.instructions, "three": 5}), KEPT)
    assert not failed
    assert lines[3].split() == ["three", "5", "new"]
    assert lines[4] == "other versions than those that were counted: h11 0.17.0 (was 0.16.0)"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine where everything is counted as `KEPT`, and a table of its own."""
    monkeypatch.setattr(instructions, "missing", lambda: None)
    monkeypatch.setattr(instructions, "build", lambda: "this build")
    monkeypatch.setattr(instructions, "count", lambda: KEPT)
    monkeypatch.setattr(instructions, "COUNTS", tmp_path)
    return instructions.table_file()


def test_figures_are_kept_and_checked(counted: Path) -> None:
    """A check without a table is skipped, and says how to make one."""
    done = CliRunner().invoke(command.main, ["instructions", "--check"])
    assert (done.exit_code, "there are no figures" in done.output) == (instructions.SKIPPED, True)
    assert CliRunner().invoke(command.main, ["instructions", "--write"]).exit_code == 0
    assert Counts.load(counted) == KEPT
    assert CliRunner().invoke(command.main, ["instructions", "--check"]).exit_code == 0
    Counts(KEPT.build, KEPT.packages, {"one": 900, "two": 2000}).save(counted)
    done = CliRunner().invoke(command.main, ["instructions", "--check"])
    assert (done.exit_code, "dearer: one" in done.output) == (1, True)
    assert CliRunner().invoke(command.main, ["instructions"]).exit_code == 0


def test_figures_of_another_build_are_not_compared(counted: Path) -> None:
    """A check is skipped with both named; a table that is none is a mistake."""
    Counts("that build", KEPT.packages, {"one": 1}).save(counted)
    done = CliRunner().invoke(command.main, ["instructions", "--check"])
    assert done.exit_code == instructions.SKIPPED
    assert done.output == "benchmarks: the figures are of another build (that build; this is this build)\n"
    counted.write_text("{}")
    done = CliRunner().invoke(command.main, ["instructions", "--check"])
    assert (done.exit_code, "not a table of counts" in done.output) == (2, True)


def test_what_cannot_be_counted_says_why(counted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 2, or 77 where a check is left out."""
    monkeypatch.setattr(instructions, "missing", lambda: "valgrind is not installed (Debian package: valgrind)")
    monkeypatch.setattr(instructions, "count", lambda: (_ for _ in ()).throw(NotCounted("valgrind is not installed")))
    for words, code in ((["--check"], instructions.SKIPPED), ([], 2)):
        done = CliRunner().invoke(command.main, ["instructions", *words])
        assert (done.exit_code, done.output.startswith("benchmarks: valgrind is not installed")) == (code, True)


def test_kept_figures_have_every_path() -> None:
    """The tables in the repository are read, and name the paths that there are."""
    kept = sorted(instructions.COUNTS.glob("*.json"))
    assert kept
    for path in kept:
        assert set(Counts.load(path).instructions) == set(paths.PATHS), path
        assert Counts.load(path).build.startswith(f"{path.stem}."), path


def test_the_paths_run_by_themselves() -> None:
    """As Valgrind runs them: in a process of their own, in any folder."""
    environ = {**os.environ, "PYTHONPATH": str(instructions.CHECKOUT)}
    subprocess.run([sys.executable, "-m", "benchmarks.paths", "1"], cwd="/", env=environ, check=True, timeout=50)

"""This tree against another revision: which of the two is started, and what is judged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command, compare
from benchmarks.compare import NotExported, chosen_cases, export, judge, tree
from benchmarks.results import Report, Row, Sample


def row(*cpu_us: float) -> Row:
    """A sample per round."""
    return Row([Sample(1.0, cost, 1.0, 1.0, 1.0, 1, round=float(place)) for place, cost in enumerate(cpu_us)])


def report(mine: Row, other: Row) -> Report:
    """One case."""
    return Report({}, {"hello": {"pounce": mine, "other": other}})


@pytest.mark.parametrize(
    "mine, other, failed, cell",
    [
        (row(10, 20, 30), row(10, 20, 30), False, "1.000"),
        (row(10.2, 20.4, 90), row(10, 20, 30), False, "1.020"),
        (row(10.4, 20.8, 30), row(10, 20, 30), True, "**1.040**, above 1.03"),
        (row(5, 5, 5), row(10, 10, 10), False, "0.500"),
    ],
)
def test_the_rounds_own_ratios_are_judged(mine: Row, other: Row, failed: bool, cell: str) -> None:
    """Their median, against the bound."""
    lines, found = judge(report(mine, other), 1.03)
    assert found is failed
    assert lines[2].split("|")[4].strip() == cell


def test_what_was_not_measured_is_no_pass() -> None:
    """Whichever of the two failed, it says how."""
    for rows, why in (
        (report(Row([], "boom"), row(1)), "this tree: boom"),
        (report(row(1), Row([], "bang")), "the other: bang"),
    ):
        lines, failed = judge(rows, 1.03)
        assert failed
        assert why in lines[2]


def test_each_tree_is_the_one_that_is_imported(tmp_path: Path) -> None:
    """A package in the folder is found before the installed one; without one there is nothing to measure."""
    (tmp_path / "pounce").mkdir()
    (tmp_path / "pounce" / "__init__.py").touch()
    made = tree("other", tmp_path)
    assert made.python == Path(sys.executable)
    assert made.environ["PYTHONPATH"].startswith(str(tmp_path))
    assert tree("pounce", compare.CHECKOUT).environ["PYTHONPATH"].startswith(str(compare.CHECKOUT))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotExported, match="not to be imported from"):
        tree("other", empty)


def test_a_revision_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was committed, not as it is now; one that there is not is named."""
    origin, folder = tmp_path / "origin", tmp_path / "export"
    (origin / "pounce").mkdir(parents=True)
    folder.mkdir()
    (origin / "pounce" / "__init__.py").write_text("before\n")
    git = ["git", "-C", str(origin), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    (origin / "pounce" / "__init__.py").write_text("now\n")
    monkeypatch.setattr(compare, "CHECKOUT", origin)
    export("HEAD", folder)
    assert (folder / "pounce" / "__init__.py").read_text() == "before\n"
    with pytest.raises(NotExported, match="nosuch: "):
        export("nosuch", folder)


def test_a_missing_tool_leaves_default_cases_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a word; one that was asked for is a mistake."""
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert [case.name for case in chosen_cases(())] == ["ws-128"]
    with pytest.raises(SystemExit) as ended:
        chosen_cases(["hello"])
    assert ended.value.code == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_revision_that_there_is_not_is_named() -> None:
    """In a line, with exit code 2."""
    done = CliRunner().invoke(command.main, ["compare", "nosuch", "--case", "ws-128"])
    assert done.exit_code == 2
    assert done.output.startswith("benchmarks: nosuch: ")
    assert "Traceback" not in done.output

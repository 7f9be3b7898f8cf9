"""Groups: what a field says becomes a check, a default, a flag and an environment variable."""

from __future__ import annotations

import importlib
import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from typing import Any, ClassVar

import click
import pytest
from click.testing import CliRunner

from pounce.errors import explanation
from pounce.options import OPTIONS, make_options
from pounce.settings import GROUPS, Group, Http2, Settings, WorkerClass
from pounce.settings.group import option
from pounce.settings.kinds import Flag, Integer, Seconds


@dataclass(frozen=True, slots=True)
class Deadlines(Group):
    """A group without a leading field."""

    name: ClassVar = "deadlines"
    heading: ClassVar = "Deadlines"

    head: float | None = option(30.0, Seconds(optional=True), "To send a request head.", under_uvicorn=None)
    reads: int = option(5, Integer(1), "Reads of it.", flag="--reads")
    strict: bool = option(True, Flag(), "Whether they count.")


def refusal(given: Any, group: type[Group] = Deadlines) -> str:
    """What a group says of values that make no sense: one line, explained."""
    with pytest.raises(ValueError) as caught:
        group.of(given)
    line = str(caught.value)
    assert explanation(caught.value) == (line, 2)
    return line


def test_what_is_not_given_keeps_its_default() -> None:
    """Nothing, a mapping of some, or the group itself."""
    assert Deadlines.of(None) == Deadlines() == Deadlines(30.0, 5, True)
    assert Deadlines.of({"reads": 7}) == Deadlines(reads=7)
    given = Deadlines(None)
    assert Deadlines.of(given) is given


def test_strings_are_read() -> None:
    """As in an environment."""
    assert Deadlines.of({"head": "0.5", "reads": "2"}) == Deadlines(0.5, 2)


@pytest.mark.parametrize(
    "given,line",
    [
        ({"reads": 0}, "deadlines.reads must be an integer, at least 1, not 0"),
        ({"head": -1}, "deadlines.head must be a number of seconds, at least 0, not -1"),
        ({"heads": 1}, "There is no setting 'heads' in deadlines; there are: head, reads, strict"),
        (5, "deadlines must be a mapping of names to values, not 5"),
        (["head"], "deadlines must be a mapping of names to values, not ['head']"),
    ],
)
def test_what_makes_no_sense_is_one_line(given: Any, line: str) -> None:
    """It names the group and the setting."""
    assert refusal(given) == line


def test_a_changed_copy_is_checked_too() -> None:
    """A group is never one that makes no sense, and never changes."""
    with pytest.raises(ValueError, match=r"deadlines\.reads must be"):
        replace(Deadlines(), reads=0)
    with pytest.raises(FrozenInstanceError):
        Deadlines().reads = 7  # type: ignore[misc]


def test_a_default_may_differ_under_uvicorns_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvicorn has no such limit, the drop-in has none either."""
    monkeypatch.setenv("POUNCE_PRESENT_AS", "uvicorn")
    assert Deadlines() == Deadlines.of(None) == Deadlines(None, 5)
    assert Deadlines.of({"head": 30.0}).head == 30.0


def test_a_leading_field_stands_for_its_group() -> None:
    """Plain values are its own."""
    assert Http2.of(False) == Http2(enabled=False)
    assert WorkerClass.of("thread") == WorkerClass(kind="thread")
    assert refusal("maybe", Http2) == "http2 must be true or false, not 'maybe'"


def test_what_was_changed_is_known() -> None:
    """For the line that says that it has no effect."""
    assert Http2(enabled=False, resets=7, wire="native").changed() == ["resets"]


def test_groups_survive_a_process() -> None:
    """Configs are sent to server processes."""
    settings = Settings.of({"http2": {"resets": 7}, "worker_class": None})
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize("group", GROUPS.values(), ids=lambda group: group.name)
def test_every_field_is_an_option(group: type[Group]) -> None:
    """With a flag and a variable by its name, its help and its kind."""
    options = {option.field: option for option in OPTIONS if option.group == group.name}
    assert [*options] == [field.name for field in fields(group)]  # type: ignore[arg-type]
    for name, made in options.items():
        full = group.name if name == group.lead else f"{group.name}_{name}"
        assert made.parameter == full
        given = next(field.metadata["flag"] for field in fields(group) if field.name == name)  # type: ignore[arg-type]
        assert made.flags == (given or f"--{full.replace('_', '-')}")
        assert made.variables[0] == f"POUNCE_{full.upper()}"
        assert made.kind.checked(made.preset) == made.preset


@pytest.mark.parametrize(
    "arguments,expected",
    [
        ([], None),
        (["--deadlines-head", "2", "--reads", "7"], {"head": 2.0, "reads": 7}),
        (["--no-deadlines-strict"], {"strict": False}),
    ],
)
def test_a_new_group_needs_nothing_of_the_command(
    arguments: list[str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its flags are there, and what is given of them is its parameter."""
    monkeypatch.setitem(GROUPS, "deadlines", Deadlines)
    made = list(make_options())
    cli = importlib.import_module("pounce.cli")
    monkeypatch.setattr(cli, "OPTIONS", made)
    found: dict[str, Any] = {}

    @click.pass_context
    def callback(context: click.Context, **values: Any) -> None:
        cli.gather_groups(context, values)
        found.update(values)

    params: list[click.Parameter] = [*made]
    result = CliRunner().invoke(click.Command("server", params=params, callback=callback), arguments)
    assert (result.exit_code, result.output) == (0, "")
    assert found["deadlines"] == expected
    assert Deadlines.of(expected) == Deadlines(**expected or {})

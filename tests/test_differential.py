"""The differential suite's own logic: what counts as a difference, what the list excuses, what the host records."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.cache import SetupError
from conformance.differential import runner
from conformance.differential.case import CLOSE, SETTLE, Combination, Reached, Release, case
from conformance.differential.cases_http import GET
from conformance.differential.client import Lane
from conformance.differential.known import Known, deviation_rows, judge, left_out, read_everywhere, read_known
from conformance.differential.observed import difference, lines_of
from conformance.environment import Environment, Interpreter
from conformance.replay import CHECKOUT, put_on_path

H11 = Combination("h11", "asyncio", "websockets")
HTTPTOOLS = Combination("httptools", "asyncio", "websockets")
KNOWN = Known(("a-*",), "Row", ("-end open", "+end closed"), {"http": ("h11",)})


def found(sent: bytes = b"", calls: Any = (), logs: Any = ()) -> dict[str, Any]:
    return {"sent": [sent], "ends": ["open"], "calls": calls, "logs": logs}


def test_the_time_and_the_name_are_no_difference() -> None:
    """Two responses that differ in `Date` and in the product's name are the same; an app's own fields count."""
    head = b"HTTP/1.1 200 OK\r\ndate: %b\r\nserver: %b\r\n\r\n"
    one = head % (b"Thu, 26 Nov 2026 12:00:00 GMT", b"uvicorn")
    two = head % (b"Fri, 27 Nov 2026 13:00:00 GMT", b"pounce")
    assert difference(lines_of(found(one)), lines_of(found(two))) == []
    assert difference(lines_of(found(one)), lines_of(found(head % (b"Thu, 01 Jan 1970 00:00:00 GMT", b"mine"))))


def test_a_response_begins_a_line() -> None:
    """What follows a body without an end of line is shown on a line of its own."""
    lines = lines_of(found(b"HTTP/1.1 200 OK\r\n\r\nbodyHTTP/1.1 204 No Content\r\n\r\n"))
    assert lines[2:4] == ["bytes 'body'", r"bytes 'HTTP/1.1 204 No Content\r\n'"]


def test_a_long_line_differs_in_its_hash() -> None:
    """Long lines are shortened, but not so that a difference is lost."""
    one, two = lines_of(found(b"x" * 5000)), lines_of(found(b"x" * 4999 + b"y"))
    assert len(one[0]) < 100
    assert len(difference(one, two)) == 2


def test_a_call_that_only_one_app_got_is_named_without_its_scope() -> None:
    """The scope of such a call is not spelled out; that of a call which both got is compared."""
    one = lines_of(found(calls=[["scope path='/'"], ["scope path='/b'", "returned"]]))
    two = lines_of(found(calls=[["scope path='/a'"]]))
    assert difference(one, two) == [
        "-app 1 scope path='/'",
        "-app 2 called",
        "-app 2 returned",
        "+app 1 scope path='/a'",
    ]


def test_listed_differences_are_good() -> None:
    """A run whose differences are those of the list, where the list says so, is good."""
    verdict = judge({("a-1", H11): ["-end open", "+end closed"], ("a-1", HTTPTOOLS): []}, [KNOWN], whole=True)
    assert verdict.good
    assert (verdict.same, verdict.known) == (1, 1)


@pytest.mark.parametrize(
    "lines", [["-end open", "+end closed", "+bytes 'more'"], ["-end open", "+end reset"], ["-end open"], []]
)
def test_any_other_difference_is_bad(lines: list[str]) -> None:
    """One line more, another line, one line fewer or none: each fails the run."""
    assert not judge({("a-1", H11): lines}, [KNOWN], whole=True).good


def test_a_difference_elsewhere_is_bad() -> None:
    """An entry excuses no other case and no other combination."""
    both = ["-end open", "+end closed"]
    assert set(judge({("a-1", HTTPTOOLS): both, ("b", H11): both}, [KNOWN], whole=False).unknown) == {
        ("a-1", HTTPTOOLS),
        ("b", H11),
    }


def test_an_entry_about_nothing_is_bad_in_a_whole_run() -> None:
    """Part of the cases can be run without complaint about the rest of the list."""
    assert not judge({("b", H11): []}, [KNOWN], whole=True).good
    assert judge({("b", H11): []}, [KNOWN], whole=False).good


@pytest.mark.parametrize(
    "entry",
    [
        {"cases": ["a"], "diff": "-a"},
        {"cases": ["a"], "row": "Other", "diff": "-a"},
        {"cases": ["a"], "row": "", "diff": "-a"},
        {"cases": ["a"], "row": "Row", "diff": ""},
        {"cases": ["a"], "row": "Row", "diff": "a"},
        {"cases": ["a"], "row": "Row", "diff": "-a", "parser": ["h11"]},
    ],
)
def test_a_malformed_entry_is_refused(entry: dict[str, Any]) -> None:
    """An entry needs cases, lines and a row of the deviations, and nothing unknown."""
    with pytest.raises(SetupError, match=r"known\.toml"):
        read_known({"known": [entry]}, ["Row of the table"])


def test_a_line_that_differs_everywhere() -> None:
    """It is left out, the whole of it matched; an entry that matches nothing is told."""
    given = {"everywhere": [{"row": "Row", "line": r"\+scope \d"}, {"row": "Row", "line": "-gone"}]}
    entries = read_everywhere(given, ["Row of the table"])
    differences, idle = left_out({("a", H11): ["+scope 1", "+scope 12", "-end open"], ("b", H11): []}, entries)
    assert differences == {("a", H11): ["+scope 12", "-end open"], ("b", H11): []}
    assert idle == entries[1:]


@pytest.mark.parametrize(
    "entry", [{"row": "Row"}, {"row": "Other", "line": "a"}, {"row": "Row", "line": "a", "cases": ["a"]}]
)
def test_a_malformed_line_of_all_cases_is_refused(entry: dict[str, Any]) -> None:
    """Likewise."""
    with pytest.raises(SetupError, match=r"known\.toml"):
        read_everywhere({"everywhere": [entry]}, ["Row of the table"])


def test_the_list_and_the_table_fit() -> None:
    """Each entry names a row of the deviations and existing cases; each case has a name of its own."""
    text = tomllib.loads((runner.HERE / "known.toml").read_text(encoding="utf-8"))
    entries = read_known(text, deviation_rows((CHECKOUT / "docs" / "deviations.md").read_text(encoding="utf-8")))
    assert read_everywhere(text, deviation_rows((CHECKOUT / "docs" / "deviations.md").read_text(encoding="utf-8")))
    names = [case.name for case in runner.CASES]
    assert len(names) == len(set(names))
    everywhere = [
        Combination(http, loop, ws) for http in runner.PARSERS for loop in runner.LOOPS for ws in runner.WEBSOCKETS
    ]
    for entry in entries:
        assert any(entry.covers(name, combination) for name in names for combination in everywhere), entry


def test_a_proposal_covers_the_runs_and_no_others() -> None:
    """What `--propose` prints is an entry that covers exactly the runs with that difference."""
    everywhere = [Combination(http, loop, "websockets") for http in runner.PARSERS for loop in runner.LOOPS]
    runs = [("get", where) for where in everywhere if where.http != "zttp"]
    proposed = tomllib.loads("\n".join(runner.proposal(("-a", "+b"), runs)).replace('row = ""', 'row = "Row"'))
    [entry] = read_known(proposed, ["Row"])
    assert [("get", where) for where in everywhere if entry.covers("get", where)] == runs
    assert entry.lines == ("-a", "+b")


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[Lane]:
    """A server of this checkout in a process of its own."""
    venv = Environment(tmp_path, Path(sys.executable), {}, ())
    with runner.host("pounce", put_on_path(tmp_path / "path"), venv, Interpreter.ask(sys.executable)) as port:
        lane = Lane(port, {"http": "h11", "loop": "asyncio", "ws": "none"})
        yield lane
        lane.close()


def test_a_case_shows_bytes_calls_logs_and_the_end(lane: Lane) -> None:
    """A conversation is recorded from both sides, and the next one does not see it."""
    for _ in range(2):
        lines = lines_of(lane.run(case("get", GET, SETTLE, GET)))
        assert [line for line in lines if "200" in line] == [
            r"bytes 'HTTP/1.1 200 OK\r\n'",
            r"bytes 'HTTP/1.1 200 OK\r\n'",
            """log uvicorn.access INFO '127.0.0.1:port - "GET / HTTP/1.1" 200'""",
            """log uvicorn.access INFO '127.0.0.1:port - "GET / HTTP/1.1" 200'""",
        ]
        assert "end open" in lines
        assert [line for line in lines if line.startswith("app 2") and "scope" not in line] == [
            "app 2 called",
            "app 2 sent http.response.start",
            "app 2 sent http.response.body",
            "app 2 returned",
        ]


def test_an_app_that_waits_is_met_and_let_go(lane: Lane) -> None:
    """Client and app wait for each other at named points; what the app's messages raise is recorded."""
    lines = lines_of(lane.run(case("slow", GET, Reached("called"), Release("go"), app="answers_released")))
    assert "bytes 'hello'" in lines
    lines = lines_of(lane.run(case("gone", GET, Reached("called"), CLOSE, app="waits_for_disconnect")))
    assert "end closed by the client" in lines
    assert "app 1 received http.disconnect" in lines
    lines = lines_of(lane.run(case("misuse", GET, app="body_first")))
    assert [line for line in lines if line.startswith("app 1 send http.response.body raised RuntimeError(")]


def test_an_app_that_never_ends_does_not_reach_the_next_case(lane: Lane) -> None:
    """It is told as still running, and ended."""
    held = case("held", GET, Reached("called"), app="answers_released")
    assert "app 1 still running" in lines_of(lane.run(held))
    assert lines_of(lane.run(case("get", GET)))[-1].endswith("""GET / HTTP/1.1" 200'""")


def test_the_wrong_product_is_noticed(tmp_path: Path) -> None:
    """A run compares what it says: the import has to come from the given path, in the given version."""
    venv = Environment(tmp_path, Path(sys.executable), {}, ())
    ours = put_on_path(tmp_path / "path")
    with (
        pytest.raises(SetupError, match="wrong one"),
        runner.host("pounce", ours, venv, Interpreter.ask(sys.executable), "0"),
    ):
        pass

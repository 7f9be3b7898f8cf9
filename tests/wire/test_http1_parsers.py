"""The HTTP/1.1 parsers against one another, and each against itself where the bytes come cut in another way.

Generated requests, and those of `tests/corpus/http1`. What differs and is not listed in `http1_differences` is a fault.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from pounce.wire.strictness import Rules, UvicornRules
from tests.fakes import WIRES
from tests.wire.http1_differences import DIFFERENCES, Difference, is_allowed, unexplained
from tests.wire.http1_reading import PLACES, Reading, cut, messages, read

CORPUS = {path.name: path.read_bytes() for path in (Path(__file__).parents[1] / "corpus" / "http1").iterdir()}

#: Behind every request, so that it shows where the parser takes that one's end to be.
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"

#: Without a time limit, on a busy machine. The profile (tests/conftest.py) says how many examples, and which.
GENERATES = settings(deadline=None, suppress_health_check=list(HealthCheck))


RULES = pytest.mark.parametrize("rules", [Rules, UvicornRules])


def of_all(raw: bytes, rules: type[Rules]) -> dict[str, Reading]:
    """What each parser makes of it."""
    return {parser: read(parser, [raw], rules) for parser in WIRES}


def told(raw: bytes, readings: dict[str, Reading]) -> str:
    """For the one who has to find out."""
    lines = [f"{parser}: {reading}" for parser, reading in readings.items()]
    return "\n".join([f"keep it as a file of tests/corpus/http1: {raw!r}", *lines])


@GENERATES
@given(messages())
def test_parsers_read_alike(raw: bytes) -> None:
    """Whatever comes, all parsers read the same requests up to the same place, but for what is listed."""
    for rules in (Rules, UvicornRules):
        readings = of_all(raw + NEXT, rules)
        assert not unexplained(raw + NEXT, readings, rules), told(raw, readings)


@GENERATES
@given(st.lists(messages(), min_size=1, max_size=3).map(b"".join), PLACES)
def test_cuts_change_nothing(raw: bytes, places: list[int]) -> None:
    """Whatever comes, in whichever pieces, each parser reads the same."""
    for rules in (Rules, UvicornRules):
        for parser, whole in of_all(raw + NEXT, rules).items():
            assert read(parser, cut(raw + NEXT, places), rules) == whole, told(raw, {parser: whole})


@RULES
@pytest.mark.parametrize("name", sorted(CORPUS))
def test_the_corpus(name: str, rules: type[Rules]) -> None:
    """The same of each kept request: read alike, and byte by byte as in one piece."""
    raw = CORPUS[name] + NEXT
    readings = of_all(raw, rules)
    assert not unexplained(raw, readings, rules), told(CORPUS[name], readings)
    for parser, whole in readings.items():
        assert read(parser, [raw[place : place + 1] for place in range(len(raw))], rules) == whole


@RULES
@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.name)
def test_what_is_listed_happens(row: Difference, rules: type[Rules]) -> None:
    """Each listed difference is there, by itself: these parsers read as the row says, the others alike."""
    raw = CORPUS[row.name] + NEXT
    readings = of_all(raw, rules)
    if not row.holds_with(rules):
        assert not unexplained(raw, readings, rules, but=row), "the row holds with these rules, too"
        return
    common, *rest = [reading for parser, reading in readings.items() if parser not in row.parsers]
    assert all(other == common for other in rest)
    for parser in row.parsers:
        assert readings[parser] != common
        applying = [one for one in DIFFERENCES if parser in one.parsers and one.applies(raw) and one.holds_with(rules)]
        assert [one.name for one in applying] == [row.name]
        assert is_allowed([row], readings[parser], common)

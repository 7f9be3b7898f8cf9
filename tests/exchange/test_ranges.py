"""Conditions and ranges of a request against a representation: a row each of what RFC 9110 has rules for."""

from __future__ import annotations

import itertools
from email.utils import formatdate

import pytest
from hypothesis import given, strategies

from pounce.exchange.ranges import (
    MAX_RANGES,
    Outcome,
    Span,
    UnsatisfiableRange,
    Validators,
    evaluate,
    http_date,
    range_applies,
    ranges_of,
)

SIZE = 1000
MODIFIED = 784111777
NOW = MODIFIED + 1e6
ETAG = b'"abc"'
CURRENT = Validators(ETAG, MODIFIED)


def at(seconds: int) -> bytes:
    """An HTTP-date so many seconds from the modification."""
    return formatdate(MODIFIED + seconds, usegmt=True).encode()


SEND, NOT_MODIFIED, FAILED = Outcome


@pytest.mark.parametrize(
    "fields,expected",
    [
        ({}, SEND),
        # If-Match: strong comparison (13.1.1)
        ({b"if-match": b"*"}, SEND),
        ({b"if-match": ETAG}, SEND),
        ({b"if-match": b'"x", "abc"'}, SEND),
        ({b"if-match": b'"x","abc","y"'}, SEND),
        ({b"if-match": b'"x"'}, FAILED),
        ({b"if-match": b'W/"abc"'}, FAILED),
        ({b"if-match": b"abc"}, FAILED),
        ({b"if-match": b""}, FAILED),
        # If-Unmodified-Since (13.1.4)
        ({b"if-unmodified-since": at(0)}, SEND),
        ({b"if-unmodified-since": at(1)}, SEND),
        ({b"if-unmodified-since": at(-1)}, FAILED),
        ({b"if-unmodified-since": b"yesterday"}, SEND),
        # If-None-Match: weak comparison (13.1.2)
        ({b"if-none-match": b"*"}, NOT_MODIFIED),
        ({b"if-none-match": ETAG}, NOT_MODIFIED),
        ({b"if-none-match": b'W/"abc"'}, NOT_MODIFIED),
        ({b"if-none-match": b'"x", W/"abc"'}, NOT_MODIFIED),
        ({b"if-none-match": b'"x"'}, SEND),
        ({b"if-none-match": b"abc"}, SEND),
        ({b"if-none-match": b'"a,b"'}, SEND),
        # If-Modified-Since (13.1.3)
        ({b"if-modified-since": at(0)}, NOT_MODIFIED),
        ({b"if-modified-since": at(1)}, NOT_MODIFIED),
        ({b"if-modified-since": at(-1)}, SEND),
        ({b"if-modified-since": b"2020-01-01"}, SEND),
        # Their order (13.2.2)
        ({b"if-match": ETAG, b"if-unmodified-since": at(-1)}, SEND),
        ({b"if-match": b'"x"', b"if-none-match": ETAG}, FAILED),
        ({b"if-match": ETAG, b"if-none-match": ETAG}, NOT_MODIFIED),
        ({b"if-unmodified-since": at(-1), b"if-none-match": ETAG}, FAILED),
        ({b"if-none-match": b'"x"', b"if-modified-since": at(1)}, SEND),
        ({b"if-none-match": ETAG, b"if-modified-since": at(-1)}, NOT_MODIFIED),
        ({b"if-unmodified-since": at(0), b"if-modified-since": at(0)}, NOT_MODIFIED),
    ],
    ids=repr,
)
def test_conditions(fields: dict[bytes, bytes], expected: Outcome) -> None:
    """Each alone, and which of two counts."""
    assert evaluate(fields, CURRENT, NOW) is expected


@pytest.mark.parametrize(
    "condition,expected",
    [
        (ETAG, True),
        (b'"x"', False),
        (b'W/"abc"', False),
        (b'"abc", "abc"', False),
        (at(0), True),
        (at(1), False),
        (at(-1), False),
        (b"abc", False),
        (b"", False),
    ],
)
def test_if_range(condition: bytes, expected: bool) -> None:
    """A strong tag or the exact date (13.1.5)."""
    assert range_applies({b"if-range": condition}, CURRENT, NOW) is expected


def test_if_range_needs_a_date_of_the_past() -> None:
    """In the second of the modification, another may come (8.8.2.2)."""
    assert not range_applies({b"if-range": at(0)}, CURRENT, MODIFIED + 0.9)
    assert range_applies({b"if-range": at(0)}, CURRENT, MODIFIED + 1)
    assert range_applies({b"if-range": ETAG}, CURRENT, MODIFIED + 0.9)
    assert range_applies({}, CURRENT, NOW)


@pytest.mark.parametrize(
    "date,expected",
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        (b"Sun Nov  6 08:49:37 1994", 784111777),
        (b"sun, 06 nov 1994 08:49:37 gmt", 784111777),
        (b"Sunday, 06-Nov-70 08:49:37 GMT", 3182489377),  # less than 50 years ahead
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228799),
        (b"Sun, 06 Nov 1994 08:49:37 +0000", None),
        (b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 1994 24:00:00 GMT", None),
        (b"Sun, 06 Nix 1994 08:49:37 GMT", None),
        (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 00 Nov 1994 08:49:37 GMT", None),
        (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        (b"784111777", None),
        (b"", None),
    ],
)
def test_dates(date: bytes, expected: int | None) -> None:
    """The three forms of 5.6.7, and nothing else."""
    assert http_date(date, 1790000000) == expected


@pytest.mark.parametrize(
    "value,expected",
    [
        # One (14.1.2)
        (b"bytes=0-499", [(0, 500)]),
        (b"bytes=500-999", [(500, 1000)]),
        (b"bytes=500-", [(500, 1000)]),
        (b"bytes=-500", [(500, 1000)]),
        (b"bytes=0-0", [(0, 1)]),
        (b"bytes=-1", [(999, 1000)]),
        (b"bytes=0-", [(0, 1000)]),
        (b"bytes=999-5000", [(999, 1000)]),
        (b"bytes=-5000", [(0, 1000)]),
        (b"BYTES=0-1", [(0, 2)]),
        (b"bytes= 0-1 ", [(0, 2)]),
        (b"bytes=0-" + b"9" * 5000, [(0, 1000)]),
        (b"bytes=-" + b"9" * 5000, [(0, 1000)]),
        (b"bytes=" + b"0" * 5000 + b"7-8", [(7, 9)]),
        # Several, in the order in which they are asked for
        (b"bytes=0-0,-1", [(0, 1), (999, 1000)]),
        (b"bytes=500-600,0-9", [(500, 601), (0, 10)]),
        (b"bytes=0-1 ,\t5-6", [(0, 2), (5, 7)]),
        (b"bytes=,0-1,,5-6,", [(0, 2), (5, 7)]),
        # Overlapping and adjacent ones are one (15.3.7.2)
        (b"bytes=0-9,5-19", [(0, 20)]),
        (b"bytes=0-9,10-19", [(0, 20)]),
        (b"bytes=0-9,11-19", [(0, 10), (11, 20)]),
        (b"bytes=0-99,10-19", [(0, 100)]),
        (b"bytes=900-,0-9,-200", [(800, 1000), (0, 10)]),
        (b"bytes=20-29,0-9,10-19", [(0, 30)]),
        (b"bytes=20-29,100-,0-9,10-19", [(0, 30), (100, 1000)]),
        (b"bytes=0-9,0-9,0-9", [(0, 10)]),
        # Those that are not satisfiable are left out
        (b"bytes=0-1,1000-", [(0, 2)]),
        (b"bytes=0-1,-0", [(0, 2)]),
        (b"bytes=5000-6000,7-7", [(7, 8)]),
        # What cannot be read counts as nothing (14.2)
        (b"bytes=2-1", None),
        (b"bytes=0-1,2-1", None),
        (b"bytes=a-b", None),
        (b"bytes=-", None),
        (b"bytes=", None),
        (b"bytes=,", None),
        (b"bytes", None),
        (b"bytes=0-1;2-3", None),
        (b"bytes=0 - 1", None),
        (b"bytes=+0-1", None),
        (b"bytes=0x0-1", None),
        (b"bytes=--1", None),
        (b"bytes=0-1, bytes=2-3", None),
        ("bytes=\u0660-\u0661".encode(), None),
        (b"lines=0-1", None),
        (b"", None),
    ],
)
def test_ranges(value: bytes, expected: list[tuple[int, int]] | None) -> None:
    """Of 1000 bytes."""
    assert ranges_of(value, SIZE) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"bytes=1000-",
        b"bytes=1000-2000",
        b"bytes=-0",
        b"bytes=1000-,-0",
        b"bytes=" + b"9" * 5000 + b"-",
        b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 34, 2)),
        b"bytes=" + b"0-," * 17,
    ],
)
def test_ranges_that_are_refused(value: bytes) -> None:
    """None that there is, or more than 16, even of the same."""
    with pytest.raises(UnsatisfiableRange):
        ranges_of(value, SIZE)


def test_sixteen_ranges_are_not_too_many() -> None:
    """It is the most."""
    found = ranges_of(b"bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 2 * MAX_RANGES, 2)), SIZE)
    assert found == [(at, at + 1) for at in range(0, 32, 2)]


@pytest.mark.parametrize("value", [b"bytes=0-", b"bytes=-1", b"bytes=5-6"])
def test_nothing_has_no_parts(value: bytes) -> None:
    """There is no Content-Range for an empty one."""
    assert ranges_of(value, 0) is None


@given(
    strategies.integers(1, 60),
    strategies.lists(
        strategies.tuples(strategies.integers(0, 70), strategies.integers(0, 30)), min_size=1, max_size=16
    ),
)
def test_merged_ranges_are_those_bytes_once(size: int, asked: list[tuple[int, int]]) -> None:
    """Whatever is asked for: the same bytes, none twice, with a gap between any two."""
    wanted = {at for first, more in asked for at in range(first, first + more + 1) if at < size}
    value = b"bytes=" + b",".join(b"%d-%d" % (first, first + more) for first, more in asked)
    try:
        found = ranges_of(value, size)
    except UnsatisfiableRange:
        assert not wanted
        return
    assert found is not None
    assert sorted(at for span in found for at in range(*span)) == sorted(wanted)
    ordered = sorted(found)
    assert all(one.stop < other.start for one, other in itertools.pairwise(ordered))
    assert isinstance(found[0], Span)
    assert found[0].start <= next(first for first, _ in asked if first < size) < found[0].stop

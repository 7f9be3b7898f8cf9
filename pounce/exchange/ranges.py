"""What a request asks of a representation beyond itself: its conditions and its ranges, read and decided. Pure.

Implements RFC 9110 section 13 (conditional requests) and section 14 (range requests, in bytes), for GET and HEAD.
"""

from __future__ import annotations

import enum
import re
import sys
from calendar import timegm
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

#: The request's fields that count here, by their names in lower case.
CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"})
RANGES = frozenset({b"range", b"if-range"})

#: Ranges of one request: more are a way to make a server work (RFC 9110 section 14.2 allows to refuse them).
MAX_RANGES = 16

_MONTHS = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")

#: The three forms of RFC 9110 section 5.6.7. The name of the day says nothing that the date does not.
_TIME = rb" (?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_DATES = [
    re.compile(form, re.IGNORECASE).fullmatch
    for form in (
        rb"[a-z]{3}, (?P<day>\d\d) (?P<month>[a-z]{3}) (?P<year>\d{4})" + _TIME + rb" gmt",
        rb"[a-z]{6,9}, (?P<day>\d\d)-(?P<month>[a-z]{3})-(?P<year>\d\d)" + _TIME + rb" gmt",
        rb"[a-z]{3} (?P<month>[a-z]{3}) (?P<day>[ \d]\d)" + _TIME + rb" (?P<year>\d{4})",
    )
]

_ENTITY_TAGS = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_RANGE = re.compile(rb"(\d*)-(\d*)").fullmatch

#: Digits that are read as they are: no file is longer, and Python refuses to read very many.
_MOST_DIGITS = 18


class Validators(NamedTuple):
    """Which state of a representation this is."""

    #: A strong one.
    etag: bytes
    #: Whole seconds since the epoch.
    modified: int


class Outcome(enum.Enum):
    """What the conditions come to."""

    SEND = 200
    NOT_MODIFIED = 304
    FAILED = 412


class Span(NamedTuple):
    """Bytes from `start` up to, not with, `stop`."""

    start: int
    stop: int


class UnsatisfiableRange(Exception):
    """None of the ranges is in the representation, or there are too many of them."""


def http_date(value: bytes, now: float) -> int | None:
    """Seconds since the epoch, or None for what is no HTTP-date."""
    for form in _DATES:
        found = form(value)
        if found is None:
            continue
        month = found["month"].lower()
        if month not in _MONTHS:
            return None
        year = int(found["year"])
        if len(found["year"]) == 2:
            # What seems more than 50 years ahead is of the century before.
            this_year = datetime.fromtimestamp(now, UTC).year
            year += this_year // 100 * 100
            if year > this_year + 50:
                year -= 100
        day, hour, minute, second = (int(found[name]) for name in ("day", "hour", "minute", "second"))
        try:
            # A leap second is the last one of its minute.
            date = datetime(year, _MONTHS.index(month) + 1, day, hour, minute, 59 if second == 60 else second)
        except ValueError:
            return None
        return timegm(date.timetuple())
    return None


def evaluate(fields: Mapping[bytes, bytes], current: Validators, now: float) -> Outcome:
    """What the conditions of a GET or HEAD come to, in the order of RFC 9110 section 13.2.2 (steps 1 to 4)."""
    if_match = fields.get(b"if-match")
    if if_match is not None:
        if if_match != b"*" and current.etag not in _ENTITY_TAGS.findall(if_match):
            return Outcome.FAILED
    elif b"if-unmodified-since" in fields:
        date = http_date(fields[b"if-unmodified-since"], now)
        if date is not None and current.modified > date:
            return Outcome.FAILED
    if_none_match = fields.get(b"if-none-match")
    if if_none_match is not None:
        if if_none_match == b"*" or current.etag in [
            tag.removeprefix(b"W/") for tag in _ENTITY_TAGS.findall(if_none_match)
        ]:
            return Outcome.NOT_MODIFIED
    elif b"if-modified-since" in fields:
        date = http_date(fields[b"if-modified-since"], now)
        if date is not None and current.modified <= date:
            return Outcome.NOT_MODIFIED
    return Outcome.SEND


def range_applies(fields: Mapping[bytes, bytes], current: Validators, now: float) -> bool:
    """Whether what the client has a part of is still the same (RFC 9110 section 13.1.5; step 5 of 13.2.2).

    A date counts where it is exactly that of the file, and from the second after it on: in the same second the file may
    change once more, so that no client can have had reason to name it.
    """
    condition = fields.get(b"if-range")
    if condition is None:
        return True
    if condition.startswith((b'"', b"W/")):
        return condition == current.etag
    return http_date(condition, now) == current.modified and now >= current.modified + 1


def ranges_of(value: bytes, size: int) -> list[Span] | None:
    """The parts of a representation of `size` bytes that a Range field asks for; None: the whole.

    Those that overlap or adjoin each other are one, at the place of the first of them. A field that cannot be read
    counts as none, as does one in another unit than bytes, and any where there is nothing to have a part of. Raises
    UnsatisfiableRange.
    """
    unit, equals, specs = value.partition(b"=")
    if not equals or unit.strip(b" \t").lower() != b"bytes" or not size:
        return None
    spans: list[tuple[Span, int]] = []
    count = 0
    for one in specs.split(b","):
        spec = one.strip(b" \t")
        if not spec:
            continue  # RFC 9110 section 5.6.1.2
        found = _RANGE(spec)
        if found is None or spec == b"-":
            return None
        count += 1
        first, last = found.groups()
        if not first:
            span = Span(max(0, size - _number(last)), size)
        elif last and _number(last) < _number(first):
            return None
        else:
            span = Span(_number(first), min(size, _number(last) + 1) if last else size)
        if span.start < span.stop:
            spans.append((span, count))
    if not count:
        return None
    if count > MAX_RANGES or not spans:
        raise UnsatisfiableRange
    return _merged(spans)


def _number(digits: bytes) -> int:
    digits = digits.lstrip(b"0")
    return int(digits or b"0") if len(digits) <= _MOST_DIGITS else sys.maxsize


def _merged(spans: list[tuple[Span, int]]) -> list[Span]:
    """As few as possible, in the order in which they were asked for."""
    spans.sort()
    merged = [spans[0]]
    for span, place in spans[1:]:
        before, first_place = merged[-1]
        if span.start <= before.stop:
            merged[-1] = (Span(before.start, max(before.stop, span.stop)), min(first_place, place))
        else:
            merged.append((span, place))
    return [span for span, _ in sorted(merged, key=lambda one: one[1])]

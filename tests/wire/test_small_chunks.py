"""Chunks of a few bytes, joined to one."""

from __future__ import annotations

import pytest

from pounce.wire.small_chunks import run_of

GOOD = b"1\r\nx\r\n"


@pytest.mark.parametrize(
    ("data", "content", "count"),
    [
        (GOOD * 3, b"xxx", 3),
        (GOOD + b"2\r\nab\r\n" + b"f\r\n" + b"c" * 15 + b"\r\n" + b"F\r\n" + b"d" * 15 + b"\r\n", None, 4),
        (GOOD + b"2\r\n\r\n\r\n" + GOOD, b"x\r\nx", 3),  # whatever is in it
        (GOOD + b"0\r\n\r\n", b"x", 1),  # the last chunk is none of them
        (GOOD + b"10\r\n" + b"y" * 16 + b"\r\n", b"x", 1),
        (GOOD + b"01\r\nx\r\n", b"x", 1),
        (GOOD + b"1;a=b\r\nx\r\n", b"x", 1),
        (GOOD + b"1 \r\nx\r\n", b"x", 1),
        (GOOD + b"1\nx\r\n", b"x", 1),
        (GOOD + b"1\r\nx\n", b"x", 1),
        (GOOD + b"1\r\nxy\r\n", b"x", 1),
        (GOOD + b"1\r\nx\r", b"x", 1),
        (GOOD + b"2\r\nx", b"x", 1),
        (GOOD + b"1\r", b"x", 1),
        (GOOD + b"+1\r\nx\r\n", b"x", 1),
        (b"GET / HTTP/1.1\r\n", b"", 0),
        (b"", b"", 0),
    ],
)
def test_only_what_is_whole_and_plain_is_joined(data: bytes, content: bytes | None, count: int) -> None:
    """Everything else is the parser's, from its first byte on."""
    run = run_of(b"??" + data, 2, 100)
    assert run.chunks == count
    if content is None:
        content = b"xab" + b"c" * 15 + b"d" * 15
    assert run.content == content
    assert len(data) + 2 - run.end == len(data) - len(content) - 5 * count


def test_no_more_than_asked_for() -> None:
    """A share of them is joined at a time."""
    run = run_of(GOOD * 10, 0, 4)
    assert run == (b"xxxx", 4, 4 * len(GOOD))
    assert run.as_chunk() == b"4\r\nxxxx\r\n"

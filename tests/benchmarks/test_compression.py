"""The benchmark of compression: what it sends, and one measurement of each kind."""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

import pytest

from benchmarks import compression
from benchmarks.compression import LEVEL, ROWS, SIZES, Figures, available, line, over_link, records, spent


@pytest.mark.parametrize("size", SIZES)
def test_the_body_is_json_of_that_size(size: int) -> None:
    """Which compresses as real ones do."""
    body = records(size)
    assert len(body) == size
    assert json.loads(body[: body.rindex(b"}, {")] + b"}]")
    assert size < 2000 or 5 < size / len(zlib.compress(body, LEVEL)) < 9


def test_a_row() -> None:
    """The median, and how it stands to another one."""
    assert (
        line("x", [Figures(3.0, 1000), Figures(1.0, 1000), Figures(2.0, 1000)], 4.0) == "| x | 2.000 | 0.50 x | 1,000 |"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("row", [row for row in ROWS if available(row)], ids=lambda row: str(row.title))
def test_a_measurement(row: compression.Row, tmp_path: Path) -> None:
    """Each server answers as it should."""
    figures = spent(row, SIZES[1], 0.1, tmp_path)
    assert 0 <= figures.milliseconds < 100
    assert (figures.size > SIZES[1]) is (row.coding == "identity")


@pytest.mark.skipif(sys.platform != "linux", reason="sends with MSG_DONTWAIT")
def test_over_the_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is there before its way is over."""
    monkeypatch.setattr(compression, "OVER_LINK", 1)
    assert over_link(ROWS[0], SIZES[0], tmp_path).milliseconds > 40

"""What a small file costs: what is printed, and one measurement with a real server."""

from __future__ import annotations

import shutil
import sys

import pytest

from benchmarks import static
from benchmarks.load.outcome import LoadError
from benchmarks.static import ROWS, Cost, Row, measure, table

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("wrk") is None, reason="needs Linux and wrk to measure"
)


def test_the_table_has_medians_and_ratios() -> None:
    """Of pounce to each, where it is measured at all."""
    found = {
        "pounce": [Cost(3000.0, 10.0), Cost(1000.0, 30.0), Cost(2000.0, 20.0)],
        "granian": [Cost(1000.0, 40.0)],
    }
    assert table(found).splitlines()[2:] == [
        "| pounce | 2,000 | 20.0 | 1.00 | 1.00 | 10.0 30.0 20.0 |",
        "| granian | 1,000 | 40.0 | 2.00 | 0.50 | 40.0 |",
    ]
    assert table({"granian": found["granian"]}).splitlines()[2] == "| granian | 1,000 | 40.0 |  |  | 40.0 |"


@on_linux
def test_a_server_is_measured() -> None:
    """pounce's own files."""
    cost = measure(ROWS["pounce"], 1)
    assert cost.requests_per_second > 100
    assert 1 < cost.cpu_us < 10_000


@on_linux
def test_a_server_that_serves_something_else_is_not_measured() -> None:
    """Its answer has to be the file."""
    words = ROWS["pounce"].words

    def without_files(folder: object, port: int) -> list[str]:
        made = words(folder, port)  # type: ignore[arg-type]
        made[made.index("benchmarks.latency:app")] = "examples.hello:app"
        del made[made.index("--static") : made.index("--static") + 2]
        return made

    with pytest.raises(LoadError, match="it did not answer with the file"):
        measure(Row("none", "pounce", (), without_files), 1)


def test_starlettes_app_serves_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the same prefix."""
    pytest.importorskip("starlette")
    monkeypatch.setenv(static.VARIABLE, ".")
    (route,) = static.make_starlette().routes
    assert route.path == static.PREFIX

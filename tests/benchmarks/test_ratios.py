"""Ratios in the tables: each round's own, so that a machine that slows down over the rounds changes none."""

from __future__ import annotations

import json

from benchmarks.results import Report, Row, Sample
from benchmarks.table import table


def row(*speeds: float, rounds: tuple[float | None, ...] | None = None) -> Row:
    """Samples of these speeds; of rounds 1, 2, 3... unless others are given."""
    known = rounds if rounds is not None else tuple(float(number) for number in range(1, len(speeds) + 1))
    return Row(
        [
            Sample(speed, 1e6 / speed, 1.0, 2.0, 3.0, 2**20, round=began)
            for speed, began in zip(speeds, known, strict=True)
        ]
    )


NONE = (None, None, None)


def test_a_ratio_is_the_median_of_the_rounds_own() -> None:
    """Half as fast in every round is half, though the medians are of different rounds."""
    base, peer = row(100, 1000, 400, 10), row(50, 500, 200, 5)
    assert peer.ratio(base, "requests_per_second") == 0.5
    assert peer.ratio(base, "cpu_us") == 2
    base, peer = row(100, 200, 1000), row(50, 20, 900)
    assert peer.ratio(base, "requests_per_second") == 0.5  # of 0.5, 0.1, 0.9; the medians' would be 0.25


def test_samples_of_a_round_belong_together_wherever_they_stand() -> None:
    """Reports that are put together in another order, with more rounds of one server, pair the same samples."""
    base = row(7, 100, 200, 1000, rounds=(9, 1, 2, 3))
    peer = row(900, 50, 20, rounds=(3, 1, 2))
    assert peer.ratio(base, "requests_per_second") == 0.5


def test_reports_from_before_rounds_were_saved_are_paired_in_order() -> None:
    """One that says nothing of rounds is read, and has a sample per round of each server."""
    old = Report({}, {"hello": {"pounce": row(100, 200, 1000, rounds=NONE), "uvicorn": row(50, 20, 900, rounds=NONE)}})
    stored = json.loads(old.as_json())
    for saved in stored["cases"]["hello"].values():
        for sample in saved["samples"]:
            del sample["round"]
    rows = Report.from_json(json.dumps(stored)).cases["hello"]
    assert rows["uvicorn"].ratio(rows["pounce"], "requests_per_second") == 0.5


def test_where_no_round_has_both_the_medians_are_compared() -> None:
    """Samples of different rounds, of unknown rounds and known ones, or of not as many unknown rounds."""
    peer = row(50, 20, 900)
    for base in (
        row(100, 200, 1000, rounds=(7, 8, 9)),
        row(100, 200, 1000, rounds=NONE),
    ):
        assert peer.ratio(base, "requests_per_second") == 0.25
    assert row(50, 50, rounds=(None, None)).ratio(row(100, 200, 1000, rounds=NONE), "requests_per_second") == 0.25


def test_there_is_no_ratio_to_what_failed() -> None:
    """Nor to what is not there, nor to nothing."""
    failed = Row(row(100).samples, "boom")
    assert row(50).ratio(failed, "requests_per_second") is None
    assert failed.ratio(row(50), "requests_per_second") is None
    assert row(50).ratio(Row(), "requests_per_second") is None
    assert row(50).ratio(Row([Sample(0, 0, None, None, None, 0, round=1.0)]), "cpu_us") is None


def test_the_table_shows_the_rounds_ratios() -> None:
    """Beside the medians of the figures."""
    lines = table({"pounce": row(100, 200, 1000), "uvicorn": row(50, 20, 900)}).splitlines()
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells[:3] == ["uvicorn", "50", "0.50"]
    alone = [cell.strip() for cell in table({"uvicorn": row(50)}).splitlines()[2].strip("|").split("|")]
    assert (alone[2], alone[4]) == ("", "")

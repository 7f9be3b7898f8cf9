"""The vectors of `conformance/vectors`, each with a second request behind it, through each parser, cut anywhere."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from conformance.vectors.vector import groups, read_group
from pounce.settings import Settings
from tests.connection.vector_runs import faults

pytestmark = pytest.mark.anyio

GROUPS = pytest.mark.parametrize("group", groups(), ids=lambda path: path.stem)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Nearly all of it is refused, and logged."""
    caplog.set_level(logging.CRITICAL)


@GROUPS
async def test_strictly(parser: str, group: Path) -> None:
    """What has to be refused is, and nothing behind it is answered; what is accepted comes as it was meant."""
    assert await faults(parser, read_group(group), strict=True) == []


@GROUPS
async def test_as_uvicorn(parser: str, group: Path) -> None:
    """With `--parsing uvicorn` the verdicts are those of uvicorn on that parser."""
    settings = Settings.of({"parsing": {"rules": "uvicorn"}})
    assert await faults(parser, read_group(group), strict=False, settings=settings) == []


@GROUPS
def test_parsers_agree(group: Path) -> None:
    """One verdict for every parser, but for exceptions that have a reason; those of uvicorn are other verdicts."""
    for vector in read_group(group):
        assert len(vector.exceptions) <= 1
        for parser, verdict in vector.uvicorn.items():
            assert verdict != vector.exceptions.get(parser, vector.verdict), f"{vector.name}, {parser}"

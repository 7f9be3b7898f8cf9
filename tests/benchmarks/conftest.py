"""What a measured server does to logging ends with its test."""

from __future__ import annotations

import pytest

from tests.isolated_logging import isolated_logging as isolated_logging


@pytest.fixture(autouse=True)
def _isolated(isolated_logging: None) -> None:
    """For each test."""

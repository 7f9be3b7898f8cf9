"""Every test of the config leaves logging and the environment as it found them."""

from __future__ import annotations

import pytest

from tests.isolated_logging import isolated_logging as isolated_logging


@pytest.fixture(autouse=True)
def _isolated(isolated_logging: None) -> None:
    pass

"""What the walks through a project's modules see: the test's own, and one more."""

from __future__ import annotations

import logging
import sys
import types
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All other tests that are loaded would be the project, too: thousands of objects, with nothing in them."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("tests", "conformance", "benchmarks") and name != request.module.__name__:
            monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    return caplog


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> types.ModuleType:
    """A module of the user's own."""
    module = types.ModuleType("project")
    module.__file__ = str(tmp_path / "project.py")
    monkeypatch.setitem(sys.modules, "project", module)
    return module

"""tests/README.md says where each module is tested that has no test module of its own, and nothing else."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGES = (TESTS.parent / "pounce", TESTS.parent / "compat" / "pounce_compat")
TABLE = (TESTS / "README.md").read_text().partition("## Where what is tested")[2].partition("## ")[0]

#: From the pattern of a module's path, without `.py`, to the tests that its row names.
ROWS = {
    pattern: re.findall(r"`([\w/]+\.py)`", where)
    for modules, where in re.findall(r"^\| (`.+`) \| (.+) \|$", TABLE, re.MULTILINE)
    for pattern in re.findall(r"`([^`]+)`", modules)
}


def without_tests() -> list[str]:
    """Modules without a test module of their own, but for uvicorn's names of other modules, and empty ones."""
    found = []
    for package in PACKAGES:
        folder = TESTS / "compat" if package.name == "pounce_compat" else TESTS
        for path in package.rglob("*.py"):
            text, name = path.read_text(), path.relative_to(package).with_suffix("")
            if text and not text.startswith('"""uvicorn\'s path') and "shim/uvicorn/" not in path.as_posix():
                tests = folder / name.parent / f"test_{name.name}.py"
                if not tests.exists():
                    found.append((Path("compat") / name if folder != TESTS else name).as_posix())
    return found


def test_each_module_is_tested_somewhere() -> None:
    """It has a test module, or a row."""
    assert [module for module in without_tests() if not any(fnmatchcase(module, row) for row in ROWS)] == []


@pytest.mark.parametrize("pattern", ROWS)
def test_each_row_is_needed_and_true(pattern: str) -> None:
    """Some module without tests of its own is meant, and the tests that the row names are there."""
    assert any(fnmatchcase(module, pattern) for module in without_tests())
    assert ROWS[pattern]
    assert [tests for tests in ROWS[pattern] if not (TESTS / tests).exists()] == []

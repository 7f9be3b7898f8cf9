"""The documentation agrees with the code: settings, links, and the tests that promises refer to."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def heading_anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_settings_are_current() -> None:
    """docs/settings.md is what docs/make_settings.py writes."""
    script = ROOT / "docs" / "make_settings.py"
    spec = importlib.util.spec_from_file_location("make_settings", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == module.settings()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists, and a heading in it."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        linked = (page.parent / name) if name else page
        assert linked.exists(), target
        assert not anchor or anchor in heading_anchors(linked), target


def test_every_promise_has_its_test() -> None:
    """Each test that docs/server-behavior.md names exists."""
    text = (ROOT / "docs" / "server-behavior.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", text)
    assert named
    for file, test in named:
        source = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in source, f"{file}::{test}"


def test_every_module_is_in_the_architecture() -> None:
    """docs/architecture.md names each module, or the folder it is in."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "pounce").rglob("*.py")):
        module = path.relative_to(ROOT / "pounce").with_suffix("")
        if module.name in ("__init__", "__main__"):
            continue
        folders = [f"`{parent.as_posix()}/`" for parent in module.parents]
        assert any(name in text for name in [f"`{module.as_posix()}`", f"`{module.name}`", *folders]), module

"""The apps of docs/extensions.md, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parent.parent.parent / "docs" / "extensions.md"


def names_of_the_page() -> dict[str, Any]:
    """What the page's Python defines, by name: made anew by each call."""
    found: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(block, str(_PAGE), "exec"), found)
    return found

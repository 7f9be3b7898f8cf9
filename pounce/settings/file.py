"""The settings file of the command: `pounce.toml`, or the table `[tool.pounce]` of `pyproject.toml`.

Looked for in the working directory, and nowhere above it. The first of the two that has settings counts.
"""

from __future__ import annotations

import os
import re
from typing import Any

from pounce.errors import explain

#: What is in each pyproject.toml with a table for pounce, and not in one that merely depends on it.
_MENTION = re.compile(r"""tool\.pounce|\bpounce["']?\s*[].=]""")

#: The file that the command has its settings from, for the log.
path: str | None = None


def read_table() -> dict[str, Any]:
    """The settings of the file, whose `path` is then in this module. Raises an explained `ValueError` or `OSError`."""
    global path
    path = None
    for name in ("pounce.toml", "pyproject.toml"):
        table = _table_of(name) if os.path.isfile(name) else {}
        if table:
            path = os.path.abspath(name)
            return table
    return {}


def _table_of(name: str) -> dict[str, Any]:
    try:
        with open(name, encoding="utf-8-sig") as file:  # Windows editors mark UTF-8
            text = file.read()
        if name == "pyproject.toml" and not _MENTION.search(text):
            return {}
        import tomllib  # few have such a file

        table = tomllib.loads(text)
        if name == "pyproject.toml":
            table = table.get("tool", {}).get("pounce", {})
        elif "tool" in table:
            raise ValueError("in this file they stand by themselves, without [tool.pounce]")
        if not isinstance(table, dict):
            raise ValueError("tool.pounce is not a table")
        return table
    except (OSError, ValueError) as exc:
        raise explain(exc, f"Cannot read the settings in '{os.path.abspath(name)}': {exc}", 2)

"""What PyInstaller has to know of pounce, so that a frozen app starts; found by the entry point `pyinstaller40`.

Its analysis follows import statements; pounce finds most of its classes by import strings. Other tools that freeze
programs need the same list, or the whole package (`--include-package=pounce`).
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pounce

#: What a frozen app has no use for: it needs gunicorn, which would come along.
LEFT_OUT = {"pounce.workers"}


def hook_dirs() -> list[str]:
    """The folder of the hook."""
    return [str(Path(__file__).parent)]


def hidden_imports() -> list[str]:
    """All modules of pounce. Those whose library is not installed do no harm: nothing will ask for them."""
    found = [module.name for module in pkgutil.walk_packages(pounce.__path__, "pounce.")]
    return [name for name in found if name not in LEFT_OUT]

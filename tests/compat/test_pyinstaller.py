"""What freezers of programs are told: every module that is imported by its name in a string."""

from __future__ import annotations

import ast
import re
from importlib import metadata
from pathlib import Path

from pounce.config import registry
from pounce_compat.pyinstaller import LEFT_OUT, hidden_imports, hook_dirs

ROOT = Path(__file__).parents[2] / "pounce"
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
}


def named_in_strings() -> set[str]:
    """The modules of pounce that some string in its sources names, alone or with an attribute behind."""
    nodes = (node for path in ROOT.rglob("*.py") for node in ast.walk(ast.parse(path.read_bytes())))
    strings = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    others = {"pounce.toml", "pounce.compression", "pounce.timing"}  # a file, and two extensions of ASGI
    strings = (string for string in strings if string not in others)
    names = (match[1] for string in strings if (match := re.fullmatch(r"(pounce(\.\w+)+)(:[\w.]+)?", string)))
    return {name if name in MODULES else name.rpartition(".")[0] for name in names}


def test_every_import_string_is_told() -> None:
    """Those of the registry, and all others in the sources."""
    told = set(hidden_imports())
    tables = (registry.HTTP_PROTOCOLS, registry.WS_PROTOCOLS, registry.LIFESPAN, registry.LOOP_FACTORIES)
    strings = [string for table in tables for string in table.values() if string]
    assert {string.partition(":")[0] for string in strings} <= told
    assert {"pounce.connection.pick", "pounce.connection.http2_auto", "pounce.logs"} <= named_in_strings() <= told


def test_every_module_is_told() -> None:
    """None is forgotten when one is added."""
    assert set(hidden_imports()) == MODULES - {"pounce"} - LEFT_OUT


def test_pyinstaller_finds_the_hook() -> None:
    """The entry point leads to the folder in which the hook lies."""
    (entry,) = [
        entry for entry in metadata.distribution("pounce-server").entry_points if entry.group == "pyinstaller40"
    ]
    assert entry.load() is hook_dirs
    assert (Path(hook_dirs()[0]) / "hook-pounce.py").is_file()

"""Imports go down only: the layering of docs/architecture.md, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "pounce"

#: The longest matching prefix decides; a module may import its own layer's package and every lower layer.
LAYERS = {
    "pounce.addresses": 0,
    "pounce.asgi": 0,
    "pounce.contracts": 0,
    "pounce.logs": 0,
    "pounce.names": 0,
    "pounce.errors": 0,
    "pounce.importer": 0,
    "pounce.settings": 0,
    "pounce.watchdog": 0,
    "pounce.fork_signals": 0,
    "pounce.signal_watch": 0,
    "pounce.wire": 1,
    "pounce.exchange": 2,
    "pounce.middleware": 2,
    "pounce.connection": 3,
    "pounce.worker": 4,
    "pounce.pool": 5,
    "pounce.server": 5,
    "pounce.binding": 5,
    "pounce.bulk_acceptor": 5,
    "pounce.ending": 5,
    "pounce.listeners": 5,
    "pounce.supervisors": 5,
    "pounce.config.registry": 0,
    "pounce.config": 6,
    "pounce.options": 7,
    "pounce.cli": 7,
    "pounce.run": 7,
    "pounce.__main__": 7,
    "pounce": 7,
}
#: The one way out of the package: uvicorn's path for the gunicorn workers.
OUTSIDE = {("pounce.workers", "pounce_compat.gunicorn")}
#: The sans-IO layer owns neither time, nor transports, nor words in a log.
FORBIDDEN_IN_WIRE = {"asyncio", "logging", "socket", "ssl", "threading", "time", "selectors", "signal"}

MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

#: Modules that are there for who imports from uvicorn's paths; nothing else does.
ALIASES = {module for module, path in MODULES.items() if path.read_text().startswith('"""uvicorn\'s path')}


def layer(module: str) -> int:
    """The layer of a module, or of a name imported from one."""
    while module not in LAYERS:
        module = module.rpartition(".")[0]
    return LAYERS[module]


def imports(module: str, source: str) -> Iterator[tuple[int, str]]:
    """`(line, module)` of every import, wherever it stands: at the top, in a function, under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write the whole module path"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield node.lineno, whole if whole in MODULES else str(node.module)


def violations(module: str, source: str) -> list[str]:
    """What is wrong with the imports of one module."""
    found = []
    own = layer(module)
    for line, imported in imports(module, source):
        top = imported.partition(".")[0]
        if top == "pounce_compat" and (module, imported) not in OUTSIDE:
            found.append(f"{module}:{line} imports the shim")
        elif imported in ALIASES and module not in ALIASES:
            found.append(f"{module}:{line} imports {imported}, which is there for users")
        elif top == "pounce" and imported != "pounce" and layer(imported) > own:
            found.append(f"{module}:{line} imports {imported}, which is above it")
        elif top == "pounce" and imported == "pounce" and own < LAYERS["pounce"]:
            found.append(f"{module}:{line} imports the top package")
        elif module.startswith("pounce.wire") and top in FORBIDDEN_IN_WIRE:
            found.append(f"{module}:{line} imports {imported}; wire/ is sans-IO")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    """No import goes up, not even inside a function; wire/ touches no clock, log, socket or event loop."""
    assert violations(module, MODULES[module].read_text()) == []


@pytest.mark.parametrize(
    "module,source,expected",
    [
        ("pounce.wire.x", "import asyncio", "wire/ is sans-IO"),
        ("pounce.wire.x", "def f():\n    from logging import handlers", "wire/ is sans-IO"),
        ("pounce.exchange.x", "from pounce.connection.state import ServerState", "above it"),
        ("pounce.server", "def f():\n    from pounce.config.config import Config", "above it"),
        ("pounce.server", "from pounce import config", "above it"),
        ("pounce.server", "import pounce", "the top package"),
        ("pounce.run", "from pounce_compat import shim", "imports the shim"),
        ("pounce.run", "from pounce.logging import DefaultFormatter", "for users"),
    ],
)
def test_a_breach_is_noticed(module: str, source: str, expected: str) -> None:
    """The rule catches each kind of breach."""
    assert expected in violations(module, source)[0]


def test_going_down_is_allowed() -> None:
    """What the layering is for passes."""
    source = "from pounce import names\nfrom pounce.wire import http1\nimport asyncio\n"
    assert violations("pounce.connection.x", source) == []


#: Private names of others that nothing public stands for; the reason is where they are used.
FOREIGN = {
    "asyncio._get_running_loop",
    "os._exit",
    "resource_tracker._resource_tracker",
    "shared._fd",
    "subprocess._args_from_interpreter_flags",
    "sys._current_frames",
    "sys._getframe",
    "sys._xoptions",
}


def private_names(tree: ast.Module) -> tuple[set[str], list[tuple[int, str, str]]]:
    """The underscore names that a module defines, and its uses of such attributes: line, expression, name."""
    defined: set[str] = set()
    used = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            used.append((node.lineno, ast.unparse(node), node.attr))
            if isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
                defined.add(node.attr)
    return defined, used


@pytest.mark.parametrize("module", sorted(MODULES))
def test_underscore_names_are_used_where_they_are_defined(module: str) -> None:
    """Nobody reaches into another module's classes, not even into those that it inherits from."""
    defined, used = private_names(ast.parse(MODULES[module].read_text()))
    assert [(line, text) for line, text, name in used if name not in defined and text not in FOREIGN] == []

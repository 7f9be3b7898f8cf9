"""The names that uvicorn's modules have, read from its sources without running them; the shim's `uvicorn_names.json`.

Only facts: a name, what kind of thing it is, and the value of a constant that is written out. Private names are left
out, and names that are there on some ways through a module only (with one package installed, on one platform). A name
that is defined for type checkers alone counts: they would miss it, too.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: The shim takes from it what uvicorn's modules merely import, and tests/compat what the shim has to have.
TABLE = Path(__file__).resolve().parent.parent / "compat" / "pounce_compat" / "shim" / "uvicorn_names.json"

#: Name to kind: "class", "function", "value", "value 3" (a constant), "keys a b" (of a dictionary), "literal a b" (the
#: strings of a `Literal`), "module os", "from os path".
Names = dict[str, str]


def surface(package: Path) -> dict[str, Any]:
    """`modules`: module to names. `after_import`: the modules that `import uvicorn` alone brings with it."""
    trees = {module_name(path, package): ast.parse(path.read_bytes()) for path in sorted(package.rglob("*.py"))}
    return {
        "after_import": loaded_by(package.name, trees),
        "modules": {module: public(names_of(tree.body)) for module, tree in trees.items()},
    }


def read_table() -> dict[str, Any]:
    """The table of this checkout."""
    found: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return found


def write_table(found: dict[str, Any]) -> None:
    """Replace the table of this checkout."""
    TABLE.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def differences(kept: dict[str, Any], real: dict[str, Any]) -> list[str]:
    """One line for each name that is missing in, wrong in or only in the kept table."""
    lines = [f"import uvicorn: {name}" for name in sorted({*kept["after_import"]} ^ {*real["after_import"]})]
    for module in sorted({*kept["modules"], *real["modules"]}):
        ours, theirs = kept["modules"].get(module), real["modules"].get(module)
        if ours is None or theirs is None:
            lines.append(f"{module}: only in {'uvicorn' if ours is None else 'the table'}")
            continue
        for name in sorted({*ours, *theirs}):
            if ours.get(name) != theirs.get(name):
                lines.append(f"{module}.{name}: table {ours.get(name)!r}, uvicorn {theirs.get(name)!r}")
    return lines


def module_name(path: Path, package: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public(names: Names) -> Names:
    """Those without an underscore in front."""
    return {name: kind for name, kind in sorted(names.items()) if not name.startswith("_")}


def names_of(body: Iterable[ast.stmt], *, typing_only: bool = False) -> Names:
    """What these statements bind on every way through them."""
    found: Names = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = "function"
        elif isinstance(node, ast.ClassDef):
            found[node.name] = "class"
        elif isinstance(node, ast.Import) and not typing_only:
            found.update(imported(node))
        elif isinstance(node, ast.ImportFrom) and not typing_only and node.module != "__future__":
            found.update({one.asname or one.name: f"from {node.module} {one.name}" for one in node.names})
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            kind = kind_of(node.value, found)
            found.update({target.id: kind for target in targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            found |= names_of(node.body, typing_only=True) | names_of(node.orelse)
        elif isinstance(node, ast.If):
            found |= common(names_of(node.body), names_of(node.orelse))
        elif isinstance(node, ast.Try):
            handlers = [names_of(handler.body) for handler in node.handlers]
            found |= common(names_of([*node.body, *node.orelse]), *handlers) | names_of(node.finalbody)
    return found


def imported(node: ast.Import) -> Names:
    """`import a.b` binds `a`; `import a.b as c` binds `c` to `a.b`."""
    bound = {one.asname or one.name.partition(".")[0]: one for one in node.names}
    return {name: f"module {one.name if one.asname else name}" for name, one in bound.items()}


def common(first: Names, *others: Names) -> Names:
    """What all of them bind; where they differ on the kind, only that it is there."""
    return {
        name: kind if all(other[name] == kind for other in others) else "value"
        for name, kind in first.items()
        if all(name in other for other in others)
    }


def kind_of(node: ast.expr, known: Names) -> str:
    """The kind of what is assigned, in a module that binds the `known` names before."""
    match node:
        case ast.Dict(keys=keys) if all(isinstance(key, ast.Constant) for key in keys):
            return " ".join(["keys", *(str(ast.literal_eval(key)) for key in keys if key is not None)])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=elements)):
            return " ".join(["literal", *(str(ast.literal_eval(element)) for element in elements)])
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if known.get(name) == f"module {name}":
            return f"from {name} {attribute}"
    try:
        return f"value {ast.literal_eval(node)!r}"
    except ValueError:
        return "value"


def loaded_by(module: str, trees: dict[str, ast.Module]) -> list[str]:
    """The modules of the package that importing this one certainly imports, itself not among them."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        while name in trees and name not in seen:
            seen.add(name)
            for kind in names_of(trees[name].body).values():
                what, *words = kind.split()
                if what == "module":
                    waiting.append(words[0])
                elif what == "from":
                    waiting += [words[0], ".".join(words)]
            name = name.rpartition(".")[0]  # the packages that it is in
    return sorted(seen - {module})

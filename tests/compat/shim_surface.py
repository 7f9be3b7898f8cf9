"""What people import from uvicorn 0.54, by the shim's table of its names. Run as a script, it tries all of it."""

from __future__ import annotations

import ast
import importlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

TABLE: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "compat" / "pounce_compat" / "shim" / "uvicorn_names.json").read_text(encoding="utf-8")
)
#: Private names that people and uvicorn's tests import all the same.
PRIVATE = {
    "uvicorn.middleware.proxy_headers": ["_TrustedHosts"],
    "uvicorn.middleware.wsgi": ["_WSGIMiddleware"],
    "uvicorn.supervisors.basereload": ["_display_path"],
}
#: Modules that cannot be imported without the named library, here as in uvicorn.
NEEDS = {
    "uvicorn.loops.uvloop": "uvloop",
    "uvicorn.loops.zuvloop": "zuvloop",
    "uvicorn.protocols.http.auto_zttp_impl": "zttp",
    "uvicorn.protocols.http.httptools_impl": "httptools",
    "uvicorn.protocols.http.zttp_h2_impl": "zttp",
    "uvicorn.protocols.http.zttp_impl": "zttp",
    "uvicorn.protocols.websockets.websockets_impl": "websockets",
    "uvicorn.protocols.websockets.websockets_sansio_impl": "websockets",
    "uvicorn.protocols.websockets.wsproto_impl": "wsproto",
    "uvicorn.supervisors.watchfilesreload": "watchfiles",
    "uvicorn.workers": "gunicorn",
}


def is_right(kind: str, found: Any) -> bool:
    """Whether this is what the table says (see conformance/surface.py)."""
    what, _, rest = kind.partition(" ")
    if what == "class":
        return isinstance(found, type)
    if what == "function":
        return callable(found)
    if what == "keys":
        return set(found) == set(rest.split())
    if what == "literal":
        return get_args(found) == tuple(rest.split())
    if what == "module":
        return found is importlib.import_module(rest)
    if what == "from":
        module, name = rest.split()
        original = getattr(importlib.import_module(module), name)
        return found is original or (isinstance(found, type) and issubclass(found, original))
    return not rest or found == ast.literal_eval(rest)


def problems() -> Iterator[tuple[str, str]]:
    """What cannot be had, or is something else, with the reason."""
    for name in TABLE["after_import"]:
        found: Any = importlib.import_module("uvicorn")
        for part in name.split(".")[1:]:
            found = getattr(found, part, None)
        # `uvicorn.main` is the command.
        if name != "uvicorn.main" and found is not importlib.import_module(name):
            yield name, f"after `import uvicorn` it is {found!r}"
    for name, names in TABLE["modules"].items():
        try:
            module = importlib.import_module(name)
        except Exception as exc:
            yield name, f"{type(exc).__name__}: {exc}"
            continue
        for one, kind in names.items() | {(one, "value") for one in PRIVATE.get(name, ())}:
            if not hasattr(module, one):
                yield f"{name}.{one}", "missing"
            elif not is_right(kind, getattr(module, one)):
                yield f"{name}.{one}", f"{getattr(module, one)!r} is not {kind}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the deprecated names are meant to be imported
    print(json.dumps(dict(problems())))

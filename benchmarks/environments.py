"""The peers' environments: one venv per server (those with the same needs share one), kept in the cache.

Nothing is compiled: a server that has no wheel for the interpreter is left out, and the reason is kept. pounce itself
runs from this checkout, with its dependencies in a venv. Made by the code that makes the conformance environments.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.servers import Server
from conformance.cache import SetupError, cache_dir
from conformance.environment import Interpreter, environment, run

CHECKOUT = Path(__file__).parent.parent
APPS = Path(__file__).parent / "apps"

FRAMEWORKS = ("starlette", "fastapi")
WHEELS_ONLY = "--only-binary=:all:"

#: Beginnings of environment variables that would change a server's settings.
_FOREIGN = ("PYTHON", "UVICORN_", "POUNCE_", "GRANIAN_", "GUNICORN_", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")

_VERSIONS = (
    "import importlib.metadata as m, json; print(json.dumps({d.name.lower(): d.version for d in m.distributions()}))"
)


@dataclass(frozen=True)
class Installed:
    """A server that can be started: its interpreter, its environment variables, and versions of what is installed."""

    server: Server
    python: Path
    environ: dict[str, str]
    versions: dict[str, str]

    @property
    def version(self) -> str:
        """Of the server itself, as shown."""
        return self.versions[self.server.package] if self.server.package else "this checkout"


def install(server: Server, interpreter: Interpreter, upgrade: bool, say: Callable[[str], None]) -> Installed:
    """Make the server's environment, or take the one made before. Raises SetupError, in one line, if it cannot be."""
    frameworks = () if server.reference else FRAMEWORKS
    required = [WHEELS_ONLY, *server.requires, *frameworks]
    try:
        made = environment(interpreter, required, list(server.optional), lambda line: say(f"{server.name}: {line}"))
        if upgrade:
            say(f"upgrading {server.name}")
            run([str(made.python), "-m", "pip", "install", "--quiet", "--upgrade", *required], "pip install")
        versions = json.loads(run([str(made.python), "-c", _VERSIONS], "asking for versions"))
    except SetupError as exc:
        raise SetupError(last_error(str(exc))) from None
    return Installed(server, made.python, environ_for(server, interpreter.free_threaded, dict(os.environ)), versions)


def last_error(text: str) -> str:
    """The last line that says ERROR, without that word; else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    errors = [line.partition("ERROR:")[2].strip() for line in lines if "ERROR:" in line]
    return (errors or lines)[-1]


def environ_for(server: Server, free_threaded: bool, environ: dict[str, str]) -> dict[str, str]:
    """The variables that the server starts with: nothing that sets it differently, the GIL off where it can be.

    Peers do not see the checkout, since one of them has a package of pounce's name.
    """
    kept = {name: value for name, value in environ.items() if not name.startswith(_FOREIGN)}
    path = [str(APPS)] if server.package else [str(CHECKOUT), str(APPS)]
    kept["PYTHONPATH"] = os.pathsep.join(path)
    kept["PYTHONPYCACHEPREFIX"] = str(cache_dir() / "bytecode")  # none is left in the checkout
    if free_threaded:
        kept["PYTHON_GIL"] = "0"
    return kept


def commit() -> str:
    """The checkout's commit, with a + where it was changed since; empty outside a repository."""
    asked = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""

"""The environment that uvicorn's tests run in: one venv per interpreter and requirement list, kept in the cache.

Neither pounce nor uvicorn is installed into it; a run puts one of the two on `PYTHONPATH`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.cache import SetupError, building, cache_dir

_ASK = """
import json, platform, sys, sysconfig
print(json.dumps([
    platform.python_implementation(), platform.python_version(), sys.implementation.cache_tag,
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), sys.base_prefix, platform.machine(),
]))
"""


@dataclass(frozen=True)
class Interpreter:
    """What one Python says of itself."""

    path: str
    implementation: str
    version: str
    tag: str
    free_threaded: bool
    prefix: str
    machine: str

    @classmethod
    def ask(cls, path: str) -> Interpreter:
        """Run it and ask. Raises SetupError if it does not run."""
        found = shutil.which(path)
        if found is None:
            raise SetupError(f"no interpreter at {path}")
        done = subprocess.run([found, "-c", _ASK], capture_output=True, text=True)
        if done.returncode:
            raise SetupError(f"{path} does not run:\n{done.stderr}")
        return cls(found, *json.loads(done.stdout))

    def __str__(self) -> str:
        return f"{self.implementation} {self.version}{' free-threaded' if self.free_threaded else ''}"


#: Not by `pip list`, which may print warnings as well.
_LIST = """
import importlib.metadata, json
print(json.dumps({found.name.lower(): found.version for found in importlib.metadata.distributions()}))
"""


@dataclass(frozen=True)
class Environment:
    """A finished venv: its interpreter, what is installed (name to version), and what had no wheel."""

    folder: Path
    python: Path
    installed: dict[str, str]
    left_out: tuple[str, ...]


def environment(
    interpreter: Interpreter, required: list[str], optional: list[str], say: Callable[[str], None]
) -> Environment:
    """Make the environment, or take the one made before. Raises SetupError where a required package is missing."""
    wanted = json.dumps([required, optional, interpreter.prefix, interpreter.machine])
    kind = f"{interpreter.tag}{'t' if interpreter.free_threaded else ''}-{interpreter.version}"
    folder = cache_dir() / f"env-{kind}-{hashlib.sha256(wanted.encode()).hexdigest()[:10]}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    finished = folder / "finished.json"
    with building(folder.name):
        if not finished.exists():
            say(f"making an environment for {interpreter} (once)")
            shutil.rmtree(folder, ignore_errors=True)
            run([interpreter.path, "-m", "venv", str(folder)], "venv")
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            run([*pip, *required], "pip install")
            left_out = [entry for entry in optional if not installs([*pip, "--only-binary", ":all:", *entry.split()])]
            installed = json.loads(run([str(python), "-c", _LIST], "listing what is installed"))
            finished.write_text(json.dumps({"installed": installed, "left_out": left_out}, indent=1))
    facts = json.loads(finished.read_text())
    return Environment(folder, python, facts["installed"], tuple(facts["left_out"]))


def run(command: list[str], what: str) -> str:
    """The command's output. Raises SetupError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SetupError(f"{what} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def installs(command: list[str]) -> bool:
    """Whether the command succeeded."""
    return subprocess.run(command, capture_output=True).returncode == 0

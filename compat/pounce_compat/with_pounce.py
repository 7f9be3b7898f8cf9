"""`with-pounce COMMAND [ARGS...]`: run a command with pounce in uvicorn's place, in its child processes too.

The shim's folder goes first on `PYTHONPATH`, which children inherit and which comes before any installed uvicorn. The
command must run a Python that has pounce (a script of this environment is preferred), and not one in isolated mode
(`python -I`, `-E`), which ignores `PYTHONPATH`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

USAGE = "Usage: with-pounce COMMAND [ARGS...]"

#: The folder that holds the shim's `uvicorn` package.
SHIM = Path(__file__).resolve().parent / "shim"


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The given environment with the shim's folder first on `PYTHONPATH` (once, however often this is nested)."""
    before = given.get("PYTHONPATH")
    path = [entry for entry in before.split(os.pathsep) if entry != str(SHIM)] if before else []
    return {**given, "PYTHONPATH": os.pathsep.join([str(SHIM), *path])}


def resolve(command: Sequence[str], path: str | None) -> list[str] | None:
    """The command line to execute, or None where there is no such command.

    Looked for beside this interpreter first: what is there runs a Python that has pounce. `uvicorn` needs no script at
    all, so that it works where uvicorn is not installed.
    """
    name, *args = command
    if name == "uvicorn":
        return [sys.executable, "-m", "uvicorn", *args]
    found = None
    if os.path.dirname(name) == "":
        found = shutil.which(name, path=sysconfig.get_path("scripts"))
    found = found or shutil.which(name, path=path)
    return [found, *args] if found else None


def main() -> None:
    """The console script. Exits with the command's own code; 2 for no command, 127 for an unknown one (as a shell)."""
    command = sys.argv[1:]
    if not command or command[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if command else sys.stderr)
        sys.exit(0 if command else 2)
    line = resolve(command, os.environ.get("PATH"))
    if line is None:
        print(f"with-pounce: {command[0]}: command not found", file=sys.stderr)
        sys.exit(127)
    if os.name == "nt":  # there, exec would not wait for the command
        sys.exit(subprocess.call(line, env=environment(os.environ)))
    try:
        os.execve(line[0], line, environment(os.environ))
    except OSError as exc:
        print(f"with-pounce: {command[0]}: {exc.strerror}", file=sys.stderr)
        sys.exit(126)


if __name__ == "__main__":
    main()

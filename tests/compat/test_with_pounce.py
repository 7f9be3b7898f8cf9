"""The `with-pounce` command, started as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pounce_compat import with_pounce

COMMAND = [sys.executable, "-m", "pounce_compat.with_pounce"]
SHOW = "import uvicorn; print(uvicorn.__file__)"


def run(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("POUNCE_")} | variables
    return subprocess.run([*COMMAND, *args], env=env, capture_output=True, text=True, timeout=50)


def test_python_gets_the_shim() -> None:
    """`with-pounce python -c "import uvicorn"` imports the shim, under this environment's Python."""
    done = run("python", "-c", SHOW)
    assert Path(done.stdout.strip()).is_relative_to(with_pounce.SHIM), done.stderr


def test_child_processes_get_the_shim() -> None:
    """A child of the command imports the shim too."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}], check=True)"
    done = run("python", "-c", child)
    assert Path(done.stdout.strip()).is_relative_to(with_pounce.SHIM), done.stderr


def test_it_comes_before_an_installed_uvicorn(tmp_path: Path) -> None:
    """A real uvicorn that stands on PYTHONPATH is not the one imported; other entries stay."""
    (tmp_path / "uvicorn").mkdir()
    (tmp_path / "uvicorn" / "__init__.py").touch()
    (tmp_path / "neighbour.py").touch()
    done = run("python", "-c", f"import neighbour; {SHOW}", PYTHONPATH=str(tmp_path))
    assert Path(done.stdout.strip()).is_relative_to(with_pounce.SHIM), done.stderr


def test_the_uvicorn_command_needs_no_uvicorn() -> None:
    """`with-pounce uvicorn` runs whether or not there is a script of that name."""
    done = run("uvicorn", "--version", PATH="/nonexistent")
    assert done.stdout.startswith("Running uvicorn 0.54.0"), done.stdout + done.stderr


def test_no_command_is_a_usage_error() -> None:
    """Without a command: the usage line, exit code 2."""
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (2, "", with_pounce.USAGE + "\n")


def test_help_is_no_error() -> None:
    """`--help` prints the usage line and succeeds."""
    done = run("--help")
    assert (done.returncode, done.stdout) == (0, with_pounce.USAGE + "\n")


def test_an_unknown_command_is_one_line() -> None:
    """A command that is not there: one line, exit code 127."""
    done = run("no-such-command-here", "--flag")
    assert (done.returncode, done.stderr) == (127, "with-pounce: no-such-command-here: command not found\n")


def test_the_exit_code_is_the_commands() -> None:
    """What the command exits with is what `with-pounce` exits with."""
    assert run("python", "-c", "raise SystemExit(7)").returncode == 7


@pytest.mark.parametrize("before", [None, "", "/one", os.pathsep.join((str(with_pounce.SHIM), "/one"))])
def test_the_shim_is_first_and_once(before: str | None) -> None:
    """However often it is nested, the shim stands first on PYTHONPATH and only there; the rest is kept."""
    given = {} if before is None else {"PYTHONPATH": before}
    path = with_pounce.environment(given)["PYTHONPATH"].split(os.pathsep)
    assert path == [str(with_pounce.SHIM), *(["/one"] if before and "/one" in before else [])]

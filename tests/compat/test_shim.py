"""The shim: every module and name of uvicorn 0.54 that users touch. Each test runs a Python of its own, as users do."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pounce_compat import with_pounce
from tests.compat.shim_surface import NEEDS

HERE = Path(__file__).parent


def python(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run this Python with the shim first on its path."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("POUNCE_")} | variables
    return subprocess.run(
        [sys.executable, *args], env=with_pounce.environment(env), capture_output=True, text=True, timeout=50
    )


def evaluate(*lines: str) -> str:
    """The output of a few lines of Python under the shim, which must not fail."""
    done = python("-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_name_that_users_touch_is_there() -> None:
    """All modules of uvicorn 0.54 can be imported and have its names, but for those whose library is not installed."""
    done = python(str(HERE / "shim_surface.py"))
    assert done.returncode == 0, done.stderr
    absent = {name for name, library in NEEDS.items() if importlib.util.find_spec(library) is None}
    assert set(json.loads(done.stdout)) == absent, done.stdout


@pytest.mark.parametrize("path", sorted((with_pounce.SHIM / "uvicorn").rglob("*.py")), ids=lambda path: path.name)
def test_a_shim_file_holds_no_logic(path: Path) -> None:
    """The files below shim/uvicorn are small: what they would have to decide belongs into pounce."""
    assert len(path.read_text().splitlines()) <= 30


def test_it_presents_itself_as_uvicorn() -> None:
    """Version, `Server` header and `--version` under the shim are uvicorn's."""
    lines = ["import uvicorn", "config = uvicorn.Config(lambda: None, lifespan='off', interface='asgi3')"]
    lines += ["config.load()", "print(uvicorn.__version__, dict(config.encoded_headers)[b'server'].decode())"]
    assert evaluate(*lines) == "0.54.0 uvicorn"
    done = python("-m", "uvicorn", "--version")
    assert re.match(r"Running uvicorn 0\.54\.0 with CPython ", done.stdout), done.stdout + done.stderr


def test_uvicorn_main_is_the_command() -> None:
    """`uvicorn.main` is the click command, as with uvicorn, while `uvicorn.main` the module can be imported from."""
    lines = ["import click, uvicorn", "from uvicorn.main import main, run", "import uvicorn.main"]
    assert evaluate(*lines, "print(isinstance(uvicorn.main, click.Command), main is uvicorn.main)") == "True True"


def test_classes_are_the_servers_own() -> None:
    """A method that is replaced on a class got through the shim is replaced in the server (sse-starlette does that)."""
    lines = ["import uvicorn.server, pounce.server", "uvicorn.server.Server.handle_exit = print"]
    lines += ["print(pounce.server.Server.handle_exit is print, pounce.Server is uvicorn.Server)"]
    assert evaluate(*lines) == "True True"


def test_an_assignment_reaches_the_server() -> None:
    """`mock.patch("uvicorn.config.open")` and a new `uvicorn.main.run` are seen by pounce."""
    lines = ["import importlib, pounce.cli", "main = importlib.import_module('uvicorn.main')", "main.run = print"]
    assert evaluate(*lines, "print(pounce.cli.run is print)") == "True"


def test_server_state_in_main_is_deprecated() -> None:
    """`uvicorn.main.ServerState` still works, with uvicorn's warning."""
    lines = ["import importlib, warnings", "main = importlib.import_module('uvicorn.main')"]
    lines += ["with warnings.catch_warnings(record=True) as caught:", "    warnings.simplefilter('always')"]
    lines += ["    state = main.ServerState", "from uvicorn.server import ServerState"]
    lines += ["print(state is ServerState, caught[0].category.__name__, caught[0].message)"]
    expected = "True DeprecationWarning uvicorn.main.ServerState is deprecated, use uvicorn.server.ServerState instead."
    assert evaluate(*lines) == expected

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
from tests.compat.shim_surface import NEEDS, TABLE

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
    """Every module of uvicorn 0.54 has its names, of the same kind and value, but for those whose library is missing.

    And `import uvicorn` alone leaves behind the same modules as attributes.
    """
    done = python(str(HERE / "shim_surface.py"))
    assert done.returncode == 0, done.stderr
    absent = {name for name, library in NEEDS.items() if importlib.util.find_spec(library) is None}
    assert set(json.loads(done.stdout)) == absent, done.stdout


def test_constants_that_are_computed() -> None:
    """What uvicorn computes when it is imported has its values here, too."""
    lines = ["import logging, signal, ssl", "from uvicorn.config import LOG_LEVELS, LOGGING_CONFIG"]
    lines += ["from uvicorn.main import INTERFACE_CHOICES, LEVEL_CHOICES, LIFESPAN_CHOICES, SSL_PROTOCOL_VERSION"]
    lines += [
        "from uvicorn.protocols.http.h11_impl import STATUS_PHRASES",
        "from uvicorn.server import HANDLED_SIGNALS",
    ]
    lines += ["from uvicorn.supervisors.multiprocess import SIGNALS"]
    lines += ["assert list(LOG_LEVELS.items()) == [('critical', 50), ('error', 40), ('warning', 30), ('info', 20), "]
    lines += ["    ('debug', 10), ('trace', 5)]"]
    lines += ["assert list(LEVEL_CHOICES.choices) == list(LOG_LEVELS)"]
    lines += ["assert list(LIFESPAN_CHOICES.choices) == ['auto', 'on', 'off']"]
    lines += ["assert list(INTERFACE_CHOICES.choices) == ['auto', 'asgi3', 'asgi2', 'wsgi']"]
    lines += ["assert SSL_PROTOCOL_VERSION == ssl.PROTOCOL_TLS_SERVER"]
    lines += ["assert (len(STATUS_PHRASES), STATUS_PHRASES[404], STATUS_PHRASES[599]) == (500, b'Not Found', b'')"]
    lines += [
        "assert {signal.SIGINT, signal.SIGTERM} <= set(HANDLED_SIGNALS)",
        "assert SIGNALS[signal.SIGINT] == 'INT'",
    ]
    lines += ["assert set(LOGGING_CONFIG['loggers']) == {'uvicorn', 'uvicorn.error', 'uvicorn.access'}"]
    evaluate(*lines)


def test_looking_at_it_imports_no_library() -> None:
    """What is there after `import uvicorn` brings in nothing that is optional: that may switch the GIL on."""
    lines = ["import functools, sys, uvicorn"]
    lines += [f"for name in {TABLE['after_import']}:"]
    lines += [
        "    functools.reduce(getattr, name.split('.')[1:], uvicorn)",
        "dir(uvicorn)",
        "hasattr(uvicorn, 'nothing')",
    ]
    lines += ["optional = 'a2wsgi httptools uvloop zuvloop watchfiles websockets wsproto zttp h2 hpack yaml dotenv'"]
    assert evaluate(*lines, "print([name for name in optional.split() if name in sys.modules])") in ("[]", "['a2wsgi']")


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


def test_a_name_that_is_only_imported_can_be_patched() -> None:
    """`mock.patch` of what uvicorn's module has from elsewhere works, and is undone."""
    lines = ["import asyncio, uvicorn.logging, uvicorn.supervisors.multiprocess as module", "from unittest import mock"]
    lines += [
        "with mock.patch('uvicorn.supervisors.multiprocess.Config') as patched:",
        "    assert module.Config is patched",
    ]
    lines += ["print(module.Config is uvicorn.Config, hasattr(module, 'nothing'), 'Config' in dir(module))"]
    assert evaluate(*lines) == "True False True"

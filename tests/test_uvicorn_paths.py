"""Changing one word: what is imported from uvicorn's modules can be imported from pounce's of the same paths."""

from __future__ import annotations

import importlib
import importlib.util
import logging.config
import subprocess
import sys
import warnings
from typing import Any

import pytest

import pounce
from pounce import logs
from pounce.config import registry
from pounce.worker.loops import asyncio_loop_factory
from tests.compat.shim_surface import NEEDS, TABLE, is_right

#: Names that are there for annotations, or by a condition on the version of Python.
NOT_DEFINED = {"uvicorn.server.Protocols", "uvicorn.protocols.websockets.websockets_sansio_impl.assert_never"}


def under_our_name(module: str) -> Any:
    """The module of the same path. Skips where its library is not installed."""
    library = NEEDS.get(module)
    if library is not None and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one of them is deprecated
        return importlib.import_module(f"pounce{module.removeprefix('uvicorn')}")


@pytest.mark.parametrize("module", TABLE["modules"])
def test_what_a_module_of_uvicorn_defines_is_there(module: str) -> None:
    """Each path of uvicorn 0.54 exists, with the classes, functions and constants that are defined there."""
    ours = under_our_name(module)
    for name, kind in TABLE["modules"][module].items():
        if kind.partition(" ")[0] not in ("from", "module") and f"{module}.{name}" not in NOT_DEFINED:
            assert is_right(kind, getattr(ours, name)), name


@pytest.mark.parametrize("module", ["uvicorn", "uvicorn.config", "uvicorn.main"])
def test_what_these_import_from_uvicorns_other_modules_is_there(module: str) -> None:
    """`from uvicorn.main import Config` is as usual as `from uvicorn import Config`."""
    ours = under_our_name(module)
    sources = {"uvicorn.config", "uvicorn.importer", "uvicorn.logging", "uvicorn.main", "uvicorn.server"}
    for name, kind in TABLE["modules"][module].items():
        what, *source = kind.split()
        if what == "from" and source[0] in sources | {"uvicorn.supervisors"}:
            assert getattr(ours, name) is getattr(under_our_name(source[0]), source[1]), name


def test_modules_are_attributes_after_one_import() -> None:
    """`import pounce` is enough for `pounce.config.LOGGING_CONFIG` and `pounce.middleware.proxy_headers`."""
    code = [f"import functools, pounce\nfor name in {TABLE['after_import']}:"]
    code += ["    functools.reduce(getattr, name.split('.')[1:], pounce)", "assert pounce.config.LOGGING_CONFIG"]
    subprocess.run([sys.executable, "-c", "\n".join(code)], check=True)


@pytest.mark.parametrize("name", ["DefaultFormatter", "AccessFormatter", "ColourizedFormatter"])
def test_a_log_configuration_may_name_it(name: str) -> None:
    """`pounce.logging.DefaultFormatter` is what `logging.config` finds."""
    assert logging.config.BaseConfigurator({}).resolve(f"pounce.logging.{name}") is getattr(logs, name)


@pytest.mark.parametrize("first", ["import pounce.main", "from pounce.main import run", "import pounce.cli"])
def test_main_stays_the_command(first: str) -> None:
    """Although a module has the same name."""
    code = f"{first}\nimport click, pounce\nassert isinstance(pounce.main, click.Command), pounce.main"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_m_pounce_main_is_the_command() -> None:
    """As `python -m uvicorn.main`."""
    done = subprocess.run([sys.executable, "-m", "pounce.main", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith(f"Running pounce {pounce.__version__} with "), done.stderr


@pytest.mark.parametrize("name", ["UvicornWorker", "UvicornH11Worker", "PounceWorker", "PounceH11Worker"])
def test_gunicorn_finds_the_workers(name: str) -> None:
    """`gunicorn -k pounce.workers.UvicornWorker`, whether or not the name of the class was changed, too."""
    load_class = pytest.importorskip("gunicorn.util").load_class
    expected = name.replace("Uvicorn", "Pounce")
    assert load_class(f"pounce.workers.{name}").__name__ == expected


def test_an_import_string_stands_for_the_built_in_name() -> None:
    """`--loop pounce.loops.asyncio:asyncio_loop_factory` is `--loop asyncio`, as with uvicorn's spelling."""
    name = "pounce.loops.asyncio:asyncio_loop_factory"
    assert registry.is_built_in("--loop", name)
    assert registry.resolve("--loop", name) is asyncio_loop_factory


def test_importing_the_paths_is_no_matter_for_the_server() -> None:
    """A server that serves imports none of them."""
    code = "import sys, pounce\nconfig = pounce.Config(lambda: None, interface='asgi3')\nconfig.load()\n"
    code += "pounce.Server(config)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"pounce.logging", "pounce.main", "pounce.protocols", "pounce.lifespan", "pounce.loops"}

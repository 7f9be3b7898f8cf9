"""The public names of the package."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import FunctionType
from typing import Any

import click
import pytest

import pounce


def test_the_public_names_are_these() -> None:
    """A name is added or removed on purpose only."""
    assert sorted(pounce.__all__) == ["Config", "Server", "main", "run"]
    assert pounce.__version__.count(".") == 2
    assert {*pounce.__all__, "__version__"} <= set(dir(pounce))


@pytest.mark.parametrize(
    "name,module,kind",
    [
        ("Config", "pounce.config.config", type),
        ("Server", "pounce.server", type),
        ("main", "pounce.cli", click.Command),
        ("run", "pounce.run", FunctionType),
    ],
)
def test_a_public_name_is_the_thing_itself(name: str, module: str, kind: Any) -> None:
    """Whether or not the module of that name was imported before."""
    found = getattr(pounce, name)
    assert isinstance(found, kind)
    assert found is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("first", ["import pounce.run", "from pounce.run import run", "import pounce.cli"])
def test_run_stays_the_function(first: str) -> None:
    """Although a module has the same name."""
    code = f"{first}\nimport pounce, types\nassert isinstance(pounce.run, types.FunctionType), pounce.run"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("package", ["pounce", "pounce.config"])
def test_an_unknown_name_is_an_attribute_error(package: str) -> None:
    """The lazy import hides no mistakes."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = importlib.import_module(package).nothing


@pytest.mark.parametrize("name", ["Config", "LOGGING_CONFIG", "LOG_LEVELS", "create_ssl_context"])
def test_the_config_package_offers_what_users_import_from_uvicorns(name: str) -> None:
    """`from pounce.config import ...` reads like uvicorn's."""
    assert getattr(importlib.import_module("pounce.config"), name) is not None

"""Log configs of every kind, levels, and log configs that were written for uvicorn."""

from __future__ import annotations

import configparser
import copy
import importlib.util
import io
import json
import logging
import logging.config
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from pounce import logs
from pounce.config import logging_setup
from pounce.config.config import Config
from pounce.errors import explanation

FOR_UVICORN = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"access": {"()": "uvicorn.logging.AccessFormatter", "fmt": "%(status_code)s", "use_colors": False}},
    "handlers": {"access": {"class": "logging.StreamHandler", "formatter": "access", "stream": sys.__stderr__}},
    "loggers": {"uvicorn.access": {"handlers": ["access"], "level": "INFO", "propagate": False}},
}
#: What reading or applying a broken log config raises; it depends on the Python version.
WHATEVER = (OSError, ValueError, TypeError, KeyError, RuntimeError, configparser.Error, yaml.YAMLError)

INI_FOR_UVICORN = """
[loggers]
keys=root,access
[handlers]
keys=access
[formatters]
keys=access
[logger_root]
handlers=
[logger_access]
qualname=uvicorn.access
handlers=access
[handler_access]
class=StreamHandler
formatter=access
args=()
[formatter_access]
class=uvicorn.logging.AccessFormatter
format=%(status_code)s
"""


def config_with(log_config: Any, **settings: Any) -> Config:
    """A config of which only the logging matters."""
    return Config("nowhere:app", log_config=log_config, **settings)


@pytest.fixture(params=[True, False], ids=["uvicorn", "no-uvicorn"])
def uvicorn_there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether something called uvicorn can be imported."""
    find = importlib.util.find_spec

    def find_spec(name: str) -> Any:
        if name != "uvicorn":
            return find(name)
        return object() if request.param else None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return bool(request.param)


def access_formatter() -> logging.Formatter | None:
    """What formats the access log now."""
    (handler,) = logging.getLogger("uvicorn.access").handlers
    return handler.formatter


def test_the_default_config_is_applied_as_it_is() -> None:
    """Errors to standard error, access to standard output, neither further up."""
    config = Config("nowhere:app")
    assert config.log_config is logs.LOGGING_CONFIG
    assert isinstance(access_formatter(), logs.AccessFormatter)
    (handler,) = logging.getLogger("uvicorn").handlers
    assert isinstance(handler.formatter, logs.DefaultFormatter)
    assert not logging.getLogger("uvicorn").propagate
    assert logging.getLevelName(5) == "TRACE"


@pytest.mark.parametrize("use_colors,expected", [(None, None), ("invalid", None), (True, True), (False, False)])
def test_use_colors_is_written_into_the_dictionary(use_colors: Any, expected: bool | None) -> None:
    """Into the caller's own, as with uvicorn; only True and False say something."""
    given = copy.deepcopy(logs.LOGGING_CONFIG)
    with mock.patch("logging.config") as applied:
        config_with(given, use_colors=use_colors)
    applied.dictConfig.assert_called_once_with(given)
    assert given["formatters"]["default"]["use_colors"] == expected
    assert given["formatters"]["access"].get("use_colors") == expected


@pytest.mark.parametrize("formatters", [{}, {"formatters": {"mine": {"format": "%(message)s"}}}])
def test_a_dictionary_need_not_have_the_formatters_that_colours_are_for(formatters: dict[str, Any]) -> None:
    """Then there is nothing to colour, and nothing is added."""
    given = {"version": 1, **copy.deepcopy(formatters)}
    config_with(given, use_colors=True)
    assert given == {"version": 1, **formatters}


@pytest.mark.parametrize("as_path", [str, Path])
@pytest.mark.parametrize("ending", [".json", ".yaml", ".yml"])
def test_a_file_is_read_by_its_ending(ending: str, as_path: Callable[[Any], Any], tmp_path: Path) -> None:
    """JSON is YAML too, so one content serves."""
    path = tmp_path / f"log{ending}"
    path.write_text(json.dumps(logs.LOGGING_CONFIG))
    with mock.patch("logging.config") as applied:
        config = config_with(as_path(path))
    applied.dictConfig.assert_called_once_with(logs.LOGGING_CONFIG)
    assert config.log_config == os.fspath(path)


def test_open_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers put their own `open` into the module."""
    opened = mock.mock_open(read_data="{}")
    monkeypatch.setattr(logging_setup, "open", opened, raising=False)
    with mock.patch("logging.config"):
        config_with("log.json")
    opened.assert_called_once_with("log.json")


@pytest.mark.parametrize("given", ["log.ini", configparser.ConfigParser(), io.StringIO("")])
def test_anything_else_goes_to_file_config(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, where uvicorn's names can be imported."""
    monkeypatch.setattr(logging_setup, "_uvicorn_is_missing", lambda: False)
    with mock.patch("logging.config") as applied:
        config_with(given)
    applied.fileConfig.assert_called_once_with(given, disable_existing_loggers=False)


def test_uvicorns_formatters_in_a_dictionary_are_replaced_where_there_is_no_uvicorn(uvicorn_there: bool) -> None:
    """On a copy; streams and other objects inside stay the same; with a uvicorn the same object goes through."""
    before = copy.copy(FOR_UVICORN["formatters"]["access"])  # type: ignore[index]
    if uvicorn_there:
        with mock.patch("logging.config") as applied:
            config_with(FOR_UVICORN)
        assert applied.dictConfig.call_args.args[0] is FOR_UVICORN
    else:
        config_with(FOR_UVICORN)
        assert isinstance(access_formatter(), logs.AccessFormatter)
        (handler,) = logging.getLogger("uvicorn.access").handlers
        assert isinstance(handler, logging.StreamHandler)
        assert handler.stream is sys.__stderr__
    assert FOR_UVICORN["formatters"]["access"] == before  # type: ignore[index]


@pytest.mark.parametrize("kind", ["path", "file", "parser"])
def test_uvicorns_formatters_in_an_ini_file_are_replaced(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the ini file is handed over."""
    monkeypatch.setattr(logging_setup, "_uvicorn_is_missing", lambda: True)
    path = tmp_path / "log.ini"
    path.write_text(INI_FOR_UVICORN)
    given: Any = str(path)
    if kind == "file":
        given = io.StringIO(INI_FOR_UVICORN)
    elif kind == "parser":
        given = configparser.RawConfigParser()
        given.read(path)
    config_with(given)
    assert isinstance(access_formatter(), logs.AccessFormatter)


@pytest.mark.parametrize("level,expected", [("warning", 30), ("Info", 20), ("trace", 5), (45, 45)])
def test_the_level_is_set_on_all_three_loggers(level: Any, expected: int) -> None:
    """By name in any case, or by number."""
    config_with(None, log_level=level)
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        assert logging.getLogger(name).level == expected


@pytest.mark.parametrize("access_log,handlers", [(True, 1), (False, 0)])
def test_the_access_log_can_be_switched_off(access_log: bool, handlers: int) -> None:
    """Then it has no handler and does not reach those above."""
    Config("nowhere:app", access_log=access_log)
    logger = logging.getLogger("uvicorn.access")
    assert (len(logger.handlers), logger.propagate) == (handlers, False)


def test_a_missing_yaml_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra of the product that the user installed."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    path = str(tmp_path / "log.yaml")
    with pytest.raises(ImportError, match=r"Install the PyYAML package or pounce-server\[standard\]") as caught:
        config_with(path)
    line, _ = explanation(caught.value) or ("", 0)
    assert line.endswith("pip install PyYAML")
    monkeypatch.setenv("POUNCE_PRESENT_AS", "uvicorn")
    with pytest.raises(ImportError, match=r"Install the PyYAML package or uvicorn\[standard\]"):
        config_with(path)


@pytest.mark.parametrize(
    "name,content,reason",
    [
        ("missing.json", None, "No such file or directory"),
        ("broken.json", "{", "Expecting property name"),
        ("list.json", "[]", "it must be a mapping, with a 'version' of 1"),
        ("broken.yaml", "a: [\n - b: c: d\n", "while parsing"),
        ("empty.yaml", "", "it must be a mapping, with a 'version' of 1"),
        (
            "wrong.json",
            '{"version": 1, "handlers": {"h": {"class": "no.such.Handler"}}}',
            "Unable to configure handler",
        ),
        ("missing.ini", None, ""),
        ("broken.ini", "not an ini file", ""),
        ("half.ini", "[loggers]\n", "it has no 'formatters'"),
        (".", None, "it is a directory"),
    ],
)
def test_a_broken_file_is_explained_in_one_line(name: str, content: str | None, reason: str, tmp_path: Path) -> None:
    """The line names the file and the reason; the exception stays what it was."""
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(WHATEVER) as caught:
        config_with(str(path))
    line, code = explanation(caught.value) or ("", 0)
    assert line.startswith(f"Cannot use the log config '{path}': {reason}")
    assert len(line) > len(f"Cannot use the log config '{path}': ") + 5
    assert "\n" not in line
    assert code == 3


@pytest.mark.parametrize("name", ["pounce", "pounce.error", "pounce.access", "pounce.asgi"])
def test_a_logger_whose_name_was_changed_is_pointed_out(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A log config that sets up `pounce.access` would have no effect, and one line says what the logger is called."""
    changed = copy.deepcopy(logs.LOGGING_CONFIG)
    changed["loggers"][name] = {"level": "DEBUG"}
    try:
        config_with(changed)
        config_with(logs.LOGGING_CONFIG)
    finally:
        logging.getLogger(name).setLevel(logging.NOTSET)
    config_with(logs.LOGGING_CONFIG)
    theirs = name.replace("pounce", "uvicorn")
    line = f"Nothing is logged to '{name}', which is set up: the server's logger is called '{theirs}', as uvicorn's is."
    assert capsys.readouterr().err.count(line) == 2


def test_a_process_without_a_console_can_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without standard output and error (pythonw, a service) the default log config goes nowhere, and nothing fails."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    Config("tests.config.apps:asgi3")
    logging.getLogger("uvicorn.error").info("nobody reads this")
    args = ("1.2.3.4:5", "GET", "/", "1.1", 200)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', *args)

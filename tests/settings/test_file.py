"""The settings file of the command: which one counts, before and behind what, and what is wrong with it."""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from pounce.config.config import Config
from pounce.run import run as serve
from pounce.server import Server
from pounce.settings import file
from tests.isolated_logging import isolated_logging as isolated_logging

cli = importlib.import_module("pounce.cli")
pytestmark = pytest.mark.usefixtures("isolated_logging", "folder")

APP = "tests.config.apps:asgi3"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(file, "path", None)
    return tmp_path


def write(text: str, name: str = "pounce.toml") -> None:
    Path(name).write_text(text, encoding="utf-8")


def invoke(*args: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(cli.main, list(args))


def passed(*args: str, **environment: str) -> dict[str, Any]:
    """What the command hands to `run`."""
    with mock.patch.object(cli, "run") as run:
        result = invoke(*args, **environment)
    assert (result.exit_code, result.output) == (0, "")
    return {"app": run.call_args.args[0]} | run.call_args.kwargs


def error(*args: str) -> str:
    """The one line of a command that does not start; its exit code is 2."""
    result = invoke(*args)
    assert result.exit_code == 2, result.output
    (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    return line


def test_both_kinds_of_settings_stand_in_it() -> None:
    """uvicorn's parameters by their names, groups as tables; dashes and underscores are the same."""
    write(
        'app = "x:y"\nport = 1\nworkers = 4\nworker-class = "thread"\naccess-log = false\nheaders = ["A:b", "C:d"]\n'
        'reload_dirs = "pounce"\n[http2]\nresets-per-second = 7\n'
    )
    Path("pounce").mkdir()
    found = passed()
    expected = {
        "app": "x:y",
        "port": 1,
        "workers": 4,
        "worker_class": "thread",
        "access_log": False,
        "headers": [["A", "b"], ["C", "d"]],
        "reload_dirs": ("pounce",),
        "http2": {"enabled": True, "resets_per_second": 7},
    }
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    "text,group,expected",
    [
        ("[http2]\nenabled = false", "http2", False),
        ("[http2]\n", "http2", True),
        (
            "[server-timing]\nenabled = true\nallow = '::1,unix'",
            "server_timing",
            {"enabled": True, "allow": (("::1", "unix"),)},
        ),
        (
            "server-timing = true\nserver-timing-allow = 'unix'",
            "server_timing",
            {"enabled": True, "allow": (("unix",),)},
        ),
        ("compression = ['gzip', 'br']", "compression", ("gzip", "br")),
        ("[compression]\ncodings = ['gzip', 'br']", "compression", ("gzip", "br")),
        ("compression-types = ['a/b', 'c/d']", "compression", {"codings": (), "types": "a/b,c/d"}),
        ("[asgi]\nspec = 2.4\nextensions = 'pathsend'", "asgi", {"spec": "2.4", "extensions": ("pathsend",)}),
        ("asgi-spec = 2.4", "asgi", {"spec": "2.4"}),
        ("static = '/=.'", "static", (("", os.curdir),)),
        ("[static]\ndirs = '/=.'", "static", (("", os.curdir),)),
    ],
)
def test_a_group_is_a_table_or_its_settings_one_by_one(text: str, group: str, expected: Any) -> None:
    """Each with the types that TOML has for it: a switch is true or false, a list one."""
    write(text)
    found = passed(APP)[group]
    if group == "static":
        expected = tuple((prefix, os.path.abspath(folder)) for prefix, folder in expected)
    assert found == expected


def test_pyproject_has_a_table() -> None:
    """But only where there is no pounce.toml with settings."""
    write("[tool.pounce]\nport = 1\n[tool.other]\nx = 1\n", "pyproject.toml")
    assert passed(APP)["port"] == 1
    write("")
    assert passed(APP)["port"] == 1
    write("backlog = 5")
    assert (passed(APP)["port"], passed(APP)["backlog"]) == (8000, 5)


@pytest.mark.parametrize("text", ["[tool.other]\nx = 'tool.pounce'\n", "[project]\n", "this is [no TOML"])
def test_a_pyproject_without_it_is_nobodys_business(text: str) -> None:
    """Whatever else is in it."""
    write(text, "pyproject.toml")
    assert passed(APP)["port"] == 8000
    assert file.path is None


def test_the_nearer_word_wins() -> None:
    """The command line, the environment, the file, the default."""
    write("port = 1\nbacklog = 1\n[http2]\nresets = 1\nstream_window = 70000\n")
    found = passed(APP, "--port", "3", "--http2-resets", "3", POUNCE_PORT="2", UVICORN_BACKLOG="2")
    assert (found["port"], found["backlog"]) == (3, 2)
    assert found["http2"] == {"enabled": True, "resets": 3, "stream_window": 70000}
    assert passed(APP, POUNCE_HTTP2="0", POUNCE_HTTP2_RESETS="2")["http2"] == {
        "enabled": False,
        "resets": 2,
        "stream_window": 70000,
    }


@pytest.mark.parametrize("args,uds,fd", [([], "s", None), (["--port", "1"], None, None), (["--fd", "3"], None, 3)])
def test_where_to_listen_is_one_choice(args: list[str], uds: str | None, fd: int | None) -> None:
    """A path in the file does not silence the port of the command line."""
    write("uds = 's'\n")
    found = passed(APP, *args)
    assert (found["uds"], found["fd"]) == (uds, fd)


def test_a_port_of_the_environment_makes_a_descriptor_of_the_file_void() -> None:
    """It is nearer, too."""
    write("fd = 3\n")
    found = passed(APP, UVICORN_PORT="2")
    assert (found["fd"], found["port"]) == (None, 2)


@pytest.mark.parametrize("text", ["[tool]\npounce.port = 1\n", "[ tool . 'pounce' ]\nport = 1\n"])
def test_the_table_may_be_spelled_as_toml_allows(text: str) -> None:
    """Looked for is what the file means."""
    write(text, "pyproject.toml")
    assert passed(APP)["port"] == 1


@pytest.mark.parametrize("name,text", [("pounce.toml", "port = 1"), ("pyproject.toml", "[tool.pounce]\nport = 1")])
def test_a_mark_at_the_beginning_is_no_part_of_it(name: str, text: str) -> None:
    """Editors on Windows put U+FEFF there, of which TOML knows nothing."""
    write("\ufeff" + text, name)
    assert passed(APP)["port"] == 1


def test_what_the_config_finds_in_the_environment_wins_too() -> None:
    """Variables that are not of the command."""
    write('workers = 4\nforwarded_allow_ips = "*"\n')
    assert (passed(APP)["workers"], passed(APP)["forwarded_allow_ips"]) == (4, "*")
    found = passed(APP, WEB_CONCURRENCY="2", FORWARDED_ALLOW_IPS="")
    assert (found["workers"], found["forwarded_allow_ips"]) == (None, None)
    assert passed(APP, WEB_CONCURRENCY="")["workers"] == 4


@pytest.mark.parametrize(
    "text,said",
    [
        ("prot = 1", "There is no setting 'prot'; the nearest is 'port', in '{file}'"),
        (
            "server-timing-for = 1",
            "There is no setting 'server-timing-for'; the nearest is 'server_timing_allow', in '{file}'",
        ),
        ("quick = 1", "There is no setting 'quick', in '{file}'"),
        ("[http2]\nspeed = 1", "There is no setting 'speed' in http2; there are: enabled, "),
        ("[http2]\nresets = 0", "http2.resets must be an integer from 1 to 2147483647, not 0, in '{file}'"),
        ("[port]\nx = 1", "The setting 'port' must not be a table, in '{file}'"),
        ("port = [1]", "The setting 'port' must not be a list, in '{file}'"),
        ("port = true", "The setting 'port' must be an integer from 0 to 65535, not True, in '{file}'"),
        ("host = 5", "The setting 'host' must be a string, not 5, in '{file}'"),
        ("app = 5", "The setting 'app' must be a string, not 5, in '{file}'"),
        ("reload = 2", "The setting 'reload' must be true or false, not 2, in '{file}'"),
        ("reload-dirs = [1]", "The setting 'reload-dirs' must be a string, not 1, in '{file}'"),
        ("[http2]\nresets = true", "http2.resets must be an integer from 1 to 2147483647, not True, in '{file}'"),
        (
            "[tool.pounce]\nport = 1",
            "Cannot read the settings in '{file}': in this file they stand by themselves, without [tool.pounce]",
        ),
        ("headers = [1]", "Invalid value for '--header' ({file}): 1 is not of the form Name:Value."),
        ("port =", "Cannot read the settings in '{file}': Invalid value (at end of document)"),
        ("port = 'http'", "Invalid value for '--port' ({file}): must be an integer from 0 to 65535, not 'http'."),
        ("http2_resets = 0", "http2.resets must be an integer from 1 to 2147483647, not 0, in '{file}'"),
        ("[compression]\nenabled = true", "There is no setting 'enabled' in compression; there are: codings, "),
        (
            "compression = ['lzma']",
            "compression must be auto, off, a list of zstd, br, gzip, not ['lzma'], in '{file}'",
        ),
        ("worker-class = ['thread']", "worker_class must be auto, thread or process, not ['thread'], in '{file}'"),
        ("static = ['/a=.', '/a=/']", "static has two directories for the prefix '/a', in '{file}'"),
        ("server-timing = 3", "server_timing must be true or false, not 3, in '{file}'"),
        ("asgi = '2.4'", "The setting 'asgi' must be a table, in '{file}'"),
        ("headers = 'nocolon'", "Invalid value for '--header' ({file}): 'nocolon' is not of the form Name:Value."),
    ],
)
def test_what_is_wrong_is_one_line_with_the_files_name(folder: Path, text: str, said: str) -> None:
    """And nothing is served."""
    write(text)
    path = folder / "pounce.toml"
    line = error(APP)
    assert line.startswith(f"Error: {said.format(file=path)}")
    assert str(path) in line


def test_the_table_must_be_one(folder: Path) -> None:
    """Not a value of that name."""
    write("[tool]\npounce = 1  # tool.pounce\n", "pyproject.toml")
    assert error(APP) == f"Error: Cannot read the settings in '{folder / 'pyproject.toml'}': tool.pounce is not a table"


def test_help_and_version_need_no_good_file() -> None:
    """They are what is asked for when something is wrong."""
    write("prot = 1")
    assert [invoke(flag).exit_code for flag in ("--help", "--version")] == [0, 0]


def test_its_path_is_logged(folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as there is a log; not without a file."""
    monkeypatch.syspath_prepend(ROOT)
    for text, logged in (("backlog = 5", [f"Settings from '{folder / 'pounce.toml'}'"]), ("", [])):
        write(text)
        caplog.clear()
        with mock.patch.object(Server, "run"), caplog.at_level(logging.INFO, "uvicorn.error"):
            invoke(APP, "--log-config", str(ROOT / "tests" / "settings" / "empty_log.json"))
        assert caplog.messages == logged


def test_nobody_else_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither `Config` nor `run`, nor the command under uvicorn's name."""
    write("prot = 1")
    assert Config(APP, log_config=None).port == 8000
    with mock.patch.object(importlib.import_module("pounce.run"), "_serve") as started:
        serve(APP, log_config=None)
    assert started.call_args.args[0].port == 8000
    assert passed(APP, POUNCE_PRESENT_AS="uvicorn")["port"] == 8000


def test_it_is_not_looked_for_above(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server starts the same from wherever its folder is."""
    write("port = 1")
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert passed(APP)["port"] == 8000


@pytest.mark.parametrize("name,text,expected", [("x.toml", "", False), ("pounce.toml", "port = 1", True)])
def test_the_parser_is_imported_for_a_file_only(name: str, text: str, expected: bool) -> None:
    """It costs every start some milliseconds."""
    write(text, name)
    code = (
        "import sys\nfrom unittest import mock\nimport pounce.cli\n"
        "with mock.patch.object(pounce.cli, 'run'):\n"
        "    pounce.cli.main(['a:b'], standalone_mode=False)\n"
        "print('tomllib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.strip() == str(expected)

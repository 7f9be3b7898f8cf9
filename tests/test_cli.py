"""The `pounce` command: what it passes to `run`, what it says, how it ends."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner, Result

import pounce
from pounce import names
from pounce.errors import explain
from pounce.logs import LOGGING_CONFIG
from pounce.options import OPTIONS
from pounce.server import Server
from pounce.settings import GROUPS
from tests.isolated_logging import isolated_logging as isolated_logging

cli = importlib.import_module("pounce.cli")
pytestmark = pytest.mark.usefixtures("isolated_logging")

APP = "tests.config.apps:asgi3"
ROOT = Path(__file__).parents[1]


def invoke(*args: str, **environment: str) -> Result:
    """Run the command in this process."""
    return CliRunner(env=environment).invoke(cli.main, list(args))


def passed(*args: str, **environment: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the command hands to `run`."""
    with mock.patch.object(cli, "run") as run:
        result = invoke(*args, **environment)
    assert (result.exit_code, result.output) == (0, "")
    run.assert_called_once()
    return run.call_args.args, run.call_args.kwargs


def test_defaults_are_passed_for_every_option() -> None:
    """The app is the one positional argument; lists that were not given are None."""
    args, kwargs = passed(APP)
    assert args == (APP,)
    expected = {option.parameter: option.preset for option in OPTIONS if option.group in ("", option.parameter)}
    without_lead = dict.fromkeys(name for name, group in GROUPS.items() if not group.lead)
    assert kwargs == expected | without_lead | {"log_config": LOGGING_CONFIG, "headers": []}
    assert kwargs["log_config"] is LOGGING_CONFIG


HTTP2 = {"enabled": True, "resets": 7, "header_count": 9}


@pytest.mark.parametrize(
    "arguments,parameter,expected",
    [
        (["--port", "80"], "port", 80),
        (["--http2"], "http2", True),
        (["--http2", "--http2-resets", "7", "--http2-header-count", "9"], "http2", HTTP2),
        (["--http2", "--http2-limit", "resets=7", "--http2-limit=header-count=9"], "http2", HTTP2),
        (["--http2-wire", "native"], "http2", {"enabled": False, "wire": "native"}),
        (["--header", "A:b: c", "--header", "D:"], "headers", [["A", "b: c"], ["D", ""]]),
        (["--reload-dir", "tests", "--reload-dir", "pounce"], "reload_dirs", ("tests", "pounce")),
        (["--reload-include", "*.js"], "reload_includes", ("*.js",)),
        (["--no-access-log"], "access_log", False),
        (["--no-use-colors"], "use_colors", False),
        (["--use-colors"], "use_colors", True),
        (["--worker-class", "thread"], "worker_class", "thread"),
        (["--h11-max-incomplete-event-size", "32768"], "h11_max_incomplete_event_size", 32768),
        (["--ws-per-message-deflate", "false"], "ws_per_message_deflate", False),
        (["--http", "my.module:Class"], "http", "my.module:Class"),
        (["--log-config", "pyproject.toml"], "log_config", "pyproject.toml"),
        (["--log-level", "WARNING"], "log_level", "warning"),
    ],
)
def test_options_are_passed_as_uvicorn_passes_them(arguments: list[str], parameter: str, expected: Any) -> None:
    """Names and values are those of `run`."""
    assert passed(APP, *arguments)[1][parameter] == expected


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.parameter)
def test_every_option_has_its_environment_variables(option: Any, tmp_path: Path) -> None:
    """POUNCE_NAME and, but for what is pounce's own, UVICORN_NAME; the former wins, the flag wins over both."""
    name = option.parameter.upper()
    names_of_it = [f"POUNCE_{name}", f"UVICORN_{name}"]
    assert option.variables == (names_of_it[:1] if option.group and name != "HTTP2" else names_of_it)
    (option_param,) = (param for param in cli.main.params if param.name == option.parameter)
    assert option_param.envvar == option.variables


@pytest.mark.parametrize(
    "environment,arguments,expected",
    [
        ({"UVICORN_PORT": "1"}, [], 1),
        ({"UVICORN_PORT": "1", "POUNCE_PORT": "2"}, [], 2),
        ({"UVICORN_PORT": "1", "POUNCE_PORT": "2"}, ["--port", "3"], 3),
    ],
)
def test_the_nearest_word_wins(environment: dict[str, str], arguments: list[str], expected: int) -> None:
    """uvicorn's variable, then pounce's, then the flag."""
    assert passed(APP, *arguments, **environment)[1]["port"] == expected


@pytest.mark.parametrize(
    "environment,expected",
    [({"UVICORN_APP": "a:b"}, "a:b"), ({"UVICORN_APP": "a:b", "POUNCE_APP": "c:d"}, "c:d")],
)
def test_the_app_may_come_from_the_environment(environment: dict[str, str], expected: str) -> None:
    """As with every option."""
    assert passed(**environment)[0] == (expected,)


def test_flags_and_lists_come_from_the_environment_too() -> None:
    """A flag by a word for true or false, a list by spaces."""
    kwargs = passed(APP, UVICORN_ACCESS_LOG="false", UVICORN_FACTORY="1", UVICORN_HEADERS="A:1 B:2")[1]
    assert (kwargs["access_log"], kwargs["factory"]) == (False, True)
    assert kwargs["headers"] == [["A", "1"], ["B", "2"]]


@pytest.mark.parametrize("option", [one for one in OPTIONS if one.is_flag], ids=lambda option: option.parameter)
def test_a_switch_of_the_environment_is_undone_on_the_command_line(option: Any) -> None:
    """By its `--no-` form, which `--help` shows for what is on by default only, as uvicorn's does."""
    name = option.flags.split("/")[0].removeprefix("--")
    for flag, expected in ((f"--{name}", True), (f"--no-{name}", False)):
        found = passed(APP, flag, **{option.variables[0]: "1"})[1][option.group or option.parameter]
        assert (found[option.field] if isinstance(found, dict) else found) is expected
    assert (f"--{name} / --no-{name}" in invoke("--help").output) is (option.preset is not False)


@pytest.mark.parametrize("service", ["pounce", "uvicorn"])
@pytest.mark.parametrize("link", ["tcp://10.0.0.1:80", "udp://[fd00::1]:53", "sctp://10.0.0.1:1"])
def test_what_kubernetes_says_of_a_service_is_no_port(service: str, link: str) -> None:
    """A service of that name puts NAME_PORT into every container: one line says that it is ignored."""
    variable = f"{service.upper()}_PORT"
    with mock.patch.object(cli, "run") as run:
        result = invoke(APP, **{variable: link})
    assert run.call_args.kwargs["port"] == 8000
    line = f"Warning: ${variable} is ignored: '{link}' is what Kubernetes says of a service called '{service}'.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", line)


@pytest.mark.parametrize(
    "arguments,environment,expected,lines",
    [
        ([], {"UVICORN_PORT": "9000"}, 9000, 1),
        (["--port", "7"], {"UVICORN_PORT": "9000"}, 7, 0),
        ([], {"UVICORN_PORT": "tcp://10.0.0.1:80"}, 8000, 2),
    ],
)
def test_another_port_counts_beside_a_service(
    arguments: list[str], environment: dict[str, str], expected: int, lines: int
) -> None:
    """The other variable, or the flag; where the flag decides, there is nothing to say."""
    with mock.patch.object(cli, "run") as run:
        result = invoke(APP, *arguments, POUNCE_PORT="tcp://10.0.0.1:80", **environment)
    assert run.call_args.kwargs["port"] == expected
    assert len(result.stderr.splitlines()) == lines


def test_other_variables_of_a_service_are_nobodys() -> None:
    """No option has their names."""
    passed(
        APP,
        POUNCE_SERVICE_HOST="10.0.0.1",
        POUNCE_SERVICE_PORT="80",
        POUNCE_PORT_80_TCP="tcp://10.0.0.1:80",
        POUNCE_PORT_80_TCP_PROTO="tcp",
        POUNCE_PORT_80_TCP_PORT="80",
        POUNCE_PORT_80_TCP_ADDR="10.0.0.1",
    )


@pytest.mark.parametrize(
    "environment,said",
    [
        ({"POUNCE_PORT": "http"}, "'--port' ($POUNCE_PORT): must be an integer from 0 to 65535, not 'http'."),
        ({"UVICORN_PORT": "-1"}, "'--port' ($UVICORN_PORT): must be an integer from 0 to 65535, not '-1'."),
        (
            {"POUNCE_PORT": "tcp://10.0.0.1:80", "UVICORN_PORT": "tcp:"},
            "'--port' ($UVICORN_PORT): must be an integer from 0 to 65535, not 'tcp:'.",
        ),
        ({"POUNCE_HEADERS": "nocolon"}, "'--header' ($POUNCE_HEADERS): 'nocolon' is not of the form Name:Value."),
        ({"UVICORN_RELOAD": "maybe"}, "'--reload' ($UVICORN_RELOAD): 'maybe' is not a valid boolean."),
    ],
)
def test_a_wrong_variable_is_named(environment: dict[str, str], said: str) -> None:
    """Who set it a year ago in another file does not look for a flag."""
    result = invoke(APP, **environment)
    (error,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    assert error.startswith(f"Error: Invalid value for {said}")
    assert result.exit_code == 2


@pytest.mark.parametrize(
    "wrong,right",
    [
        ("POUNCE_HEADER", "POUNCE_HEADERS"),
        ("UVICORN_HEADER", "UVICORN_HEADERS"),
        ("POUNCE_RELOAD_DIR", "POUNCE_RELOAD_DIRS"),
        ("POUNCE_EXTENSIONS", "POUNCE_ASGI_EXTENSIONS"),
        ("POUNCE_SERVER_TIMING_FOR", "POUNCE_SERVER_TIMING_ALLOW"),
        ("POUNCE_STATIC_DIRS", "POUNCE_STATIC"),
        ("POUNCE_COMPRESSION_CODINGS", "POUNCE_COMPRESSION"),
        ("POUNCE_COMPRESION", "POUNCE_COMPRESSION"),
        ("POUNCE_PROT", "POUNCE_PORT"),
        ("UVICORN_WORKER", "UVICORN_WORKERS"),
    ],
)
def test_a_variable_that_nobody_reads_is_pointed_out(wrong: str, right: str) -> None:
    """Misspelt, or called as the flag is or the field in Python: one line, and it goes on without it."""
    with mock.patch.object(cli, "run") as run:
        result = invoke(APP, **{wrong: "nocolon"})
    assert result.stderr == f"Warning: ${wrong} is ignored; is ${right} meant?\n"
    assert run.call_args.kwargs == passed(APP)[1]


@pytest.mark.parametrize(
    "name,value",
    [
        ("POUNCE_VERSION", "1"),
        ("POUNCE_HOME", "/"),
        ("POUNCE_PROT", ""),
        ("POUNCER_PROT", "1"),
        ("UVICORN_COMPRESSION", "br"),
        ("POUNCE_P_PORT", "tcp://10.0.0.1:80"),
        ("POUNCE_APP_PORT_80_TCP", "tcp://10.0.0.1:80"),
    ],
)
def test_a_variable_that_is_somebody_elses_is_not(name: str, value: str) -> None:
    """What is far from every option, an image's version, a service, or empty."""
    passed(APP, **{name: value})


@pytest.mark.parametrize(
    "arguments,said",
    [
        ([], "Missing argument 'APP'"),
        ([APP, "--http2-limit", "resets=-1"], "'resets=-1' is not of the form name=number."),
        ([APP, "--header", "no-colon"], "'no-colon' is not of the form Name:Value."),
        ([APP, "--port", "http"], "must be an integer from 0 to 65535, not 'http'"),
        ([APP, "--log-level", "loud"], "'loud' is not one of"),
        ([APP, "--worker-class", "fiber"], "'fiber' is not one of"),
        ([APP, "--log-config", "nowhere.json"], "'nowhere.json' does not exist"),
        ([APP, "--no-such-option"], "No such option"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], said: str) -> None:
    """After the usage; the exit code is 2."""
    result = invoke(*arguments)
    (error,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    assert said in error
    assert result.exit_code == 2


def test_an_explained_exception_is_one_line() -> None:
    """With its own exit code and no traceback."""
    with mock.patch.object(cli, "run", side_effect=explain(OSError("long story"), "Cannot read it", 7)):
        result = invoke(APP)
    assert (result.exit_code, result.output) == (7, "Error: Cannot read it\n")


@pytest.mark.parametrize("error", [OSError("the app's own"), KeyError("x")])
def test_any_other_exception_comes_out(error: Exception) -> None:
    """Its author needs the traceback."""
    with mock.patch.object(cli, "run", side_effect=error):
        assert invoke(APP).exception is error


@pytest.mark.parametrize(
    "arguments,said,exit_code",
    [
        (["no.such:app"], 'Could not import module "no.such"', 1),
        ([APP, "--ssl-certfile", "nowhere.pem"], "--ssl-certfile 'nowhere.pem': No such file", 3),
        ([APP, "--ssl-certfile", "nowhere.pem", "--workers", "2"], "--ssl-certfile 'nowhere.pem': No such file", 3),
        ([APP, "--http", "tests.config.apps:Nothing"], "Cannot use --http tests.config.apps:Nothing", 3),
        ([APP, "--log-config", "LICENSE"], "Cannot use the log config 'LICENSE'", 3),
    ],
)
def test_a_mistake_found_at_the_start_is_one_line(arguments: list[str], said: str, exit_code: int) -> None:
    """Nothing is served and no traceback shown."""
    result = invoke(*arguments, "--port", "0", "--loop", "asyncio")
    (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    assert said in line
    assert "Traceback" not in result.output
    assert result.exit_code == exit_code


def test_an_app_that_is_not_there_ends_with_3() -> None:
    """One line in the log."""
    result = invoke("tests.config.apps", "--port", "0")
    assert 'Import string "tests.config.apps" must be in format "<module>:<attribute>".' in result.output
    assert result.exit_code == 3


def test_a_wrong_number_of_workers_in_the_environment_is_like_a_wrong_flag() -> None:
    """One line, and exit code 2 (uvicorn: a traceback, and 1)."""
    result = invoke(APP, WEB_CONCURRENCY="many")
    line = "Error: The environment variable WEB_CONCURRENCY must be an integer, at least 0, not 'many'\n"
    assert (result.exit_code, result.output) == (2, line)


def test_the_app_dir_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app is imported from there."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "in_app_dir.py").write_text("async def app(scope, receive, send): ...\n")
    with mock.patch.object(Server, "run") as run:
        result = invoke("in_app_dir:app", "--app-dir", str(tmp_path))
    run.assert_called_once()
    assert sys.path[0] == str(tmp_path)
    assert result.exit_code == 3  # the server that was never run did not start


def test_version_names_product_python_and_platform() -> None:
    """Under the shim it is uvicorn's line."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    free = "" if getattr(sys, "_is_gil_enabled", lambda: True)() else " (free-threaded)"
    assert invoke("--version").output == (
        f"Running pounce {pounce.__version__} with {python}{free} on {platform.system()}\n"
    )
    assert invoke("--version", POUNCE_PRESENT_AS="uvicorn").output == (
        f"Running uvicorn {names.UVICORN_VERSION} with {python} on {platform.system()}\n"
    )


@pytest.mark.parametrize("environment", [{}, {"POUNCE_PRESENT_AS": "uvicorn"}])
def test_help_says_what_else_there_is(environment: dict[str, str]) -> None:
    """Variables, files and the `--no-` forms; not under uvicorn's name, which has none but the first."""
    text = " ".join(invoke("--help", **environment).output.split())
    for words in ("$POUNCE_HTTP2", "pounce.toml", "[tool.pounce]", "--no-http2"):
        assert (words in text) is not bool(environment)


def test_help_breaks_no_list_in_a_word() -> None:
    """The media types of --compression-types are longer than a line."""
    text = " ".join(invoke("--help", COLUMNS="80").output.split())
    assert "application/json, application/javascript, application/xml, " in text


def test_help_is_grouped() -> None:
    """Each option stands under its heading, and no line is wider than 80 columns."""
    lines = invoke("--help", COLUMNS="80").output.splitlines()
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings[0] == "Application:"
    assert headings[-1] == "Help:"
    assert lines.index("Binding:") < lines.index("  --host TEXT        Address to listen on.  [default: 127.0.0.1]")
    assert max(map(len, lines)) <= 80
    for option in OPTIONS:
        assert sum(line.split("/")[0].split()[:1] == [option.flags.split("/")[0]] for line in lines) == 1


@pytest.mark.parametrize("wrong", [["--http2-limit", "x"], ["--http2-lim"], ["--port", "x"], [APP, "x"], ["--host"]])
def test_help_and_version_need_nothing_else_to_be_right(wrong: list[str]) -> None:
    """Whatever is wrong before them, or missing."""
    assert invoke(*wrong, "--help").output == invoke("--help").output
    assert invoke(*wrong, "--version").output == invoke("--version").output


#: For who counts imports: coverage has some of its own.
UNMEASURED = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def test_help_imports_no_server() -> None:
    """Neither asyncio nor ssl nor a parser nor an event loop is loaded to explain the command."""
    heavy = {"asyncio", "ssl", "h11", "httptools", "uvloop", "wsproto", "websockets", "watchfiles", "multiprocessing"}
    code = (
        "import sys, runpy\n"
        "sys.argv = ['pounce', '--help']\n"
        "try:\n    runpy.run_module('pounce', run_name='__main__')\n"
        "except SystemExit as exc:\n    assert not exc.code\n"
        f"print('HEAVY', sorted(set(sys.modules) & {heavy!r}))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=UNMEASURED)
    assert "--worker-class" in shown.stdout
    assert shown.stdout.endswith("HEAVY []\n")


@pytest.mark.parametrize(
    "arguments,supervisor",
    [
        (["--workers", "2", "--worker-class", "thread"], "processes:Multiprocess"),
        (["--workers", "2", "--worker-class", "process"], "processes:Multiprocess"),
        (["--reload"], "reload:BaseReload"),
    ],
)
def test_a_supervisor_imports_no_server(arguments: list[str], supervisor: str) -> None:
    """Nothing of what serves is in the parent's memory: no loop, TLS, parser, or layer that a request goes through."""
    heavy = {"asyncio", "ssl", "concurrent.futures", "email", "h11", "httptools", "uvloop", "wsproto", "websockets"}
    ours = {f"pounce.{name}" for name in ("connection", "exchange", "middleware", "pool", "server", "worker")}
    module, _, name = supervisor.partition(":")
    code = (
        "import sys\n"
        # What the watcher of files imports is its own affair.
        "sys.modules['watchfiles'] = None\n"
        "from pounce.cli import main\n"
        f"from pounce.supervisors.{module} import {name}\n"
        f"{name}.run = lambda self: print('HEAVY', sorted(set(sys.modules) & {heavy | ours!r}))\n"
        f"main({[APP, '--port', '0', *arguments]!r})\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=UNMEASURED, cwd=ROOT
    )
    assert shown.stdout == "HEAVY []\n"


def test_one_worker_needs_no_supervisor() -> None:
    """A server that runs in the command's own process does without multiprocessing."""
    code = (
        "import sys\n"
        "from pounce.server import Server\n"
        "Server.run = lambda self: print('multiprocessing' in sys.modules) or setattr(self, 'started', True)\n"
        "from pounce.cli import main\n"
        f"main({[APP]!r})\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=UNMEASURED, cwd=ROOT
    )
    assert shown.stdout == "False\n"


def test_ctrl_c_while_the_command_is_imported_is_silent() -> None:
    """Most of the time until the first line of the log is this import."""
    code = (
        "import signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'pounce.cli':\n"
        "            signal.raise_signal(signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pounce.__main__ import main\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

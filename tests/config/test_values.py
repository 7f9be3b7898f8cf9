"""What each setting may be: the same for `Config`, `run` and the command, from a value and from its string."""

from __future__ import annotations

import importlib
import inspect
import logging
import math
import re
import ssl
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner

from pounce.cli import main
from pounce.config.config import Config
from pounce.contracts import PARAMETERS as TABLE
from pounce.errors import explanation
from pounce.options import OPTIONS
from pounce.settings.kinds import Flag, Integer, Kind

APP = "tests.config.apps:asgi3"
PARAMETERS = dict(list(inspect.signature(Config.__init__).parameters.items())[1:])
FLAGS = {option.parameter: option.flags.split("/")[0] for option in OPTIONS}
LEADING = {option.parameter: option.kind for option in OPTIONS if option.parameter == option.group}
KINDS: dict[str, Kind] = {name: row.kind for name, row in TABLE.items() if row.kind.words} | LEADING
NEEDED = {name: row.needs for name, row in TABLE.items() if row.needs}
SWITCHES = [name for name, kind in KINDS.items() if isinstance(kind, Flag)]
NUMBERS = [name for name, kind in KINDS.items() if isinstance(kind, Integer)]

#: A string for each setting that has a row, but for switches, and what it stands for.
STRINGS: dict[str, tuple[str, Any]] = {
    "interface": ("asgi2", "asgi2"),
    "lifespan": ("off", "off"),
    "port": ("8080", 8080),
    "fd": ("3", 3),
    "backlog": (" 100 ", 100),
    "workers": ("2", 2),
    "worker_class": ("thread", "thread"),
    "reload_delay": ("0.5", 0.5),
    "ws_max_size": ("1_000", 1000),
    "ws_max_queue": ("8", 8),
    "ws_ping_interval": ("30", 30.0),
    "ws_ping_timeout": ("2.5", 2.5),
    "h11_max_incomplete_event_size": ("32768", 32768),
    "limit_concurrency": ("0", 0),
    "limit_max_requests": ("1", 1),
    "limit_max_requests_jitter": ("10", 10),
    "timeout_keep_alive": ("5", 5),
    "timeout_notify": ("1", 1),
    "timeout_graceful_shutdown": ("0", 0),
    "timeout_worker_healthcheck": ("0.5", 0.5),
    "ssl_version": ("17", ssl.PROTOCOL_TLS_SERVER),
    "ssl_cert_reqs": ("2", ssl.CERT_REQUIRED),
    "log_level": ("30", 30),
    "compression": ("gzip, br", ("gzip", "br")),
    "forwarded_allow_ips": ("10.0.0.0/8, unix:", "10.0.0.0/8, unix:"),
    "proxy_protocol": ("10.0.0.0/8, unix", ("10.0.0.0/8", "unix")),
} | dict.fromkeys(SWITCHES, ("off", False))

#: Settings with a row whose values have no form as one string: they say so.
NO_STRINGS = {"headers", "static"}


def made(**settings: Any) -> Config:
    """A config that leaves logging alone."""
    return Config(APP, **{"log_config": None, "ws": "none"} | settings)


def refusal(**settings: Any) -> str:
    """What `Config` says of a wrong setting: a ValueError, shown as one line, before anything has been done."""
    with mock.patch.object(Config, "configure_logging") as configured, pytest.raises(ValueError) as caught:
        made(**settings)
    configured.assert_not_called()
    line = str(caught.value)
    assert "\n" not in line
    assert explanation(caught.value) == (line, 2)
    return line


def usage_error(*arguments: str) -> str:
    """What the command says of a wrong option; its exit code is 2."""
    result = CliRunner().invoke(main, [APP, *arguments])
    assert result.exit_code == 2, result.output
    (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    return line


def test_every_number_switch_and_choice_has_a_row() -> None:
    """None is left that a string could pass for and then break a request."""
    checked = {"int", "float", "bool", "InterfaceType", "LifespanType", "WorkerClassType"}
    annotated = {name for name, of in PARAMETERS.items() if checked & set(re.findall(r"\w+", str(of.annotation)))}
    assert set(KINDS) == annotated | {"forwarded_allow_ips", "headers", "compression", "static", "proxy_protocol"}
    assert set(KINDS) == set(STRINGS) | NO_STRINGS


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("headers", "workers")])
def test_a_default_is_one_of_the_values(name: str) -> None:
    """And stays the object that it is."""
    default = PARAMETERS[name].default
    assert KINDS[name].checked(default) is default


@pytest.mark.parametrize("name", STRINGS)
@pytest.mark.parametrize("by_run", [False, True], ids=["Config", "run"])
def test_a_string_counts_as_what_it_stands_for(name: str, by_run: bool) -> None:
    """`port=os.environ["PORT"]`: the attribute has the value and its type."""
    string, expected = STRINGS[name]
    if not by_run:
        config = made(**{name: string})
    elif name in ("timeout_notify", "callback_notify"):
        return  # `Config` only
    else:
        with mock.patch.object(importlib.import_module("pounce.run"), "_serve") as serve:
            importlib.import_module("pounce.run").run(APP, log_config=None, **{name: string})
        (config,) = serve.call_args.args
    found = getattr(config, name)
    assert found == expected
    assert isinstance(expected, type(found))


@pytest.mark.parametrize("name", [name for name in STRINGS if name in FLAGS and name not in SWITCHES])
def test_the_command_reads_the_same_strings(name: str) -> None:
    """A flag's value and a string in Python are one."""
    string, expected = STRINGS[name]
    if name == "log_level":
        string = expected = "warning"  # the command knows names only, as uvicorn's does
    with mock.patch("pounce.cli.run") as run:
        result = CliRunner().invoke(main, [APP, FLAGS[name], string])
    assert (result.exit_code, result.output) == (0, "")
    assert run.call_args.kwargs[name] == expected


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("string,expected", [(" True", True), ("1", True), ("YES", True), ("f", False), ("", False)])
def test_a_switch_knows_the_usual_words(name: str, string: str, expected: bool) -> None:
    """Any string would be true, and "false" the opposite of what it says."""
    assert getattr(made(**{name: string}), name) is expected


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_knows_no_other_words(name: str) -> None:
    """But for the colours, where uvicorn takes any other word for None."""
    if name == "use_colors":
        assert made(use_colors="auto").use_colors is None
    else:
        assert refusal(**{name: "maybe"}) == f"{name} must be true or false, not 'maybe'"
    assert getattr(made(**{name: None}), name) is None


def outside(name: str) -> list[Any]:
    """Numbers just outside the range of a setting, and what is no number."""
    kind = KINDS[name]
    assert isinstance(kind, Integer)
    beyond = [] if kind.most is None else [kind.most + 1]
    return [kind.least - 1, *beyond, math.nan, "many", "", "nan", [1], "9" * 5000 + "x"]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_outside_its_range_is_named(name: str) -> None:
    """With the setting and the range, when the config is made."""
    for wrong in outside(name):
        assert refusal(**{name: wrong}) == f"{name} must be {KINDS[name].words}, not {wrong!r}"
        if isinstance(wrong, int):
            assert refusal(**{name: str(wrong)}) == f"{name} must be {KINDS[name].words}, not '{wrong}'"


@pytest.mark.parametrize("name", [name for name in NUMBERS if name in FLAGS])
def test_the_command_has_the_same_ranges(name: str) -> None:
    """A usage error that names the flag, the range and the value."""
    for wrong in outside(name):
        if wrong == "" or isinstance(wrong, list):
            continue
        said = f"Error: Invalid value for '{FLAGS[name]}': must be {KINDS[name].words}, not '{wrong}'."
        assert usage_error(FLAGS[name], str(wrong)) == said


@pytest.mark.parametrize(
    "name,wrong,said",
    [
        ("lifespan", "sometimes", "lifespan must be auto, on or off, not 'sometimes'"),
        ("interface", None, "interface must be auto, asgi3, asgi2 or wsgi, not None"),
        ("worker_class", "fiber", "worker_class must be auto, thread or process, not 'fiber'"),
        ("ssl_version", "1", "ssl_version must be 2, 3, 4, 5 or 17, not '1'"),
        ("ssl_cert_reqs", 3, "ssl_cert_reqs must be 0, 1 or 2, not 3"),
        ("log_level", "loud", "log_level must be critical, error, warning, info, debug, trace or a number, not 'loud'"),
        ("http2", {"resets": "many"}, "http2.resets must be an integer from 1 to 2147483647, not 'many'"),
        ("http2", {"speed": 1}, "There is no setting 'speed' in http2; there are: enabled, wire, "),
        ("worker_class", {"kind": "fiber"}, "worker_class must be auto, thread or process, not 'fiber'"),
        ("compression", [1], "compression must be auto, off, a list of zstd, br, gzip, not [1]"),
        ("compression", {"types": [1]}, "compression.types must be a list of media types: text/*, application/json, "),
        (
            "compression",
            {"level": 5},
            "compression.level must be a list of zstd=1 to 19, br=0 to 11, gzip=1 to 9, not 5",
        ),
        (
            "forwarded_allow_ips",
            "10.0.0.0/33",
            "forwarded_allow_ips: '10.0.0.0/33' is neither an address nor a network",
        ),
        ("forwarded_allow_ips", 1, "forwarded_allow_ips must be a list of addresses, networks and names, not 1"),
        (
            "proxy_protocol",
            "a",
            "proxy_protocol must be a list of networks (10.0.0.0/8), addresses, unix, or *, not 'a'",
        ),
        (
            "proxy_protocol",
            [1],
            "proxy_protocol must be a list of networks (10.0.0.0/8), addresses, unix, or *, not [1]",
        ),
        ("forwarded", {"hops": 0}, "forwarded.hops must be an integer, at least 1, not 0"),
        ("asgi", {"extensions": [1]}, "asgi.extensions must be a list of pathsend, zerocopysend, not [1]"),
        ("static", [(1, "x")], "static must be a list of PREFIX=DIR, not [(1, 'x')]"),
        ("headers", "A:b", "headers must be a list of pairs of a name and a value, both strings, not 'A:b'"),
        ("headers", {"A": "b"}, "headers must be a list of pairs of a name and a value, both strings, not {'A': 'b'}"),
        ("headers", [("A", 1)], "headers must be a list of pairs of a name and a value, both strings, not "),
        ("headers", [("foo bar", "x")], "The name of a header consists of letters, digits and '-', not 'foo bar'"),
        ("headers", [("A", "b"), ("", "x")], "The name of a header consists of letters, digits and '-', not ''"),
        ("headers", [("A", "b\r\nC: d")], r"The value of the header 'A' has a control character: 'b\r\nC: d'"),
        ("headers", [("A", "✓")], "The value of the header 'A' must be in Latin-1, not '✓'"),
    ],
)
def test_what_a_setting_cannot_be_is_said(name: str, wrong: Any, said: str) -> None:
    """With what it could be instead."""
    assert refusal(**{name: wrong}).startswith(said)


@pytest.mark.parametrize(
    "arguments,said",
    [
        (["--header", "foo bar: x"], "'--header': The name of a header consists of letters, digits and '-', not 'foo"),
        (["--header", "A:✓"], "'--header': The value of the header 'A' must be in Latin-1, not '✓'."),
        (["--http2-limit", "resets=0"], "'--http2-resets': must be an integer from 1 to 2147483647, not '0'."),
        (["--ssl-version", "1"], "'--ssl-version': must be 2, 3, 4, 5 or 17, not '1'."),
    ],
)
def test_the_command_says_so_too(arguments: list[str], said: str) -> None:
    """As a usage error, behind the option's name."""
    assert usage_error(*arguments).startswith(f"Error: Invalid value for {said}")


@pytest.mark.parametrize(
    "name,value",
    [
        ("backlog", 0),
        ("limit_concurrency", 0),
        ("timeout_keep_alive", 0),
        ("timeout_keep_alive", 0.5),
        ("timeout_graceful_shutdown", 0),
        ("timeout_worker_healthcheck", 0),
        ("timeout_notify", 0),
        ("ws_max_size", None),
        ("ws_max_queue", None),
        ("ws_ping_interval", 0),
        ("ws_ping_interval", None),
        ("ws_ping_timeout", math.inf),
        ("reload_delay", 0),
        ("log_level", "INFO"),
        ("log_level", 20),
        ("headers", [["A", "b"], ("C", ""), ("D", " é\t")]),
        ("ssl_version", ssl.PROTOCOL_TLS_SERVER),
    ],
)
def test_what_works_with_uvicorn_passes(name: str, value: Any) -> None:
    """And is handed on as it is."""
    assert getattr(made(**{name: value}), name) is value


def test_a_million_may_be_written_with_an_exponent() -> None:
    """A float without a fraction is an integer; any other is not."""
    found = made(limit_max_requests=1e6).limit_max_requests
    assert (found, type(found)) == (1_000_000, int)
    assert refusal(limit_max_requests=1.5) == "limit_max_requests must be an integer, at least 1, not 1.5"


def test_headers_may_come_from_an_iterator() -> None:
    """The check does not use it up."""
    assert made(headers=iter([("a", "b")])).headers == [("a", "b")]


GIVEN = {
    "limit_max_requests_jitter": 5,
    "ssl_keyfile_password": "secret",
    "ssl_cert_reqs": 2,
    "ssl_ca_certs": "ca.pem",
    "ssl_ciphers": "ALL",
}


@pytest.mark.parametrize("name", NEEDED)
def test_a_setting_that_does_nothing_is_pointed_out(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line where what it needs is not given, none where it is."""
    with caplog.at_level(logging.WARNING, "uvicorn.error"):
        made(**{name: GIVEN[name]})
        assert caplog.messages == [f'"{name}" has no effect without "{NEEDED[name]}".']
        made(**{name: GIVEN[name], NEEDED[name]: 1})
        made()
    assert len(caplog.messages) == 1


def test_a_setting_of_a_group_that_is_off_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """By its name in the group."""
    with caplog.at_level(logging.WARNING, "uvicorn.error"):
        made(http2={"enabled": False, "resets": 7, "stalled_seconds": 60})
        made(http2={"resets": 7})
    assert caplog.messages == ['"http2.resets" has no effect without "http2".']

"""The command line, `Config` and `run` agree: one name, one default, one place for each setting."""

from __future__ import annotations

import inspect
import ssl
from typing import Any

import click
import pytest

from pounce.cli import main
from pounce.config.config import Config
from pounce.contracts import PARAMETERS
from pounce.logs import LOGGING_CONFIG
from pounce.options import HEADINGS, NOT_IN_CONFIG, NOT_ON_CLI, OPTIONS, Option
from pounce.run import run
from pounce.settings import GROUPS

CONFIG = dict(list(inspect.signature(Config.__init__).parameters.items())[1:])
RUN = dict(inspect.signature(run).parameters)
BY_PARAMETER = {option.parameter: option for option in OPTIONS}


def test_every_parameter_of_config_is_a_flag_or_has_a_reason_not_to_be() -> None:
    """And no flag stands for nothing: it is one of uvicorn's parameters, or a field of a group that is one."""
    assert len(BY_PARAMETER) == len(OPTIONS)
    assert {*PARAMETERS, *GROUPS} == {*CONFIG}
    assert {option.group or option.parameter for option in OPTIONS} - {*NOT_IN_CONFIG} == {*CONFIG} - {*NOT_ON_CLI}
    assert not set(BY_PARAMETER) & set(NOT_ON_CLI)
    assert not set(NOT_IN_CONFIG) & set(CONFIG)


def test_run_takes_what_config_takes() -> None:
    """Names, types and defaults, as a reader of their signatures sees them; `app_dir` is run's own."""
    of_config = {
        name: repr(value) for name, value in CONFIG.items() if name not in ("timeout_notify", "callback_notify")
    }
    of_run = {name: repr(value) for name, value in RUN.items() if name != "app_dir"}
    assert of_run == of_config


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.parameter)
def test_defaults_are_the_same_everywhere(option: Option) -> None:
    """What the command line passes when nothing is given is what `Config` assumes."""
    if option.parameter not in CONFIG:
        return
    expected = CONFIG[option.parameter].default
    if option.parameter == "log_config":
        assert expected is LOGGING_CONFIG
        expected = None
    assert option.preset == expected


def test_the_numbers_for_tls_are_those_of_the_ssl_module() -> None:
    """They are written out to keep `--help` light."""
    numbers = (CONFIG["ssl_version"].default, CONFIG["ssl_cert_reqs"].default)
    assert numbers == (ssl.PROTOCOL_TLS_SERVER, ssl.CERT_NONE)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.parameter)
def test_an_option_has_a_group_and_a_sentence(option: Option) -> None:
    """So that `--help` shows it in its place; a default of its own wording comes last."""
    assert option.heading in HEADINGS
    sentence = option.help.partition("  [default: ")[0]
    assert sentence[0].isupper()
    assert sentence.endswith(".")


#: `uvicorn --help` of 0.54.0: flag -> (metavar, default as shown by click's parameter).
UVICORN: dict[str, tuple[str, Any]] = {
    "--host": ("TEXT", "127.0.0.1"),
    "--port": ("INTEGER", 8000),
    "--uds": ("TEXT", None),
    "--fd": ("INTEGER", None),
    "--reload": ("BOOLEAN", False),
    "--reload-dir": ("PATH", None),
    "--reload-include": ("TEXT", None),
    "--reload-exclude": ("TEXT", None),
    "--reload-delay": ("FLOAT", 0.25),
    "--workers": ("INTEGER", None),
    "--loop": ("[auto|asyncio|uvloop|zuvloop]", "auto"),
    "--http": ("[auto|h11|httptools|zttp]", "auto"),
    "--http2": ("BOOLEAN", False),
    "--ws": ("[auto|websockets|websockets-sansio|wsproto]", "auto"),
    "--ws-max-size": ("INTEGER", 16777216),
    "--ws-max-queue": ("INTEGER", 32),
    "--ws-ping-interval": ("FLOAT", 20.0),
    "--ws-ping-timeout": ("FLOAT", 20.0),
    "--ws-per-message-deflate": ("BOOLEAN", True),
    "--lifespan": ("[auto|on|off]", "auto"),
    "--interface": ("[auto|asgi3|asgi2|wsgi]", "auto"),
    "--env-file": ("PATH", None),
    "--log-config": ("PATH", None),
    "--log-level": ("[critical|error|warning|info|debug|trace]", None),
    "--access-log/--no-access-log": ("BOOLEAN", True),
    "--use-colors/--no-use-colors": ("BOOLEAN", None),
    "--proxy-headers/--no-proxy-headers": ("BOOLEAN", True),
    "--server-header/--no-server-header": ("BOOLEAN", True),
    "--date-header/--no-date-header": ("BOOLEAN", True),
    "--forwarded-allow-ips": ("TEXT", None),
    "--root-path": ("TEXT", ""),
    "--limit-concurrency": ("INTEGER", None),
    "--backlog": ("INTEGER", 2048),
    "--limit-max-requests": ("INTEGER", None),
    "--limit-max-requests-jitter": ("INTEGER", 0),
    "--timeout-keep-alive": ("INTEGER", 5),
    "--timeout-graceful-shutdown": ("INTEGER", None),
    "--timeout-worker-healthcheck": ("INTEGER", 5),
    "--ssl-keyfile": ("TEXT", None),
    "--ssl-certfile": ("TEXT", None),
    "--ssl-keyfile-password": ("TEXT", None),
    "--ssl-version": ("INTEGER", 17),
    "--ssl-cert-reqs": ("INTEGER", 0),
    "--ssl-ca-certs": ("TEXT", None),
    "--ssl-ciphers": ("TEXT", None),
    "--header": ("TEXT", None),
    "--app-dir": ("TEXT", ""),
    "--h11-max-incomplete-event-size": ("INTEGER", None),
    "--reset-contextvars": ("BOOLEAN", False),
    "--factory": ("BOOLEAN", False),
}


def test_the_flags_are_uvicorns() -> None:
    """Every flag of uvicorn with its metavar and default, and beside them only those of the groups."""
    context = click.Context(main)
    found = {}
    for param in main.params:
        if isinstance(param, click.Option) and param.name in BY_PARAMETER:
            option = BY_PARAMETER[param.name]
            found[option.flags] = (param.make_metavar(context), None if param.multiple else option.preset)
    assert found.pop("--worker-class") == ("[auto|thread|process]", None)
    assert found.pop("--http2-wire") == ("[native|h2]", "native")
    assert found.pop("--http2-resets") == ("INTEGER", 1000)
    assert {flags: found.get(flags) for flags in UVICORN} == UVICORN
    own: tuple[str, ...] = ("--http2-", "--timeout-", "--limit-", "--linger-", "--asgi-", "--extensions")
    own += ("--parsing", "--compression", "--server-timing", "--static")
    own += ("--forwarded-", "--proxy-protocol-")
    assert all(flags.startswith(own) for flags in found.keys() - UVICORN.keys())

"""What is believed of proxies: lists and numbers as they are read, and one line for what makes no sense."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pounce import Config
from pounce.cli import main
from pounce.settings import Forwarded, ProxyProtocol
from tests.isolated_logging import isolated_logging as isolated_logging

pytestmark = pytest.mark.usefixtures("isolated_logging")


async def app(scope: Any, receive: Any, send: Any) -> None: ...


def config(**settings: Any) -> Config:
    return Config(app, **settings)


def commanded(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(main, ["tests.settings.test_proxies:app", *arguments], env=variables)


@pytest.mark.parametrize(
    "given,fields",
    [
        ({}, ("for", "proto")),
        ({"fields": "for,proto,host,port,prefix,forwarded"}, ("for", "proto", "host", "port", "prefix", "forwarded")),
        ({"fields": " Forwarded , host,host"}, ("forwarded", "host")),
        ({"fields": ["prefix"]}, ("prefix",)),
        ({"fields": ""}, ()),
    ],
)
def test_fields(given: Any, fields: tuple[str, ...]) -> None:
    assert Forwarded.of(given).fields == fields


@pytest.mark.parametrize(
    "given,peers",
    [
        ((), ()),
        ("10.0.0.0/8, unix,::1", ("10.0.0.0/8", "unix", "::1")),
        (["10.0.0.0/8,unix", "10.0.0.0/8"], ("10.0.0.0/8", "unix")),
        ("*", ("*",)),
    ],
)
def test_peers(given: Any, peers: tuple[str, ...]) -> None:
    assert ProxyProtocol.of(given).peers == peers


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "10.0.0/8", "10.0.0.1/8", "10.*", "[::1]"])
def test_what_is_meant_as_a_network_and_is_none(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names it and exit code 2, wherever it comes from."""
    for result in (
        commanded("--forwarded-allow-ips", f"127.0.0.1, {entry}"),
        commanded(POUNCE_FORWARDED_ALLOW_IPS=entry),
        commanded(UVICORN_FORWARDED_ALLOW_IPS=entry),
        commanded(FORWARDED_ALLOW_IPS=entry),
    ):
        assert result.exit_code == 2
        lines = [line for line in result.output.splitlines() if f"'{entry}'" in line]
        assert len(lines) == 1
        assert "Traceback" not in result.output
    for given in (entry, [entry], ["127.0.0.1", entry]):
        with pytest.raises(ValueError, match="forwarded_allow_ips: "):
            config(forwarded_allow_ips=given)
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", entry)
    with pytest.raises(ValueError, match=r"^\$FORWARDED_ALLOW_IPS: "):
        config()


@pytest.mark.parametrize(
    "given", ["some-literal , unix:///foo/bar  ,  /foo/bar, garba*gewith*", "", "*", ["*"], [], None]
)
def test_literals_stay_legal(given: Any) -> None:
    """As uvicorn has them, and as they were given."""
    assert config(forwarded_allow_ips=given).forwarded_allow_ips == ("127.0.0.1,::1" if given is None else given)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--forwarded-fields", "for,via"),
        ("--forwarded-hops", "0"),
        ("--forwarded-hops", "-1"),
        ("--forwarded-hops", "x"),
        ("--proxy-protocol-from", "10.0.0.0/33"),
        ("--proxy-protocol-from", "10.0.0.1/8"),
        ("--proxy-protocol-from", "proxy.example"),
        ("--proxy-protocol-from", "/run/a.sock"),
    ],
)
def test_a_wrong_value_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    result = commanded(*arguments)
    assert result.exit_code == 2
    assert f"Invalid value for '{arguments[0]}'" in result.output


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("given", ["*", ["*"]])
def test_the_asterisk_is_said_once(given: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It believes whatever a client says of its address; the line names what does not."""
    made = config(forwarded_allow_ips=given, log_config=None)
    made.load()
    made.for_worker()
    (line,) = warnings(caplog)
    assert '"*"' in line
    assert "--forwarded-hops" in line


@pytest.mark.parametrize(
    "settings",
    [
        {"forwarded_allow_ips": "*", "forwarded": {"hops": 1}},
        {"forwarded_allow_ips": "*", "proxy_headers": False},
        {"forwarded_allow_ips": ["*", "127.0.0.1"]},
        {"forwarded_allow_ips": "10.0.0.0/8"},
        {"forwarded": {"hops": 2, "fields": "for,host"}},
        {},
    ],
)
def test_nothing_is_said_of_what_is_safe(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    config(log_config=None, **settings).load()
    assert warnings(caplog) == []


def test_fields_without_proxy_headers_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    config(log_config=None, proxy_headers=False, forwarded={"hops": 2})
    assert warnings(caplog) == ['"forwarded.hops" has no effect without "proxy_headers".']

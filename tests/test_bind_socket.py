"""Binding: TCP, unix sockets, inherited descriptors; what is logged; what goes wrong."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pounce.config.config import Config

BANNER = "Pounce running on {} (Press CTRL+C to quit)"


def config_for(**settings: Any) -> Config:
    """A config of which only the address matters."""
    return Config("nowhere:app", log_config=None, **settings)


def has_ipv6() -> bool:
    """Whether ::1 can be bound here."""
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.fixture
def short_path() -> Iterator[str]:
    """A path for a unix socket; these must be short."""
    with TemporaryDirectory(prefix="p-") as folder:
        yield f"{folder}/http.sock"


@pytest.mark.parametrize(
    "host,family,url",
    [
        ("127.0.0.1", socket.AF_INET, "http://127.0.0.1:{}"),
        ("", socket.AF_INET, "http://:{}"),
        (None, socket.AF_INET, "http://0.0.0.0:{}"),
        pytest.param(
            "::1", socket.AF_INET6, "http://[::1]:{}", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
        ),
    ],
)
def test_a_tcp_address_is_bound_and_logged(host: Any, family: int, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Port 0 shows as the port that was picked; the socket can be handed to child processes."""
    with caplog.at_level(logging.INFO, "uvicorn.error"), closing(config_for(host=host, port=0).bind_socket()) as sock:
        assert sock.family == family
        assert sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert sock.proto == socket.IPPROTO_TCP
        assert caplog.messages == [BANNER.format(url.format(sock.getsockname()[1]))]


def test_the_colour_message_has_the_same_arguments(caplog: pytest.LogCaptureFixture) -> None:
    """Formatters swap one for the other."""
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        config_for(port=0, ssl_certfile="some.pem").bind_socket().close()
    (record,) = caplog.records
    assert record.__dict__["color_message"] == "Pounce running on \033[1m%s://%s:%d\033[0m (Press CTRL+C to quit)"
    assert isinstance(record.args, tuple)
    assert record.args[:2] == ("https", "127.0.0.1")


def test_under_the_shim_the_banner_is_uvicorns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts wait for that line."""
    monkeypatch.setenv("POUNCE_PRESENT_AS", "uvicorn")
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        config_for(port=0).bind_socket().close()
    assert caplog.messages[0].startswith("Uvicorn running on http://127.0.0.1:")


def test_a_busy_port_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """It names the address; exit code 3."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as caught:
        port = taken.getsockname()[1]
        config_for(port=port).bind_socket()
    assert caught.value.code == 3
    assert caplog.messages == [f"[Errno {errno.EADDRINUSE}] Address already in use: 127.0.0.1:{port}"]


@pytest.mark.parametrize(
    "settings,said",
    [
        ({"host": "192.0.2.1", "port": 1234}, "192.0.2.1:1234"),
        ({"port": 70000}, "70000"),
        ({"host": "x" * 70}, "x" * 70),
        ({"host": "no such name.invalid"}, "'no such name.invalid'"),
        ({"uds": "/nowhere/http.sock"}, "'/nowhere/http.sock'"),
        ({"uds": "/tmp/" + "x" * 200}, "'/tmp/xxx"),
        ({"uds": "nul\0byte"}, r"'nul\x00byte'"),
        ({"uds": ""}, "The path of the unix socket is empty."),
        ({"fd": 9999}, "9999"),
        ({"fd": 99999999999}, "99999999999"),
        ({"backlog": 99999999999}, "99999999999"),
    ],
)
def test_an_address_that_cannot_be_bound_is_one_line(
    settings: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It names what was wrong; exit code 3, whatever Python calls the error."""
    config = config_for()
    vars(config).update(settings)  # some of these a config cannot be made with
    with pytest.raises(SystemExit) as caught:
        config.bind_socket()
    assert caught.value.code == 3
    [line] = caplog.messages
    assert said in line


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_everybody_may_connect_to_a_unix_socket(short_path: str, umask: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the umask, which is the same afterwards."""
    before = os.umask(umask)
    try:
        with caplog.at_level(logging.INFO, "uvicorn.error"), closing(config_for(uds=short_path).bind_socket()) as sock:
            assert sock.family == socket.AF_UNIX
            assert stat.S_IMODE(os.stat(short_path).st_mode) == 0o666
    finally:
        assert os.umask(before) == umask
    assert caplog.messages == [BANNER.format(f"unix socket {short_path}")]


def test_a_unix_socket_that_a_killed_server_left_is_taken_over(short_path: str) -> None:
    """Nobody listens on it any more."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(short_path)
    with closing(config_for(uds=short_path).bind_socket()) as sock:
        sock.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(short_path)


@pytest.mark.parametrize("occupant", ["server", "file"])
def test_a_path_in_use_is_left_alone(short_path: str, occupant: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a running server's socket nor somebody's file is removed."""
    server = socket.socket(socket.AF_UNIX)
    if occupant == "server":
        server.bind(short_path)
        server.listen()
    else:
        Path(short_path).write_text("mine")
    with closing(server):
        inode = os.stat(short_path).st_ino
        with pytest.raises(SystemExit):
            config_for(uds=short_path).bind_socket()
        assert os.stat(short_path).st_ino == inode
    assert short_path in caplog.messages[0]


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_a_descriptor_keeps_its_family(family: int, caplog: pytest.LogCaptureFixture) -> None:
    """The given descriptor stays open and its own."""
    with socket.socket(family) as given:
        if family == socket.AF_INET:
            given.bind(("127.0.0.1", 0))
        with (
            caplog.at_level(logging.INFO, "uvicorn.error"),
            closing(config_for(fd=given.fileno()).bind_socket()) as sock,
        ):
            assert sock.family == family
            assert sock.fileno() != given.fileno()
        assert caplog.messages == [BANNER.format(f"socket {given.getsockname()}")]

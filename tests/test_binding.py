"""Sockets by name: what is taken over, what is refused, what is removed."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from pounce import binding
from pounce.binding import Bind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")


@pytest.fixture
def path() -> Iterator[str]:
    """A path for a unix socket; these must be short."""
    with TemporaryDirectory(prefix="p-") as folder:
        yield f"{folder}/http.sock"


def where(**changes: Any) -> Bind:
    settings: Any = {"uds": None, "fd": None, "host": "127.0.0.1", "port": 0, "backlog": 100, "scheme": "http"}
    return Bind(**(settings | changes))


def leave(path: str, mode: int = 0o755) -> None:
    """What a killed server leaves behind."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    os.chmod(path, mode)


@pytest.mark.parametrize("mode", [None, 0o600, 0o660])
def test_who_may_connect(path: str, mode: int | None) -> None:
    """Everybody; where a socket was left, whoever could connect to that."""
    if mode is not None:
        leave(path, mode)
    with binding.bind_unix(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == (mode or 0o666)


def test_a_path_may_be_one_of_pathlib(path: str) -> None:
    """As with asyncio."""
    with binding.bind_unix(Path(path)) as sock:  # type: ignore[arg-type]
        assert sock.getsockname() == path


@pytest.mark.parametrize("state", ["listening", "with a full queue", "of datagrams", "bound by a starting supervisor"])
def test_a_socket_that_somebody_holds_is_in_use(path: str, state: str) -> None:
    """Whether it answers or not; it stays what it is."""
    if state == "bound by a starting supervisor" and not Path("/proc/net/unix").exists():
        pytest.skip("only Linux tells")
    kind = socket.SOCK_DGRAM if state == "of datagrams" else socket.SOCK_STREAM
    with socket.socket(socket.AF_UNIX, kind) as holder, socket.socket(socket.AF_UNIX) as waiting:
        holder.bind(path)
        inode = os.stat(path).st_ino
        if state == "listening":
            holder.listen()
        elif state == "with a full queue":
            holder.listen(0)
            waiting.connect(path)
        for attempt in (lambda: binding.bind_unix(path), lambda: where(uds=path).check()):
            with pytest.raises(OSError, match=f"the unix socket '{path}' is in use"):
                attempt()
        assert os.stat(path).st_ino == inode


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else False, reason="root may do everything")
def test_what_may_not_be_written_is_named(path: str) -> None:
    """Before anything is bound."""
    os.chmod(os.path.dirname(path), 0o500)
    with pytest.raises(PermissionError, match=path):
        where(uds=path).check()


@pytest.mark.parametrize("uds", ["/nowhere/http.sock", "/dev/null/http.sock", "/dev/null", "", "nul\0byte"])
def test_a_check_finds_a_path_that_cannot_be(uds: str) -> None:
    """And nothing is made by it."""
    with pytest.raises(OSError, match="empty" if not uds else "http.sock|/dev/null|byte"):
        where(uds=uds).check()


def test_a_check_changes_nothing(path: str) -> None:
    """What can be taken over is still there."""
    where(uds=path).check()
    assert not os.path.exists(path)
    leave(path)
    where(uds=path).check()
    assert os.path.exists(path)


def test_only_the_same_file_is_removed(path: str) -> None:
    """Neither one that has the number of the inode that was ours, nor one of another name."""
    with binding.bind_unix(path):
        file = binding.SocketFile(path)
        left = os.stat(path)
        os.utime(path, ns=(left.st_atime_ns, left.st_mtime_ns + 1))  # as that of another one, made later
        file.remove()
        assert os.path.exists(path)
        file = binding.SocketFile(path)
        file.remove()
        assert not os.path.exists(path)
        file.remove()


def test_a_listening_descriptor_is_taken() -> None:
    """And stays open."""
    with socket.create_server(("127.0.0.1", 0)) as given:
        with binding.inherited(given.fileno()) as sock:
            assert sock.getsockname() == given.getsockname()
        assert given.getsockname()


@pytest.mark.parametrize("kind", ["UDP", "connection", "pair", "file"])
def test_a_descriptor_that_cannot_listen_is_refused(kind: str) -> None:
    """Its number is in the error, and no descriptor is left open."""
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    pair = socket.socketpair()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    file = open(__file__)  # noqa: SIM115
    fd = {"UDP": datagrams, "connection": client, "pair": pair[0], "file": file}[kind].fileno()
    unused = os.dup(0)
    os.close(unused)
    try:
        with pytest.raises(OSError, match=f"Cannot listen on file descriptor {fd}: "):
            binding.inherited(fd)
        again = os.dup(0)
        os.close(again)
        assert again == unused
    finally:
        for opened in (server, client, *pair, datagrams, file):
            opened.close()


def test_a_supervisor_stays_small() -> None:
    """Binding imports neither asyncio nor OpenSSL."""
    code = "import sys, pounce.binding; print([name for name in ('asyncio', 'ssl') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

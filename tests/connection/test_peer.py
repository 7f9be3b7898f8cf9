"""Who is at the ends of a transport, for all kinds of addresses that sockets have."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pounce.connection.peer import get_local_addr, get_remote_addr


class Transport:
    """Remembers names, as loops do."""

    def __init__(self, **known: Any) -> None:
        self.known = known

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.known.get(name, default)


class Socket:
    """Answers for itself."""

    def __init__(self, name: Any) -> None:
        self.name = name

    def getpeername(self) -> Any:
        if self.name is None:
            raise OSError("not connected")
        return self.name

    getsockname = getpeername


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (["127.0.0.1", 80], ("127.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        ((3, 1024), ("3", 1024)),  # AF_VSOCK: what hosts are called there is a number
    ],
)
def test_addresses(name: Any, expected: tuple[str, int]) -> None:
    """Host and port, as a string and a number, whether the transport or only its socket knows them."""
    for transport in (Transport(peername=name, sockname=name), Transport(socket=Socket(tuple(name)))):
        for address in (get_remote_addr(transport), get_local_addr(transport)):  # type: ignore[arg-type]
            assert address == expected
            assert type(address[0]) is str  # type: ignore[index]


def test_a_unix_socket_has_a_path() -> None:
    """And its clients have no name."""
    transport: Any = Transport(peername="", sockname="/run/app.sock", socket=Socket(""))
    assert get_remote_addr(transport) is None
    assert get_local_addr(transport) == ("/run/app.sock", None)


def test_nobody_is_there_any_more() -> None:
    """A peer that is gone, and a transport without a socket."""
    assert get_remote_addr(Transport(socket=Socket(None))) is None  # type: ignore[arg-type]
    assert get_remote_addr(Transport()) is None  # type: ignore[arg-type]
    assert get_local_addr(Transport()) is None  # type: ignore[arg-type]


def test_real_sockets() -> None:
    """As asyncio remembers them."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        transport: Any = Transport(peername=client.getpeername(), sockname=client.getsockname())
        assert get_remote_addr(transport) == listener.getsockname()
        assert get_local_addr(transport) == client.getsockname()

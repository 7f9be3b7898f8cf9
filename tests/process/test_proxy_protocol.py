"""`--proxy-protocol-from`: whom an app sees, by each loop, worker class, parser and version, with and without TLS."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import pytest
from websockets.sync.client import connect

from tests.beside.test_clients import tls_and_http2
from tests.fakes import PROTOCOLS
from tests.isolated_logging import isolated_logging as isolated_logging
from tests.process.proxied_app import app
from tests.process.serving import PATIENCE, Served, parse_response, read_to_end, served
from tests.threads.embedding import Embedded, serving
from tests.wire.test_proxy_protocol import BEHIND, FROM_4, FROM_6, HEADERS, SIGNATURE

pytestmark = pytest.mark.usefixtures("isolated_logging")

REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
FORWARDED = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n"
)

TCP4, TCP6, BINARY4, BINARY6 = (HEADERS[name][0] for name in ("v1 TCP4", "v1 TCP6", "v2 TCP4 with TLVs", "v2 TCP6"))
LOCAL, UNSPEC, UNKNOWN, UNIX = (HEADERS[name][0] for name in ("v2 LOCAL", "v2 UNSPEC", "v1 UNKNOWN", "v2 unix"))

needs_uvloop = pytest.mark.skipif(importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed")
ONE = {"workers": 1, "worker_class": "auto"}
SERVERS: dict[str, Any] = {
    "asyncio": ONE | {"loop": "asyncio"},
    "uvloop": ONE | {"loop": "uvloop"},
    "threads": {"workers": 2, "loop": "asyncio"},
    "threads on uvloop": {"workers": 2, "loop": "uvloop"},
}
servers = pytest.mark.parametrize(
    "settings",
    [pytest.param(settings, marks=needs_uvloop if "uvloop" in name else ()) for name, settings in SERVERS.items()],
    ids=SERVERS,
)


@contextlib.contextmanager
def proxied(settings: dict[str, Any], peers: str = "127.0.0.1,unix", **more: Any) -> Iterator[Embedded]:
    with serving(app, proxy_protocol=peers, **settings, **more) as server:
        yield server


def ask(server: Embedded | Served, *parts: bytes, tls: ssl.SSLContext | None = None) -> Any:
    """What an app tells of a client that begins with the first part; None where the server just ends."""
    sock: Any = server.connect()
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: sock.close())
        try:
            sock.sendall(parts[0])
            if tls is not None:
                sock = tls.wrap_socket(sock, server_hostname="localhost")
            for part in parts[1:]:
                sock.sendall(part)
            answer = read_to_end(sock)
        except (ConnectionResetError, BrokenPipeError):
            return None
    if not answer.startswith(b"HTTP/"):  # nothing, or the end of HTTP/2
        return None
    status, body = parse_response(answer)
    return seen(body) if status == 200 else status


def over_http2(server: Embedded, header: bytes) -> Any:
    """By prior knowledge."""
    client = h2.connection.H2Connection()
    client.initiate_connection()
    client.send_headers(1, [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")], True)
    with server.connect() as sock:
        sock.sendall(header + client.data_to_send())
        body = b""
        while data := sock.recv(65536):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return seen(body)
    return None


def over_websocket(server: Embedded, header: bytes) -> Any:
    sock = server.connect()
    sock.sendall(header)
    with connect("ws://localhost/", sock=sock) as websocket:
        return seen(websocket.recv(timeout=PATIENCE))


def seen(body: str | bytes) -> Any:
    """Client, server, scheme and version of a scope."""
    return list(json.loads(body).values())[:4]


def told(origin: Any, scheme: str = "http", version: str = "1.1") -> Any:
    return [list(origin.client), list(origin.server), scheme, version]


@servers
def test_whom_an_app_sees(settings: dict[str, Any]) -> None:
    """The ends that the header names, whatever is spoken behind it; and a header is mandatory."""
    with proxied(settings, http2=True) as server:
        address = list(server.address)
        for header, origin in ((TCP4, FROM_4), (TCP6, FROM_6), (BINARY4, FROM_4), (BINARY6, FROM_6)):
            assert ask(server, header + REQUEST) == told(origin)
            assert ask(server, header[:7], header[7:], REQUEST) == told(origin)
            assert over_http2(server, header) == told(origin, version="2")
            assert over_websocket(server, header) == told(origin, "ws")
        assert ask(server, UNIX + REQUEST) == [None, ["/run/proxy.sock", None], "http", "1.1"]
        for header in (LOCAL, UNSPEC, UNKNOWN):
            client, own, _, _ = ask(server, header + REQUEST)
            assert (client[0], own) == ("127.0.0.1", address)
        for garbage in (REQUEST, BEHIND[3], b"PROXY TCP4 a b 1 2\r\n" + REQUEST, SIGNATURE + b"\x21\x11\xff\xff"):
            assert ask(server, garbage) is None
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(server.connect()) for _ in range(40)]
            silent[0].sendall(b"PROXY ")
            assert ask(server, TCP4 + REQUEST) == told(FROM_4)
            silent[0].sendall(b"TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + REQUEST)
            assert seen(parse_response(read_to_end(silent[0]))[1])[0] == ["1.2.3.4", 1]


@servers
def test_tls_begins_behind_it(settings: dict[str, Any], tmp_path: Path) -> None:
    """In one segment with the client's first message as well."""
    options, context = tls_and_http2(tmp_path)
    context.set_alpn_protocols(["http/1.1"])
    with proxied(settings, ssl_certfile=options[1], ssl_keyfile=options[3]) as server:
        for header, origin in ((TCP4, FROM_4), (BINARY6, FROM_6)):
            assert ask(server, header, REQUEST, tls=context) == told(origin, "https")
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with pytest.raises(ssl.SSLWantReadError):
                client.do_handshake()
            with server.connect() as sock:
                sock.sendall(header + outgoing.read())
                while True:
                    try:
                        client.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        incoming.write(sock.recv(65536))
                client.write(REQUEST)
                sock.sendall(outgoing.read())
                answer = b""
                while not answer.endswith(b"0\r\n\r\n"):
                    incoming.write(sock.recv(65536))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        while part := client.read(65536):
                            answer += part
            assert seen(parse_response(answer)[1]) == told(origin, "https")
        for first in (header + TCP4, b""):
            with contextlib.suppress(ssl.SSLError):
                assert ask(server, first, REQUEST, tls=context) is None


@pytest.mark.parametrize("loop", ["asyncio", pytest.param("uvloop", marks=needs_uvloop)])
def test_a_silent_peer_has_the_time_of_a_head(loop: str, tmp_path: Path) -> None:
    """And is gone then; TLS has not begun."""
    options, _ = tls_and_http2(tmp_path)
    for tls in ({}, {"ssl_certfile": options[1], "ssl_keyfile": options[3]}):
        settings: dict[str, Any] = ONE | {"loop": loop, "deadlines": {"head": 0.3}} | tls
        with proxied(settings) as server, contextlib.ExitStack() as stack:
            late = [stack.enter_context(server.connect()) for _ in range(3)]
            late[1].sendall(b"PROXY ")
            late[2].sendall(SIGNATURE)
            assert [sock.recv(1) for sock in late] == [b""] * 3


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
@servers
def test_by_a_unix_socket(settings: dict[str, Any], tmp_path: Path) -> None:
    with proxied(settings, uds=str(tmp_path / "a.sock")) as server:
        assert ask(server, BINARY4 + REQUEST) == told(FROM_4)
        assert ask(server, LOCAL + REQUEST) == [None, [str(tmp_path / "a.sock"), None], "http", "1.1"]
        assert ask(server, REQUEST) is None


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2, too"])
@pytest.mark.parametrize("parser", sorted(PROTOCOLS))
def test_only_from_those_that_are_listed_and_only_once(parser: str, http2: bool) -> None:
    """From others a header is a bad request, and so is a second one."""
    settings = ONE | {"http": parser, "http2": http2}
    with proxied(settings, "10.0.0.0/8,unix") as server:
        assert ask(server, REQUEST)[0][0] == "127.0.0.1"
        for header in (TCP4, BINARY4, UNKNOWN, LOCAL):
            assert ask(server, header + REQUEST) in (400, None)
            assert ask(server, TCP4 + REQUEST) != told(FROM_4)
        assert http2 or ask(server, TCP4 + REQUEST) == 400
    with proxied(settings) as server:
        for header in (TCP4, BINARY4, LOCAL):
            assert ask(server, header + REQUEST)[0] is not None
            for second in (TCP4, BINARY6, UNKNOWN, LOCAL):
                assert ask(server, header + second + REQUEST) in (400, None)


@servers
def test_a_stop_does_not_wait_for_headers(settings: dict[str, Any]) -> None:
    """Who has not said whose he is has sent no request."""
    with proxied(settings, deadlines={"head": 0}) as server, contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(3)]
        silent[1].sendall(TCP4[:9])
        assert ask(server, TCP4 + REQUEST) == told(FROM_4)
        server.stop()
        for sock in silent:
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(1) == b""


def test_whose_forwarded_fields_count() -> None:
    """Those of the client that the header names, as if it had connected itself; of an unknown one never."""
    others = HEADERS["v1 TCP6"][0]
    with proxied(ONE, forwarded_allow_ips="192.0.2.0/24") as server:
        assert ask(server, TCP4 + FORWARDED)[0] == ["9.9.9.9", 0]
        assert ask(server, BINARY4 + FORWARDED)[2] == "https"
        assert ask(server, others + FORWARDED) == told(FROM_6)
    with proxied(ONE, forwarded_allow_ips="127.0.0.1,unix") as server:
        assert ask(server, TCP4 + FORWARDED) == told(FROM_4)
        assert ask(server, LOCAL + FORWARDED)[0] == ["9.9.9.9", 0]
        assert ask(server, UNIX + FORWARDED)[0] == ["9.9.9.9", 0]
        for header in (UNSPEC, UNKNOWN):
            assert ask(server, header + FORWARDED)[0][0] == "127.0.0.1"


def test_server_processes() -> None:
    """By the command; its log says what is wrong with a proxy."""
    arguments = ("--workers", "2", "--worker-class", "process")
    with served("tests.process.proxied_app:app", *arguments, "--proxy-protocol-from", "127.0.0.0/8") as server:
        assert ask(server, TCP4 + REQUEST) == told(FROM_4)
        assert ask(server, BINARY6 + REQUEST) == told(FROM_6)
        assert ask(server, REQUEST) is None
        server.log.wait_for(r"Closed a connection from 127.0.0.1, which began with no header of the PROXY protocol")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="IPv6")
def test_a_listener_of_both_kinds_of_addresses() -> None:
    """There IPv4 peers look like IPv6: lists of IPv4 networks know them, with and without a header."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listener:
        address = ("127.0.0.1", listener.getsockname()[1])

        def ask_by_ipv4(*parts: bytes) -> Any:
            with socket.create_connection(address, PATIENCE) as sock:
                for part in parts:
                    sock.sendall(part)
                return seen(parse_response(read_to_end(sock))[1])

        with serving(app, **ONE, fd=listener.fileno()) as server:
            assert server.address[0] == "::"
            assert ask_by_ipv4(FORWARDED)[0] == ["9.9.9.9", 0]
            assert ask_by_ipv4(REQUEST)[0][0] == "::ffff:127.0.0.1"
        with proxied(ONE, "127.0.0.0/8", fd=listener.fileno()):
            assert ask_by_ipv4(TCP4 + FORWARDED) == told(FROM_4)
            assert ask_by_ipv4(LOCAL + FORWARDED)[0] == ["9.9.9.9", 0]
            assert ask_by_ipv4(LOCAL + REQUEST)[0][0] == "::ffff:127.0.0.1"

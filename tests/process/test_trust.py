"""Forwarded fields on the wire: each parser, both wires of HTTP/2 and WebSockets show an app the same client."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import pytest
from websockets.sync.client import connect

from tests.isolated_logging import isolated_logging as isolated_logging
from tests.process.proxied_app import app
from tests.process.serving import PATIENCE, parse_response, read_to_end
from tests.threads.embedding import Embedded, serving

pytestmark = pytest.mark.usefixtures("isolated_logging")

Fields = list[tuple[str, str]]
FOR, PROTO, HOST, PORT, PREFIX = (f"x-forwarded-{name}" for name in ("for", "proto", "host", "port", "prefix"))
ALL = "for,proto,host,port,prefix,forwarded"
PEER = "the peer"

#: What a trusted peer sends, and the client that an app sees then.
CLIENTS: list[tuple[Fields, Any]] = [
    ([], PEER),
    ([(FOR, "1.2.3.4")], ["1.2.3.4", 0]),
    ([(FOR, "6.6.6.6, 1.2.3.4")], ["1.2.3.4", 0]),
    ([(FOR, "6.6.6.6, 1.2.3.4, 10.0.0.9")], ["1.2.3.4", 0]),
    ([(FOR, "6.6.6.6"), (FOR, "1.2.3.4"), (FOR, "10.0.0.9, ::ffff:10.0.0.8")], ["1.2.3.4", 0]),
    ([(FOR, "1.2.3.4:56")], ["1.2.3.4", 56]),
    ([(FOR, "[2001:db8::1]:56")], ["2001:db8::1", 56]),
    ([(FOR, "2001:db8::1")], ["2001:db8::1", 0]),
    ([(FOR, "1.2.3.4:99999999999999")], PEER),
    ([(FOR, "h" * 300)], PEER),
    ([(FOR, "1.2.3.4, " + "h" * 300)], PEER),
    ([(FOR, 'unknown" 200 "')], PEER),
    ([(FOR, "")], PEER),
    ([("forwarded", 'for=6.6.6.6, for="[2001:db8::1]:56", for=10.0.0.9')], ["2001:db8::1", 56]),
    ([("forwarded", "for=_hidden"), (FOR, "6.6.6.6")], PEER),
]


def over_http1(server: Embedded, fields: Fields) -> Any:
    head = ["GET /x HTTP/1.1", "Host: inner", "Connection: close", *(f"{name}: {value}" for name, value in fields)]
    with server.connect() as sock:
        sock.sendall("\r\n".join([*head, "", ""]).encode())
        status, body = parse_response(read_to_end(sock))
    assert status == 200
    return json.loads(body)


def over_http2(server: Embedded, fields: Fields) -> Any:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "inner"), (":path", "/x")]
    client.send_headers(1, [*pseudo, *fields], True)
    body = b""
    with server.connect() as sock:
        sock.sendall(client.data_to_send())
        while data := sock.recv(65536):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return json.loads(body)
    raise AssertionError("no answer")


def over_websocket(server: Embedded, fields: Fields) -> Any:
    with connect("ws://inner/x", sock=server.connect(), additional_headers=fields) as websocket:
        return json.loads(websocket.recv(timeout=PATIENCE))


BACKENDS: dict[str, tuple[dict[str, Any], Callable[[Embedded, Fields], Any]]] = {
    "h11": ({"http": "h11"}, over_http1),
    "httptools": ({"http": "httptools"}, over_http1),
    "zttp": ({"http": "zttp"}, over_http1),
    "http2": ({"http2": True}, over_http2),
    "http2 by h2": ({"http2": {"enabled": True, "wire": "h2"}}, over_http2),
    "wsproto": ({"ws": "wsproto"}, over_websocket),
    "websockets": ({"ws": "websockets-sansio", "http": "h11"}, over_websocket),
}
backends = pytest.mark.parametrize("settings,ask", BACKENDS.values(), ids=BACKENDS)
#: Whether a peer is trusted, all of them ask in the same way.
some = pytest.mark.parametrize("settings,ask", [BACKENDS[name] for name in ("httptools", "http2", "wsproto")])


def served(settings: dict[str, Any], allow: str, **more: Any) -> Any:
    once = {"workers": 1, "worker_class": "auto", "forwarded_allow_ips": allow, "forwarded": {"fields": ALL}}
    return serving(app, **once | settings | more)


@backends
def test_a_trusted_peer(settings: dict[str, Any], ask: Callable[[Embedded, Fields], Any]) -> None:
    with served(settings, "127.0.0.1,10.0.0.0/8") as server:
        for fields, client in CLIENTS:
            seen = ask(server, fields)["client"]
            assert (seen[0] == "127.0.0.1" and seen[1] > 0) if client == PEER else seen == client, fields
        told = [(PROTO, "https"), (HOST, "a.example"), (PORT, "8443"), (PREFIX, "/api"), (HOST, "b.example")]
        seen = ask(server, told)
        is_websocket = ask is over_websocket
        assert seen["scheme"] == ("wss" if is_websocket else "https")
        assert seen["hosts"] == ["b.example:8443"]
        assert seen["server"] == ["b.example", 8443]
        assert (seen["root_path"], seen["path"]) == ("/api", "/api/x")
        plain = ask(server, [])
        for wrong in ([(PROTO, "gopher")], [(HOST, "h" * 300)], [(PORT, "99999999999999")], [(PREFIX, "//evil")]):
            assert ask(server, wrong) | {"client": None} == plain | {"client": None}


@backends
def test_other_peers(settings: dict[str, Any], ask: Callable[[Embedded, Fields], Any]) -> None:
    """Nothing that they say changes anything."""
    others = [(PROTO, "https"), (HOST, "a.example"), (PORT, "8443"), (PREFIX, "/api")]
    with served(settings, "10.0.0.0/8,unix") as server:
        plain = ask(server, [])
        assert plain["client"][0] == "127.0.0.1"
        for fields, _ in CLIENTS:
            assert ask(server, fields + others) | {"client": None} == plain | {"client": None}
            assert ask(server, fields + others)["client"][0] == "127.0.0.1"


@some
def test_everybody(settings: dict[str, Any], ask: Callable[[Embedded, Fields], Any]) -> None:
    """By `*` the left-most is believed, as with uvicorn; by the number of proxies, theirs."""
    forged = [(FOR, "6.6.6.6"), (FOR, "1.2.3.4")]
    with served(settings, "*") as server:
        assert ask(server, forged)["client"] == ["6.6.6.6", 0]
    with served(settings, "*", forwarded={"hops": 1}) as server:
        assert ask(server, forged)["client"] == ["1.2.3.4", 0]
        assert ask(server, [("forwarded", "for=6.6.6.6")])["client"][0] == "127.0.0.1", "it is not asked for"


@pytest.mark.skipif(sys.platform == "win32", reason="unix sockets")
@some
def test_by_a_unix_socket(settings: dict[str, Any], ask: Callable[[Embedded, Fields], Any], tmp_path: Path) -> None:
    """Who comes by one is trusted by name, not by a list of addresses."""
    path = str(tmp_path / "a.sock")
    for allow, client in (("unix", ["1.2.3.4", 0]), ("*", ["1.2.3.4", 0]), ("127.0.0.1,::1,unix:", None)):
        with served(settings, allow, uds=path) as server:
            assert ask(server, [(FOR, "1.2.3.4")])["client"] == client
            assert ask(server, [])["server"] == [path, None]

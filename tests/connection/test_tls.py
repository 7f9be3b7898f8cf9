"""The `tls` extension of scopes, over real TLS: every protocol, both loops, with and without client certificates."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from types import SimpleNamespace
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from pounce.config.tls import create_ssl_context
from pounce.connection.http2_auto import negotiator
from pounce.connection.state import ServerState
from pounce.connection.tls import distinguished_name
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from tests.connection.extensions_page import names_of_the_page
from tests.connection.real_sockets import LOCALHOST, on_real_loops
from tests.fakes import PROTOCOLS, Connection, answer, get, plain_config
from tests.wire.ws_frames import handshake

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A server's certificate, and one of a client that an intermediate authority vouches for; in files."""
    folder = tmp_path_factory.mktemp("tls")
    root = trustme.CA()
    middle = root.create_child_ca()
    leaf = root.issue_cert("localhost", LOCALHOST)
    client = middle.issue_cert("client@a.example", common_name='Jo, "x"', organization_name="A+B")
    found = SimpleNamespace(server=folder / "server.pem", ca=folder / "ca.pem", client=folder / "client.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path(os.fspath(found.server))
    root.cert_pem.write_to_path(os.fspath(found.ca))
    client.private_key_and_cert_chain_pem.write_to_path(os.fspath(found.client))
    found.server_cert = leaf.cert_chain_pems[0].bytes().decode()
    found.client_chain = [pem.bytes().decode() for pem in client.cert_chain_pems]
    return found


class Site:
    """A server with TLS on the running loop, that keeps the scopes of its app, and a client of it."""

    def __init__(self, pki: SimpleNamespace, http: str, ws: Any, reqs: ssl.VerifyMode, runs: Any = None) -> None:
        self.pki = pki
        self.scopes: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.scopes.append(scope)
            if scope["type"] == "websocket":
                await send({"type": "websocket.close"})
            elif runs is not None:
                await runs(scope, receive, send)
            else:
                await answer(send)

        self.state = ServerState()
        settings = {"ws_max_size": 1 << 20, "ws_max_queue": 32, "ws_ping_interval": None, "ws_ping_timeout": None}
        config = plain_config(app, ws_protocol_class=ws, ws_per_message_deflate=True, **settings)
        kind: Any = negotiator(PROTOCOLS[http])
        self.make = lambda: kind(config, self.state, {}, asyncio.get_running_loop())
        alpn = ["h2", "http/1.1"]
        self.context = create_ssl_context(pki.server, None, None, ssl.PROTOCOL_TLS_SERVER, reqs, pki.ca, None, alpn)

    async def __aenter__(self) -> Site:
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.make, LOCALHOST, 0, ssl=self.context)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.listener.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        async with asyncio.timeout(5):
            while self.state.connections or self.state.tasks:
                await asyncio.sleep(0.001)

    async def talk(self, data: bytes, count: int = 1, *, certificate: bool = False, **wanted: Any) -> Any:
        """Say something, and wait for so many scopes; returns what TLS agreed on, as the client has it."""
        context = ssl.create_default_context(cafile=self.pki.ca)
        context.set_alpn_protocols([wanted.get("alpn", "http/1.1")])
        if certificate:
            context.load_cert_chain(self.pki.client)
        if version := wanted.get("version"):
            context.maximum_version = version
        if ciphers := wanted.get("ciphers"):
            context.set_ciphers(ciphers)
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(LOCALHOST, self.port, ssl=context, server_hostname="localhost")
            try:
                writer.write(data)
                while len(self.scopes) < count:
                    await asyncio.sleep(0.001)
                return writer.get_extra_info("ssl_object").cipher()
            finally:
                writer.transport.abort()


def over_http2(headers: list[tuple[str, str]], end: bool) -> bytes:
    """A request of HTTP/2, twice."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    client.send_headers(1, headers, end_stream=end)
    client.send_headers(3, headers, end_stream=end)
    return bytes(client.data_to_send())


HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
CONNECT = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    *HEAD[1:],
    ("sec-websocket-version", "13"),
]


@pytest.mark.parametrize("http", sorted(PROTOCOLS))
@pytest.mark.parametrize("certificate", [False, True])
@on_real_loops
async def test_http_1_1(loop_kind: str, pki: SimpleNamespace, http: str, certificate: bool) -> None:
    """Each request of a connection gets it, among extensions of its own."""
    async with Site(pki, http, None, ssl.CERT_OPTIONAL) as site:
        await site.talk(get() + get(), 2, certificate=certificate)
        first, second = (scope["extensions"] for scope in site.scopes)
    assert first == second
    assert first is not second
    one = first["tls"]
    assert list(one) == [
        "server_cert",
        "client_cert_chain",
        "client_cert_name",
        "client_cert_error",
        "tls_version",
        "cipher_suite",
    ]
    assert (one["server_cert"], one["tls_version"], one["client_cert_error"]) == (pki.server_cert, 0x0304, None)
    if not certificate:
        assert (one["client_cert_chain"], one["client_cert_name"]) == ((), None)
        return
    sent = pki.client_chain if sys.version_info >= (3, 13) else pki.client_chain[:1]
    assert list(one["client_cert_chain"]) == sent
    # An implementation that has nothing to do with ours reads the same name.
    read = x509.load_pem_x509_certificate(one["client_cert_chain"][0].encode())
    assert one["client_cert_name"] == read.subject.rfc4514_string()
    assert one["client_cert_name"].startswith('CN=Jo\\, \\"x\\",')
    assert read.public_bytes(serialization.Encoding.PEM).decode() == pki.client_chain[0]


@pytest.mark.parametrize("certificate", [False, True])
@on_real_loops
async def test_http_2(loop_kind: str, pki: SimpleNamespace, certificate: bool) -> None:
    """Each request of a connection, beside the extensions of the version."""
    async with Site(pki, "h11", None, ssl.CERT_OPTIONAL) as site:
        await site.talk(over_http2(HEAD, True), 2, certificate=certificate, alpn="h2")
        one, two = (scope["extensions"] for scope in site.scopes)
    assert site.scopes[0]["http_version"] == "2"
    assert sorted(one) == ["http.response.early_hint", "http.response.trailers", "tls"]
    assert one == two
    assert one is not two
    assert one["tls"]["server_cert"] == pki.server_cert
    assert bool(one["tls"]["client_cert_name"]) is certificate


@pytest.mark.parametrize("ws", [WSProtocol, WebSocketsSansIOProtocol])
@pytest.mark.parametrize("http", [*sorted(PROTOCOLS), "HTTP/2"])
@on_real_loops
async def test_websockets(loop_kind: str, pki: SimpleNamespace, http: str, ws: Any) -> None:
    """Over both versions."""
    async with Site(pki, "h11" if http == "HTTP/2" else http, ws, ssl.CERT_REQUIRED) as site:
        if http == "HTTP/2":
            await site.talk(over_http2(CONNECT, False), 2, certificate=True, alpn="h2")
        else:
            await site.talk(handshake(), certificate=True)
        found = [scope["extensions"] for scope in site.scopes]
    assert {scope["type"] for scope in site.scopes} == {"websocket"}
    for extensions in found:
        assert sorted(extensions) == ["tls", "websocket.http.response"]
        assert extensions["tls"]["server_cert"] == pki.server_cert
        assert extensions["tls"]["client_cert_chain"][0] == pki.client_chain[0]
    assert len({id(extensions["tls"]) for extensions in found}) == len(found)


@pytest.mark.parametrize(
    ("ciphers", "version", "suite", "number"),
    [
        ("ECDHE-ECDSA-AES128-GCM-SHA256", ssl.TLSVersion.TLSv1_2, 0xC02B, 0x0303),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", ssl.TLSVersion.TLSv1_2, 0xCCA9, 0x0303),
        (None, ssl.TLSVersion.TLSv1_3, 0x1302, 0x0304),
    ],
)
@on_real_loops
async def test_versions_and_suites(
    loop_kind: str, pki: SimpleNamespace, ciphers: Any, version: Any, suite: int, number: int
) -> None:
    """As IANA numbers them."""
    async with Site(pki, "httptools", None, ssl.CERT_NONE) as site:
        agreed = await site.talk(get(), ciphers=ciphers, version=version)
    assert ciphers is None or agreed[0] == ciphers
    found = site.scopes[0]["extensions"]["tls"]
    assert (found["tls_version"], found["cipher_suite"]) == (number, suite)


@on_real_loops
async def test_a_context_of_the_users_tells_what_it_can(loop_kind: str, pki: SimpleNamespace) -> None:
    """Python's contexts do not know their certificate: it is None."""
    async with Site(pki, "h11", None, ssl.CERT_NONE) as site:
        site.listener.close()
        site.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        site.context.load_cert_chain(pki.server)
        await site.__aenter__()
        await site.talk(get())
    found = site.scopes[0]["extensions"]["tls"]
    assert (found["server_cert"], found["tls_version"]) == (None, 0x0304)


@on_real_loops
@pytest.mark.parametrize(("certificate", "name"), [(False, b"nobody"), (True, b'CN=Jo\\, \\"x\\",')])
async def test_the_app_of_the_page(loop_kind: str, pki: SimpleNamespace, certificate: bool, name: bytes) -> None:
    """docs/extensions.md: it tells clients their names."""
    async with Site(pki, "h11", None, ssl.CERT_OPTIONAL, names_of_the_page()["whoami"]) as site:
        context = ssl.create_default_context(cafile=pki.ca)
        if certificate:
            context.load_cert_chain(pki.client)
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(LOCALHOST, site.port, ssl=context)
            writer.write(get("/", "Connection: close"))
            data = await reader.read()
            writer.close()
            await writer.wait_closed()
    assert b"\r\n" + name in data


@pytest.mark.parametrize("ssl_object", [None, object()])
async def test_tls_that_is_not_pythons(ssl_object: Any) -> None:
    """Of a transport that encrypts in its own way nothing is told."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["scheme"], sorted(scope["extensions"])))
        await answer(send)

    async with Connection("h11", app) as connection:
        connection.transport.extra |= {"sslcontext": object(), "ssl_object": ssl_object}
        connection.protocol.connection_made(connection.transport)  # type: ignore[arg-type]
        await connection.feed(get())
    assert seen == [("https", ["http.response.early_hint", "http.response.trailers"])]


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ((), ""),
        (((("countryName", "DE"),), (("organizationName", "A"),), (("commonName", "b"),)), "CN=b,O=A,C=DE"),
        (((("organizationalUnitName", "Sales"), ("commonName", "J.  Smith")),), "OU=Sales+CN=J.  Smith"),
        (((("commonName", '#a,b+c"d\\e<f>g;h '),),), 'CN=\\#a\\,b\\+c\\"d\\\\e\\<f\\>g\\;h\\ '),
        (((("commonName", " a#b "),),), "CN=\\ a#b\\ "),
        (((("commonName", " "),),), "CN=\\ "),
        (((("commonName", "a\0b"),),), "CN=a\\00b"),
        (((("commonName", "Lučić"),),), "CN=Lučić"),
        (((("emailAddress", "a@b"),), (("1.3.6.1.4.1.1466.0", "x"),)), "1.3.6.1.4.1.1466.0=x,emailAddress=a@b"),
    ],
)
def test_names_of_rfc_4514(subject: Any, name: str) -> None:
    """Section 4 of it, and what has to be escaped."""
    assert distinguished_name(subject) == name

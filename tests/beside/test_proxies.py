"""Behind nginx and HAProxy: who the client is, kept connections, large bodies, HTTP/2, WebSockets, PROXY headers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.beside.programs import free_port, program, running
from tests.beside.test_clients import tls_and_http2
from tests.process.serving import Served, served

pytestmark = pytest.mark.beside

APP = "tests.beside.mirror_app:app"

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 20m;
  upstream pounce {{ server {upstream}; keepalive 8; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 127.0.0.1:{port};
    location /api/ {{
      proxy_pass http://pounce/;
      proxy_set_header Host inner.example;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port 8443;
      proxy_set_header X-Forwarded-Prefix /api;
      proxy_set_header Forwarded '$http_forwarded, for="$remote_addr:$remote_port";proto=https;host=forwarded.example';
    }}
    location / {{
      proxy_pass http://pounce;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  option forwardfor
frontend front
  bind 127.0.0.1:{port}
  http-request set-header X-Forwarded-Proto https
  default_backend back
backend back
  http-reuse always
  server pounce {upstream}{proto}
"""


#: Passes TCP on, and says whose it is; its health check is a connection of its own.
HAPROXY_TCP = """
defaults
  mode {mode}
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen front
  bind 127.0.0.1:{port}
  server pounce {upstream} {send} check inter 100ms
"""


@contextlib.contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[int]:
    """Its port."""
    config, port = folder / "nginx.conf", free_port()
    config.write_text(NGINX.format(folder=folder, upstream=upstream, port=port))
    with running([program("nginx"), "-c", str(config), "-p", str(folder)], port):
        yield port


@contextlib.contextmanager
def haproxy(folder: Path, upstream: str, proto: str = "") -> Iterator[int]:
    """Its port."""
    config, port = folder / "haproxy.cfg", free_port()
    config.write_text(HAPROXY.format(upstream=upstream, port=port, proto=proto))
    with running([program("haproxy"), "-db", "-f", str(config)], port):
        yield port


def upstream_of(server: Served) -> str:
    assert not isinstance(server.address, str)
    return "{}:{}".format(*server.address)


def check(port: int, version: str) -> None:
    """What holds behind any proxy, on one kept connection to it."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for number in range(50):
        client.request("GET", f"/n/{number}")
        told = json.load(client.getresponse())
        assert told["path"] == f"/n/{number}"
        assert told["http_version"] == version
        assert told["scheme"] == "https"
        assert told["client"][0] == "127.0.0.1"
    client.request("POST", "/body", body=os.urandom(5_000_000))
    assert json.load(client.getresponse())["size"] == 5_000_000
    client.request("POST", "/chunks", body=iter([b"x" * 10_000] * 100), encode_chunked=True)
    assert json.load(client.getresponse())["size"] == 1_000_000
    client.request("GET", "/size/3000000")
    assert len(client.getresponse().read()) == 3_000_000
    client.request("HEAD", "/size/3000000")
    assert client.getresponse().read() == b""
    client.close()


def check_websocket(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/ws", max_size=None) as sock:
        for message in ("text", b"bytes", "x" * 200_000):
            sock.send(message)
            assert sock.recv(timeout=30) == message


@pytest.mark.parametrize("parser", ["httptools", "h11"])
@pytest.mark.parametrize("by", ["address", "unix socket"])
def test_behind_nginx(tmp_path: Path, by: str, parser: str) -> None:
    """nginx with kept connections, by an address and by a unix socket; it tells the client and the scheme."""
    options = ["--uds", str(tmp_path / "pounce.sock")] if by == "unix socket" else []
    # Who comes by a unix socket has no address that could be trusted.
    trusted = "unix" if options else "127.0.0.1"
    with served(APP, "--http", parser, *options, "--forwarded-allow-ips", trusted) as server:
        upstream = f"unix:{server.address}" if isinstance(server.address, str) else upstream_of(server)
        with nginx(tmp_path, upstream) as port:
            check(port, "1.1")
            check_websocket(port)


@pytest.mark.parametrize("fields", ["for,proto,host,port,prefix", "forwarded"])
def test_what_else_a_proxy_may_say(tmp_path: Path, fields: str) -> None:
    """Of both kinds only what is listed counts, and of both the right end."""
    with (
        served(APP, "--forwarded-fields", fields, "--forwarded-hops", "1") as server,
        nginx(tmp_path, upstream_of(server)) as port,
    ):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        forged = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil", "Forwarded": "for=6.6.6.6;host=evil"}
        client.request("GET", "/api/x", headers=forged | {"Host": "a.example"})
        told = json.load(client.getresponse())
        own_port = client.sock.getsockname()[1]
        client.close()
    assert told["scheme"] == "https"
    if fields == "forwarded":
        assert told["client"] == ["127.0.0.1", own_port]
        assert (told["server"], told["host"]) == (["forwarded.example", 443], "forwarded.example")
        assert (told["root_path"], told["path"]) == ("", "/x")
    else:
        assert told["client"] == ["127.0.0.1", 0]
        assert (told["server"], told["host"]) == (["a.example", 8443], "a.example:8443")
        assert (told["root_path"], told["path"]) == ("/api", "/api/x")


@pytest.mark.parametrize("kind", ["tcp", "http", "tls", "unix socket"])
@pytest.mark.parametrize("loop,version", [("asyncio", 1), ("uvloop", 2)])
def test_behind_haproxy_with_the_proxy_protocol(tmp_path: Path, loop: str, kind: str, version: int) -> None:
    """The client is the very socket that has connected to HAProxy, by TLS as well, and the server HAProxy's address."""
    pytest.importorskip(loop)
    send = "send-proxy" if version == 1 else "send-proxy-v2"
    options, context = tls_and_http2(tmp_path) if kind == "tls" else ((), None)
    if kind == "unix socket":
        options = ("--uds", str(tmp_path / "pounce.sock"))
    peers = ("--proxy-protocol-from", "unix,127.0.0.0/8", "--forwarded-allow-ips", "unix")
    with served(APP, "--loop", loop, *peers, *options) as server:
        config, port = tmp_path / "haproxy.cfg", free_port()
        upstream = server.address if isinstance(server.address, str) else upstream_of(server)
        mode = "http" if kind == "http" else "tcp"
        config.write_text(HAPROXY_TCP.format(mode=mode, port=port, upstream=upstream, send=send))
        with running([program("haproxy"), "-db", "-f", str(config)], port):
            client = http.client.HTTPConnection("localhost", port, timeout=30)
            if context is not None:
                context.set_alpn_protocols(["http/1.1"])
                client = http.client.HTTPSConnection("localhost", port, timeout=30, context=context)
            for _ in range(20):
                client.request("GET", "/", headers={"X-Forwarded-For": "6.6.6.6"})
                told = json.load(client.getresponse())
                assert told["client"] == list(client.sock.getsockname())
                assert told["server"] == ["127.0.0.1", port]
                assert told["scheme"] == ("https" if kind == "tls" else "http")
            client.close()
            if kind == "tcp":
                check_websocket(port)
    assert "PROXY protocol" not in server.log, "its health checks are in order"


@pytest.mark.parametrize("wire", ["native", "h2"])
@pytest.mark.parametrize("version", ["1.1", "2"])
def test_behind_haproxy(tmp_path: Path, version: str, wire: str) -> None:
    """HAProxy, over HTTP/1.1 and over HTTP/2 by prior knowledge (many clients on one connection of its own)."""
    options = ("--http2", "--http2-wire", wire) if version == "2" else ()
    with (
        served(APP, *options) as server,
        haproxy(tmp_path, upstream_of(server), " proto h2" if version == "2" else "") as port,
    ):
        check(port, version)
        check_websocket(port)


def test_a_restart_behind_nginx_is_not_seen(tmp_path: Path) -> None:
    """Two workers that are replaced while nginx keeps connections to them: every request is answered."""
    with (
        served(APP, "--workers", "2", "--worker-class", "process") as server,
        nginx(tmp_path, upstream_of(server)) as port,
    ):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for number in range(600):
            if number == 100:
                server.process.send_signal(1)
            client.request("GET", f"/n/{number}")
            answer = client.getresponse()
            assert answer.status == 200, (number, answer.read())
            assert json.load(answer)["path"] == f"/n/{number}"
        client.close()
        server.log.wait_for("Started server process", count=4)

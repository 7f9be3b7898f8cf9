"""Behind nginx and HAProxy: addresses and schemes, kept connections, large bodies, HTTP/2 and WebSockets."""

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
    # Who comes by a unix socket has no address that could be trusted: `*` says that all are.
    trusted = ["--forwarded-allow-ips", "*"]
    with served(APP, "--http", parser, *options, *trusted) as server:
        upstream = f"unix:{server.address}" if isinstance(server.address, str) else upstream_of(server)
        with nginx(tmp_path, upstream) as port:
            check(port, "1.1")
            check_websocket(port)


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

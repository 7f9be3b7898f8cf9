"""HTTP/2 through the real command: TLS and cleartext, beside HTTP/1.1, in every worker class, with real clients."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from tests.process.serving import PATIENCE, Served, served

APP = "tests.process.http2_app:app"

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/")]


class Client:
    """An HTTP/2 client on one socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.bodies: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.closed = False

    def request(self, path: str = "/", body: bytes | None = None) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        method = "GET" if body is None else "POST"
        self.h2.send_headers(stream_id, [(":method", method), *GET[1:3], (":path", path)], end_stream=body is None)
        if body is not None:
            self.h2.send_data(stream_id, body, end_stream=True)
        self.bodies[stream_id] = b""
        return stream_id

    def read(self) -> None:
        """Send what there is to send, and take one read's worth of answers."""
        try:
            self.sock.sendall(self.h2.data_to_send())
            received = self.sock.recv(65536)
        except (BrokenPipeError, ConnectionResetError):  # closed while something of ours was not read
            received = b""
        if not received:
            self.closed = True
            return
        for event in self.h2.receive_data(received):
            if isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.ended.add(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = event

    def get(self, path: str = "/", body: bytes | None = None) -> bytes:
        stream_id = self.request(path, body)
        while stream_id not in self.ended:
            self.read()
            assert not self.closed
        return self.bodies[stream_id]


@pytest.fixture(scope="module")
def certificate() -> Iterator[tuple[list[str], Any]]:
    """Options for the server, and the authority of its certificate."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "server.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(str(pem))
        yield ["--ssl-certfile", str(pem)], authority


@pytest.fixture(params=["native", "h2"])
def http2(request: pytest.FixtureRequest) -> list[str]:
    """The options for HTTP/2 on each of its wires."""
    return ["--http2", "--http2-wire", request.param]


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["h11", "httptools", "zttp"])
def test_both_versions_on_one_port(http2: list[str], http: str, loop: str) -> None:
    """The preface decides; large bodies and many streams work; an `Upgrade: h2c` is ignored and its body kept."""
    needs(http)
    needs(loop)
    with served(APP, "--http", http, *http2, "--loop", loop) as server:
        with server.connect() as sock:
            client = Client(sock)
            assert client.get() == b"2 http 0"
            assert client.get(body=b"x" * 10000) == b"2 http 10000"
            assert client.get("/size/1000000") == b"x" * 1000000
            numbers = [client.request(f"/size/{number}") for number in range(50)]
            while not client.ended.issuperset(numbers):
                client.read()
            assert [len(client.bodies[number]) for number in numbers] == list(range(50))
        assert server.get() == (200, "1.1 http 0")
        request = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n"
        request += b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: 5\r\n\r\nhello"
        assert b"1.1 http 5" in server.exchange(request)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_alpn_decides_over_tls(http2: list[str], certificate: tuple[list[str], Any], loop: str) -> None:
    """h2 where the client offers it, HTTP/1.1 where it does not, or offers nothing."""
    needs(loop)
    options, authority = certificate
    with served(APP, *http2, "--loop", loop, *options) as server:
        for offered, agreed in (([], None), (["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "h2")):
            context = ssl.create_default_context()
            authority.configure_trust(context)
            if offered:
                context.set_alpn_protocols(offered)
            with context.wrap_socket(server.connect(), server_hostname="localhost") as sock:
                assert sock.selected_alpn_protocol() == agreed
                if agreed == "h2":
                    client = Client(sock)
                    assert client.get() == b"2 https 0"
                    assert client.get("/size/300000") == b"x" * 300000
                else:
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert b"1.1 https 0" in sock.recv(65536)


@pytest.mark.parametrize("worker_class", ["thread", "process"])
def test_every_worker_class_speaks_it(http2: list[str], worker_class: str) -> None:
    """With two workers, over several connections."""
    with served(APP, *http2, "--workers", "2", "--worker-class", worker_class) as server, ExitStack() as stack:
        clients = [Client(stack.enter_context(server.connect())) for _ in range(6)]
        for client in clients:
            assert client.get() == b"2 http 0"
            assert client.get("/size/100000") == b"x" * 100000


def test_sigterm_lets_streams_end(http2: list[str]) -> None:
    """GOAWAY comes, the response under way comes whole, and then the end."""
    with served(APP, *http2) as server, server.connect() as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        # GET /slow in literal fields, so that nothing but the socket is needed.
        block = b"\x82\x86\x04\x05/slow\x01\x01a"
        sock.sendall(len(block).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + block)
        sock.sendall(b"\0\0\x08\x06\0\0\0\0\0pounce!!")
        received = b""
        while b"pounce!!" not in received:
            received += sock.recv(65536)
        server.process.send_signal(signal.SIGTERM)
        while chunk := sock.recv(65536):
            received += chunk
        assert b"2 http 0" in received
        goaway = b"\0\0\x08\x07\0\0\0\0\0"
        assert received.index(goaway + b"\x7f\xff\xff\xff" + b"\0\0\0\0") < received.index(b"2 http 0")
        assert goaway + b"\0\0\0\1" + b"\0\0\0\0" in received
        assert server.process.wait(PATIENCE) == 0


def test_an_idle_connection_is_told_goodbye(http2: list[str]) -> None:
    """After the keep-alive timeout; also one that never says a word, or only half of the preface."""
    with served(APP, *http2, "--timeout-keep-alive", "1") as server:
        for opening in (b"", b"PRI * HT"):
            with server.connect() as sock:
                sock.sendall(opening)
                assert sock.recv(100) == b""
        with server.connect() as sock:
            client = Client(sock)
            assert client.get() == b"2 http 0"
            while not client.closed:
                client.read()
            assert client.goaway is not None
            assert (client.goaway.last_stream_id, client.goaway.error_code) == (1, 0)


def test_a_limit_from_the_command_line(http2: list[str]) -> None:
    """The third PING is one too many."""
    limits = ["--http2-limit", "control-frames=2", "--http2-limit", "control-frames-per-second=0"]
    with served(APP, *http2, *limits) as server:
        with server.connect() as sock:
            client = Client(sock)
            for _ in range(3):
                client.h2.ping(b"12345678")
            while not client.closed:
                client.read()
        server.log.wait_for("Invalid HTTP/2 frame received: too many frames that bring nothing")


# --- Real clients


def output(*command: str) -> str:
    """What a client prints, which must not fail."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout


def url(server: Served, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{server.address[1]}"


def test_curl(http2: list[str], certificate: tuple[list[str], Any], tmp_path: Path) -> None:
    """With prior knowledge, over TLS, and with a large upload."""
    if "HTTP2" not in output("curl", "--version"):
        pytest.skip("this curl does not speak HTTP/2")
    upload = tmp_path / "upload"
    upload.write_bytes(b"x" * 1000000)
    with served(APP, *http2) as server:
        assert output("curl", "-sS", "--http2-prior-knowledge", url(server)) == "2 http 0"
        assert output("curl", "-sS", "--http2", url(server)) == "1.1 http 0"
        said = output("curl", "-sS", "--http2-prior-knowledge", "--data-binary", f"@{upload}", url(server))
        assert said == "2 http 1000000"
    with served(APP, *http2, *certificate[0]) as server:
        assert output("curl", "-sSk", url(server, "https")) == "2 https 0"
        assert output("curl", "-sSk", "--http1.1", url(server, "https")) == "1.1 https 0"


def test_nghttp(http2: list[str]) -> None:
    """Several resources at a time, with priorities, padding and small windows."""
    with served(APP, *http2) as server:
        small_windows = ["--padding=100", "-w", "12", "-W", "14"]
        said = output("nghttp", "-nv", *small_windows, f"{url(server)}/size/100000", url(server))
        assert said.count(":status: 200") == 2
        assert "RST_STREAM" not in said


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("load", ["-n2000 -c4 -m100", "-n200 -c4 -m25 -w14 -W16"])
def test_h2load(http2: list[str], certificate: tuple[list[str], Any], scheme: str, load: str) -> None:
    """Nothing fails."""
    with served(APP, *http2, "--no-access-log", *(certificate[0] if scheme == "https" else [])) as server:
        said = output("h2load", *load.split(), f"{url(server, scheme)}/size/20000")
        assert " 0 failed, 0 errored, 0 timeout" in said, said

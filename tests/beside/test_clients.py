"""Clients as people have them: curl, nghttp, h2load, Node.js and Chromium."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beside.programs import program
from tests.process.serving import PATIENCE, Served, served

pytestmark = [pytest.mark.beside, pytest.mark.timeout(300)]

APP = "tests.beside.mirror_app:app"
WIRES = pytest.mark.parametrize("wire", ["native", "h2"])


def run(*command: str, stdin: bytes = b"") -> str:
    """What it prints. Its failure is the test's."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=4 * PATIENCE)
    assert done.returncode == 0, f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout.decode()


def origin(server: Served, scheme: str = "http") -> str:
    assert not isinstance(server.address, str)
    return f"{scheme}://localhost:{server.address[1]}"


def tls_and_http2(folder: Path) -> tuple[tuple[str, ...], ssl.SSLContext]:
    """Options of a server for `localhost`, and what its clients trust."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    issued = authority.issue_cert("localhost")
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / "authority.pem")
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    return ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key), "--http2"), context


@pytest.fixture(params=["native", "h2"])
def secure(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A server with TLS and HTTP/2, by each wire."""
    options, context = tls_and_http2(tmp_path)
    with served(APP, *options, "--http2-wire", request.param, tls=context) as server:
        yield server


@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_curl_over_http1(parser: str) -> None:
    """Kept connections, Expect with a large body, chunks, HTTP/1.0, HEAD."""
    curl = program("curl")
    with served(APP, "--http", parser) as server:
        url = origin(server)
        told = run(curl, "-sSv", "--http1.1", f"{url}/[1-20]").replace("}{", "}\n{").splitlines()
        assert [json.loads(line)["path"] for line in told] == [f"/{number}" for number in range(1, 21)]
        body = b"x" * 2_000_000
        put = run(curl, "-sS", "--http1.1", "-H", "Expect: 100-continue", "--data-binary", "@-", url, stdin=body)
        assert json.loads(put)["size"] == len(body)
        chunks = run(curl, "-sS", "--http1.1", "-H", "Transfer-Encoding: chunked", "-T", "-", url, stdin=body)
        assert json.loads(chunks)["size"] == len(body)
        assert json.loads(run(curl, "-sS", "--http1.0", url))["http_version"] == "1.0"
        assert "200 OK" in run(curl, "-sSI", "--http1.1", url)


def test_curl_over_http2_with_tls(secure: Served, tmp_path: Path) -> None:
    """ALPN chooses HTTP/2, or HTTP/1.1 where the client has nothing else."""
    curl, url = program("curl"), origin(secure, "https")
    trusting = ("-sS", "--cacert", str(tmp_path / "authority.pem"))
    assert json.loads(run(curl, *trusting, url))["http_version"] == "2"
    assert json.loads(run(curl, *trusting, "--http1.1", url))["http_version"] == "1.1"
    body = b"x" * 2_000_000
    told = json.loads(run(curl, *trusting, "--data-binary", "@-", url, stdin=body))
    assert (told["http_version"], told["size"]) == ("2", len(body))
    parallel = run(curl, *trusting, "-Z", f"{url}/size/[100000-100030]")
    assert len(parallel) == sum(range(100_000, 100_031))


@WIRES
def test_nghttp(wire: str) -> None:
    """Many streams with priorities and padding, an upload, and statistics without a failure."""
    nghttp = program("nghttp")
    with served(APP, "--http2", "--http2-wire", wire) as server:
        url = origin(server)
        told = run(nghttp, "-nsv", "--padding=100", "-m", "100", f"{url}/size/50000")
        assert len(re.findall(r"^ *\d+ .* 200 +48K /size/50000$", told, re.MULTILINE)) == 100
        assert "RST_STREAM" not in told
        told = run(nghttp, "--data=-", url, stdin=b"x" * 500_000)
        assert json.loads(told)["size"] == 500_000


@WIRES
@pytest.mark.parametrize("streams", [1, 100])
def test_h2load(wire: str, streams: int) -> None:
    """20,000 requests, all of them answered with success."""
    h2load = program("h2load")
    with served(APP, "--http2", "--http2-wire", wire, "--no-access-log") as server:
        told = run(h2load, "-n", "20000", "-c", "10", "-m", str(streams), origin(server))
        assert "20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout" in told


NODE = """
const http2 = require('node:http2');
async function main(origin) {
  const answers = await Promise.all([...Array(200).keys()].map(n => fetch(`${origin}/${n}`).then(r => r.json())));
  const posted = await fetch(origin, {method: 'POST', body: new Uint8Array(1000000)}).then(r => r.json());
  const session = http2.connect(origin);
  const streams = await Promise.all([...Array(90).keys()].map(n => new Promise((resolve, reject) => {
    const stream = session.request({':path': `/${n}`});
    let text = '';
    stream.on('data', part => text += part);
    stream.on('end', () => resolve(JSON.parse(text)));
    stream.on('error', reject);
  })));
  session.close();
  console.log(JSON.stringify({
    fetched: answers.every((answer, n) => answer.path === `/${n}`), size: posted.size,
    streamed: streams.every((answer, n) => answer.path === `/${n}` && answer.http_version === '2'),
  }));
}
main(process.argv[1]);
"""


@WIRES
def test_node(wire: str) -> None:
    """`fetch` over its kept connections, and `node:http2` over one with many streams."""
    node = program("node")
    with served(APP, "--http2", "--http2-wire", wire) as server:
        told = json.loads(run(node, "-e", NODE, origin(server)))
        assert told == {"fetched": True, "size": 1_000_000, "streamed": True}


CHROMIUM = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-dev-shm-usage --ignore-certificate-errors
"""


def page(server: Served, url: str, folder: Path) -> object:
    """What its script has found out in a browser."""
    browser = program("chromium", "chromium-browser", "google-chrome")
    command = [browser, *CHROMIUM.split(), f"--user-data-dir={folder}", url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 2 * PATIENCE
            while not (told := server.get("/result")[1]):
                assert process.poll() is None, "it has ended"
                assert time.monotonic() < deadline, "its script has found out nothing"
                time.sleep(0.1)
        finally:
            process.terminate()
    return json.loads(told)


def test_chromium(tmp_path: Path) -> None:
    """A page over HTTP/1.1: many requests at once, an upload, a WebSocket."""
    with served(APP) as server:
        told = page(server, origin(server) + "/page", tmp_path)
    assert told == {"inOrder": True, "version": "1.1", "size": 300_000, "echoed": "over the socket"}


def test_chromium_over_http2(secure: Served, tmp_path: Path) -> None:
    """The same over TLS: HTTP/2, and the WebSocket on the same connection where the browser does that."""
    told = page(secure, origin(secure, "https") + "/page", tmp_path)
    assert told == {"inOrder": True, "version": "2", "size": 300_000, "echoed": "over the socket"}

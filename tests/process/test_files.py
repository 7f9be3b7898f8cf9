"""`--static`: the real command and the commands of docs/files.md, with curl and httpx as the clients."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from tests.process.serving import ROOT, Served, served

PAGE = (ROOT / "docs" / "files.md").read_text(encoding="utf-8")
DATA = os.urandom(300_000)

#: A command and the lines that it prints.
SHOWN = [
    (command, re.sub("^    ", "", output, flags=re.MULTILINE))
    for command, output in re.findall(r"^    \$ (curl .+)\n((?:    [^$\n].*\n)*)", PAGE, re.MULTILINE)
]


@pytest.fixture(scope="module")
def shown() -> Iterator[Served]:
    """The server of the page."""
    (command,) = re.findall(r"^    \$ pounce (.+)$", PAGE, re.MULTILINE)
    with served(*shlex.split(command)) as server:
        yield server


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("command,output", SHOWN, ids=[command for command, _ in SHOWN])
def test_the_page_shows_what_happens(shown: Served, command: str, output: str) -> None:
    """Each command prints what stands below it."""
    command = command.replace("http://127.0.0.1:8000/", f"http://127.0.0.1:{shown.address[1]}/")
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.stdout.removesuffix("\n") == output.removesuffix("\n")
    assert output


def test_the_page_has_commands() -> None:
    """They are found."""
    assert len(SHOWN) == 8


@pytest.fixture(
    scope="module", params=[["--http", "httptools"], ["--http", "h11", "--workers", "2"], ["--http2"]], ids=str
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, bool]]:
    """One with a large file and a small one, and whether to speak HTTP/2."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "large.bin").write_bytes(DATA)
    (folder / "small.bin").write_bytes(DATA[:1000])
    with served("examples.hello:app", *request.param, "--static", f"/files={folder}") as server:
        yield server, "--http2" in request.param


def client_of(server: tuple[Served, bool]) -> httpx.Client:
    served, http2 = server
    return httpx.Client(base_url=f"http://127.0.0.1:{served.address[1]}", http1=not http2, http2=http2)


def test_files_arrive_whole_and_in_parts(server: tuple[Served, bool]) -> None:
    """On one connection, with the app's answers in between."""
    with client_of(server) as client:
        for name, data in (("small.bin", DATA[:1000]), ("large.bin", DATA)) * 2:
            whole = client.get(f"/files/{name}")
            assert (whole.status_code, whole.content) == (200, data)
            assert client.get("/").text == "Hello, world!"
            etag = whole.headers["etag"]
            assert client.get(f"/files/{name}", headers={"If-None-Match": etag}).status_code == 304
            part = client.get(f"/files/{name}", headers={"Range": "bytes=100-", "If-Range": etag})
            assert (part.status_code, part.content) == (206, data[100:])
            head = client.head(f"/files/{name}")
            assert (head.headers["content-length"], head.content) == (str(len(data)), b"")
            parts = client.get(f"/files/{name}", headers={"Range": "bytes=0-399,500-"})
            assert data[:400] in parts.content
            assert data[500:] in parts.content
            assert len(parts.content) == int(parts.headers["content-length"])


def test_websockets_are_the_apps(tmp_path: Path) -> None:
    """Also below a prefix."""
    pytest.importorskip("starlette")
    with served("examples.starlette_app:app", "--static", f"/={tmp_path}") as server:
        assert server.get("/echo") == (404, "Not Found")
        with connect("ws://localhost/echo", sock=server.connect()) as websocket:
            websocket.send("to the app")
            assert websocket.recv(timeout=10) == "to the app"


def test_workers_have_the_same_tags(tmp_path: Path) -> None:
    """A client may meet each of them."""
    (tmp_path / "f").write_bytes(b"x")
    with served("examples.hello:app", "--workers", "2", "--static", f"/={tmp_path}") as server:
        tags = set()
        for _ in range(12):
            tags.add(httpx.get(f"http://127.0.0.1:{server.address[1]}/f").headers["etag"])
    assert len(tags) == 1

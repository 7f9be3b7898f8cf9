"""What curl and Chromium decode, over HTTP/1.1 and HTTP/2, in each coding; and when events arrive in Chromium."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from pounce.exchange import content_codings
from tests.beside.events_app import WARM_UP
from tests.beside.programs import program
from tests.beside.test_clients import origin, page, tls_and_http2
from tests.process.compression_app import PART, PARTS
from tests.process.serving import PATIENCE, served

pytestmark = [pytest.mark.beside, pytest.mark.timeout(300)]

APP = "tests.process.compression_app:app"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_curl_decodes_it(coding: str, version: str, tmp_path: Path) -> None:
    """Whole and in parts."""
    curl = program("curl")
    features = subprocess.run([curl, "--version"], capture_output=True, text=True, timeout=PATIENCE).stdout
    if {"zstd": "zstd", "br": "brotli", "gzip": "libz"}[coding] not in features:
        pytest.skip(f"this curl does not know {coding}")
    if coding not in content_codings.Codings(("auto",), {}).names:
        pytest.skip(f"no library for {coding} here")
    expected = hashlib.sha256(PART * PARTS).hexdigest()
    with served(APP, "--compression", "auto", "--http2") as server:
        for path in ("/whole", "/parts"):
            head, body = tmp_path / "head", tmp_path / "body"
            subprocess.run(
                [curl, "-sS", version, "--compressed", "-H", f"Accept-Encoding: {coding}", "-D", head, "-o", body,
                 f"http://127.0.0.1:{server.address[1]}{path}"],
                check=True, timeout=4 * PATIENCE,
            )  # fmt: skip
            assert f"content-encoding: {coding}" in head.read_text().lower()
            with body.open("rb") as decoded:
                assert hashlib.file_digest(decoded, "sha256").hexdigest() == expected


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("coding", ["zstd", "br", "gzip"])
def test_a_browser_decodes_it(coding: str, version: str, tmp_path: Path) -> None:
    """Bodies of 0 B to 100 MiB, whole and in parts of one byte to 1 MiB, compared in the page."""
    if coding not in content_codings.Codings(("auto",), {}).names:
        pytest.skip(f"no library for {coding} here")
    options, tls = tls_and_http2(tmp_path) if version == "HTTP/2" else ((), None)
    with served("tests.beside.bodies_app:app", "--compression", coding, *options, tls=tls) as server:
        told: Any = page(server, origin(server, "https" if tls else "http") + "/page", tmp_path / "browser")
    assert told.get("wrong") == [], told
    for path, found in told["codings"].items():
        size, part = map(int, path[1:].split("/"))
        assert found == (coding if size >= 1024 or (part and size) else None), path


def test_events_arrive_in_a_browser_as_soon_as_uncompressed_ones(tmp_path: Path) -> None:
    """One by one, and half of them within a millisecond more, as the page itself measures it."""
    late: dict[str, float] = {}
    for coding in ("off", "zstd", "br", "gzip"):
        if coding != "off" and coding not in content_codings.Codings(("auto",), {}).names:
            continue
        with served("tests.beside.events_app:app", "--compression", coding) as server:
            told: Any = page(server, f"http://localhost:{server.address[1]}/page", tmp_path / coding)
        assert told.get("coding", "nothing") == (None if coding == "off" else coding), told
        late[coding] = median(told["late"][WARM_UP:])
    print(late)
    assert max(late.values()) < late["off"] + 1, late

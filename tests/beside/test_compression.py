"""What curl decodes: 100 MiB in each coding, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pounce.exchange import content_codings
from tests.beside.programs import program
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

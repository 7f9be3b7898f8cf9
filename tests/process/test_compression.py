"""Compression through the real command: large bodies to a real client, the commands of its page, mistakes."""

from __future__ import annotations

import hashlib
import importlib
import re
import shlex
import sys
from pathlib import Path

import httpx
import pytest

from pounce.exchange.content_codings import MODULES
from tests.process.compression_app import PART, PARTS
from tests.process.serving import ROOT, Served, environment, run_command, served

APP = "tests.process.compression_app:app"

#: The commands of docs/compression.md.
COMMANDS = re.findall(r"^    pounce (main:app .+)$", (ROOT / "docs/compression.md").read_text(), re.MULTILINE)


def installed(coding: str) -> bool:
    """Whether this interpreter can make it, at the price of its GIL or not."""
    for module in MODULES[coding]:
        try:
            importlib.import_module(module)
        except ImportError:
            continue
        return True
    return False


def url(server: Served, path: str) -> str:
    assert not isinstance(server.address, str)
    return f"http://127.0.0.1:{server.address[1]}{path}"


@pytest.mark.parametrize("path", ["/whole", "/parts"])
@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_hundred_mebibytes(coding: str, path: str) -> None:
    """httpx decodes what the app sent; and while it is coded, others are answered."""
    expected = hashlib.sha256(PART * PARTS).hexdigest()
    digest = hashlib.sha256()
    with (
        served(APP, "--compression", "auto", "--no-access-log") as server,
        httpx.Client(headers={"accept-encoding": coding}, timeout=50) as client,
        client.stream("GET", url(server, path)) as response,
    ):
        assert response.headers["content-encoding"] == coding
        assert ("content-length" in response.headers) is (path == "/whole")
        for data in response.iter_bytes():
            digest.update(data)
        assert httpx.get(url(server, "/page")).content == PART[:2000]
    assert digest.hexdigest() == expected


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_page(line: str, tmp_path: Path) -> None:
    """Each one compresses; or it says in a line what is missing, and its exit code is 2."""
    (tmp_path / "main.py").write_text("from tests.process.compression_app import app\n")
    words = shlex.split(line)
    named = words[words.index("--compression") + 1].split(",")
    missing = [coding for coding in named if coding != "auto" and not installed(coding)]
    if missing:
        code, said = run_command(*words, cwd=tmp_path, env=environment())
        assert (code, said.startswith(f"Error: --compression {missing[0]} needs "), len(said.splitlines())) == (
            2,
            True,
            1,
        )
        return
    with served(*words, cwd=tmp_path, env=environment()) as server:
        response = httpx.get(url(server, "/"), headers={"accept-encoding": "gzip"})
        assert (response.headers["content-encoding"], response.content) == ("gzip", PART[:2000])


def test_the_page_has_commands() -> None:
    """Or the test above would find nothing wrong."""
    assert len(COMMANDS) >= 2


@pytest.mark.parametrize(
    "options,words",
    [
        (["--compression", "snappy"], "'--compression': must be auto, off, a list of zstd, br, gzip, not 'snappy'"),
        (["--compression-level", "gzip=12"], "zstd=1 to 19, br=0 to 11, gzip=1 to 9, not 'gzip=12'"),
        (["--compression-types", "json"], "must be a list of media types: text/*, application/json, not 'json'"),
        (["--compression-min-size", "-1"], "must be a number of bytes, at least 0, not '-1'"),
    ],
)
def test_values_that_make_no_sense(options: list[str], words: str) -> None:
    """One line, and exit code 2."""
    code, said = run_command(APP, "--compression", "auto", *options)
    assert (code, words in said, "Traceback" in said) == (2, True, False), said


@pytest.mark.parametrize("workers", [1, 2])
def test_a_coding_that_is_not_installed(workers: int, tmp_path: Path) -> None:
    """One line before anything is started."""
    for module in ("compression", "backports", "brotli", "brotlicffi"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('not here')\n")
    for coding in ("zstd", "br"):
        code, said = run_command(
            APP, "--compression", coding, "--workers", str(workers), env=environment(PYTHONPATH=str(tmp_path))
        )
        [line] = said.splitlines()
        assert (code, line.startswith(f"Error: --compression {coding} needs ")) == (2, True)


@pytest.mark.skipif(getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is a GIL here")
def test_threads_keep_running_without_the_gil() -> None:
    """`auto` takes nothing that would switch it on, though brotli is installed."""
    env = environment()
    env.pop("PYTHON_GIL", None)
    with served(APP, "--compression", "auto", "--workers", "2", "--worker-class", "thread", env=env) as server:
        assert httpx.get(url(server, "/"), headers={"accept-encoding": "gzip"}).headers["content-encoding"] == "gzip"
        assert "GIL" not in str(server.log)

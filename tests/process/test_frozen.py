"""Programs in one piece: frozen by PyInstaller, or zipped."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.process.serving import ROOT, environment, served

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"frozen" if FROZEN else b"not frozen"})

import sys
FROZEN = bool(getattr(sys, "frozen", False))
"""
PROGRAM = """
import multiprocessing
import served_app  # named by a string only, later
from pounce.cli import main

if __name__ == "__main__":
    multiprocessing.freeze_support()
    main()
"""
INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("httptools", "zttp", "uvloop", "hpack")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "served_app.py").write_text(APP)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def freeze(project: Path) -> Path:
    """The program as PyInstaller makes it. Skips where PyInstaller cannot work with this Python."""
    pytest.importorskip("PyInstaller", reason="PyInstaller is not installed")
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "WARN", "program.py"]
    env = environment(PYINSTALLER_CONFIG_DIR=str(project / "cache"), PYTHON_GIL="")
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    if "without a shared library" in done.stderr:
        pytest.skip("this Python has no shared library, without which PyInstaller cannot work")
    assert done.returncode == 0, done.stdout + done.stderr
    return project / "dist" / "program" / ("program.exe" if os.name == "nt" else "program")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_frozen_app_serves(project: Path) -> None:
    """One worker and two, with each parser, loop and HTTP version: all classes are found."""
    program = freeze(project)
    runs = [["--http", "h11", "--loop", "asyncio"], ["--workers", "2"]]
    runs += [["--http", name] for name in ("httptools", "zttp") if INSTALLED[name]]
    runs += [["--loop", "uvloop"]] if INSTALLED["uvloop"] else []
    runs += [["--http2"]] if INSTALLED["hpack"] else []
    for options in runs:
        with served("served_app:app", *options, cwd=project, program=[str(program)]) as server:
            assert server.get() == (200, "frozen"), options


@pytest.mark.parametrize("workers", [1, 2])
def test_a_zipped_app_serves(workers: int, project: Path) -> None:
    """pounce in a zip file that Python runs (`zipapp`), with what it needs installed beside it."""
    content = project / "content"
    content.mkdir()
    for name, folder in (("pounce", ROOT), ("pounce_compat", ROOT / "compat")):
        for path in sorted((folder / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                target = content / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    (content / "served_app.py").write_text(APP)
    (content / "__main__.py").write_text("from pounce.__main__ import main\nif __name__ == '__main__': main()\n")
    archive = project / "program.pyz"
    zipapp.create_archive(content, archive)
    elsewhere = project / "elsewhere"
    elsewhere.mkdir()
    env = environment()
    del env["PYTHONPATH"]
    program = [sys.executable, str(archive)]
    options = ["--workers", str(workers)]
    with served("served_app:app", *options, cwd=elsewhere, env=env, program=program) as server:
        assert server.get() == (200, "not frozen")

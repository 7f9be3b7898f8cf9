"""`--reload` with the real command: edit a file, see the new answer."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

import pytest

from tests.process.serving import PATIENCE, Served, environment, served

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"ANSWER"})
"""


def source(answer: str) -> str:
    return APP.replace("ANSWER", answer)


def edit(module: Path, text: str, server: Served, sign: str, count: int = 1) -> None:
    """Save the module until its new text shows in the log: what watches files may start a moment after the app."""
    for _ in range(int(PATIENCE)):
        module.write_text(text)
        with contextlib.suppress(AssertionError):
            server.log.wait_for(sign, count, timeout=1)
            return
    pytest.fail(f"{sign!r} is not in:\n{server.log}")


@pytest.mark.parametrize("watcher", ["WatchFiles", "StatReload"])
def test_an_edited_file_changes_the_answer(watcher: str, tmp_path: Path) -> None:
    """A changed module is served anew, with watchfiles and without; the port stays the same."""
    project, hidden = tmp_path / "project", tmp_path / "hidden"
    project.mkdir()
    hidden.mkdir()
    if watcher == "StatReload":
        (hidden / "watchfiles.py").write_text("raise ImportError('hidden by the test')\n")
    elif importlib.util.find_spec("watchfiles") is None:
        pytest.skip("watchfiles is not installed")
    module = project / "edited.py"
    module.write_text(source("before"))
    env = environment(PYTHONPATH=str(hidden), PYTHONDONTWRITEBYTECODE="1")

    options = ["--reload", "--reload-dir", str(project), "--app-dir", str(project)]
    with served("edited:app", *options, cwd=project, env=env) as server:
        server.log.wait_for(f"Started reloader process .* using {watcher}")
        assert server.get("/") == (200, "before")
        edit(module, source("after"), server, "edited.py'. Reloading...")
        server.log.wait_for("Application startup complete", count=2)
        assert server.get("/") == (200, "after")


def test_a_broken_edit_is_mended_by_the_next_one(tmp_path: Path) -> None:
    """A module that no longer imports does not end the reloader."""
    module = tmp_path / "edited.py"
    module.write_text(source("before"))
    env = environment(PYTHONDONTWRITEBYTECODE="1")
    options = ["--reload", "--reload-dir", str(tmp_path), "--app-dir", str(tmp_path)]
    # The user's own SyntaxError keeps its traceback: its author needs it.
    with served("edited:app", *options, cwd=tmp_path, env=env, tracebacks=True) as server:
        assert server.get("/") == (200, "before")
        edit(module, "this is no Python", server, "SyntaxError")
        edit(module, source("mended"), server, "Application startup complete", count=2)
        assert server.get("/") == (200, "mended")

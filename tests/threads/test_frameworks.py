"""Well-known frameworks and extensions: for which of them threads are kept, and what is named in the others.

Needs the dependency group `frameworks`; what is not installed is skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pounce.pool.gil_watch import gil_is_on
from pounce.pool.shared_state import SharedStateCheck
from tests.process.serving import environment, served
from tests.threads.frameworks import APP, EXTENSIONS, FRAMEWORKS, Project

#: Theirs, not ours; one of Litestar's is a stream that a second startup of the same app leaves open.
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::PendingDeprecationWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def skip_without(project: Project) -> None:
    for name in project.needs:
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            pytest.skip(f"{name} is not installed")


class Kept(logging.Handler):
    """Keeps warnings. Of its own, since Litestar takes other handlers away."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Iterator[Kept]:
    kept = Kept()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(kept)
    yield kept
    logger.removeHandler(kept)


class Startup:
    """The lifespan of one worker, on a loop of its own."""

    def __init__(self, app: Any, runner: asyncio.Runner, number: int) -> None:
        self.name = f"pounce-worker-{number}"
        self.worker = types.SimpleNamespace(config=types.SimpleNamespace(loaded_app=app))
        self.loop = runner.get_loop()
        self._app = app
        self._runner = runner
        self._received: asyncio.Queue[Any] = asyncio.Queue()
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._received.put_nowait({"type": "lifespan.startup"})

    def begin(self) -> None:
        """Returns when the startup is complete, or if the app knows no lifespan."""
        self._task = self.loop.create_task(self._run())
        assert self._runner.run(self._sent.get()) in ("lifespan.startup.complete", "unsupported")

    def end(self) -> None:
        self._received.put_nowait({"type": "lifespan.shutdown"})
        self._runner.run(asyncio.wait_for(self._task, 20))

    async def _run(self) -> None:
        async def send(message: Any) -> None:
            self._sent.put_nowait(message["type"])

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
        try:
            await self._app(scope, self._received.get, send)
        except (TypeError, ValueError):
            # Django's says no; Flask's is a WSGI app, which the server's middleware would be in front of.
            self._sent.put_nowait("unsupported")


@contextlib.contextmanager
def loaded(project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, asyncio.Runner]]:
    """The module, imported while the server's loop runs, and that loop."""
    file = folder / "project.py"
    file.write_text(project.source + ("" if "app = " in project.source else APP))
    spec = importlib.util.spec_from_file_location("project", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "project", module)
    loader = spec.loader

    async def load() -> None:
        loader.exec_module(module)

    async def unload() -> None:
        if hasattr(module, "on_last_shutdown"):
            await module.on_last_shutdown()

    with asyncio.Runner() as runner:
        runner.run(load())
        yield module, runner
        runner.run(unload())


@pytest.mark.parametrize("name", [*FRAMEWORKS, *EXTENSIONS])
def test_what_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: Kept) -> None:
    """Two startups on two loops, looked at as a pool does: what belongs to one loop is named, and nothing else."""
    project = {**FRAMEWORKS, **EXTENSIONS}[name]
    skip_without(project)
    monkeypatch.chdir(tmp_path)
    with (
        loaded(project, tmp_path, monkeypatch) as (module, _),
        contextlib.ExitStack() as stack,
    ):
        config: Any = types.SimpleNamespace(worker_class="auto", app="project:app")
        check = SharedStateCheck(config)
        for number in range(2):
            startup = Startup(module.app, stack.enter_context(asyncio.Runner()), number)
            startup.begin()
            stack.callback(startup.end)
            if check.after_startup(startup):
                break
    named = ", ".join(project.named)
    assert check.complaint() == (
        f"All worker threads share objects that belong to one event loop ({named})." if named else None
    )
    assert len(log.lines) == len(project.named), log.lines


@pytest.mark.slow
@pytest.mark.skipif(gil_is_on(), reason="`auto` means processes on an interpreter with a GIL")
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_threads_serve_it(name: str, tmp_path: Path) -> None:
    """`--workers 2` without another word: two worker threads, no warning, an answer from each of them."""
    project = FRAMEWORKS[name]
    skip_without(project)
    (tmp_path / "project.py").write_text(project.source)
    options = (*project.options, "--workers", "2")
    env = environment()
    env.pop("PYTHON_GIL", None)
    with served("project:app", *options, cwd=tmp_path, env=env) as server:
        server.log.wait_for("with 2 worker threads")
        server.log.wait_for("Application startup complete", 2)
        if "has switched the GIL back on" in server.log:
            pytest.skip("an extension of it is not for free-threaded builds")
        with contextlib.closing(server.connect()), contextlib.closing(server.connect()):  # one for each worker
            assert server.get() == server.get() == (200, "hello")
    assert "WARNING" not in server.log
    assert "instead of threads" not in server.log

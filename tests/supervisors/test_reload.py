from __future__ import annotations

import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pounce import supervisors
from pounce.config.config import Config
from pounce.supervisors import reload as reload_module
from pounce.supervisors.reload import BaseReload, _display_path
from pounce.supervisors.reload_stat import StatReload
from tests.supervisors.apps import record_start
from tests.supervisors.conftest import Eventually

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


class Told(BaseReload):
    """A reloader whose changes the test announces."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reloader_name = "Told"
        self.changes: list[list[Path]] = []

    def should_restart(self) -> list[Path] | None:
        self.pause()
        return self.changes.pop() if self.changes else None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_config(**settings: Any) -> Config:
    return Config(
        "tests.supervisors.apps:app",
        reload=True,
        reload_delay=0.01,
        log_config=None,
        **{"reload_dirs": ".", **settings},
    )


@pytest.fixture
def reloader(folder: Path) -> Iterator[Told]:
    reloader = Told(make_config(), record_start, [])
    yield reloader
    if hasattr(reloader, "process"):
        reloader.process.kill()
        reloader.process.join()


def starts(folder: Path) -> int:
    return len(list(folder.glob("*.started")))


class Script(threading.Thread):
    """What happens while `run` holds the main thread, which the signal handlers need. Re-raises what went wrong."""

    def __init__(self, steps: Any, reloader: BaseReload) -> None:
        super().__init__(daemon=True)
        self.steps = steps
        self.reloader = reloader
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.steps()
        except BaseException as exc:
            self.error = exc
            self.reloader.process.kill()
            self.reloader.should_exit.set()

    def check(self) -> None:
        self.join(10)
        if self.error is not None:
            raise self.error


def run_with(reloader: BaseReload, steps: Any) -> None:
    script = Script(steps, reloader)
    script.start()
    reloader.run()
    script.check()


def test_changes_and_sighup_restart_the_child(
    reloader: Told, folder: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """A change starts the child again and so does SIGHUP; SIGTERM ends both."""

    def steps() -> None:
        eventually(lambda: starts(folder) == 1)
        reloader.changes.append([folder / "main.py"])
        eventually(lambda: starts(folder) == 2)
        os.kill(os.getpid(), signal.SIGHUP)
        eventually(lambda: starts(folder) == 3)
        os.kill(os.getpid(), signal.SIGTERM)

    run_with(reloader, steps)
    assert starts(folder) == 3
    assert reloader.process.exitcode is not None
    assert not reloader.has_cut_off
    assert "Told detected changes in 'main.py'. Reloading..." in caplog.messages
    assert "Received SIGHUP. Reloading..." in caplog.messages


def test_ctrl_c_ends_the_wait_for_a_child(
    reloader: Told, folder: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that waits for its clients holds up a reload, but not the first Ctrl+C, nor the second at the end."""
    monkeypatch.setattr(reload_module, "SIGNAL_ECHO", 0.0)
    monkeypatch.setattr(reload_module, "TIMEOUT_FORCED", 0.1)
    (folder / "deaf").touch()

    def steps() -> None:
        eventually(lambda: starts(folder) == 1)
        reloader.changes.append([folder / "main.py"])
        eventually(lambda: not reloader.changes)
        os.kill(os.getpid(), signal.SIGINT)
        eventually(reloader.should_exit.is_set)
        assert reloader.process.exitcode is None
        os.kill(os.getpid(), signal.SIGINT)

    run_with(reloader, steps)
    assert starts(folder) == 1
    assert reloader.process.exitcode == -signal.SIGKILL
    assert reloader.has_cut_off


def test_the_graceful_timeout_bounds_a_reload(
    reloader: Told, folder: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a graceful timeout, a child that does not end is killed and the next one started."""
    monkeypatch.setattr("pounce.supervisors.succession.TIMEOUT_RETIRE_MARGIN", 0.1)
    reloader.config.timeout_graceful_shutdown = 0
    (folder / "deaf").touch()

    def steps() -> None:
        eventually(lambda: starts(folder) == 1)
        reloader.changes.append([folder / "main.py"])
        eventually(lambda: starts(folder) == 2)
        os.kill(os.getpid(), signal.SIGTERM)

    run_with(reloader, steps)
    assert reloader.process.exitcode == -signal.SIGKILL


def test_a_slow_end_is_explained_once(
    reloader: Told,
    folder: Path,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where nothing bounds the wait the log says what is being waited for, and how to end it."""
    monkeypatch.setattr(reload_module, "SLOW_END", 0.0)
    (folder / "deaf").touch()
    reloader.startup()
    eventually(lambda: starts(folder) == 1)
    threading.Timer(0.5, reloader.process.kill).start()
    reloader.shutdown()
    assert len([message for message in caplog.messages if "is still busy with requests" in message]) == 1


def test_echoes_of_a_signal_do_not_kill(reloader: Told) -> None:
    """A process manager that signals process and group means to stop once."""
    reloader.signal_handler(signal.SIGTERM, None)
    reloader.signal_handler(signal.SIGTERM, None)
    assert reloader.should_exit.is_set()
    assert reloader._kill_at == math.inf


def test_sockets_are_closed_in_the_end(reloader: Told, folder: Path) -> None:
    """The reloader owns the listening sockets."""
    sock = socket.socket()
    reloader.sockets = [sock]
    reloader.startup()
    assert sock.fileno() != -1
    reloader.shutdown()
    assert sock.fileno() == -1


def test_a_strategy_must_say_when(folder: Path) -> None:
    """`BaseReload` itself knows of no changes."""
    with pytest.raises(NotImplementedError):
        next(BaseReload(make_config(), record_start, []))


def test_paths_are_shown_relative_where_possible(folder: Path) -> None:
    """Paths below the working directory are shown without it, others in full."""
    assert _display_path(folder / "app" / "main.py") == f"'app{os.sep}main.py'"
    assert _display_path(Path("/elsewhere/main.py")) == "'/elsewhere/main.py'"


def test_stat_reload_sees_modified_files(folder: Path) -> None:
    """A Python file with a later modification time is a change; a new file and an unchanged one are not."""
    file, other = folder / "main.py", folder / "notes.txt"
    file.touch()
    other.touch()
    reloader = StatReload(make_config(), record_start, [])
    assert reloader.should_restart() is None
    later = time.time() + 10
    os.utime(other, (later, later))
    (folder / "new.py").touch()
    assert reloader.should_restart() is None
    os.utime(file, (later, later))
    assert reloader.should_restart() == [file.resolve()]


def test_stat_reload_warns_of_patterns_it_ignores(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Include and exclude patterns need watchfiles, and who sets them is told."""
    StatReload(make_config(reload_includes=["*.html"]), record_start, [])
    assert caplog.messages[-1] == (
        "--reload-include and --reload-exclude have no effect unless watchfiles is installed."
    )


def test_without_watchfiles_the_choice_is_stat(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ChangeReload` is found on first use, and works with the standard library alone."""
    monkeypatch.setitem(__import__("sys").modules, "pounce.supervisors.reload_watch", None)
    assert supervisors.ChangeReload is StatReload


def test_a_child_that_died_before_the_end_was_not_cut_off(reloader: Told, folder: Path, eventually: Eventually) -> None:
    """Code that did not even import is no failure of the stop."""
    reloader.startup()
    eventually(lambda: starts(folder) == 1)
    reloader.process.kill()
    reloader.process.join()
    reloader.shutdown()
    assert not reloader.has_cut_off

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from pounce.config.config import Config
from pounce.errors import explain
from pounce.supervisors.child import SpawnProcess, get_subprocess, subprocess_started
from tests.supervisors.apps import app
from tests.supervisors.conftest import Eventually

ROOT = Path(__file__).parents[2]


def target(sockets: list[socket]) -> None:
    """A target that does nothing."""


def interrupted(sockets: list[socket]) -> None:
    raise KeyboardInterrupt


def test_the_child_is_spawned() -> None:
    """Children are spawned, never forked: a fork would copy the locks of the parent's threads."""
    assert isinstance(get_subprocess(Config(app=app), target, []), SpawnProcess)


def test_logging_is_configured_before_the_target_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A spawned process has no logging of its own yet; the target finds it ready."""
    events: list[Any] = []
    config = Config(app=app)
    monkeypatch.setattr(config, "configure_logging", lambda: events.append("logging"))
    subprocess_started(config, lambda sockets: events.append(sockets), [], None)
    assert events == ["logging", []]


def test_a_missing_stdin_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's stdin may be a descriptor that the child does not have."""
    stdin = sys.stdin
    monkeypatch.setattr(sys, "stdin", stdin)
    subprocess_started(Config(app=app), target, [], 987)
    assert sys.stdin is stdin


def test_ctrl_c_is_silent() -> None:
    """Ctrl+C reaches the whole process group; one traceback per child would drown what the parent says."""
    subprocess_started(Config(app=app), interrupted, [], None)


def test_ctrl_c_before_the_child_is_ours_is_silent_too(capfd: pytest.CaptureFixture[str]) -> None:
    """Else `multiprocessing`, which is imported first, is what a traceback tells of."""
    process = get_subprocess(Config(app=app), target, [])
    process.start()
    assert process.pid
    os.kill(process.pid, signal.SIGINT)
    process.join(20)
    assert process.exitcode == 0
    assert "Traceback" not in capfd.readouterr().err
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_mistake_that_shows_in_the_child_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """What is explained ends the child with its exit code and no traceback: a parent that reloads imports no app."""

    def mistaken(sockets: list[Any]) -> None:
        raise explain(ImportError("mine"), "Cannot load the app.", 7)

    config = Config(app=app, log_config=None)
    with pytest.raises(SystemExit) as caught:
        subprocess_started(config, mistaken, [], None)
    assert caught.value.code == 7
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [("Cannot load the app.", None)]


@pytest.mark.parametrize("choice", ["0", "1"])
def test_the_gil_option_is_handed_on(monkeypatch: pytest.MonkeyPatch, choice: str) -> None:
    """`python -X gil=0` holds for the children too, though spawn does not pass the option on."""
    monkeypatch.setattr(sys, "_xoptions", {"gil": choice})
    monkeypatch.setenv("PYTHON_GIL", "")  # So that it is put back afterwards, also where it is not set.
    monkeypatch.delenv("PYTHON_GIL")
    get_subprocess(Config(app=app), target, [])
    assert os.environ["PYTHON_GIL"] == choice


PARENT = """
import sys
from pathlib import Path
from pounce.config.config import Config
from pounce.supervisors import Multiprocess
from tests.supervisors.apps import ScriptedServer

if __name__ == "__main__":
    config = Config("tests.supervisors.apps:app", workers=2, worker_class="process")
    supervisor = Multiprocess(config, target=ScriptedServer(Path(sys.argv[1])).run)
    supervisor.run()
    sys.exit(supervisor.exit_code)
"""


def start_parent(folder: Path, script: str = "{}") -> subprocess.Popen[bytes]:
    (folder / "parent.py").write_text(PARENT)
    (folder / "script.json").write_text(script)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.Popen([sys.executable, str(folder / "parent.py"), str(folder)], env=environment)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("script", ["{}", '{"gate": "never"}'], ids=["serving", "starting"])
def test_children_do_not_outlive_a_killed_parent(tmp_path: Path, eventually: Eventually, script: str) -> None:
    """A parent that is killed cannot tell its children to end: they notice, finish gracefully and free the port."""
    parent = start_parent(tmp_path, script)

    def children() -> list[int]:
        tasks = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        return [pid for pid in map(int, tasks) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    try:
        eventually(lambda: len(children()) == 2)
        if script == "{}":
            eventually(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        pids = children()
        parent.kill()
        parent.wait(10)
        eventually(lambda: not any(is_running(pid) for pid in pids))
        if script == "{}":
            assert {int(path.stem) for path in tmp_path.glob("*.ended")} == set(pids)
    finally:
        parent.kill()
        parent.wait(10)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_the_parent_obeys_real_signals(tmp_path: Path, eventually: Eventually, sig: signal.Signals) -> None:
    """SIGTERM and SIGINT end parent and children, gracefully and with exit code 0."""
    parent = start_parent(tmp_path)
    try:
        eventually(lambda: len(list(tmp_path.glob("*.started"))) == 2)
        parent.send_signal(sig)
        assert parent.wait(20) == 0
        assert len(list(tmp_path.glob("*.ended"))) == 2
    finally:
        parent.kill()
        parent.wait(10)


def test_a_failed_start_ends_the_parent_with_3(tmp_path: Path) -> None:
    """No restart loop for an app that does not start, and an exit code that says so."""
    parent = start_parent(tmp_path, '{"exit": 3}')
    try:
        assert parent.wait(30) == 3
    finally:
        parent.kill()
        parent.wait(10)

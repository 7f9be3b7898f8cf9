"""The supervisor over real processes, which run a scripted server."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pounce.config.config import Config
from pounce.supervisors import processes, succession
from pounce.supervisors.processes import Multiprocess
from tests.supervisors.apps import ScriptedServer
from tests.supervisors.conftest import Eventually

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


def write_script(folder: Path, **script: Any) -> None:
    (folder / "script.json").write_text(json.dumps(script))


@contextmanager
def running(folder: Path, worker_class: str = "thread", **settings: Any) -> Iterator[Multiprocess]:
    """A supervisor at work on a thread; ends it afterwards, by force if need be, and checks that nothing is left."""
    settings.setdefault("workers", 2)
    config = Config("tests.supervisors.apps:app", worker_class=worker_class, log_config=None, **settings)  # type: ignore[arg-type]
    supervisor = Multiprocess(config, target=ScriptedServer(folder).run)
    seen: set[Any] = set()
    thread = threading.Thread(target=supervisor.run, daemon=True)
    thread.start()
    try:
        yield supervisor
    finally:
        seen.update(supervisor.generation.everyone())
        supervisor._signals._on_signal(signal.SIGTERM, None)
        thread.join(0.3)
        deadline = time.monotonic() + 20
        while thread.is_alive() and time.monotonic() < deadline:
            supervisor.signal_queue.append(signal.SIGTERM)
            thread.join(0.3)
        assert not thread.is_alive()
        assert all(process.exitcode is not None for process in seen)


def is_serving(supervisor: Multiprocess, count: int) -> bool:
    return len(supervisor.processes) == count and all(process.was_ready for process in supervisor.processes)


@pytest.fixture(autouse=True)
def log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "uvicorn.error")


@pytest.mark.parametrize(("worker_class", "count"), [("thread", 1), ("process", 2)])
def test_sighup_brings_the_new_up_before_the_old_ends(
    tmp_path: Path, eventually: Eventually, worker_class: str, count: int
) -> None:
    """While a successor starts the old process serves; when it is ready the old one ends gracefully."""
    write_script(tmp_path)
    with running(tmp_path, worker_class) as supervisor:
        eventually(lambda: is_serving(supervisor, count))
        old = list(supervisor.processes)
        write_script(tmp_path, gate="open")
        supervisor.signal_queue.append(signal.SIGHUP)
        eventually(
            lambda: (
                supervisor.generation.succession is not None
                and supervisor.generation.succession.new[0].health is not None
            )
        )
        assert supervisor.processes == old
        assert all(process.exitcode is None for process in old)
        (tmp_path / "open").touch()
        eventually(lambda: is_serving(supervisor, count) and not set(supervisor.processes) & set(old))
        eventually(lambda: all(process.exitcode == 0 for process in old))
        assert {f"{process.pid}.ended" for process in old} == {path.name for path in tmp_path.glob("*.ended")}


def test_sighup_with_broken_code_keeps_the_old(
    tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """A generation that does not start is reported, and the old one serves on."""
    write_script(tmp_path)
    with running(tmp_path) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        (old,) = supervisor.processes
        write_script(tmp_path, exit=3)
        supervisor.signal_queue.append(signal.SIGHUP)
        eventually(lambda: "aborting the restart" in caplog.text)
        assert supervisor.processes == [old]
        assert old.is_alive()
        assert not supervisor.should_exit.is_set()


def test_sigterm_is_obeyed_while_a_successor_starts(tmp_path: Path, eventually: Eventually) -> None:
    """A restart that does not get anywhere does not keep the parent."""
    write_script(tmp_path)
    with running(tmp_path) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        write_script(tmp_path, gate="never")
        supervisor.signal_queue.append(signal.SIGHUP)
        eventually(lambda: supervisor.generation.succession is not None)
        everyone = supervisor.generation.everyone()
        assert len(everyone) == 2
        supervisor.signal_queue.append(signal.SIGTERM)
        eventually(lambda: all(process.exitcode is not None for process in everyone))


def test_sigterm_ends_a_drain_that_does_not_end(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """SIGHUP with clients that stay, then SIGTERM: the parent ends within the graceful timeout and its margin."""
    monkeypatch.setattr(succession, "TIMEOUT_RETIRE_MARGIN", 1.0)
    write_script(tmp_path, deaf=True)
    with running(tmp_path, timeout_graceful_shutdown=1) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        (old,) = supervisor.processes
        write_script(tmp_path)
        supervisor.signal_queue.append(signal.SIGHUP)
        eventually(lambda: is_serving(supervisor, 1) and supervisor.processes != [old])
        assert old.exitcode is None
        supervisor.signal_queue.append(signal.SIGTERM)
        eventually(lambda: "Stopping parent process" in caplog.text)
        assert old.exitcode == -signal.SIGKILL


def test_a_second_sigterm_kills(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a graceful timeout the children may take for ever, and a second signal ends that."""
    monkeypatch.setattr(processes, "SIGNAL_ECHO", 0.0)
    monkeypatch.setattr(processes, "TIMEOUT_FORCED", 0.2)
    write_script(tmp_path, deaf=True)
    with running(tmp_path) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        (child,) = supervisor.processes
        supervisor.signal_queue.append(signal.SIGTERM)
        eventually(lambda: "Waiting for child process" in caplog.text)
        assert child.exitcode is None
        supervisor.signal_queue.append(signal.SIGTERM)
        eventually(lambda: child.exitcode is not None)


def test_a_killed_process_is_noticed_at_once(
    tmp_path: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` of a server process is noticed by its end, not by the next round of health checks."""
    monkeypatch.setattr(processes, "TICK", 60.0)
    write_script(tmp_path)
    with running(tmp_path) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        (old,) = supervisor.processes
        assert old.pid is not None
        os.kill(old.pid, signal.SIGKILL)
        eventually(lambda: supervisor.processes != [old])
        eventually(lambda: is_serving(supervisor, 1))


def test_a_stuck_worker_is_named_with_its_stack(
    tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    """The stack of the stuck thread comes over from the child before the generation is replaced."""
    write_script(tmp_path, stuck=True)
    with running(tmp_path) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        (old,) = supervisor.processes
        write_script(tmp_path)
        eventually(lambda: supervisor.processes != [old])
        (report,) = [message for message in caplog.messages if "is stuck" in message]
        assert report.startswith(f"Worker pounce-worker-1 of child process [{old.pid}] is stuck")
        assert "apps.py" in report
        eventually(lambda: old.exitcode == 0)


def test_a_stopped_process_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    """A process that gets no turn at all (here: SIGSTOP) is killed after the health check's timeout."""
    write_script(tmp_path)
    with running(tmp_path, timeout_worker_healthcheck=1) as supervisor:
        eventually(lambda: is_serving(supervisor, 1))
        (old,) = supervisor.processes
        assert old.pid is not None
        os.kill(old.pid, signal.SIGSTOP)
        eventually(lambda: old.exitcode == -signal.SIGKILL)
        eventually(lambda: supervisor.processes != [old] and is_serving(supervisor, 1))


def test_a_failed_start_stops_the_parent(tmp_path: Path, eventually: Eventually) -> None:
    """One process that cannot start ends the others and the parent."""
    write_script(tmp_path, exit=3)
    with running(tmp_path, "process") as supervisor:
        eventually(supervisor.should_exit.is_set)
        assert supervisor.exit_code == 3

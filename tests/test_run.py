"""run(): who serves, and with which exit code it ends."""

from __future__ import annotations

import contextlib
import importlib
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pounce.config.config import Config
from pounce.server import Server
from pounce.supervisors import ChangeReload, Multiprocess
from tests.config import apps
from tests.isolated_logging import isolated_logging as isolated_logging

# `pounce.run` the attribute is the function.
running = importlib.import_module("pounce.run")
pytestmark = pytest.mark.usefixtures("isolated_logging")

APP = "tests.config.apps:asgi3"


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls that were made, in order; servers say that they started."""
    calls: list[str] = []

    def serve(server: Server, sockets: Any = None) -> None:
        calls.append("server")
        server.started = True

    monkeypatch.setattr(Server, "run", serve)
    monkeypatch.setattr(ChangeReload, "run", lambda _: calls.append("reload"))
    monkeypatch.setattr(Multiprocess, "run", lambda _: calls.append("supervisor"))
    monkeypatch.setattr(Config, "bind_socket", lambda _: calls.append("bind") or mock.Mock(spec=socket.socket))
    monkeypatch.setattr(sys, "path", sys.path[:])
    return calls


def run(app: Any = APP, **settings: Any) -> None:
    """`pounce.run` that leaves logging alone."""
    running.run(app, **{"log_config": None, "loop": "asyncio"} | settings)


@pytest.mark.parametrize(
    "app,settings,expected",
    [
        (APP, {}, ["server"]),
        (apps.asgi3, {}, ["server"]),
        (APP, {"reload": True}, ["bind", "reload"]),
        (APP, {"reload": True, "workers": 2}, ["bind", "reload"]),
        (APP, {"workers": 2, "worker_class": "process"}, ["bind", "supervisor"]),
        (APP, {"workers": 2, "worker_class": "thread"}, ["bind", "supervisor"]),
        (apps.asgi3, {"workers": 2, "worker_class": "thread"}, ["server"]),
    ],
)
def test_the_settings_decide_who_serves(way: list[str], app: Any, settings: Any, expected: list[str]) -> None:
    """A reloader, a supervisor, or the server itself; threads need no import string."""
    run(app, **settings)
    assert way == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"reload": True},
        {"workers": 2, "worker_class": "process"},
        {"reload": True, "workers": 2, "worker_class": "thread"},
    ],
)
def test_an_app_object_cannot_be_sent_to_a_process(
    way: list[str], settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning and exit code 3."""
    with pytest.raises(SystemExit) as caught:
        run(apps.asgi3, **settings)
    assert caught.value.code == 3
    assert caplog.messages[-1] == ("You must pass the application as an import string to enable 'reload' or 'workers'.")
    assert way == []


def test_the_app_is_imported_before_the_event_loop_runs(
    way: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module may run a loop of its own while it is imported."""
    (tmp_path / "running_a_loop.py").write_text(
        "import asyncio\nasync def make():\n    async def app(scope, receive, send): ...\n    return app\n"
        "with asyncio.Runner() as runner:\n    app = runner.run(make())\n"
    )
    monkeypatch.setattr(Server, "run", lambda *_: way.append(str("running_a_loop" in sys.modules)))
    with pytest.raises(SystemExit):
        run("running_a_loop:app", app_dir=str(tmp_path))
    assert way == ["True"]


def test_a_supervisor_does_not_import_the_app(way: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children do."""
    monkeypatch.setattr(Config, "load_app", mock.Mock(side_effect=AssertionError("imported")))
    run(workers=2)
    assert way == ["bind", "supervisor"]


@pytest.mark.parametrize("app", ["no_such_module:app", "no.such:app"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_app_that_cannot_exist_ends_the_start(way: list[str], app: str, workers: int) -> None:
    """Before anything is bound."""
    with pytest.raises((SystemExit, ModuleNotFoundError)):
        run(app, workers=workers)
    assert way == []


@pytest.mark.parametrize("workers", [1, "2"])
@pytest.mark.parametrize("settings", [{"port": 70000}, {"timeout_keep_alive": "long"}, {"ws_ping_timeout": "nan"}])
def test_a_wrong_setting_ends_the_start(way: list[str], workers: Any, settings: Any) -> None:
    """Before anything is bound: no socket is left open, and uvloop does not listen on the lower 16 bits."""
    with pytest.raises(ValueError, match=f"^{next(iter(settings))} must be "):
        run(workers=workers, **settings)
    assert way == []


@pytest.mark.parametrize("app_dir", ["nowhere", __file__])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_app_dir_that_is_not_there_is_named(
    way: list[str], app_dir: str, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    """In front of the error that follows from it; an app that is found elsewhere is served, as with uvicorn."""
    line = f"There is no directory '{app_dir}' to import the app from (--app-dir)."
    with pytest.raises(SystemExit):
        run("no_such_module:app", app_dir=app_dir, workers=workers)
    assert caplog.messages == [line, 'Error loading ASGI app. Could not import module "no_such_module".']
    run(app_dir=app_dir)
    assert caplog.messages[2:] == [line]


def test_an_app_dir_may_be_a_path(way: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The import system would pass over anything but a string."""
    (tmp_path / "app_of_a_path.py").write_text("async def app(scope, receive, send): ...\n")
    run("app_of_a_path:app", app_dir=tmp_path)
    assert (way, caplog.messages) == (["server"], [])


def test_a_server_that_did_not_start_ends_with_3(way: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever started the process learns of it."""
    monkeypatch.setattr(Server, "run", lambda *_: None)
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 3


def test_workers_that_did_not_start_end_with_3(way: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor's verdict is the exit code."""
    monkeypatch.setattr(Multiprocess, "run", lambda supervisor: setattr(supervisor, "startup_failed", True))
    with pytest.raises(SystemExit) as caught:
        run(workers=2)
    assert caught.value.code == 3


def test_ctrl_c_ends_quietly(way: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A KeyboardInterrupt that reaches run() shows no traceback."""
    monkeypatch.setattr(Multiprocess, "run", mock.Mock(side_effect=KeyboardInterrupt))
    run(workers=2)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, ZeroDivisionError])
def test_a_supervisors_unix_socket_is_removed_at_the_end(
    way: list[str], error: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after an exception."""
    path = tmp_path / "http.sock"
    monkeypatch.setattr(Config, "bind_socket", lambda _: path.touch())
    monkeypatch.setattr(Multiprocess, "run", mock.Mock(side_effect=error))
    with contextlib.suppress(ZeroDivisionError):
        run(workers=2, uds=str(path))
    assert not path.exists()


def test_what_has_taken_the_place_of_a_supervisors_socket_stays(
    way: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server may have been told to serve there."""
    path = tmp_path / "http.sock"
    monkeypatch.setattr(Config, "bind_socket", lambda _: path.touch())

    def somebody_else(_: Any) -> None:
        (tmp_path / "other").write_text("other")
        (tmp_path / "other").replace(path)

    monkeypatch.setattr(Multiprocess, "run", somebody_else)
    run(workers=2, uds=str(path))
    assert path.read_text() == "other"


def test_one_server_sees_to_its_unix_socket_itself(way: list[str], tmp_path: Path) -> None:
    """What is at the path and was never bound is not removed."""
    path = tmp_path / "http.sock"
    path.touch()
    run(uds=str(path))
    assert path.exists()


def test_a_unix_socket_that_could_not_be_bound_is_not_removed(
    way: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is another server's."""
    path = tmp_path / "http.sock"
    path.touch()
    monkeypatch.setattr(Config, "bind_socket", mock.Mock(side_effect=SystemExit(3)))
    with pytest.raises(SystemExit):
        run(workers=2, uds=str(path))
    assert path.exists()


def test_a_replaced_reloader_is_used(way: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers put their own class into the module."""
    replacement = mock.Mock()
    monkeypatch.setattr(running, "ChangeReload", replacement)
    run(reload=True)
    replacement.return_value.run.assert_called_once_with()


def test_run_gives_sigterm_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that goes on after `run()` finds SIGTERM as it left it."""

    def serve(self: Any, sockets: Any = None) -> None:
        self.started = True
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL

    monkeypatch.setattr(Server, "run", serve)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    running.run(APP)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

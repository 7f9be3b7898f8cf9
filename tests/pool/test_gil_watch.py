"""pounce/pool/gil_watch.py: with a pretended GIL, and with a real extension module on free-threaded builds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import types
import warnings
from pathlib import Path

import pytest

from pounce.pool.gil_watch import GilWatch, gil_is_on

ROOT = Path(__file__).resolve().parents[2]

#: CPython's words, Python/import.c.
WARNING = (
    "The global interpreter lock (GIL) has been enabled to load module 'fast._speedups', which has not declared "
    "that it can run safely without the GIL."
)


class Gil:
    """Stands for the interpreter's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.on = False
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda: self.on, raising=False)


@pytest.fixture
def gil(monkeypatch: pytest.MonkeyPatch) -> Gil:
    return Gil(monkeypatch)


def test_nothing_to_say_while_the_gil_stays_off(gil: Gil) -> None:
    """No complaint, now or later."""
    with GilWatch() as watch:
        pass
    assert watch.was_off
    assert watch.complaint() is None
    assert watch.late_complaint() is None


def test_the_import_that_did_it_is_named(gil: Gil) -> None:
    """The name comes from CPython's warning."""
    with GilWatch() as watch:
        gil.on = True
        warnings.showwarning(RuntimeWarning(WARNING), RuntimeWarning, "app.py", 1)
    assert watch.complaint() == "Importing 'fast._speedups' has switched the GIL back on."
    assert watch.late_complaint() is None


def test_other_warnings_pass(gil: Gil, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that one warning is taken, and only while the watch lasts."""
    shown: list[str] = []

    def show(message: Warning, *args: object) -> None:
        shown.append(str(message))

    monkeypatch.setattr(warnings, "showwarning", show)
    with GilWatch():
        warnings.showwarning(UserWarning("mind the gap"), UserWarning, "app.py", 1)
        warnings.showwarning(RuntimeWarning(WARNING), RuntimeWarning, "app.py", 1)
    assert warnings.showwarning is show
    assert shown == ["mind the gap"]


def test_suspects_are_named_where_the_warning_was_silenced(gil: Gil, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `-W ignore` there is still the list of extension modules that came in."""
    with GilWatch() as watch:
        extension = types.ModuleType("quiet")
        extension.__file__ = "/somewhere/quiet.cpython-314t-x86_64-linux-gnu.so"
        monkeypatch.setitem(sys.modules, "quiet", extension)
        gil.on = True
    assert "quiet" in (watch.complaint() or "")


def test_a_late_import_is_reported_once(gil: Gil) -> None:
    """A request that imports something is noticed at the next look, and not at every one after it."""
    with GilWatch() as watch:
        pass
    assert watch.complaint() is None
    gil.on = True
    assert watch.late_complaint() is not None
    assert watch.late_complaint() is None


def test_an_interpreter_with_a_gil_has_nothing_to_lose(gil: Gil) -> None:
    """No complaint where the GIL was on from the beginning."""
    gil.on = True
    with GilWatch() as watch:
        pass
    assert not watch.was_off
    assert watch.complaint() is None
    assert watch.late_complaint() is None


EXTENSION = r"""
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "needs_gil", NULL, -1, NULL, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_needs_gil(void) { return PyModule_Create(&module); }
"""

APP = """
{imports}
async def app(scope, receive, send):
    raise RuntimeError("only to be loaded")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with an app that imports an extension module which wants the GIL."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    include = sysconfig.get_paths()["include"]
    if gil_is_on():
        pytest.skip("this interpreter has a GIL")
    if compiler is None or not Path(include, "Python.h").exists():
        pytest.skip("no C compiler or no Python headers here")
    (tmp_path / "needs_gil.c").write_text(EXTENSION)
    target = tmp_path / f"needs_gil{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-I", include, str(tmp_path / "needs_gil.c"), "-o", str(target)], check=True
    )
    (tmp_path / "needy.py").write_text(APP.format(imports="import needs_gil"))
    return tmp_path


def load(project: Path, worker_class: str) -> subprocess.CompletedProcess[str]:
    """One server process, as a program of somebody's own."""
    script = (
        "import asyncio, pounce\n"
        "async def main():\n"
        f"    config = pounce.Config('needy:app', workers=2, worker_class='{worker_class}', port=0, lifespan='off')\n"
        "    server = pounce.Server(config)\n"
        "    asyncio.get_running_loop().call_later(0.5, setattr, server, 'should_exit', True)\n"
        "    await server.serve()\n"
        "asyncio.run(main())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    environment["PYTHONPATH"] = os.pathsep.join([str(project), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=50, cwd=project
    )


def test_auto_gives_threads_up_for_a_real_extension(project: Path) -> None:
    """An app that brings the GIL back is served without threads, and the module is named."""
    done = load(project, "auto")
    assert done.returncode == 0, done.stderr
    assert "Importing 'needs_gil' has switched the GIL back on. Running one worker" in done.stderr
    assert "worker threads" not in done.stderr


def test_explicit_threads_are_refused_for_a_real_extension(project: Path) -> None:
    """`--worker-class thread` ends with exit code 3 and the module's name."""
    done = load(project, "thread")
    assert done.returncode == 3, done.stderr
    assert "Importing 'needs_gil' has switched the GIL back on. Threads were asked for" in done.stderr

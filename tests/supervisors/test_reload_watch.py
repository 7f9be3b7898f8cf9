from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pounce.config.config import Config
from tests.supervisors.apps import record_start

pytest.importorskip("watchfiles")

from pounce.supervisors import reload_watch
from pounce.supervisors.reload_watch import FileFilter, WatchFilesReload


def make_filter(includes: list[str] | None = None, excludes: list[str] | None = None) -> FileFilter:
    config = Config("tests.supervisors.apps:app", reload=True)
    config.reload_includes, config.reload_excludes = includes or [], excludes or []
    return FileFilter(config)


@pytest.mark.parametrize(
    ("includes", "excludes", "path", "expected"),
    [
        ([], [], "main.py", True),
        ([], [], "main.js", False),
        ([], [], ".hidden.py", False),
        ([], [], "~main.py", False),
        (["*.js"], [], "main.js", True),
        (["*.js"], [], "main.py", True),
        ([], ["*.py"], "main.py", False),
        (["*"], ["*.js"], "main.js", False),
        (["*"], ["*.js"], "main.css", True),
        (["*"], [], ".hidden", False),
        ([".*"], [], ".hidden", True),
        (["*", ".hidden"], [], ".hidden", True),
        ([".hidden", "*"], [], ".hidden", True),
        (["ext/ext.jpg"], [], "ext/ext.jpg", True),
    ],
)
def test_patterns(tmp_path: Path, includes: list[str], excludes: list[str], path: str, expected: bool) -> None:
    """Includes choose, excludes take away, a literal name beats both, and a user's pattern undoes a default."""
    assert make_filter(includes, excludes)(tmp_path / path) is expected


def test_an_excluded_directory_covers_what_lies_in_it(tmp_path: Path) -> None:
    """An exclude that names a directory covers every file below it and none beside it."""
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    file_filter = make_filter(excludes=[str(vendor)])
    assert not file_filter(vendor / "deep" / "app.py")
    assert file_filter(tmp_path / "app.py")


def test_a_written_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change below the watched directory is reported once it passes the filter, and nothing else is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reload_watch, "WATCH_TIMEOUT", 100)
    config = Config("tests.supervisors.apps:app", reload=True, reload_delay=0, log_config=None)
    reloader = WatchFilesReload(config, record_start, [])
    assert reloader.should_restart() is None
    deadline = time.monotonic() + 20
    changed: list[Path] | None = None
    while not changed:
        assert time.monotonic() < deadline
        (tmp_path / "notes.txt").write_text(str(time.monotonic()))
        (tmp_path / "main.py").write_text(str(time.monotonic()))
        changed = reloader.should_restart()
    assert changed == [tmp_path / "main.py"]
    reloader.should_exit.set()
    with pytest.raises(StopIteration):
        next(reloader)


def test_watchfiles_is_loaded_only_to_reload() -> None:
    """Importing the supervisors does not load watchfiles, which may switch the GIL back on."""
    code = "import sys, pounce.supervisors.processes; sys.exit('watchfiles' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0

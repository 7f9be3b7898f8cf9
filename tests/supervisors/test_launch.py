"""What replaces multiprocessing's own launch of a process: children as always, the resource tracker on demand."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from functools import partial
from multiprocessing import shared_memory
from pathlib import Path
from unittest import mock

import pytest

from pounce.config.config import Config
from pounce.supervisors import launch
from pounce.supervisors.child import get_subprocess
from tests.supervisors import apps
from tests.supervisors.conftest import Eventually

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource tracker")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_an_app_may_use_multiprocessing(method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Shared memory, queues and process pools work in a child, and nothing is said about resources."""
    target = partial(apps.use_multiprocessing, tmp_path / "result", method)
    process = get_subprocess(Config(app=apps.app, log_config=None), target, [])
    process.start()
    process.join(30)
    assert (process.exitcode, (tmp_path / "result").read_text()) == (0, "3 shared queued")
    assert capfd.readouterr().err == ""


def test_a_child_is_named_as_multiprocessing_names_it(tmp_path: Path) -> None:
    """Logs show the name, and the start method is what decides about the app's own processes."""
    process = get_subprocess(Config(app=apps.app, log_config=None), partial(apps.name_process, tmp_path / "name"), [])
    process.start()
    process.join(30)
    assert (tmp_path / "name").read_text() == process.name
    assert process.name.startswith("SpawnProcess-")


PARENT = """
import os, sys
from functools import partial
from multiprocessing import connection
from pathlib import Path
from pounce.config.config import Config
from pounce.supervisors.child import get_subprocess
from tests.supervisors import apps

folder = Path(sys.argv[1])

def start(target, *arguments):
    process = get_subprocess(Config(app=apps.app, log_config=None), partial(target, *arguments), [])
    process.start()
    return process

def print_trackers():
    threads = Path(f"/proc/{os.getpid()}/task").iterdir()
    children = [pid for thread in threads for pid in (thread / "children").read_text().split()]
    print(sum(b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children))

if __name__ == "__main__":
    start(apps.name_process, folder / "name").join()
    print_trackers()
    holder = start(apps.hold_shared_memory, folder / "held")
    while not (folder / "held").exists():
        assert not connection.wait([holder.sentinel], 0.02)
    for _ in range(2):
        visitor = start(apps.visit_shared_memory, folder / "held")
        visitor.join()
        print(visitor.exitcode)
    print_trackers()
    holder.kill()
    holder.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc and /dev/shm")
def test_the_tracker_starts_on_demand_and_is_shared(tmp_path: Path, eventually: Eventually) -> None:
    """None without need; then one for all: a child's end leaves its siblings' memory, the parent's end removes it."""
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path)]
    with open(tmp_path / "said", "wb") as said:  # a file: the tracker outlives the parent, and so would hold a pipe
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=said, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (0, [b"0", b"0", b"0", b"1"])
    block = Path("/dev/shm", (tmp_path / "held").read_text().lstrip("/"))
    eventually(lambda: not block.exists())
    eventually(lambda: b"1 leaked shared_memory" in (tmp_path / "said").read_bytes())


def test_a_tracker_that_runs_already_is_handed_on(tmp_path: Path) -> None:
    """What the parent's own code shares with its children survives them."""
    block = shared_memory.SharedMemory(create=True, size=16)
    try:
        (tmp_path / "held").write_text(block.name)
        for _ in range(2):
            target = partial(apps.visit_shared_memory, tmp_path / "held")
            process = get_subprocess(Config(app=apps.app, log_config=None), target, [])
            process.start()
            process.join(30)
            assert process.exitcode == 0
    finally:
        block.close()
        block.unlink()


def test_a_child_that_cannot_be_started_leaves_no_files_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor tries again later, for as long as it takes."""
    process = get_subprocess(Config(app=apps.app, log_config=None), apps.record_start, [])
    monkeypatch.setattr(launch.util, "spawnv_passfds", mock.Mock(side_effect=BlockingIOError))
    launch._tracker_pipe()
    gc.collect()
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(BlockingIOError):
        process.start()
    gc.collect()
    assert len(os.listdir("/dev/fd")) <= before  # what others leave may be closed meanwhile

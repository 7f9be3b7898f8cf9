"""What the supervisors' tests run in child processes: a server without a network that does as a script file says."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import shared_memory
from pathlib import Path
from socket import socket
from types import FrameType
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """An app that no test calls."""


class ScriptedServer:
    """Stands in for `pounce.server.Server`. Reads `script.json` in its folder when it starts:

    exit: end with this code instead of starting. gate: start only when this file exists. stuck: report a loop that
    does not turn. deaf: do not end on SIGTERM. Writes `PID.started` and, on its way out, `PID.ended`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = False
        self.should_exit = False
        self.script: dict[str, Any] = {}

    def run(self, sockets: list[socket] | None = None) -> None:
        self.script = json.loads((self.folder / "script.json").read_text())
        self.main_thread = threading.get_ident()
        if "exit" in self.script:
            sys.exit(self.script["exit"])
        signal.signal(signal.SIGTERM, self.handle_exit)
        while "gate" in self.script and not (self.folder / self.script["gate"]).exists():
            if self.should_exit:
                return
            time.sleep(0.01)
        (self.folder / f"{os.getpid()}.started").touch()
        self.started = True
        while not self.should_exit:
            time.sleep(0.01)
        (self.folder / f"{os.getpid()}.ended").touch()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = not self.script.get("deaf", False)

    def heartbeats(self) -> list[tuple[str, float]]:
        if not self.started:
            return []
        return [("pounce-worker-0", 0.0), ("pounce-worker-1", 60.0 if self.script.get("stuck") else 0.0)]

    def dump_stack(self, name: str) -> str:
        return "".join(traceback.format_stack(sys._current_frames()[self.main_thread]))


def record_start(sockets: list[socket] | None) -> None:
    """A target for the reloader: leaves `PID.started` in its directory, ends on SIGTERM unless `deaf` exists."""
    if Path("deaf").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(f"{os.getpid()}.started").touch()
    signal.pause()
    while Path("deaf").exists():
        signal.pause()


def name_process(file: Path, sockets: list[socket]) -> None:
    """A target that leaves its process's name."""
    file.write_text(multiprocessing.current_process().name)


def use_multiprocessing(file: Path, method: str, sockets: list[socket]) -> None:
    """A target that does what an app may do with other processes; leaves what came of it."""
    context = multiprocessing.get_context(method)
    block = shared_memory.SharedMemory(create=True, size=16)
    queue = context.Queue()
    block.buf[:6] = b"shared"
    other = context.Process(target=read_shared_memory, args=(block.name, queue))
    other.start()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        found = [str(pool.submit(abs, -3).result(30)), queue.get(timeout=30), queue.get(timeout=30)]
    other.join(30)
    block.close()
    block.unlink()
    file.write_text(" ".join(found))


def read_shared_memory(name: str, queue: Any) -> None:
    block = shared_memory.SharedMemory(name)
    queue.put(bytes(block.buf[:6]).decode())
    queue.put("queued")
    block.close()


def hold_shared_memory(file: Path, sockets: list[socket]) -> None:
    """A target that creates a block of shared memory and stays. Leaves the block's name."""
    block = shared_memory.SharedMemory(create=True, size=16)
    half_written = file.with_suffix(".new")
    half_written.write_text(block.name)
    half_written.rename(file)
    signal.pause()


def visit_shared_memory(file: Path, sockets: list[socket]) -> None:
    """A target that opens that block and ends."""
    shared_memory.SharedMemory(file.read_text()).close()

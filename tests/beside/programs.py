"""Other people's programs beside the server: found or the test is skipped, started, and waited for."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.process.serving import PATIENCE


def program(*names: str) -> str:
    """The path of the first that is installed. `.ci/run --all` installs what it can."""
    for name in names:
        if (found := shutil.which(name, path=None) or shutil.which(name, path="/usr/sbin:/sbin")) is not None:
            return found
    pytest.skip(f"{names[0]} is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[None]:
    """Run it until the end of the block; the block begins when it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 5).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    raise AssertionError(f"{command[0]} does not listen: {process.communicate()[0]}") from None
                time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)

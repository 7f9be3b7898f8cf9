"""The vectors over real sockets, as `python -m conformance vectors` sends them."""

from __future__ import annotations

import sys

import pytest

from conformance.cache import SetupError
from conformance.vectors import remote
from tests.process.serving import served

#: Those that say where a request ends.
GROUPS = ("framing", "lengths", "codings")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--http", "h11", "--loop", "asyncio"),
        ("--http", "httptools"),
        ("--http", "zttp", "--workers", "2"),
    ],
    ids=lambda arguments: arguments[1],
)
def test_verdicts_over_sockets(arguments: tuple[str, ...]) -> None:
    """They are the same as on a fake transport, in one process and in workers."""
    if sys.platform == "win32" and "--workers" in arguments:
        pytest.skip("no sockets are shared there")
    lines: list[str] = []
    with served("tests.process.http2_app:app", *arguments, "--no-access-log") as server:
        server.connect().close()  # it listens
        request = remote.Request(*server.address, GROUPS, arguments[1], patience=20.0)
        assert remote.run(request, lines.append) == 0, lines
    assert lines[-1].endswith("in one piece and byte by byte: 0 verdicts are others")


def test_nobody_there() -> None:
    """One line, as of every mistake in setting a run up."""
    with pytest.raises(SetupError, match=r"127\.0\.0\.1:1"):
        remote.run(remote.Request("127.0.0.1", 1), print)
    with pytest.raises(SetupError, match=r"there are these groups: chunks, codings"):
        remote.run(remote.Request("127.0.0.1", 1, ("none",)), print)

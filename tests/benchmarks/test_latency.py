"""The latency of events: what the client reads, what is printed, and one measurement with a real server."""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import latency
from benchmarks.latency import Row, figures, listen, serving, table
from benchmarks.load.outcome import LoadError


def test_events_are_read_however_they_are_cut() -> None:
    """Two in a segment, one in two of them; the first ones do not count, a missing one is an error."""
    count = latency.WARM_UP + 2

    def serve() -> None:
        for missing in (0, 1):
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                data = b"head\r\n\r\n" + b"".join(
                    b"data: %.9f\n\n" % (time.monotonic() - 0.5) for _ in range(count - missing)
                )
                sock.sendall(data[:-9])
                sock.sendall(data[-9:])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        late = listen(port, 1.0, count)
        assert len(late) == 2
        assert min(late) >= 500
        with pytest.raises(LoadError, match=f"{count - 1} of {count} events arrived"):
            listen(port, 1.0, count)
        thread.join(10)


def test_the_table_has_medians_of_the_rounds() -> None:
    """p50 and p99 of each row, and every round's p99."""
    assert figures([float(number) for number in range(100, 0, -1)]) == (50.0, 99.0)
    found = {Row(0.5, "uvloop", "pounce"): [(1.0, 2.0), (3.0, 9.0), (2.0, 4.0)]}
    assert table(found).splitlines()[2] == "| 0.5 | uvloop | pounce | 2.000 | 4.000 | 2.00 9.00 4.00 |"


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to cores, reads /proc")
@pytest.mark.parametrize("delay", [0.0, 20.0])
def test_events_of_a_server_are_measured(delay: float, tmp_path: Path) -> None:
    """Each takes the relay's delay, and the time between two of them does not come on top."""
    with serving(Row(1.0, "asyncio", "pounce"), tmp_path, delay) as port:
        late = listen(port, 1.0, latency.WARM_UP + 5)
    assert len(late) == 5
    assert min(late) >= delay

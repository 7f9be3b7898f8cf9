"""HTTP/2 with nghttp2's tools: load with h2load, its output and log read and judged; single requests with nghttp."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.load.outcome import SERVED, LoadError, Outcome, percentile

WAIT = 10.0  # seconds
#: Seconds within which each connection must have its turn. In a shorter window a slow server may not get round to all.
TURN = 2.0

_TOTALS = ("total", "started", "done", "succeeded", "failed", "errored", "timeout")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def command(url: str, connections: int, streams: int, seconds: float, log: Path) -> list[str]:
    """The command line: HTTP/2 by prior knowledge or, for https, by ALPN with nothing else on offer."""
    return [
        "h2load", "--duration", f"{round(seconds)}s", "--threads", "1", "--clients", str(connections),
        "--max-concurrent-streams", str(streams), "--npn-list", "h2", "--log-file", str(log), url,
    ]  # fmt: skip


def parse(output: str, log: Iterable[str], least_bytes: int, connections: int, streams: int) -> Outcome:
    """What was found; `log` are the lines of the log file.

    Raises LoadError where h2load could not connect, for requests that failed, were cut off by a connection's end or
    timed out, for another status than 2xx, bodies below `least_bytes`, and connections left unserved for `TURN`.
    """
    totals = counts(output, "requests")
    if not all(name in totals for name in _TOTALS):
        raise LoadError("h2load gave no result")
    done = totals["done"]
    for kind, what in (("failed", "failed"), ("errored", "met errors"), ("timeout", "timed out")):
        if totals[kind]:
            raise LoadError(f"{totals[kind]} requests {what}, {done} were answered")
    if not done:
        raise LoadError("no request was answered")
    # At the end each connection may have a full set of streams open; what is missing beyond that was lost on the way.
    if (lost := totals["started"] - done - connections * streams) > 0:
        raise LoadError(f"{lost} requests were lost, {done} were answered")
    # A status is counted when it comes, its answer when it ends: at the end there are more of the former.
    codes = counts(output, "status codes")
    if wrong := max(done - codes.get("2xx", 0), sum(count for code, count in codes.items() if code != "2xx")):
        raise LoadError(f"{wrong} of {done} answers were not 2xx")
    data = re.search(r"^traffic: .*\((\d+)\) data$", output, re.MULTILINE)
    if data is None or int(data[1]) < done * least_bytes:
        raise LoadError(f"bodies of {int(data[1]) // done if data else 0} bytes, expected at least {least_bytes}")
    seconds = _window(output)
    slowest = re.search(r"^req/s +: +([\d.]+)", output, re.MULTILINE)
    if seconds >= TURN and (slowest is None or not float(slowest[1])):
        raise LoadError(f"it hung: not one answer on some of the {connections} connections")
    latencies = sorted(int(line.split()[2]) / 1e3 for line in log)
    if len(latencies) != done:
        raise LoadError(f"h2load logged {len(latencies)} of {done} answers")
    served = sum(latencies) / 1e3 / seconds  # Little's law
    if seconds >= TURN and served < connections * streams * SERVED:
        raise LoadError(f"it starved streams: {served:.0f} of {connections * streams} were served at a time")
    p50, p99, p999 = (percentile(latencies, share) for share in (0.5, 0.99, 0.999))
    return Outcome(done, seconds, p50, p99, p999)


def counts(output: str, name: str) -> dict[str, int]:
    """From the line `name: 12 this, 34 that`; empty where there is none."""
    line = re.search(rf"^{name}: (.*)$", output, re.MULTILINE)
    return {what: int(count) for count, what in re.findall(r"(\d+) (\w+)", line[1])} if line else {}


def _window(output: str) -> float:
    """The measured time in seconds."""
    found = re.search(r"^finished in ([\d.]+)(us|ms|s|m|h), ", output, re.MULTILINE)
    if found is None or not float(found[1]):
        raise LoadError("h2load gave no duration")
    return float(found[1]) * _UNITS[found[2]]


def probe(case: Case, port: int) -> None:
    """One request, its body compared byte for byte. Raises LoadError if it is wrong, OSError if nobody answers."""
    socket.create_connection(("127.0.0.1", port), timeout=WAIT).close()
    asked = ["nghttp", "--no-verify-peer", "--timeout", f"{WAIT:g}s", url(case, port)]
    try:
        done = subprocess.run(asked, capture_output=True, timeout=WAIT + 5)
    except subprocess.TimeoutExpired:
        raise LoadError("no answer to a single request") from None
    if not done.stdout:  # whatever went wrong, its exit code is 0
        raise ConnectionResetError(done.stderr.decode(errors="replace").strip().partition("\n")[0] or "no answer")
    if not case.is_right(done.stdout):
        raise LoadError(f"the wrong body, {len(done.stdout)} bytes")


def url(case: Case, port: int) -> str:
    """Where the case's resource is."""
    return f"{'https' if case.tls else 'http'}://127.0.0.1:{port}{case.path}"

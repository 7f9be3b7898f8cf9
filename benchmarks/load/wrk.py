"""HTTP/1.1 load with wrk and benchmarks/lua/load.lua; and its answer, read and judged."""

from __future__ import annotations

from pathlib import Path

from benchmarks.load.outcome import SERVED, LoadError, Outcome

SCRIPT = Path(__file__).parent.parent / "lua" / "load.lua"


def command(url: str, words: tuple[str, ...], connections: int, threads: int, seconds: float) -> list[str]:
    """The command line. wrk takes whole seconds only."""
    return [
        "wrk", "--threads", str(threads), "--connections", str(connections), "--duration", f"{round(seconds)}s",
        "--timeout", "10s", "--script", str(SCRIPT), url, "--", *words,
    ]  # fmt: skip


def parse(output: str, status: int, least_bytes: int, connections: int = 1, batch: int = 1) -> Outcome:
    """What was found, where `batch` requests at a time went out on each connection.

    Raises LoadError for socket errors, another status than `status`, too few bytes, and connections left unserved.
    Latencies of pipelined requests are left out: wrk corrects them by an interval that does not know of the batches.
    """
    for line in output.splitlines():
        if line.startswith("result "):
            found = {key: int(value) for key, _, value in (word.partition("=") for word in line.split()[1:])}
            break
    else:
        raise LoadError("wrk gave no result")
    _judge_answers(found, status, least_bytes)
    if found["requests"] < connections * batch:
        raise LoadError(f"it hung: {found['requests']} answers in all, not even one on each connection")
    if batch > 1:
        return Outcome(found["requests"], found["duration_us"] / 1e6, None, None, None)
    served = found["requests"] * found["mean_us"] / found["duration_us"]  # Little's law
    if served < connections * SERVED:
        raise LoadError(f"it starved connections: {served:.0f} of {connections} were served at a time")
    p50, p99, p999 = (found[name] / 1e3 for name in ("p50_us", "p99_us", "p999_us"))
    return Outcome(found["requests"], found["duration_us"] / 1e6, p50, p99, p999)


def _judge_answers(found: dict[str, int], status: int, least_bytes: int) -> None:
    for kind in ("connect", "read", "write"):
        if count := found[f"{kind}_errors"]:
            raise LoadError(f"{count} {kind} errors in {found['requests']} requests")
    if found["timeouts"]:
        raise LoadError(f"{found['timeouts']} requests timed out")
    # wrk counts every status above 399, and nothing else, as an error.
    wrong = abs((found["requests"] if status > 399 else 0) - found["status_errors"])
    if wrong:
        raise LoadError(f"{wrong} of {found['requests']} answers were not {status}")
    if found["bytes"] < found["requests"] * least_bytes:
        raise LoadError(f"answers of {found['bytes'] // found['requests']} bytes, expected at least {least_bytes}")

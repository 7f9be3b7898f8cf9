"""Processor time per bare hello at 8 worker threads is at most 1.10 times that at one worker, taken turn by turn."""

from __future__ import annotations

import statistics
import sys

from benchmarks.threads.running import APPS, running, verdict, wrk

ROUNDS = 7
SECONDS = 3.0

#: Enough for every loop to find work whenever it looks: what is compared is contention, not how often a loop sleeps.
CONNECTIONS = 256


def main() -> None:
    figures: dict[str, list[float]] = {"1": [], "8": []}
    with (
        running(f"{APPS}:hello", "--workers", "1", log_level="warning") as one,
        running(f"{APPS}:hello", "--workers", "8", "--worker-class", "thread", log_level="warning") as eight,
    ):
        for server in (one, eight):
            wrk(server, CONNECTIONS, 1)
        for number in range(ROUNDS):
            for name, server in (("1", one), ("8", eight)):
                load = wrk(server, CONNECTIONS, SECONDS)
                figures[name].append(load.cpu_microseconds)
                print(
                    f"round {number + 1}, {name} worker(s): {load.cpu_microseconds:.1f} µs/request, "
                    f"{load.per_second:.0f} requests/s {load.errors}",
                    file=sys.stderr,
                    flush=True,
                )
    single, many = (statistics.median(figures[name]) for name in ("1", "8"))
    text = f"{many:.1f} µs per request at 8 worker threads, {single:.1f} µs at one: {many / single:.2f} (at most 1.10)"
    verdict([(text, many <= 1.10 * single)])


if __name__ == "__main__":
    main()

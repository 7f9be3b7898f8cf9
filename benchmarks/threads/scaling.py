"""A CPU-bound handler at two workers has at least 1.8 times the throughput of one; and there is one copy of the app.

The promise is for two free cores, so the best rounds are compared: those that other programs have disturbed least.
"""

from __future__ import annotations

import sys

from benchmarks.threads.running import APPS, running, verdict, wrk

ROUNDS = 5
SECONDS = 4.0


def main() -> None:
    one, two = [], []
    for number in range(ROUNDS):
        for workers, figures in (("1", one), ("2", two)):
            with running(f"{APPS}:busy", "--workers", workers, "--worker-class", "thread") as server:
                wrk(server, 16, 0.5)
                figures.append(wrk(server, 16, SECONDS).per_second)
        print(f"round {number + 1}: {one[-1]:.0f} and {two[-1]:.0f} requests/s", file=sys.stderr, flush=True)
    ratio = max(two) / max(one)
    with running(f"{APPS}:who", "--workers", "4", "--worker-class", "thread") as server:
        answers = {server.get().decode() for _ in range(16)}
    processes, threads, ids = (len({answer.split()[field] for answer in answers}) for field in range(3))
    verdict(
        [
            (f"two workers serve {ratio:.2f} times what one does (at least 1.80)", ratio >= 1.8),
            (f"{threads} threads in {processes} process share {ids} copy", (threads, processes, ids) == (4, 1, 1)),
        ]
    )


if __name__ == "__main__":
    main()

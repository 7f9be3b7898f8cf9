"""60 s of load, kept and one-request connections, with a SIGHUP every 5 s and SIGTTIN/SIGTTOU every 7 s: 0 failures.

Then 60 s with `kill -9` of the server process every 10 s: service is back within 2 s, and only what was in flight
fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time

from benchmarks.threads.clients import Clients
from benchmarks.threads.running import APPS, Running, running, verdict

OPTIONS = ("--workers", "4", "--worker-class", "thread")


async def every(seconds: float, *actions: object) -> None:
    """Call one action after the other, so many seconds apart, for ever."""
    while True:
        for action in actions:
            await asyncio.sleep(seconds)
            action()  # type: ignore[operator]


async def change_generations(server: Running, seconds: float) -> Clients:
    clients = Clients(server.port)

    def resize() -> None:
        server.send_signal(signal.SIGTTIN)
        asyncio.get_running_loop().call_later(1.0, server.send_signal, signal.SIGTTOU)

    tasks = [
        asyncio.create_task(every(5, lambda: server.send_signal(signal.SIGHUP))),
        asyncio.create_task(every(7, resize)),
    ]
    await clients.run(seconds)
    for task in tasks:
        task.cancel()
    return clients


async def kill(server: Running, seconds: float) -> tuple[Clients, list[float]]:
    clients = Clients(server.port)
    gaps: list[float] = []

    async def killing() -> None:
        while True:
            await asyncio.sleep(10)
            pid = int((await asyncio.to_thread(server.get)).split()[0])
            begun = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            while True:
                with contextlib.suppress(OSError):
                    if int((await asyncio.to_thread(server.get)).split()[0]) != pid:
                        break
                await asyncio.sleep(0.02)
            gaps.append(time.monotonic() - begun)
            print(f"killed, back after {gaps[-1]:.2f} s", file=sys.stderr, flush=True)

    task = asyncio.create_task(killing())
    await clients.run(seconds)
    task.cancel()
    return clients, gaps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each half")
    seconds = parser.parse_args().seconds
    with running(f"{APPS}:who", *OPTIONS) as server:
        changed = asyncio.run(change_generations(server, seconds))
        generations = server.log.count("Started server process")
    for _, failure in changed.failures[:10]:
        print(failure, file=sys.stderr)
    with running(f"{APPS}:who", *OPTIONS) as server:
        killed, gaps = asyncio.run(kill(server, seconds))
    worst = max(gaps, default=99.0)
    # At most every client has a request in flight when the process is killed; the one that asks here is no client.
    allowed = 32 * len(gaps)
    verdict(
        [
            (
                f"{len(changed.failures)} of {changed.answered} requests failed over {generations} generations (0)",
                not changed.failures and generations > seconds / 10,
            ),
            (f"{len(gaps)} times killed, back within {worst:.2f} s each time (at most 2)", worst <= 2.0),
            (
                f"{len(killed.failures)} of {killed.answered} failed, {allowed} could be in flight",
                len(killed.failures) <= allowed,
            ),
        ]
    )


if __name__ == "__main__":
    main()

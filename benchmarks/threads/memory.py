"""A FastAPI app at 8 workers takes at most a quarter of uvicorn's 8 processes (proportional memory, whole tree).

Needs fastapi and uvicorn beside pounce.
"""

from __future__ import annotations

import time

from benchmarks.procfs import memory
from benchmarks.threads.running import running, verdict, wrk

APP = "benchmarks.threads.fastapi_app:app"


def footprint(server: str, *options: str) -> float:
    """MiB after some load."""
    with running(APP, "--workers", "8", *options, server=server, log_level="warning") as process:
        time.sleep(3)  # uvicorn answers before all its processes are up
        wrk(process, 64, 3)
        return memory(process.pid) / 2**20


def main() -> None:
    pounce = footprint("pounce")
    uvicorn = footprint("uvicorn")
    text = (
        f"{pounce:.0f} MiB with 8 worker threads, {uvicorn:.0f} MiB with uvicorn's 8 processes: {pounce / uvicorn:.2f}"
    )
    verdict([(f"{text} (at most 0.25)", pounce <= uvicorn / 4)])


if __name__ == "__main__":
    main()

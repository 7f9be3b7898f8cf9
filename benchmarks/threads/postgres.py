"""Three FastAPI apps with an asyncpg pool on a real PostgreSQL, four workers, `--worker-class auto`: 0 errors each.

`app.state.pool` set by the lifespan falls back to processes and says why; `yield {"pool": pool}` and a factory run in
threads. Needs fastapi, asyncpg and Debian's postgresql package (only its programs: the server is one of our own in a
temporary directory, on a unix socket).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.threads.clients import Clients
from benchmarks.threads.running import running, verdict

#: PostgreSQL refuses to run as root.
USER = "postgres"

#: Name, options, and whether threads serve it.
APPS = (
    ("benchmarks.threads.postgres_apps:with_app_state", (), False),
    ("benchmarks.threads.postgres_apps:with_lifespan_state", (), True),
    ("benchmarks.threads.postgres_apps:factory", ("--factory",), True),
)


@contextlib.contextmanager
def postgres() -> Iterator[Path]:
    """A fresh database server; yields the directory of its socket."""
    candidates = (
        [found, *Path("/usr/lib/postgresql").glob("*/bin/initdb")]
        if (found := shutil.which("initdb"))
        else [*Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    )
    if not candidates:
        sys.exit("There is no PostgreSQL here: apt install postgresql")
    programs = Path(candidates[-1]).parent
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        as_user: dict[str, str] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
            as_user = {"user": USER}
        folder.chmod(0o755)
        data = folder / "data"
        initdb = [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)  # type: ignore[call-overload]
        start = [programs / "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        server = subprocess.Popen(start, stderr=subprocess.DEVNULL, cwd=folder, **as_user)  # type: ignore[call-overload]
        try:
            ready = [programs / "pg_isready", "-h", folder, "-q"]
            while subprocess.run(ready, check=False).returncode:
                if server.poll() is not None:
                    sys.exit("PostgreSQL does not start.")
            yield folder
        finally:
            server.terminate()
            server.wait(30)


async def ask(port: int, requests: int) -> Clients:
    """At least so many requests, over 24 connections of both kinds."""
    clients = Clients(port, count=24)
    task = asyncio.create_task(clients.run(600))
    while clients.answered + len(clients.failures) < requests:
        await asyncio.sleep(0.05)
    clients.stop()
    await task
    return clients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="to each app")
    requests = parser.parse_args().requests
    checks = []
    with postgres() as folder:
        os.environ["TEST_DSN"] = f"postgresql://tester@/postgres?host={folder}"
        for app, options, is_threaded in APPS:
            with running(app, "--workers", "4", "--worker-class", "auto", *options) as server:
                clients = asyncio.run(ask(server.port, requests))
                who = {server.get("/who").decode() for _ in range(32)}
                log = server.log
            for _, failure in clients.failures[:5]:
                print(failure, file=sys.stderr)
            processes = len({answer.split()[0] for answer in who})
            threads = len({answer.split()[1] for answer in who})
            errors = log.count("Traceback") + len(clients.failures)
            name = app.rpartition(":")[2]
            where = f"{threads} threads of {processes} process(es)"
            checks.append((f"{name}: {errors} errors in {clients.answered} requests, on {where}", errors == 0))
            if is_threaded:
                checks.append((f"{name}: runs in threads", (processes, threads) == (1, 4)))
            else:
                why = next((line for line in log.splitlines() if "Running processes instead of threads" in line), "")
                checks.append((f"{name}: falls back to processes: {why}", "app.state.pool" in why and processes > 1))
    verdict(checks)


if __name__ == "__main__":
    main()

"""One measurement: start a server, check its answers, warm it up, load it for a window, read what that cost."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import procfs
from benchmarks.cases import Case
from benchmarks.environments import CHECKOUT, Installed
from benchmarks.load import http, http2, websocket, wrk
from benchmarks.load.outcome import LoadError, Outcome
from benchmarks.process import ServerProcess, free_port, on_cores
from benchmarks.results import Sample
from benchmarks.servers import Launch

WARM_UP = 1.0  # seconds
KEEP_ALIVE = 75  # seconds, where connections are to stay idle


@dataclass(frozen=True)
class Cores:
    """Which cores the server and the load generator run on, with one worker; with more, both have all."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def available(cls) -> Cores:
        """The first for the server, the others for the load; one core is shared."""
        first, *others = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(others or {first}))

    def of_server(self, case: Case) -> set[int]:
        return set(self.server if case.workers == 1 else self.server | self.load)

    def of_load(self, case: Case) -> set[int]:
        return set(self.load if case.workers == 1 else self.server | self.load)


@dataclass(frozen=True)
class Certificate:
    """The files of the certificate for the TLS case."""

    chain: Path
    key: Path

    @classmethod
    def issued(cls, folder: Path) -> Certificate:
        """A new one for 127.0.0.1 (the key in PKCS#8, which granian wants). Raises ImportError without trustme."""
        import trustme
        from cryptography.hazmat.primitives import serialization

        leaf = trustme.CA().issue_cert("127.0.0.1")
        made = cls(folder / "chain.pem", folder / "key.pem")
        made.chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made


@dataclass(frozen=True)
class _Times:
    """Processor times up to a moment (or between two), in seconds: of the server, of the load, of the machine."""

    server: float
    load: float
    machine: float
    clock: float

    @classmethod
    def now(cls, pid: int) -> _Times:
        # Ours is of the load too: we read what the generator found.
        used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
        load = sum(found.ru_utime + found.ru_stime for found in used)
        return cls(procfs.cpu_seconds(pid), load, procfs.busy_seconds(), time.perf_counter())

    def since(self, before: _Times) -> _Times:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(before), strict=True)
        return _Times(*(after - earlier for after, earlier in pairs))

    @property
    def foreign(self) -> float:
        """The share of all processors that went to other processes."""
        return max(0.0, self.machine - self.server - self.load) / (self.clock * (os.cpu_count() or 1))


def measure(case: Case, installed: Installed, seconds: float, cores: Cores, certificate: Certificate | None) -> Sample:
    """One measurement, of `seconds` or what the case needs. Raises LoadError where the server fails the case."""
    port = free_port()
    launch = Launch(
        python=installed.python,
        app=case.app,
        port=port,
        workers=case.workers,
        access_log=case.access_log,
        websocket=bool(case.message_size),
        pipelined=case.batch > 1,
        http2=bool(case.streams),
        floor=case.floor,
        keep_alive=KEEP_ALIVE if case.idle else None,
        certificate=certificate.chain if certificate and case.tls else None,
        key=certificate.key if certificate and case.tls else None,
    )
    command = installed.server.command(launch)
    with (
        tempfile.TemporaryDirectory(prefix="pounce-bench-") as folder,
        ServerProcess(command, installed.environ, Path(folder), cores.of_server(case)) as server,
    ):
        server.await_ready(lambda: _probe(case, port))
        with http.IdleConnections(port, case.idle) as idle:
            _load(case, port, WARM_UP, cores)
            before = _Times.now(server.pid)
            outcome = _load(case, port, case.window(seconds), cores)
            spent = _Times.now(server.pid).since(before)
            memory = procfs.memory(server.pid)
            idle.check()
        try:
            _probe(case, port)
        except OSError as exc:
            raise LoadError(f"no answer after the load: {exc}") from None
        if case.access_log:
            _count_lines(server.log, outcome.requests)
    return Sample(
        requests_per_second=outcome.requests / outcome.seconds,
        cpu_us=spent.server / outcome.requests * 1e6,
        p50=outcome.p50,
        p99=outcome.p99,
        p999=outcome.p999,
        memory=memory,
        foreign=spent.foreign,
    )


def _probe(case: Case, port: int) -> None:
    if case.message_size:
        websocket.run(port, case.message_size, connections=1, seconds=0.05)
    elif case.streams:
        http2.probe(case, port)
    else:
        http.probe(case, port)


def _load(case: Case, port: int, seconds: float, cores: Cores) -> Outcome:
    if case.message_size:
        return _load_websocket(case, port, seconds, cores)
    if case.streams:
        return _load_http2(case, port, seconds, cores)
    threads = min(case.workers, len(cores.of_load(case)))
    url = f"{'https' if case.tls else 'http'}://127.0.0.1:{port}{case.path}"
    output = _run(wrk.command(url, case.load, case.connections, threads, seconds), seconds, case, cores)
    return wrk.parse(output, case.status, case.least_bytes, case.connections, case.batch)


def _load_http2(case: Case, port: int, seconds: float, cores: Cores) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="pounce-bench-") as folder:
        log = Path(folder) / "requests.log"
        url = http2.url(case, port)
        output = _run(http2.command(url, case.connections, case.streams, seconds, log), seconds, case, cores)
        with open(log) as lines:
            return http2.parse(output, lines, case.least_bytes, case.connections, case.streams)


def _load_websocket(case: Case, port: int, seconds: float, cores: Cores) -> Outcome:
    words = [str(word) for word in (port, case.message_size, case.connections, seconds)]
    found = json.loads(_run([sys.executable, "-m", "benchmarks.load.websocket", *words], seconds, case, cores))
    if "error" in found:
        raise LoadError(found["error"])
    return Outcome(**found)


def _run(command: list[str], seconds: float, case: Case, cores: Cores) -> str:
    with on_cores(cores.of_load(case)):
        try:
            done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=seconds + 30)
        except subprocess.TimeoutExpired:
            raise LoadError("the load generator did not come to an end") from None
    if not done.stdout.strip():
        raise LoadError(f"the load generator failed: {done.stderr.strip().rpartition(chr(10))[2]}")
    return done.stdout


def _count_lines(log: Path, requests: int) -> None:
    with open(log, "rb") as stream:
        lines = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    if lines < requests:
        raise LoadError(f"{lines} lines of access log for {requests} requests")

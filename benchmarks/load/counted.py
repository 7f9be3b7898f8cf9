"""An exact number of requests with h2load, over HTTP/1.1 or HTTP/2: many targets, and every answer accounted for.

The targets of a batch are its own, and so are the values of its header fields: a server that keeps what it sees of
either would grow with every batch.
"""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.http2 import counts
from benchmarks.load.outcome import LoadError

#: For GET, in turns; the third is a 404. `soak_app` serves them.
TARGETS = ("/hello?n={}&page=1", "/fields?n={}", "/missing/{}", "/chunked?n={}", "/cookie?n={}")
POSTED = ("/echo?n={}",)
MISSING = 2  # its place in TARGETS

#: A batch may take so many seconds, and more for its requests at so many a second.
PATIENCE, SLOWEST = 30.0, 200.0

BODY = b'{"name": "something small", "price": 12.5}' * 6


@dataclass(frozen=True)
class Batch:
    """So many requests in all over so many connections. `serial` tells it from all others of a run."""

    serial: int
    requests: int
    connections: int
    streams: int = 0  # at a time on each connection; 0: HTTP/1.1
    posts: bool = False

    @property
    def targets(self) -> list[str]:
        """As many as the connection with the most requests sends: each connection begins with the first."""
        most = -(-self.requests // self.connections)
        kinds = itertools.cycle(POSTED if self.posts else TARGETS)
        return [kind.format(f"{self.serial}-{number}") for number, kind in zip(range(most), kinds, strict=False)]

    @property
    def missing(self) -> int:
        """How many of the answers have to be 404."""
        if self.posts:
            return 0
        each, more = divmod(self.requests, self.connections)
        shares = [each + 1] * more + [each] * (self.connections - more)
        return sum((share + len(TARGETS) - 1 - MISSING) // len(TARGETS) for share in shares)

    def command(self, port: int, folder: Path) -> list[str]:
        """The command line; writes its files to `folder`."""
        listed = folder / "targets"
        listed.write_text("".join(f"http://127.0.0.1:{port}{target}\n" for target in self.targets))
        words = [
            "h2load", "--requests", str(self.requests), "--clients", str(self.connections), "--threads", "1",
            "--input-file", str(listed),
            "--header", f"cookie: session={self.serial:032}", "--header", f"x-batch-{self.serial}: {self.serial}",
            "--header", f"user-agent: soak/{self.serial}",
        ]  # fmt: skip
        words += ["--max-concurrent-streams", str(self.streams)] if self.streams else ["--h1"]
        if self.posts:
            (folder / "body").write_bytes(BODY)
            words += ["--data", str(folder / "body")]
        return words

    def check(self, output: str) -> None:
        """Raises LoadError unless every request was answered, and with the status that it must have."""
        totals = counts(output, "requests")
        if not totals:
            raise LoadError("h2load gave no result")
        done = totals.get("done", 0)
        for kind, what in (("errored", "met errors"), ("timeout", "timed out")):
            if totals.get(kind):
                raise LoadError(f"{totals[kind]} requests {what}, {done} were answered")
        if done != self.requests:
            raise LoadError(f"{done} of {self.requests} requests were answered")
        found = counts(output, "status codes")
        wanted = {"2xx": self.requests - self.missing, "3xx": 0, "4xx": self.missing, "5xx": 0}
        if found != wanted:
            raise LoadError(f"answers by status: {found}, expected {wanted}")


def send(batch: Batch, port: int, folder: Path) -> None:
    """Run it. Raises LoadError where it is not served rightly, or takes longer than any server may."""
    limit = PATIENCE + batch.requests / SLOWEST
    try:
        done = subprocess.run(batch.command(port, folder), capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        raise LoadError(f"no end of {batch.requests} requests within {limit:g} seconds") from None
    batch.check(done.stdout)

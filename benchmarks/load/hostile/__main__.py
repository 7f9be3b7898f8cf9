"""`python -m benchmarks.load.hostile KIND PORT COUNT RATE SECONDS PATIENCE`: a crowd; one line of JSON at the end.

A program of its own, which yields to every other on its core: the well-behaved client there measures the server.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys

from benchmarks.load.hostile.client import crowd
from benchmarks.load.hostile.kinds import BY_NAME


def main(argv: list[str]) -> None:
    """See the module."""
    os.nice(19)
    kind, port, count, *figures = argv
    rate, seconds, patience = map(float, figures)
    address = ("127.0.0.1", int(port))
    fates = asyncio.run(crowd(BY_NAME[kind], address, int(count), rate, seconds, patience))
    print(json.dumps(dataclasses.asdict(fates)))


if __name__ == "__main__":
    main(sys.argv[1:])

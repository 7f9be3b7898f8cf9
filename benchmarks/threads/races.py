"""60 s of stress: no exception, no leaked thread, socket or task, every accepted request answered exactly once."""

from __future__ import annotations

import argparse
import sys

from benchmarks.threads.running import verdict
from benchmarks.threads.stress import stress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    report = stress(options.seconds, options.seed)
    for problem in report.problems[:20]:
        print(problem, file=sys.stderr)
    text = (
        f"{report.servers} servers, {report.answered} requests, {report.websockets} websockets, "
        f"{report.resets} resets: {len(report.problems)} problems (0)"
    )
    verdict([(text, not report.problems)])


if __name__ == "__main__":
    main()

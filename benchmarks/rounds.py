"""Cases measured round by round: every server once in each, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence

import click

from benchmarks.cases import Case
from benchmarks.environments import Installed
from benchmarks.load.outcome import LoadError
from benchmarks.measure import Certificate, Cores, measure
from benchmarks.results import Report


def run(
    chosen: Sequence[Case], peers: Sequence[Installed], rounds: int, seconds: float, certificate: Certificate | None
) -> Report:
    """Measure case by case, and round by round within: each round has every server once, each time another first."""
    report = Report()
    cores = Cores.available()
    takers = {case.name: [peer for peer in peers if case.takes(peer.server)] for case in chosen}
    total = rounds * sum(len(found) for found in takers.values())
    with click.progressbar(
        length=total, label="measuring", file=sys.stderr, item_show_func=lambda item: item or ""
    ) as progress:
        for case in chosen:
            for peer in takers[case.name]:
                report.row(case.name, peer.server.name)  # in the order of the servers, whoever is measured first
            for number in range(rounds):
                began = time.time()
                first = number % len(takers[case.name]) if takers[case.name] else 0
                for peer in takers[case.name][first:] + takers[case.name][:first]:
                    row = report.row(case.name, peer.server.name)
                    progress.current_item = f"{case.name}: {peer.server.name}"
                    progress.render_progress()
                    if row.failure is None:
                        try:
                            sample = measure(case, peer, seconds, cores, certificate)
                            row.samples.append(dataclasses.replace(sample, round=began))
                        except LoadError as exc:
                            row.failure = str(exc)
                    progress.update(1)
    return report

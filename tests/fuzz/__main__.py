"""`python -m tests.fuzz WIRE`: new inputs for a while, and what is wrong with what becomes of them.

    python -m tests.fuzz http1                       all parsers, ten minutes
    python -m tests.fuzz websocket-wsproto --minutes 1 --seed 7
    python -m tests.fuzz --replay FILE               a file of tests/corpus/connection, on all implementations
    python -m tests.fuzz --list                      the names

The inputs are the same for the same seed (one is drawn, and printed, where none is given). A finding is made small,
saved as a file of tests/corpus, and shown with the command that runs it again; the suite does, too, from then on. What
is like one that was found already is only counted. Exit code 1: there are findings; 2: no such wire; else 0.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import secrets
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz import cases, connections
from tests.fuzz.kinds import Kind, known_bytes, named, names
from tests.fuzz.minimise import minimised

#: Seconds for making a finding small.
_MINIMISE_SECONDS = 20.0


def likeness(fault: str) -> str:
    """What findings of one cause have in common: their words, without numbers and addresses."""
    return re.sub(r"0x[0-9a-f]+|\d+|b'.*'|\{.*|\[.*", "~", fault)[:160]


def run(kinds: tuple[Kind, ...], seconds: float, seed: int) -> int:
    """Returns how many findings there are that are not like one another."""
    others = known_bytes()
    found: dict[str, int] = {}
    count, begun = 0, time.monotonic()
    told = begun
    while (now := time.monotonic()) < begun + seconds:
        if now - told > 60:
            told = now
            print(f"{count} inputs, {count / (now - begun):.0f} a second, {len(found)} findings", flush=True)
        number = count
        kind = kinds[number % len(kinds)]
        # Each kind is given the same inputs: only what depends on the kind is another.
        given = kind.make(random.Random(f"{seed} {number // len(kinds)}"), others)
        count += 1
        for fault in kind.faults(given):
            name = f"{kind.name} {likeness(fault)}"
            found[name] = found.get(name, 0) + 1
            if found[name] == 1:
                report(kind, given, fault, f"seed {seed}, input {number}")
    spent = time.monotonic() - begun
    print(f"seed {seed}: {count} inputs in {spent:.0f} s, {count / spent:.0f} a second; {len(found)} findings")
    for name, times in found.items():
        print(f"  {times} x {name}")
    return len(found)


def report(kind: Kind, given: Any, fault: str, where: str) -> None:
    """Make it small, save it and say so."""
    like = likeness(fault)

    def shows(candidate: Any) -> bool:
        return any(likeness(one) == like for one in kind.faults(candidate))

    # A client that was not answered: whatever is left of it would not be, either.
    small = given if fault.startswith("unanswered") else minimised(given, kind.smaller, shows, _MINIMISE_SECONDS)
    data = kind.write(small)
    kind.folder.mkdir(exist_ok=True)
    path = kind.folder / f"{kind.name}-{hashlib.sha1(data).hexdigest()[:8]}"
    path.write_bytes(data)
    fault = next((one for one in kind.faults(small) if likeness(one) == like), fault)
    print(f"\n{kind.name} ({where}): {fault[:3000]}\n  {path}\n  python -m tests.fuzz --replay {path}", flush=True)


def replay(path: Path) -> list[str]:
    """What is wrong with a file of a corpus."""
    for name in ("http1-parsers", "http2-wires"):
        [kind] = named(name)
        if path.resolve().parent == kind.folder:
            return [f"{name}: {fault}" for fault in kind.faults(kind.read(path.read_bytes()))]
    case = cases.read(path.read_text())
    targets = connections.TARGETS[case.wire]
    return [f"{target}: {fault}" for target in targets for fault in connections.run(case, target)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("wire", nargs="?")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(names()))
        return 0
    if options.replay is not None:
        faults = replay(options.replay)
        print("\n".join(faults) or "nothing is wrong")
        return int(bool(faults))
    if options.wire not in names():
        print(f"python -m tests.fuzz: {options.wire!r} is not one of: {', '.join(names())}", file=sys.stderr)
        return 2
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    print(f"{options.wire}: {options.minutes:g} minutes, seed {seed}", flush=True)
    return int(run(named(options.wire), options.minutes * 60, seed) > 0)


if __name__ == "__main__":
    sys.exit(main())

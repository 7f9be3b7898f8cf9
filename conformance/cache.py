"""Where fetched things live: `$POUNCE_CACHE`, else `~/.cache/pounce-conformance`; and the lock for building them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


class SetupError(Exception):
    """The replay could not be set up: no index, a wrong checksum, an interpreter that does not run."""


def cache_dir() -> Path:
    """The cache folder, made if need be."""
    given = os.environ.get("POUNCE_CACHE")
    base = Path(given).absolute() if given else Path.home() / ".cache" / "pounce-conformance"
    base.mkdir(parents=True, exist_ok=True)
    return base


@contextlib.contextmanager
def building(name: str) -> Iterator[None]:
    """Hold the lock of that name, so that two replays started together build a thing once."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock, two replays must not be started together there
        yield
        return
    with open(cache_dir() / f"{name}.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield

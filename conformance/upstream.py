"""uvicorn's sdist: fetched from the package index with pip, checked against the pinned sha256, unpacked twice.

Once whole (the reference), once without its `uvicorn` package: pytest puts the folder above `tests/` on `sys.path`,
where the real package would win over the shim.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from conformance.cache import SetupError, building, cache_dir


@dataclass(frozen=True)
class Upstream:
    """The unpacked sdist: `reference` holds uvicorn and its tests, `tests` only its tests and their settings."""

    version: str
    reference: Path
    tests: Path


def upstream(version: str, sha256: str) -> Upstream:
    """Fetch (once) and unpack uvicorn's sdist. Raises SetupError if the index has it not, or another one."""
    name = f"uvicorn-{version}"
    folder = cache_dir() / f"{name}-{sha256[:12]}"
    found = Upstream(version, folder / "reference", folder / "tests-only")
    with building(name):
        archive = folder / f"{name}.tar.gz"
        if not archive.exists():
            folder.mkdir(parents=True, exist_ok=True)
            download(version, sha256, archive)
        check(archive, sha256)
        for target in (found.reference, found.tests):
            if not target.exists():
                unpack(archive, name, target, everything=target is found.reference)
    return found


def check(archive: Path, sha256: str) -> None:
    """Raise SetupError unless the file has this hash."""
    actual = hashlib.sha256(archive.read_bytes()).hexdigest()
    if actual != sha256:
        raise SetupError(f"{archive} has sha256 {actual}, pins.toml says {sha256}")


def download(version: str, sha256: str, archive: Path) -> None:
    """Have pip fetch the sdist. pip checks the hash too, before it looks into the archive."""
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"uvicorn=={version} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--require-hashes", "--no-binary", "uvicorn", "--dest", scratch, "--requirement", str(wanted)]
        done = subprocess.run(command, capture_output=True, text=True)
        fetched = Path(scratch, archive.name)
        if done.returncode or not fetched.exists():
            raise SetupError(f"pip could not fetch uvicorn {version}:\n{done.stdout}{done.stderr}")
        fetched.replace(archive)


def unpack(archive: Path, name: str, target: Path, *, everything: bool) -> None:
    """Unpack the archive's top folder as `target`, with or without the `uvicorn` package in it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        with tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
        if not everything:
            shutil.rmtree(Path(scratch, name, "uvicorn"))
        Path(scratch, name).replace(target)

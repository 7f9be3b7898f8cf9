"""`python -m tests.matrix`: the tests on every supported interpreter that is installed, each in its own environment.

    python -m tests.matrix                    all of them
    python -m tests.matrix 3.12 3.14t         these
    python -m tests.matrix 3.13 -- tests/wire with arguments for pytest

Environments are in `.cache/matrix` and are kept. What has no release for an interpreter is left out and named: tests
that need it are skipped. Prints at the end what ran, what failed and what is not installed. Exit code 1: one failed; 2:
an unknown interpreter; else 0.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t")

#: Whether it is what it is called: shims of version managers only look as if.
ASK = """
import sys, sysconfig
print('%d.%d' % sys.version_info[:2] + 't' * bool(sysconfig.get_config_var('Py_GIL_DISABLED')))
"""


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter may be: on PATH, among pyenv's and uv's, or named by $PYTHON and $PYTHON_FT."""
    for name in (os.environ.get("PYTHON"), os.environ.get("PYTHON_FT"), f"python{version}"):
        if name and (found := shutil.which(name)):
            yield Path(found)
    home = Path.home()
    kind = "+freethreaded*" if version.endswith("t") else ""
    number, name = version.rstrip("t"), f"bin/python{version}"
    yield from sorted((home / ".pyenv/versions").glob(f"{number}*/{name}"), reverse=True)
    yield from sorted((home / ".local/share/uv/python").glob(f"cpython-{number}.*{kind}/{name}"), reverse=True)


def find(version: str) -> Path | None:
    """The first that runs and is of this version."""
    for path in candidates(version):
        asked = subprocess.run([path, "-c", ASK], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.strip() == version:
            return path
    return None


def environment(version: str, interpreter: Path) -> tuple[Path, list[str]]:
    """An interpreter with everything installed, and what could not be."""
    folder = ROOT / ".cache" / "matrix" / version
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-U", "pip>=25.1"], check=True)
    whole = [*pip, "-e", ".[standard]", "--group", "dev"]
    if subprocess.run(whole, cwd=ROOT, stderr=subprocess.DEVNULL).returncode == 0:
        return python, []
    subprocess.run([*pip, "-e", "."], cwd=ROOT, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["optional-dependencies"]["standard"], *project["dependency-groups"]["dev"]]
    return python, [
        requirement
        for requirement in wanted
        if subprocess.run([*pip, "--only-binary", ":all:", requirement], stderr=subprocess.DEVNULL).returncode
    ]


def run(version: str, arguments: list[str]) -> tuple[str, bool]:
    """How it went, in words, and whether it failed."""
    interpreter = find(version)
    if interpreter is None:
        return "not installed", False
    begun = time.monotonic()
    try:
        python, missing = environment(version, interpreter)
    except subprocess.CalledProcessError as exc:
        return f"FAILED: {exc}", True
    environ = {**os.environ, "PYTHON_GIL": "0"} if version.endswith("t") else dict(os.environ)
    code = subprocess.run([python, "-m", "pytest", "-q", *(arguments or ["-n", "2"])], cwd=ROOT, env=environ).returncode
    without = f", without {', '.join(missing)}" if missing else ""
    outcome = "passed" if code == 0 else f"FAILED (exit code {code})"
    return f"{outcome}, {time.monotonic() - begun:.0f} s{without} ({interpreter})", code != 0


def main() -> int:
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    versions, arguments = words[:end] or list(VERSIONS), words[end + 1 :]
    if unknown := [version for version in versions if version not in VERSIONS]:
        print(f"tests.matrix: {unknown[0]!r} is not one of: {', '.join(VERSIONS)}", file=sys.stderr)
        return 2
    outcomes = {}
    for version in versions:
        print(f"\n=== {version}", flush=True)
        outcomes[version] = run(version, arguments)
    print("\n=== Matrix")
    for version, (outcome, _) in outcomes.items():
        print(f"{version:<6} {outcome}")
    return int(any(failed for _, failed in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())

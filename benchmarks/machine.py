"""What machine this is, in a line; and whether the tools that a run needs are there."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Collection
from pathlib import Path

#: Tool to the Debian package that has it.
TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "nghttp": "nghttp2-client"}


def machine() -> str:
    """Processor, cores, memory, kernel."""
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release().partition('-')[0]}"


def missing_tool(needed: Collection[str]) -> str | None:
    """What to say of the first of the needed tools that is not installed, None if all are."""
    for tool, package in TOOLS.items():
        if tool in needed and shutil.which(tool) is None:
            return f"{tool} is not installed (Debian package: {package})"
    return None

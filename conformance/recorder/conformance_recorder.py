"""A pytest plugin that writes the outcome of every test as JSON; loaded with `-p` into the replay's environment.

Imports nothing of this repository: it runs under the interpreter that is being checked. `CONFORMANCE_RESULTS` names the
file to write; `CONFORMANCE_HTTP`, if set, leaves out the tests that are parametrised for another HTTP parser.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

#: How a test's id spells each HTTP parser: by option name, or by uvicorn's class where a class is the parameter.
HTTP_IDS = {"h11": "h11", "httptools": "httptools", "zttp": "zttp"}
HTTP_IDS |= {"H11Protocol": "h11", "HttpToolsProtocol": "httptools", "ZttpProtocol": "zttp"}


def http_parser_of(test: str) -> str | None:
    """The HTTP parser that the id of a parametrised test names, or None."""
    _, _, parameters = test.partition("[")
    for word in parameters.rstrip("]").split("-"):
        if word in HTTP_IDS:
            return HTTP_IDS[word]
    return None


class Recorder:
    """Collects one outcome per test: "failed" if any phase failed, else "skipped", else "passed"."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.tests: dict[str, dict[str, str]] = {}

    def note(self, test: str, outcome: str, message: str) -> None:
        rank = ("passed", "skipped", "failed")
        before = self.tests.get(test)
        if before is None or rank.index(outcome) > rank.index(before["outcome"]):
            self.tests[test] = {"outcome": outcome, "message": message}

    def pytest_runtest_logreport(self, report: Any) -> None:
        # `@group` is what pytest-xdist appends to an id under some ways of distributing.
        self.note(report.nodeid.split("@")[0], report.outcome, message_of(report))

    def pytest_collectreport(self, report: Any) -> None:
        if not report.passed:
            self.note(report.nodeid, report.outcome, message_of(report))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        with open(self.path, "w", encoding="utf-8") as stream:
            json.dump({"exit": int(exitstatus), "tests": self.tests}, stream, indent=1)


def message_of(report: Any) -> str:
    """One line on why a test failed or was skipped."""
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr or "")
    return text.strip().partition("\n")[0]


def pytest_configure(config: pytest.Config) -> None:
    """With pytest-xdist only the controller records; it is told of every worker's tests."""
    # uvicorn's benchmarks carry pytest-codspeed's mark. Without that plugin they are tests like all others.
    config.addinivalue_line("markers", "benchmark: measures speed, where pytest-codspeed is installed")
    path = os.environ.get("CONFORMANCE_RESULTS")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(path), "conformance-recorder")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is parametrised for another HTTP parser than the one asked for."""
    wanted = os.environ.get("CONFORMANCE_HTTP")
    if wanted:
        out = [item for item in items if http_parser_of(item.nodeid) not in (None, wanted)]
        items[:] = [item for item in items if item not in out]
        config.hook.pytest_deselected(items=out)

"""An input that shows a finding, made smaller as long as it shows the same."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.fuzz.cases import Case


def shorter(whole: Any) -> Iterator[Any]:
    """Bytes or a list without a half, a quarter, ..., without one."""
    size = len(whole)
    while size:
        for at in range(0, len(whole), size):
            yield whole[:at] + whole[at + size :]
        size //= 2


def smaller(case: Case) -> Iterator[Case]:
    """Cases with less in them."""
    for events in shorter(case.events):
        yield dataclasses.replace(case, events=events)
    for name, usual in (("settings", {}), ("sweeps", False), ("tls", False), ("auto", False)):
        if getattr(case, name) != usual:
            yield dataclasses.replace(case, **{name: usual})
    if case.apps != [{"kind": "echo"}]:
        yield dataclasses.replace(case, apps=[{"kind": "echo"}])
    for apps in shorter(case.apps):
        if apps:
            yield dataclasses.replace(case, apps=apps)
    for at, app in enumerate(case.apps):
        for steps in shorter(app.get("steps", [])):
            apps = [*case.apps[:at], app | {"steps": steps}, *case.apps[at + 1 :]]
            yield dataclasses.replace(case, apps=apps)
    for at, app in enumerate(case.apps):
        for number, step in enumerate(app.get("steps", [])):
            for name in ("body", "bytes", "text"):
                if isinstance(step, dict) and len(step.get(name) or "") > 3:
                    steps = [*app["steps"][:number], step | {name: step[name][:3]}, *app["steps"][number + 1 :]]
                    yield dataclasses.replace(
                        case, apps=[*case.apps[:at], app | {"steps": steps}, *case.apps[at + 1 :]]
                    )
    for at, (kind, data) in enumerate(case.events):
        if kind != "data":
            continue
        if at and case.events[at - 1][0] == "data":
            whole = ("data", case.events[at - 1][1] + data)
            yield dataclasses.replace(case, events=[*case.events[: at - 1], whole, *case.events[at + 1 :]])
        for rest in shorter(data):
            yield dataclasses.replace(case, events=[*case.events[:at], ("data", rest), *case.events[at + 1 :]])


def minimised(
    given: Any, candidates: Callable[[Any], Iterator[Any]], shows: Callable[[Any], bool], seconds: float
) -> Any:
    """The smallest that was found in so many seconds."""
    end = time.monotonic() + seconds
    goes_on = True
    while goes_on:
        goes_on = False
        for candidate in candidates(given):
            if time.monotonic() > end:
                return given
            if shows(candidate):
                given, goes_on = candidate, True
                break
    return given

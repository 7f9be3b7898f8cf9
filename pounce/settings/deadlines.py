"""How long a client may take for what it owes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pounce.settings.group import Group, option
from pounce.settings.kinds import Seconds

_SECONDS = Seconds(optional=True)


@dataclass(frozen=True, slots=True)
class Deadlines(Group):
    """What ends connections that are held open for nothing. Exact to half a second; 0: never."""

    name: ClassVar = "deadlines"
    heading: ClassVar = "Limits"

    head: float = option(
        30,
        Seconds(),
        "Seconds for the head of a request; of the first one from accept, TLS handshake included. 0: no limit.",
        flag="--timeout-head",
    )
    body: float = option(
        0,
        Seconds(),
        "Seconds between two pieces of a request's body while the app waits for the next.  [default: no limit]",
        flag="--timeout-body",
    )
    write: float = option(
        0,
        Seconds(),
        "Seconds that a client may take nothing of what it is sent.  [default: no limit]",
        flag="--timeout-write",
    )
    graceful_streams: float | None = option(
        None,
        _SECONDS,
        "Seconds after a stop until the apps of streaming responses are told http.disconnect.  [default: never]",
        flag="--timeout-graceful-streams",
    )
    lifespan_shutdown: float | None = option(
        None,
        _SECONDS,
        "Seconds for the app's shutdown.  [default: no limit]",
        flag="--timeout-lifespan-shutdown",
    )

"""What a case is: steps of a client, the app behind the server, the server's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Settle:
    """Wait until the server's loop has nothing more to do; what it sent meanwhile has arrived then."""


@dataclass(frozen=True)
class Reached:
    """Wait until the app has come to this point."""

    point: str


@dataclass(frozen=True)
class Release:
    """Let the app go on that waits at this point."""

    point: str


@dataclass(frozen=True)
class HalfClose:
    """Close the client's sending side."""


@dataclass(frozen=True)
class Close:
    """Close the connection."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection (RST)."""


@dataclass(frozen=True)
class AwaitEnd:
    """Wait for the server to end the connection: for what a timer ends."""

    seconds: float = 10.0


@dataclass(frozen=True)
class Reading:
    """Stop to read from the connection, or go on."""

    on: bool


@dataclass(frozen=True)
class Use:
    """What follows happens on this connection; it is opened when it is first used. A case begins on 0."""

    connection: int


SETTLE = Settle()
HALF_CLOSE = HalfClose()
CLOSE = Close()
RESET = Reset()
AWAIT_END = AwaitEnd()

#: Bytes are sent as they are.
Step = bytes | Settle | Reached | Release | HalfClose | Close | Reset | AwaitEnd | Reading | Use


@dataclass(frozen=True)
class Case:
    """One conversation. At its end the runner waits for quiet, looks whether the connections are open, closes them."""

    name: str
    steps: tuple[Step, ...]
    app: str = "hello"
    #: Parameters of the server's `Config`, beside the combination's.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Whether it runs with each WebSocket library, not with one.
    websocket: bool = False


@dataclass(frozen=True)
class Combination:
    """What both servers are made of in one run of a case."""

    http: str
    loop: str
    ws: str

    def __str__(self) -> str:
        return f"{self.http}-{self.loop}-{self.ws}"


def case(name: str, *steps: Step, app: str = "hello", **settings: Any) -> Case:
    """One line of the table of HTTP cases."""
    return Case(name, steps, app, settings)


def websocket_case(name: str, *steps: Step, app: str = "echo", **settings: Any) -> Case:
    """One line of the table of WebSocket cases."""
    return Case(name, steps, app, settings, websocket=True)

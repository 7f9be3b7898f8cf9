"""One input of the fuzzer: what a client, its system and an app do to one connection; as a file, and back."""

from __future__ import annotations

import ast
import pprint
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parents[1] / "corpus"
#: Connections: a `Case` each, named after its wire. Other folders have bytes for the parsers and wires by themselves.
CONNECTIONS = CORPUS / "connection"

#: What happens, and its argument.
#: "data": bytes from the client in one read; "eof": it closes its side; "reset": the transport finds out that it is
#: gone, and tells in the next turn; "lose": the connection is lost now; "slow", "take", "fast": it stops reading, reads
#: so many bytes, reads on; "turns": turns of the loop; "time": seconds; "retire", "shutdown", "stop": the server's.
Event = tuple[str, Any]


@dataclass
class Case:
    """See `CORPUS`."""

    wire: str
    events: list[Event]
    #: What the apps do, one for each exchange, over and over: see `apps`.
    apps: list[dict[str, Any]] = field(default_factory=lambda: [{"kind": "echo"}])
    #: Of the configuration, and in "settings" of its groups.
    settings: dict[str, Any] = field(default_factory=dict)
    #: Whether a worker looks after the connection (deadlines), TLS is spoken (no half-close), `--http2` chooses.
    sweeps: bool = False
    tls: bool = False
    auto: bool = False
    #: Of a client that keeps to the rules, whom nothing befalls: answers it has to get.
    expects: int | None = None

    def data(self) -> bytes:
        """All that the client sends."""
        return b"".join(argument for kind, argument in self.events if kind == "data")


def write(case: Case) -> str:
    """A literal of Python; what is not given is as usual."""
    usual = Case(case.wire, case.events)
    told = {name: value for name, value in asdict(case).items() if value != getattr(usual, name)}
    return pprint.pformat(told | {"wire": case.wire, "events": case.events}, width=118, sort_dicts=False) + "\n"


def read(text: str) -> Case:
    """Raises ValueError for what is no case."""
    told = ast.literal_eval(text)
    if not isinstance(told, dict) or set(told) - {one.name for one in fields(Case)}:
        raise ValueError("not a case")
    return Case(**told)


def kept() -> dict[str, Case]:
    """All of the corpus, by name."""
    return {path.name: read(path.read_text()) for path in sorted(CONNECTIONS.iterdir())}

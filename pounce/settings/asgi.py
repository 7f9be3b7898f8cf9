"""The ASGI specification: which version the scope names, and which extensions are advertised beyond the usual ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pounce.settings.group import Group, option
from pounce.settings.kinds import Names, OneOf

SpecVersion = Literal["2.3", "2.4", "2.5"]


@dataclass(frozen=True, slots=True)
class Asgi(Group):
    """What apps are told of the server. docs/extensions.md says what each extension does."""

    name: ClassVar = "asgi"
    heading: ClassVar = "Protocols"

    spec: SpecVersion = option(
        "2.3",
        OneOf(get_args(SpecVersion)),
        "ASGI HTTP version in the scope. From 2.4 on send() raises OSError once the client has left.",
    )
    extensions: tuple[str, ...] = option(
        (),
        Names(("pathsend", "zerocopysend")),
        "Extensions to advertise, by comma: pathsend, zerocopysend. The app can then send files.",
        flag="--extensions",
    )

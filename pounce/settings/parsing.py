"""How strictly requests are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from pounce.settings.group import Group, option
from pounce.settings.kinds import OneOf

RulesName = Literal["strict", "uvicorn"]


@dataclass(frozen=True, slots=True)
class Parsing(Group):
    """What is no request is refused. docs/strictness.md says what that is."""

    name: ClassVar = "parsing"
    heading: ClassVar = "Protocols"

    rules: RulesName = option(
        "strict",
        OneOf(get_args(RulesName)),
        "How strictly requests are read: the same for every parser and safe, or as uvicorn on that parser.",
        flag="--parsing",
        under_uvicorn="uvicorn",
    )

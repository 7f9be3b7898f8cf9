"""A settings group: a frozen dataclass whose fields are options, each declared once.

A group is one parameter of `Config` and `run`. From a field come its flag, its environment variable, its line in
`--help`, its row in docs/settings.md, its key in pounce.toml and its check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, ClassVar, Self

from pounce import names
from pounce.errors import wrong_value
from pounce.settings.kinds import Kind

_THE_SAME: Any = object()


def option(
    default: Any, kind: Kind, help: str, *, flag: str = "", is_uvicorns: bool = False, under_uvicorn: Any = _THE_SAME
) -> Any:
    """A field of a group.

    `flag`: where it is not --group-field. `is_uvicorns`: it is one of uvicorn's parameters, and has its environment
    variable as well. `under_uvicorn`: the default under the import shim.
    """
    metadata = {"kind": kind, "help": help, "flag": flag, "is_uvicorns": is_uvicorns}
    if under_uvicorn is _THE_SAME:
        return field(default=default, metadata=metadata)
    return field(default_factory=lambda: under_uvicorn if names.product() == "uvicorn" else default, metadata=metadata)


class Group:
    """What the dataclasses of settings have in common. Values may come as strings; wrong ones raise `ValueError`."""

    #: The parameter of `Config` and `run`.
    name: ClassVar[str]
    #: Where `--help` shows its options.
    heading: ClassVar[str]
    #: The field that a value stands for which is neither the group nor a mapping: `http2=True`.
    lead: ClassVar[str | None] = None

    __slots__ = ()

    @classmethod
    def of(cls, given: Any) -> Self:
        """The group as given: itself, a mapping of some of its fields, None for the defaults, or its leading field."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            if cls.lead is None and given is not None:
                raise wrong_value(f"{cls.name} must be a mapping of names to values, not {given!r}")
            given = {cls.lead: given} if cls.lead else {}
        known = [one.name for one in fields(cls)]  # type: ignore[arg-type]
        for key in given:
            if key not in known:
                there_are = f"there are: {', '.join(known)}"
                raise wrong_value(f"There is no setting '{key}' in {cls.name}; {there_are}")
        return cls(**given)

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            called = self.name if one.name == self.lead else f"{self.name}.{one.name}"
            value = one.metadata["kind"].checked(getattr(self, one.name), called)
            object.__setattr__(self, one.name, value)

    def is_off(self) -> bool:
        """Whether the other fields have no effect, since the leading one says no or nothing. None says neither."""
        return self.lead is not None and getattr(self, self.lead) in (False, ())

    def vain(self) -> list[tuple[str, str]]:
        """The settings that have no effect, each with the one that it needs."""
        return [(f"{self.name}.{name}", self.name) for name in self.changed()] if self.is_off() else []

    def changed(self) -> list[str]:
        """The fields that do not have their defaults, but for the leading one."""
        plain = type(self)()
        changed = (one.name for one in fields(self) if getattr(self, one.name) != getattr(plain, one.name))  # type: ignore[arg-type]
        return [name for name in changed if name != self.lead]

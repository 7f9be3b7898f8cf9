"""What a setting may be: its kind and its range, and how it is read where it comes as a string."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from pounce.errors import explanation, wrong_value
from pounce.logs import LOG_LEVELS


class Kind:
    """What a setting may be."""

    #: None is a value of its own, and passes.
    optional = False
    #: What the command shows in place of the value, where click would show something else.
    metavar: str | None = None
    #: Whether the flag may be repeated, and the setting is a list.
    several = False

    #: What follows after "must be".
    words: str = ""

    def read(self, value: Any) -> Any:
        """The value, or what its string stands for. Raises `ValueError` or `TypeError` for anything else."""
        return value

    def checked(self, value: Any, called: str = "") -> Any:
        """`read`, with one sort of error: an explained `ValueError` that says of what, what must be and what is."""
        if value is None and self.optional:
            return None
        try:
            return self.read(value)
        except (AttributeError, TypeError, ValueError, OverflowError) as exc:
            if explanation(exc):
                raise
            raise wrong_value(f"{called} must be {self.words}, not {value!r}".lstrip()) from None


class Integer(Kind):
    """A whole number from `least` to `most`, both included."""

    metavar = "INTEGER"

    def __init__(self, least: int = 0, most: int | None = None, *, optional: bool = False, unit: str = "") -> None:
        self.least = least
        self.most = most
        self.optional = optional
        noun = f"a number of {unit}" if unit else "an integer"
        self.words = f"{noun}, at least {least}" if most is None else f"{noun} from {least} to {most}"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        number = self.number(value)
        # Put this way round, NaN is outside.
        if not self.least <= number <= (math.inf if self.most is None else self.most):
            raise ValueError(value)
        return number

    def number(self, value: Any) -> Any:
        """The number. A float without a fraction passes: 1e6 is a way to write a million."""
        if isinstance(value, str) or (isinstance(value, float) and value.is_integer()):
            return int(value)
        return value if isinstance(value, int) else operator.index(value)


class Seconds(Integer):
    """A number of seconds, fractions included. `whole`: the usual ones are integers, and remain such."""

    def __init__(self, most: int | None = None, *, whole: bool = False, optional: bool = False) -> None:
        super().__init__(0, most, optional=optional, unit="seconds")
        self.whole = whole
        # The command shows uvicorn's, which takes no fractions of what is whole; its `Config` does.
        self.metavar = "INTEGER" if whole else "FLOAT"

    def number(self, value: Any) -> Any:
        """See `Integer`."""
        if not isinstance(value, str) and isinstance(value, int | float):
            return value
        number = float(value)
        return int(number) if self.whole and number.is_integer() else number


class Flag(Kind):
    """True or false. None passes; of what else is no string it counts whether it is empty or 0.

    `undecided`: any other string is as good as None, as uvicorn has it for one setting. `valued`: on the command line
    it is followed by the value.
    """

    optional = True
    words = "true or false"

    #: In any case; the same that click takes, and the empty string.
    STRINGS: ClassVar = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True) | dict.fromkeys(
        ("0", "false", "f", "no", "n", "off", ""), False
    )

    def __init__(self, *, undecided: bool = False, valued: bool = False) -> None:
        self.undecided = undecided
        self.valued = valued

    def read(self, value: Any) -> bool | None:
        """See `Kind`."""
        if not isinstance(value, str):
            return bool(value)
        found: bool | None = self.STRINGS.get(value.strip().lower())
        if found is None and not self.undecided:
            raise ValueError(value)
        return found


class OneOf(Kind):
    """One of a few names or numbers, as they are at the time: the tables of names may be extended."""

    def __init__(self, choices: Collection[Any], *, optional: bool = False) -> None:
        self.choices = choices
        self.optional = optional

    @property
    def words(self) -> str:  # type: ignore[override]  # the table may be extended
        """See `Kind`."""
        *others, last = map(str, self.choices)
        return f"{', '.join(others)} or {last}"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        for choice in self.choices:
            if value == choice:
                return value
            if str(value).strip() == str(choice):  # in a file 2.4 may stand without quotes
                return choice
        raise ValueError(value)


class Text(Kind):
    """A text, or an object as it is. `is_path`: the command asks for a file or directory that exists."""

    def __init__(self, *, several: bool = False, is_path: bool = False) -> None:
        self.several = several
        self.is_path = is_path


class ListOf(Kind):
    """A list whose flag is repeated, and whose values are read one by one."""

    several = True

    def read_one(self, value: Any) -> Any:
        """One value, as `read` has it for all."""
        raise NotImplementedError

    def read(self, value: Any) -> Any:
        """See `Kind`: a tuple. One string is a list of one."""
        return tuple(self.read_one(one) for one in ([value] if isinstance(value, str) else value or ()))


class Names(Kind):
    """A list of names, as such or in one string with commas; each once. `off` and `auto` stand alone: none, all."""

    def __init__(self, choices: Collection[str], *, off: str = "", auto: str = "") -> None:
        self.choices = choices
        self.off = off
        self.auto = auto
        alone = [word for word in (auto, off) if word]
        self.metavar = f"[{'|'.join((*alone, 'LIST'))}]" if alone else "LIST"
        self.words = ", ".join((*alone, f"a list of {', '.join(choices)}"))

    def read(self, value: Any) -> Any:
        """See `Kind`: a tuple."""
        names = value.split(",") if isinstance(value, str) else list(value or ())
        names = [name.strip().lower() for name in names if name.strip()]
        if self.off and names == [self.off]:
            return ()
        if self.auto and names == [self.auto]:
            return (self.auto,)
        if not set(names) <= set(self.choices):
            raise ValueError(value)
        return tuple(dict.fromkeys(names))


class Named(Text):
    """One of the names of a table, or an import string, or an object."""

    def __init__(self, table: Collection[str]) -> None:
        super().__init__()
        self.metavar = f"[{'|'.join(name for name in table if name != 'none')}]"


class LogLevel(Kind):
    """The name of a level, in any case, or its number."""

    optional = True
    words = f"{', '.join(LOG_LEVELS)} or a number"

    def read(self, value: Any) -> Any:
        """See `Kind`. A name stays as it was written."""
        if isinstance(value, str) and value.lower() in LOG_LEVELS:
            return value
        return int(value) if isinstance(value, str) else operator.index(value)


class Headers(Kind):
    """Pairs of a header's name and value."""

    optional = True
    several = True
    metavar = "TEXT"
    words = "a list of pairs of a name and a value, both strings"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        if isinstance(value, str | bytes | Mapping):
            raise TypeError(value)
        pairs = value if isinstance(value, list) else list(value)
        for name, content in pairs:
            if not (isinstance(name, str) and isinstance(content, str)):
                raise TypeError(name)
        return pairs

"""What each setting may be, once: its kind and its range, and how it is read where it comes as a string.

`Config` reads its parameters through `read`; the command makes the types of its options from the same table. Settings
without a row (names, paths, functions) are taken as they are. Imports nothing that `pounce --help` can do without.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, get_args

from pounce.config.registry import INTERFACES, LIFESPAN, Http2WireType
from pounce.contracts import WorkerClassType
from pounce.errors import explain, explanation
from pounce.logs import LOG_LEVELS
from pounce.wire.http2_limits import Http2Limits
from pounce.wire.response_fields import bad_in_value, is_token

#: The largest `int` of C, which is what a system call takes.
_INT_MAX = 2**31 - 1


class Kind(Protocol):
    """What a setting may be."""

    @property
    def optional(self) -> bool:
        """Whether None is a value of its own, and passes."""

    @property
    def words(self) -> str:
        """What follows after "must be"."""

    def read(self, value: Any) -> Any:
        """The value, or what its string stands for. Raises `ValueError` or `TypeError` for anything else."""


def _within(number: Any, least: float, most: float | None) -> Any:
    # Put this way round, NaN is outside.
    if not least <= number <= (math.inf if most is None else most):
        raise ValueError(number)
    return number


def _range(noun: str, least: float, most: float | None) -> str:
    return f"{noun}, at least {least}" if most is None else f"{noun} from {least} to {most}"


@dataclass(frozen=True)
class Integer:
    """A whole number from `least` to `most`, both included."""

    least: int = 0
    most: int | None = None
    optional: bool = False
    metavar: ClassVar = "integer"

    @property
    def words(self) -> str:
        """See `Kind`."""
        return _range("an integer", self.least, self.most)

    def read(self, value: Any) -> Any:
        """See `Kind`. A float without a fraction passes: 1e6 is a way to write a million."""
        if isinstance(value, str) or (isinstance(value, float) and value.is_integer()):
            value = int(value)
        return _within(value if isinstance(value, int) else operator.index(value), self.least, self.most)


@dataclass(frozen=True)
class Seconds:
    """A number of seconds, fractions included. `whole`: the usual ones are integers, and remain such."""

    whole: bool = False
    most: int | None = None
    optional: bool = False

    @property
    def metavar(self) -> str:
        """The command shows uvicorn's, which takes no fractions of what is whole; its `Config` does."""
        return "integer" if self.whole else "float"

    @property
    def words(self) -> str:
        """See `Kind`."""
        return _range("a number of seconds", 0, self.most)

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        if isinstance(value, str) or not isinstance(value, int | float):
            value = float(value)
            if self.whole and value.is_integer():
                value = int(value)
        return _within(value, 0, self.most)


@dataclass(frozen=True)
class Flag:
    """True or false. None passes; of what else is no string it counts whether it is empty or 0.

    `undecided`: any other string is as good as None, as uvicorn has it for one setting.
    """

    undecided: bool = False
    optional: ClassVar = True
    words: ClassVar = "true or false"

    #: In any case; the same that click takes, and the empty string.
    STRINGS: ClassVar = {"1": True, "true": True, "t": True, "yes": True, "y": True, "on": True} | {
        "0": False, "false": False, "f": False, "no": False, "n": False, "off": False, "": False
    }  # fmt: skip

    def read(self, value: Any) -> bool | None:
        """See `Kind`."""
        if not isinstance(value, str):
            return bool(value)
        found: bool | None = self.STRINGS.get(value.strip().lower())
        if found is None and not self.undecided:
            raise ValueError(value)
        return found


@dataclass(frozen=True)
class OneOf:
    """One of a few names or numbers, as they are at the time: the tables of names may be extended."""

    choices: Collection[Any]
    optional: bool = False

    @property
    def words(self) -> str:
        """See `Kind`."""
        *others, last = map(str, self.choices)
        return f"{', '.join(others)} or {last}"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        for choice in self.choices:
            if value == choice:
                return value
            if isinstance(value, str) and value.strip() == str(choice):
                return choice
        raise ValueError(value)


class LogLevel:
    """The name of a level, in any case, or its number."""

    optional = True

    @property
    def words(self) -> str:
        """See `Kind`."""
        return f"{', '.join(LOG_LEVELS)} or a number"

    def read(self, value: Any) -> Any:
        """See `Kind`. A name stays as it was written."""
        if isinstance(value, str) and value.lower() in LOG_LEVELS:
            return value
        return int(value) if isinstance(value, str) else operator.index(value)


class Headers:
    """Pairs of a header's name and value."""

    optional = True
    words = "a list of pairs of a name and a value, both strings"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        if isinstance(value, str | bytes | Mapping):
            raise TypeError(value)
        pairs = value if isinstance(value, list) else list(value)
        for name, content in pairs:
            check_header(name, content)
        return pairs


class Limits:
    """The limits of an HTTP/2 connection; None are the defaults."""

    optional = False
    words = "a mapping of names to numbers"

    def read(self, value: Any) -> Http2Limits:
        """See `Kind`. What is wrong with one of them is explained."""
        if not isinstance(value, Http2Limits | Mapping | None):
            raise TypeError(value)
        return Http2Limits.of(value)


def check_header(name: Any, value: Any) -> None:
    """Raise an explained `ValueError` that names the part which cannot be sent; `TypeError` for what is no string."""
    if not (isinstance(name, str) and isinstance(value, str)):
        raise TypeError(name)
    reason = None
    if not is_token(name.encode("utf-8", "surrogateescape")):
        reason = f"The name of a header consists of letters, digits and '-', not {name!r}"
    else:
        try:
            if bad_in_value(value.encode("latin-1")):
                reason = f"The value of the header '{name}' has a control character: {value!r}"
        except UnicodeEncodeError:
            reason = f"The value of the header '{name}' must be in Latin-1, not {value!r}"
    if reason is not None:
        raise explain(ValueError(reason), reason)


_FLAG = Flag()

KINDS: dict[str, Kind] = {
    "interface": OneOf(INTERFACES),
    "lifespan": OneOf(LIFESPAN),
    "factory": _FLAG,
    "reset_contextvars": _FLAG,
    "port": Integer(0, 65535),
    "fd": Integer(0, _INT_MAX, optional=True),
    "backlog": Integer(0, _INT_MAX),
    "workers": Integer(0, optional=True),
    "worker_class": OneOf(get_args(WorkerClassType), optional=True),
    "reload": _FLAG,
    "reload_delay": Seconds(most=10**9),  # what waits for it takes no more than some 10**9, and no infinity
    "http2": _FLAG,
    "http2_wire": OneOf(get_args(Http2WireType)),
    "http2_limits": Limits(),
    "ws_max_size": Integer(0, optional=True),
    "ws_max_queue": Integer(0, optional=True),
    "ws_ping_interval": Seconds(optional=True),
    "ws_ping_timeout": Seconds(optional=True),
    "ws_per_message_deflate": _FLAG,
    "proxy_headers": _FLAG,
    "server_header": _FLAG,
    "date_header": _FLAG,
    "headers": Headers(),
    "h11_max_incomplete_event_size": Integer(0, optional=True),
    "limit_concurrency": Integer(0, optional=True),
    "limit_max_requests": Integer(1, optional=True),
    "limit_max_requests_jitter": Integer(0),
    "timeout_keep_alive": Seconds(whole=True),
    "timeout_notify": Seconds(whole=True),
    "timeout_graceful_shutdown": Seconds(whole=True, optional=True),
    "timeout_worker_healthcheck": Seconds(whole=True),
    "ssl_version": OneOf((2, 3, 4, 5, 17)),  # of Python's ssl module, but for those of clients
    "ssl_cert_reqs": OneOf((0, 1, 2)),
    "log_level": LogLevel(),
    "access_log": _FLAG,
    "use_colors": Flag(undecided=True),
}

#: Settings that have no effect without another one.
NEEDED: dict[str, str] = {
    "http2_wire": "http2",
    "http2_limits": "http2",
    "limit_max_requests_jitter": "limit_max_requests",
    "ssl_keyfile_password": "ssl_certfile",
    "ssl_cert_reqs": "ssl_certfile",
    "ssl_ca_certs": "ssl_certfile",
    "ssl_ciphers": "ssl_certfile",
}


def checked(kind: Kind, value: Any) -> Any:
    """`kind.read`, with one sort of error: a `ValueError` that says what must be and what is, but not of what."""
    try:
        return kind.read(value)
    except (TypeError, ValueError, OverflowError) as exc:
        if explanation(exc):
            raise
        raise ValueError(f"must be {kind.words}, not {value!r}") from None


def read(parameter: str, value: Any, called: str | None = None) -> Any:
    """The value of a setting, from itself or from its string. Raises an explained `ValueError`.

    What `KINDS` does not have, passes. `called` is the name that the error gives it, if it is not the parameter's.
    """
    kind = KINDS.get(parameter)
    if kind is None or (value is None and kind.optional):
        return None
    try:
        return checked(kind, value)
    except ValueError as exc:
        if explanation(exc):
            raise
        line = f"{called or parameter} {exc}"
        raise explain(ValueError(line), line) from None

"""Content codings of responses: which one a client takes, and what codes.

Negotiation is that of RFC 9110 section 12.5.3. Coders are zstd (RFC 8878, with a window of at most 8 MiB: RFC 9659), br
(RFC 7932) and gzip (RFC 1952); what they need is imported when a worker that compresses is made. `Codings` belongs to
one worker. Knows nothing of responses.
"""

from __future__ import annotations

import enum
import importlib
import importlib.util
import os
import stat
import sys
import zlib
from collections.abc import Iterable
from typing import Any, Protocol

from pounce.errors import explain
from pounce.settings.compression import CODINGS

#: Where a coding comes from, the first that is there.
MODULES: dict[str, tuple[str, ...]] = {
    "zstd": ("compression.zstd", "backports.zstd"),
    "br": ("brotli", "brotlicffi"),
    "gzip": ("zlib",),
}

#: Whose import brings the GIL back for the whole process.
_NEEDS_GIL = frozenset(("brotli",))

#: The file beside a file that has its content in this coding.
SUFFIXES = {"zstd": ".zst", "br": ".br", "gzip": ".gz"}

#: Accept-Encoding fields that are remembered, per worker; and bytes beyond which they are not read: no client has so
#: much to say, and reading 64 KiB of commas takes as long as compressing a page.
_MAX_KNOWN = 256
MAX_FIELD_SIZE = 1024

#: zstd contexts that wait for their next use, per worker and kind. One that has coded a large body has some 4 MiB.
_MAX_IDLE = 4


class Use(enum.IntEnum):
    """What a coder is for: its memory depends on it."""

    BODY = 0
    #: A stream of events: there may be thousands of them at a time, which go on for hours.
    EVENTS = 1


_BODY, _EVENTS = Use


class Coder(Protocol):
    """Codes one body, part by part."""

    def add(self, data: bytes) -> bytes:
        """What there is to send, once enough of the body has come together."""

    def flush(self, data: bytes) -> bytes:
        """Everything up to here, so that the client can read it."""

    def finish(self, data: bytes) -> bytes:
        """The rest."""


# Which one


def weights(fields: Iterable[bytes]) -> dict[str, float]:
    """The weight of each coding that Accept-Encoding fields name. One that makes no sense is as good as not there."""
    found: dict[str, float] = {}
    for member in b",".join(fields).decode("latin-1").lower().split(","):
        name, *parameters = (part.strip(" \t") for part in member.split(";"))
        weight: float | None = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip(" \t") == "q":
                weight = _weight(value.strip(" \t"))
        if name and weight is not None:
            name = "gzip" if name == "x-gzip" else name  # RFC 9110 section 8.4.1.3
            found[name] = min(weight, found.get(name, 1.0))  # named twice: never what was refused
    return found


def _weight(text: str) -> float | None:
    """RFC 9110 section 12.4.2: from 0 to 1, with three digits at most."""
    whole, _, digits = text.partition(".")
    if whole not in ("0", "1") or len(digits) > 3 or not (digits or "0").isdecimal() or not text.isascii():
        return None
    weight = float(text)
    return weight if weight <= 1 else None


class Choice:
    """What one client takes of some codings."""

    __slots__ = ("codings", "refuses_identity")

    def __init__(self, fields: Iterable[bytes], offered: Iterable[str]) -> None:
        given = weights(fields)
        any_other = given.get("*", 0.0)
        weight_of = {name: given.get(name, any_other) for name in offered}
        #: Those that it prefers to a body as it is, the best one first; among equals in the order of the server.
        self.codings = sorted(
            (name for name, weight in weight_of.items() if weight and weight >= given.get("identity", 0.0)),
            key=lambda name: -weight_of[name],
        )
        self.refuses_identity = given.get("identity", given.get("*", 1.0)) == 0


# What codes


class Zlib:
    """gzip, by zlib."""

    def __init__(self, level: int, use: Use) -> None:
        # Of a stream of events: 33 KiB of memory for 240.
        window, memory = (29, 6) if use else (31, 8)
        self._zlib = zlib.compressobj(level, zlib.DEFLATED, window, memory)
        self.add = self._zlib.compress

    def flush(self, data: bytes) -> bytes:
        """See `Coder`."""
        return self._zlib.compress(data) + self._zlib.flush(zlib.Z_SYNC_FLUSH)

    def finish(self, data: bytes) -> bytes:
        """See `Coder`."""
        return self._zlib.compress(data) + self._zlib.flush()


class Brotli:
    """br, by brotli or brotlicffi."""

    def __init__(self, library: Any, level: int, use: Use) -> None:
        self._brotli = library.Compressor(quality=level, lgwin=16 if use else 22)

    def flush(self, data: bytes) -> bytes:
        """See `Coder`."""
        return self._brotli.process(data) + self._brotli.flush()  # type: ignore[no-any-return]

    # brotlicffi has room for about as much as it was given just now: nothing of earlier parts may come with it.
    add = flush

    def finish(self, data: bytes) -> bytes:
        """See `Coder`."""
        return self._brotli.process(data) + self._brotli.finish()  # type: ignore[no-any-return]


class Zstd:
    """zstd, in a context that another body may have had before. One that is not finished is not given back."""

    def __init__(self, context: Any, idle: list[Any]) -> None:
        self._context = context
        self._idle = idle

    def add(self, data: bytes) -> bytes:
        """See `Coder`."""
        return self._context.compress(data)  # type: ignore[no-any-return]

    def flush(self, data: bytes) -> bytes:
        """See `Coder`."""
        return self._context.compress(data, self._context.FLUSH_BLOCK)  # type: ignore[no-any-return]

    def finish(self, data: bytes) -> bytes:
        """See `Coder`."""
        context, self._context = self._context, None
        coded: bytes = context.compress(data, context.FLUSH_FRAME)
        _give_back(context, self._idle)
        return coded


def _give_back(context: Any, idle: list[Any]) -> None:
    if len(idle) < _MAX_IDLE:
        idle.append(context)


#: Of a stream of events: 240 KiB of memory for 800, and at most 8 % more bytes.
_ZSTD_OF_EVENTS = {"window_log": 17, "hash_log": 15, "chain_log": 14}


class Codings:
    """The codings of one worker, the preferred one first, and its idle contexts."""

    def __init__(self, wanted: tuple[str, ...], levels: dict[str, int]) -> None:
        """Raises an explained `ModuleNotFoundError` for one that is named and not installed."""
        self.is_auto = wanted == ("auto",)
        libraries = {name: _library(name) for name in (CODINGS if self.is_auto else wanted)}
        #: Those that can be made here.
        self.names = [name for name, library in libraries.items() if library is not None]
        #: Those in which a file may lie beside another one.
        self.of_files = list(libraries)
        self._levels = levels
        self._known: dict[Any, Choice] = {}
        self._brotli = libraries.get("br")
        self._zstd = libraries.get("zstd")
        self._idle: list[Any] = []
        self._idle_of_events: list[Any] = []
        if not self.is_auto:
            require(wanted)

    def choice(self, fields: list[bytes]) -> Choice:
        """What the client takes that has sent these Accept-Encoding fields; kept."""
        key = fields[0] if len(fields) == 1 else tuple(fields)
        known = self._known.get(key)
        if known is None:
            if sum(map(len, fields)) > MAX_FIELD_SIZE:
                return self.choice([])
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = Choice(fields, self.of_files)
        return known

    def coder(self, name: str, use: Use, size: int | None = None) -> Coder:
        """A coder for one body, of a size that may be known."""
        level = self._levels[name]
        if name == "gzip":
            return Zlib(level, use)
        if name == "br":
            return Brotli(self._brotli, level, use)
        if size is None:
            use = _EVENTS  # it may go on for as long; the smaller window costs it some percent
        idle = self._idle_of_events if use is _EVENTS else self._idle
        context = self._taken(idle, level, use)
        if size is not None:
            context.set_pledged_input_size(size)
        return Zstd(context, idle)

    def whole(self, name: str, data: bytes) -> bytes:
        """A body that is there at once."""
        level = self._levels[name]
        if name == "zstd":
            context = self._taken(self._idle, level, _BODY)
            coded: bytes = context.compress(data, context.FLUSH_FRAME)
            _give_back(context, self._idle)
            return coded
        if name == "gzip":
            return zlib.compress(data, level, 31)
        return self._brotli.compress(data, quality=level)  # type: ignore[no-any-return, union-attr]

    def _taken(self, idle: list[Any], level: int, use: Use) -> Any:
        """One of the idle contexts, or a new one. Bodies are coded on threads, too: another one may take the last."""
        try:
            return idle.pop()
        except IndexError:
            return self._context(level, use)

    def _context(self, level: int, use: Use) -> Any:
        zstd: Any = self._zstd
        parameters = {zstd.CompressionParameter.compression_level: level}
        if use is _EVENTS:
            parameters |= {getattr(zstd.CompressionParameter, name): to for name, to in _ZSTD_OF_EVENTS.items()}
        return zstd.ZstdCompressor(options=parameters)


# Where it comes from


def _needs_gil_here(module: str) -> bool:
    """Whether this import would end that the process runs without a GIL."""
    is_off = not getattr(sys, "_is_gil_enabled", lambda: True)()
    return is_off and module in _NEEDS_GIL and getattr(sys.flags, "gil", None) != 0  # 0: PYTHON_GIL=0 keeps it off


def _library(name: str) -> Any:
    """The module that makes a coding, or None. Never one whose import brings the GIL back."""
    for module in MODULES[name]:
        if not _needs_gil_here(module):
            try:
                return importlib.import_module(module)
            except ImportError:  # not installed, or Python was built without its library
                continue
    return None


def require(wanted: tuple[str, ...]) -> None:
    """Raise an explained `ModuleNotFoundError` for a coding that is named and cannot be made here."""
    for name in wanted:
        if name != "auto" and _library(name) is None:
            raise explain(ModuleNotFoundError(f"--compression {name} needs {_packages(name)}"), exit_code=2)


def _packages(name: str) -> str:
    if name == "br":
        if any(_needs_gil_here(module) and importlib.util.find_spec(module) for module in MODULES[name]):
            return "the brotlicffi package, since brotli would bring the GIL back: pip install brotlicffi"
        return "the brotli package: pip install brotli"
    if name == "zstd" and sys.version_info < (3, 14):
        return "the backports.zstd package: pip install backports.zstd"
    return f"a Python that was built with {name}"


# Files


def sibling_of(path: Any, codings: Iterable[str]) -> tuple[str, str] | None:
    """The file beside this one with its content in one of the codings, and which; None where there is none.

    It has to be a regular file that can be read, and not older. `path` is whatever may be opened: apps send bytes and
    Path, too.
    """
    try:
        original = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(original.st_mode):  # whoever opens it says so
        return None
    for name in codings:
        beside = os.fsdecode(path) + SUFFIXES[name]
        try:
            found = os.stat(beside)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode) and found.st_mtime_ns >= original.st_mtime_ns and _is_readable(beside):
            return beside, name
    return None


def _is_readable(path: str) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)

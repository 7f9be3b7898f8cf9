"""Log levels, formatters and the default logging configuration. Compatible with uvicorn's `logging` and `_ansi`.

The logger names and the shape of the access record (five arguments: client, method, path with query, HTTP version,
status) are uvicorn's, since users' configurations and filters name them. Runs on whichever thread logs.
"""

from __future__ import annotations

import logging
import math
import re
import sys
from collections.abc import Callable
from http import HTTPStatus
from time import monotonic
from typing import Any, ClassVar, Literal

from pounce import names

TRACE_LOG_LEVEL = 5

LOG_LEVELS: dict[str, int] = {
    "critical": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE_LOG_LEVEL,
}

LOGGING_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "default": {
            "()": "pounce.logs.DefaultFormatter",
            "fmt": "%(levelprefix)s %(message)s",
            "use_colors": None,
        },
        "access": {
            "()": "pounce.logs.AccessFormatter",
            "fmt": '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s',
        },
    },
    "handlers": {
        "default": {"class": "logging.StreamHandler", "formatter": "default", "stream": "ext://sys.stderr"},
        "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stdout"},
    },
    "loggers": {
        names.LOGGER: {"handlers": ["default"], "level": "INFO", "propagate": False},
        names.LOGGER_ERROR: {"level": "INFO"},
        names.LOGGER_ACCESS: {"handlers": ["access"], "level": "INFO", "propagate": False},
    },
}

_COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
#: SGR codes (ECMA-48): eight colours from 30 on, their bright forms from 90 on.
_SGR = {color: 30 + i for i, color in enumerate(_COLORS)}
_SGR |= {f"bright_{color}": 90 + i for i, color in enumerate(_COLORS)}


def style(text: str, fg: str | None = None, bold: bool = False) -> str:
    """The text in a colour ("green", "bright_red", ...) and/or bold, for a terminal."""
    color = "" if fg is None else f"\033[{_SGR[fg]}m"
    weight = "\033[1m" if bold else ""
    return f"{color}{weight}{text}\033[0m"


def log_styled(message: str, *args: object, fg: str | None = None, bold: bool = False) -> None:
    """Log what the server does; where colours are on, the fields of the message ("%s", "%s:%d") look like this."""
    color_message = re.sub(r"%[sd](\S*%[sd])?", lambda field: style(field[0], fg, bold), message)
    logging.getLogger(names.LOGGER_ERROR).info(message, *args, extra={"color_message": color_message})


def _is_terminal(stream: Any) -> bool:
    """Whether it is one; without a console (pythonw, a service) there may be no stream, or a closed one."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def _paint(color: str) -> Callable[[Any], str]:
    return lambda text: style(str(text), fg=color)


def _copy(record: logging.LogRecord) -> logging.LogRecord:
    # Other handlers get the same record, so ours is changed on a copy. Cheaper than copy.copy on the access log's path.
    twin = object.__new__(type(record))
    twin.__dict__.update(record.__dict__)
    return twin


class ColourizedFormatter(logging.Formatter):
    """Adds `levelprefix` to what a format may name, and colours it.

    A record logged with `extra={"color_message": ...}` shows that instead of its message when colours are on.
    """

    level_name_colors: ClassVar[dict[int, Callable[[str], str]]] = {
        TRACE_LOG_LEVEL: _paint("blue"),
        logging.DEBUG: _paint("cyan"),
        logging.INFO: _paint("green"),
        logging.WARNING: _paint("yellow"),
        logging.ERROR: _paint("red"),
        logging.CRITICAL: _paint("bright_red"),
    }

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        use_colors: bool | None = None,
    ) -> None:
        """`use_colors`: True or False; anything else means "if standard output is a terminal"."""
        super().__init__(fmt=fmt, datefmt=datefmt, style=style)
        self.use_colors: bool = use_colors if use_colors in (True, False) else _is_terminal(sys.stdout)

    def color_level_name(self, level_name: str, level_no: int) -> str:
        """The level's name in the level's colour; unknown levels stay plain."""
        paint = self.level_name_colors.get(level_no, str)
        return paint(level_name)

    def should_use_colors(self) -> bool:
        """Kept for subclasses that call it; `use_colors` is what counts."""
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line, with `levelprefix` filled in."""
        return self._format_copy(_copy(record))

    def _format_copy(self, record: logging.LogRecord) -> str:
        fields = record.__dict__
        name = record.levelname
        padding = " " * (8 - len(name))
        if self.use_colors:
            name = self.color_level_name(name, record.levelno)
            if "color_message" in fields:
                record.msg = fields["color_message"]
                record.message = record.getMessage()
        fields["levelprefix"] = f"{name}:{padding}"
        return super().formatMessage(record)


class DefaultFormatter(ColourizedFormatter):
    """For everything but the access log."""

    def should_use_colors(self) -> bool:
        """Whether standard error is a terminal."""
        return _is_terminal(sys.stderr)


class AccessFormatter(ColourizedFormatter):
    """For access records; adds `client_addr`, `request_line` and `status_code` to what a format may name."""

    status_code_colours: ClassVar[dict[int, Callable[[Any], str]]] = {
        1: _paint("bright_white"),
        2: _paint("green"),
        3: _paint("yellow"),
        4: _paint("red"),
        5: _paint("bright_red"),
    }

    def get_status_code(self, status_code: int) -> str:
        """The code with its reason phrase, "200 OK"; an unknown code keeps the space: "299 "."""
        try:
            phrase = HTTPStatus(status_code).phrase
        except ValueError:
            phrase = ""
        text = f"{status_code} {phrase}"
        if not self.use_colors:
            return text
        return self.status_code_colours.get(status_code // 100, str)(text)

    def formatMessage(self, record: logging.LogRecord) -> str:
        """One line of the access log."""
        client_addr, method, full_path, http_version, status_code = record.args  # type: ignore[misc]
        request_line = f"{method} {full_path} HTTP/{http_version}"
        record = _copy(record)
        record.__dict__.update(
            client_addr=client_addr,
            request_line=style(request_line, bold=True) if self.use_colors else request_line,
            status_code=self.get_status_code(int(status_code)),  # type: ignore[arg-type]
        )
        return self._format_copy(record)


class VisibleDebug(logging.LoggerAdapter[logging.Logger]):
    """For a library that logs what a client wrote as it is: characters that cannot be seen are escaped."""

    def debug(self, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log at DEBUG."""
        text = str(msg) % args if args else str(msg)
        if not text.isprintable():
            text = text.encode("unicode_escape").decode("ascii")
        super().debug("%s", text, **kwargs)


class Refusals:
    """Says that something is refused, and why: at once, but no more than one line a second, which counts the others."""

    def __init__(self, reason: str, what: str = "requests") -> None:
        self._reason = reason
        self._what = what
        self._count = 0
        self._told_at = -math.inf

    def note(self, logger: logging.Logger) -> None:
        """One more was refused."""
        self._count += 1
        self.tell(logger)

    def tell(self, logger: logging.Logger) -> None:
        """Say that there are some of which no line has told yet, if the second is over."""
        now = monotonic()
        if self._count and now - self._told_at >= 1.0:
            more = f" {self._count} {self._what} were refused since the last such line." if self._count > 1 else ""
            logger.warning(f"{self._reason}{more}")
            self._told_at = now
            self._count = 0

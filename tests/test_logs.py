"""Formatters: what stands on the terminal and in log files, character by character as with uvicorn."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest

from pounce.logs import LOGGING_CONFIG, TRACE_LOG_LEVEL, AccessFormatter, ColourizedFormatter, DefaultFormatter, style

ACCESS_FORMAT = LOGGING_CONFIG["formatters"]["access"]["fmt"]
DEFAULT_FORMAT = LOGGING_CONFIG["formatters"]["default"]["fmt"]


def record(level: int, message: str, *args: Any, **extra: Any) -> logging.LogRecord:
    """A record as a logger makes it."""
    made = logging.LogRecord("uvicorn.error", level, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


@pytest.mark.parametrize(
    "text,fg,bold,expected",
    [
        ("x", None, False, "x\033[0m"),
        ("x", "black", False, "\033[30mx\033[0m"),
        ("x", "white", False, "\033[37mx\033[0m"),
        ("x", "bright_black", False, "\033[90mx\033[0m"),
        ("x", "bright_red", True, "\033[91m\033[1mx\033[0m"),
        ("x", None, True, "\033[1mx\033[0m"),
    ],
)
def test_style_writes_sgr_codes(text: str, fg: str | None, bold: bool, expected: str) -> None:
    """Colour first, then weight, then the text, then the reset."""
    assert style(text, fg, bold) == expected


@pytest.mark.parametrize(
    "level,name,code",
    [
        (logging.DEBUG, "DEBUG", 36),
        (logging.INFO, "INFO", 32),
        (logging.WARNING, "WARNING", 33),
        (logging.ERROR, "ERROR", 31),
        (logging.CRITICAL, "CRITICAL", 91),
    ],
)
def test_the_level_is_coloured_and_padded(level: int, name: str, code: int) -> None:
    """Messages begin in the same column, with and without colours."""
    pad = " " * (8 - len(name))
    plain = DefaultFormatter(DEFAULT_FORMAT, use_colors=False).format(record(level, "hi"))
    coloured = DefaultFormatter(DEFAULT_FORMAT, use_colors=True).format(record(level, "hi"))
    assert plain == f"{name}:{pad} hi"
    assert coloured == f"\033[{code}m{name}\033[0m:{pad} hi"


def test_the_trace_level_has_a_colour_of_its_own() -> None:
    """Level 5 is blue; an unknown level stays plain."""
    formatter = ColourizedFormatter(use_colors=True)
    assert formatter.color_level_name("TRACE", TRACE_LOG_LEVEL) == "\033[34mTRACE\033[0m"
    assert formatter.color_level_name("Level 7", 7) == "Level 7"


def test_color_message_replaces_the_message_only_with_colours() -> None:
    """`extra={"color_message": ...}` is the message of terminals, with the same arguments."""
    made = record(logging.INFO, "port %d", 80, color_message="PORT %d")
    assert DefaultFormatter(DEFAULT_FORMAT, use_colors=False).format(made) == "INFO:     port 80"
    assert DefaultFormatter(DEFAULT_FORMAT, use_colors=True).format(made).endswith(" PORT 80")


def test_other_handlers_see_the_record_unchanged() -> None:
    """Formatting leaves no trace on the record that a second handler formats."""
    made = record(logging.INFO, '%s - "%s %s HTTP/%s" %d', "1.2.3.4:5", "GET", "/", "1.1", 200)
    before = dict(made.__dict__)
    AccessFormatter(ACCESS_FORMAT, use_colors=True).format(made)
    after = {key: value for key, value in made.__dict__.items() if key != "message"}
    assert after == before


@pytest.mark.parametrize(
    "status,plain,coloured",
    [
        (101, "101 Switching Protocols", "\033[97m101 Switching Protocols\033[0m"),
        (200, "200 OK", "\033[32m200 OK\033[0m"),
        (307, "307 Temporary Redirect", "\033[33m307 Temporary Redirect\033[0m"),
        (404, "404 Not Found", "\033[31m404 Not Found\033[0m"),
        (500, "500 Internal Server Error", "\033[91m500 Internal Server Error\033[0m"),
        (299, "299 ", "\033[32m299 \033[0m"),
        (600, "600 ", "600 "),
    ],
)
def test_the_access_line_shows_the_status_with_its_phrase(status: int, plain: str, coloured: str) -> None:
    """Client, quoted request line, status; the request line is bold and the status coloured on a terminal."""
    args = ("1.2.3.4:5", "GET", "/a?b=c", "1.1", status)
    made = record(logging.INFO, '%s - "%s %s HTTP/%s" %d', *args)
    assert AccessFormatter(ACCESS_FORMAT, use_colors=False).format(made) == (
        f'INFO:     1.2.3.4:5 - "GET /a?b=c HTTP/1.1" {plain}'
    )
    assert AccessFormatter(ACCESS_FORMAT, use_colors=True).format(made) == (
        f'\033[32mINFO\033[0m:     1.2.3.4:5 - "\033[1mGET /a?b=c HTTP/1.1\033[0m" {coloured}'
    )


@pytest.mark.parametrize("given,terminal,expected", [(None, True, True), (None, False, False), (False, True, False)])
def test_colours_depend_on_the_terminal_unless_said(
    given: bool | None, terminal: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`use_colors` None asks standard output."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
    assert DefaultFormatter(use_colors=given).use_colors is expected


@pytest.mark.parametrize("stream", [None, "closed"])
def test_no_console_is_no_terminal(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under pythonw and some services there is no standard output or error, or a closed one."""
    for name in ("stdout", "stderr"):
        replacement = None
        if stream is not None:
            replacement = io.StringIO()
            replacement.close()
        monkeypatch.setattr(sys, name, replacement)
    formatter = DefaultFormatter()
    assert formatter.use_colors is False
    assert formatter.should_use_colors() is False

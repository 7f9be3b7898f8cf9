"""Reporting an app's exception: one report of bounded length, and never an exception of its own."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pounce.exchange.app_errors import LOOP_HINT, crossed_loops, log_app_exception
from tests.failures.exceptions import EXCEPTIONS, chain, raised

logger = logging.getLogger("tests.app_errors")


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_one_report_of_bounded_length(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """It names the exception, has less than 1,000 lines and 100 kB, and takes less than a second."""
    exc = EXCEPTIONS[name]()
    start = time.perf_counter()
    log_app_exception(logger, exc)
    assert time.perf_counter() - start < 5  # a second, on a busy machine
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    text = logging.Formatter().format(record)
    assert text.startswith("Exception in ASGI application\n")
    assert type(exc).__name__ in text
    assert text.count("\n") < 1000
    assert len(text) < 100_000


@pytest.mark.parametrize("name", ["plain", "member of its context", "cycle", "KeyboardInterrupt"])
def test_what_is_of_usual_size_keeps_its_exception(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Formatters and error trackers find it in `exc_info`, as with uvicorn."""
    exc = EXCEPTIONS[name]()
    log_app_exception(logger, exc)
    assert caplog.records[0].exc_info == (type(exc), exc, exc.__traceback__)


def test_an_excerpt_shows_both_ends(caplog: pytest.LogCaptureFixture) -> None:
    """Of a long chain: the exception itself, the first of all, and how many are between them."""
    log_app_exception(logger, chain(1000))
    text = caplog.text
    assert text.index("ValueError: 0\n") < text.index("998 more exceptions") < text.index("ValueError: 999\n")
    assert "exceptions.py" in text


class BrokenHandler(logging.Handler):
    def __init__(self, failure: BaseException) -> None:
        super().__init__()
        self.failure = failure

    def emit(self, record: logging.LogRecord) -> None:
        raise self.failure


class BrokenFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        raise RuntimeError("no format")


@pytest.fixture
def broken_logger() -> Iterator[Callable[[logging.Handler], logging.Logger]]:
    """A logger with this handler alone."""
    made = logging.getLogger("tests.app_errors.broken")
    made.propagate = False

    def with_handler(handler: logging.Handler) -> logging.Logger:
        made.addHandler(handler)
        return made

    yield with_handler
    made.handlers.clear()


@pytest.mark.parametrize("failure", [ValueError("no log"), RecursionError(), SystemExit(1), KeyboardInterrupt()])
def test_a_handler_that_raises(
    failure: BaseException,
    broken_logger: Callable[[logging.Handler], logging.Logger],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said in one line on standard error, and goes no further."""
    log_app_exception(broken_logger(BrokenHandler(failure)), raised(ValueError("lost")))
    assert capsys.readouterr().err == (
        f"Exception in ASGI application (it could not be logged: {type(failure).__name__})\n"
    )


def test_a_formatter_that_raises(
    broken_logger: Callable[[logging.Handler], logging.Logger], capsys: pytest.CaptureFixture[str]
) -> None:
    """logging reports it by its own means."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(BrokenFormatter())
    log_app_exception(broken_logger(handler), raised(ValueError("lost")))
    assert "no format" in capsys.readouterr().err


def test_no_standard_error(
    broken_logger: Callable[[logging.Handler], logging.Logger], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it matter that there is none."""
    monkeypatch.setattr(sys, "stderr", None)
    log_app_exception(broken_logger(BrokenHandler(ValueError())), raised(ValueError("lost")))


def other_loop(**where: Any) -> BaseException:
    return RuntimeError("<Lock> is bound to a different event loop")


def as_cause() -> BaseException:
    exc = ValueError()
    exc.__cause__ = other_loop()
    return exc


HINTED = {
    "itself": other_loop,
    "cause": as_cause,
    "in groups": lambda: BaseExceptionGroup("a", [ValueError(), ExceptionGroup("b", [RuntimeError(), other_loop()])]),  # type: ignore[list-item]
}


@pytest.mark.parametrize("name", HINTED)
def test_the_hint(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """An object of another event loop is hinted at, wherever in the chain that is said, in one line."""
    log_app_exception(logger, raised(HINTED[name]()))
    assert [record.getMessage() for record in caplog.records][1:] == [LOOP_HINT]


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_no_hint(name: str) -> None:
    """Nothing else is taken for that."""
    assert not crossed_loops(EXCEPTIONS[name]())

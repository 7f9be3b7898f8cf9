"""A fixture for tests that make configs: what a config does to logging and to the environment ends with the test."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from pounce import names

LOGGERS = (names.LOGGER, names.LOGGER_ERROR, names.LOGGER_ACCESS, names.LOGGER_ASGI)
VARIABLES = ("WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "POUNCE_WORKER_CLASS", names.ENV_PRESENT_AS)


@pytest.fixture
def isolated_logging() -> Iterator[None]:
    """Fresh uvicorn loggers that propagate (for caplog), and none of the environment variables a config reads."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    saved = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    environment = dict(os.environ)
    for logger in loggers:
        logger.handlers, logger.propagate, logger.disabled = [], True, False  # disabled: by another test's log config
        logger.setLevel(logging.NOTSET)
    for variable in VARIABLES:
        os.environ.pop(variable, None)
    yield
    os.environ.clear()
    os.environ.update(environment)
    for logger, (handlers, level, propagate) in zip(loggers, saved, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)

"""uvicorn's path for the command, for `run`, and for the choices of its options, which other commands take over.

`python -m pounce.main` is the command. What would bring in a server or a file watcher is imported when it is asked for.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

import click

from pounce import names
from pounce.cli import main as main, print_version as print_version
from pounce.config.config import Config as Config
from pounce.config.registry import (
    INTERFACES as INTERFACES,
    LIFESPAN as LIFESPAN,
    HTTPProtocolType as HTTPProtocolType,
    InterfaceType as InterfaceType,
    LifespanType as LifespanType,
    LoopFactoryType as LoopFactoryType,
    WSProtocolType as WSProtocolType,
)
from pounce.errors import STARTUP_FAILURE as STARTUP_FAILURE
from pounce.logs import LOG_LEVELS as LOG_LEVELS, LOGGING_CONFIG as LOGGING_CONFIG
from pounce.run import run as run

if TYPE_CHECKING:
    from pounce.config.tls import SSL_PROTOCOL_VERSION as SSL_PROTOCOL_VERSION
    from pounce.server import Server as Server
    from pounce.supervisors import ChangeReload as ChangeReload, Multiprocess as Multiprocess

LEVEL_CHOICES = click.Choice(list(LOG_LEVELS))
LIFESPAN_CHOICES = click.Choice(list(LIFESPAN))
INTERFACE_CHOICES = click.Choice(INTERFACES)

logger = logging.getLogger(names.LOGGER_ERROR)

_HOME = {
    "ChangeReload": "pounce.supervisors",
    "Multiprocess": "pounce.supervisors",
    "SSL_PROTOCOL_VERSION": "pounce.config.tls",
    "Server": "pounce.server",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    main()

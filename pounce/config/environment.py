"""Settings from the environment: the file of `--env-file`, and single variables. Runs on the main thread."""

from __future__ import annotations

import logging
import os
from typing import Any

from pounce import names
from pounce.errors import explain
from pounce.settings.kinds import Kind

logger = logging.getLogger(names.LOGGER_ERROR)


def load_env_file(path: str | os.PathLike[str]) -> None:
    """Add the variables of a dotenv file to this process. Raises explained ImportError, OSError or ValueError."""
    try:
        from dotenv import load_dotenv
    except ModuleNotFoundError as exc:
        raise explain(exc, "--env-file needs the python-dotenv package: pip install python-dotenv")
    if path and (not os.path.exists(path) or os.path.isdir(path)):
        # No error: with uvicorn a program may name a file that is there on some machines only.
        logger.warning("There is no environment file '%s'.", path)
        return
    logger.info("Loading environment from '%s'", path)
    try:
        load_dotenv(dotenv_path=path)
    except (OSError, ValueError) as exc:
        raise explain(exc, f"Cannot read the environment file '{os.fspath(path)}': {exc}")


def from_environment(kind: Kind, variable: str) -> Any:
    """What a variable says of a setting; None where it is empty or not set. Raises an explained ValueError."""
    value = os.environ.get(variable)
    return kind.checked(value, f"The environment variable {variable}") if value else None

"""Settings from the environment: the file of `--env-file`, and numbers in variables. Runs on the main thread."""

from __future__ import annotations

import logging
import os

from pounce import names
from pounce.errors import explain

logger = logging.getLogger(names.LOGGER_ERROR)


def load_env_file(path: str | os.PathLike[str]) -> None:
    """Add the variables of a dotenv file to this process. Raises explained ImportError, OSError or ValueError."""
    try:
        from dotenv import load_dotenv
    except ModuleNotFoundError as exc:
        raise explain(exc, "--env-file needs the python-dotenv package: pip install python-dotenv")
    logger.info("Loading environment from '%s'", path)
    try:
        load_dotenv(dotenv_path=path)
    except (OSError, ValueError) as exc:
        raise explain(exc, f"Cannot read the environment file '{os.fspath(path)}': {exc}")


def integer_from_environment(variable: str) -> int:
    """The number in a variable that is set. Raises an explained ValueError."""
    value = os.environ[variable]
    try:
        return int(value)
    except ValueError:
        line = f"The environment variable {variable} must be an integer, not '{value}'"
        raise explain(ValueError(line), line)

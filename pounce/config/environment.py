"""Settings from the environment: the file of `--env-file`, and single variables. Runs on the main thread."""

from __future__ import annotations

import logging
import os
from dataclasses import fields
from typing import Any

from pounce import names
from pounce.contracts import PARAMETERS
from pounce.errors import explain
from pounce.settings import GROUPS
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
    before = set(os.environ)
    try:
        load_dotenv(dotenv_path=path)
    except (OSError, ValueError) as exc:
        raise explain(exc, f"Cannot read the environment file '{os.fspath(path)}': {exc}")
    for variable in sorted(os.environ.keys() - before - {f"{names.ENV_PREFIX}_WORKER_CLASS"}):
        prefix, _, name = variable.partition("_")
        if prefix in (names.ENV_PREFIX, names.ENV_PREFIX_UVICORN) and _is_setting(name.lower()):
            # As with uvicorn: the command has read its own variables when it reads the file that one of them names.
            logger.warning("$%s has no effect in an environment file, which is for the app.", variable)


def _is_setting(name: str) -> bool:
    return name in PARAMETERS or any(name.removeprefix(group) in ("", *_fields(group)) for group in GROUPS)


def _fields(group: str) -> list[str]:
    return [f"_{one.name}" for one in fields(GROUPS[group])]  # type: ignore[arg-type]


def from_environment(kind: Kind, variable: str) -> Any:
    """What a variable says of a setting; None where it is empty or not set. Raises an explained ValueError."""
    value = os.environ.get(variable)
    return kind.checked(value, f"The environment variable {variable}") if value else None

"""Imports the app that an import string names, or says why that cannot work.

Importing runs on the thread that will serve the app, a worker's own or the main one; the judgement without it on a
supervisor's, which is why this module is apart from `app_loading`: it imports nothing that only a server needs.
The rules, messages and exit codes are those of uvicorn's `Config.load_app`.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import traceback
from typing import Any

from pounce import names
from pounce.errors import ImportFromStringError, StartupFailed, explain
from pounce.importer import import_from_string

logger = logging.getLogger(names.LOGGER_ERROR)


def import_app(app: Any) -> Any:
    """The app that an import string names; exits with code 3 and one line if that module or attribute does not exist.

    A package missing on the way to the module comes out as `ModuleNotFoundError`, explained with exit code 1; anything
    that the user's own module raises comes out with its traceback.
    """
    try:
        return import_from_string(app)
    except ImportFromStringError as exc:
        logger.error("Error loading ASGI app. %s", exc)
        raise StartupFailed
    except ModuleNotFoundError as exc:
        module = app.partition(":")[0]
        if exc.name and module.startswith(f"{exc.name}.") and not _ran_foreign_code(exc):
            explain(exc, f'Cannot load the app. Could not import module "{module}": no module "{exc.name}".', 1)
        raise


def _ran_foreign_code(exc: BaseException) -> bool:
    """Whether the traceback passes through anything but the import machinery and ourselves."""
    modules = (str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(exc.__traceback__))
    return any(module.partition(".")[0] not in ("importlib", "_frozen_importlib", "pounce") for module in modules)


def app_is_missing(app: str) -> str | None:
    """Why the import string cannot work, judged without running the app's code; None if it may well do."""
    module, _, attribute = app.partition(":")
    if not (module and attribute):
        return f'Import string "{app}" must be in format "<module>:<attribute>".'
    top = module.partition(".")[0]
    if top not in sys.modules and importlib.util.find_spec(top) is None:
        return f'Could not import module "{module}".'
    return None

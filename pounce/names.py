"""Every product string in one place: the `Server` value, logger names, environment prefixes, words of the banner.

Under the `uvicorn` import shim the server presents itself as uvicorn (`present_as_uvicorn`), also in its child
processes, which is why the choice lives in the environment. Knows nothing of: everything else.
"""

from __future__ import annotations

import os

LOGGER = "uvicorn"
LOGGER_ERROR = "uvicorn.error"
LOGGER_ACCESS = "uvicorn.access"
LOGGER_ASGI = "uvicorn.asgi"

ENV_PREFIX = "POUNCE"
ENV_PREFIX_UVICORN = "UVICORN"
ENV_PRESENT_AS = "POUNCE_PRESENT_AS"

#: The uvicorn release whose behaviour, tests and version number the shim stands for.
UVICORN_VERSION = "0.54.0"


def present_as_uvicorn() -> None:
    """Take uvicorn's name in the `Server` header, the banner and `--version`, here and in child processes."""
    os.environ[ENV_PRESENT_AS] = "uvicorn"


def product() -> str:
    """The name on the command line and in the `Server` header: "pounce", or "uvicorn" under the shim."""
    return "uvicorn" if os.environ.get(ENV_PRESENT_AS) == "uvicorn" else "pounce"


def banner() -> str:
    """The name that opens the "... running on http://..." line: "Pounce", or "Uvicorn" under the shim."""
    return product().capitalize()


def server_header() -> bytes:
    """The value of the default `Server` response header."""
    return product().encode("ascii")


def distribution() -> str:
    """The name to `pip install`."""
    return "uvicorn" if product() == "uvicorn" else "pounce-server"

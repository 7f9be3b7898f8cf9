"""uvicorn's import name, served by pounce (see `_window.py`); its name in headers, banner and `--version` too."""

from pounce.names import UVICORN_VERSION, present_as_uvicorn

present_as_uvicorn()  # first: what is imported next may already ask for the name

from pounce_compat.shim._window import open_onto  # noqa: E402

from .config import Config  # type: ignore[attr-defined]  # noqa: E402
from .main import Server, main, run  # noqa: E402

__version__ = UVICORN_VERSION
__all__ = ["Config", "Server", "main", "run"]

open_onto(__name__)

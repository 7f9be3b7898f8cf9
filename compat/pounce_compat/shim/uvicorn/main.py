"""uvicorn.main: the command and run()."""

import sys
import warnings
from typing import Any

from pounce.connection import state as _state
from pounce_compat.shim._window import open_onto

open_onto(__name__, "pounce.run", "pounce.cli", "pounce.main")


def __getattr__(name: str) -> Any:
    if name == "ServerState":
        message = "uvicorn.main.ServerState is deprecated, use uvicorn.server.ServerState instead."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return _state.ServerState
    raise AttributeError(f"module {__name__} has no attribute {name}")


if __name__ == "__main__":
    sys.modules[__name__].main()

"""uvicorn's path for `pounce.supervisors.reload`."""

from pounce.supervisors.reload import (
    HANDLED_SIGNALS as HANDLED_SIGNALS,
    BaseReload as BaseReload,
    _display_path as _display_path,
    logger as logger,
)

"""uvicorn's path for `pounce.supervisors.reload_stat`."""

from pounce.supervisors.reload_stat import StatReload as StatReload, logger as logger

"""uvicorn.config: Config, its tables, types and what it builds."""

from pounce_compat.shim._window import open_onto

open_onto(
    __name__,
    "pounce.config.config",
    "pounce.config.registry",
    "pounce.config.logging_setup",
    "pounce.config.tls",
    "pounce.config.reload_paths",
    "pounce.config.app_loading",
    "pounce.importer",
    "pounce.errors",
    "pounce.logs",
)

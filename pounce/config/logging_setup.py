"""Applies a config's logging options to the process: dictionary, JSON, YAML or ini file; levels; access log switch.

A log config written for uvicorn names `uvicorn.logging.*`; where no such module can be imported, pounce's own
formatters stand in. Runs on the main thread, once per process. `logging.config` and `open` are looked up at call time
because callers replace them.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import logging.config
import os
from typing import Any

from pounce import names
from pounce.errors import explain
from pounce.logs import LOG_LEVELS, TRACE_LOG_LEVEL

_THEIRS = "uvicorn.logging."
_OURS = "pounce.logs."


def configure_logging(config: Any) -> None:
    """Apply `log_config`, `use_colors`, `log_level` and `access_log` of a config.

    Raises what reading or applying a broken log config raises (`OSError`, `ValueError`, `ImportError`), explained.
    """
    logging.addLevelName(TRACE_LOG_LEVEL, "TRACE")
    if config.log_config is not None:
        if isinstance(config.log_config, os.PathLike):
            config.log_config = os.fspath(config.log_config)
        _apply(config.log_config, config.use_colors)
    if config.log_level is not None:
        level = LOG_LEVELS[config.log_level.lower()] if isinstance(config.log_level, str) else config.log_level
        for name in (names.LOGGER_ERROR, names.LOGGER_ACCESS, names.LOGGER_ASGI):
            logging.getLogger(name).setLevel(level)
    if config.access_log is False:
        access_logger = logging.getLogger(names.LOGGER_ACCESS)
        access_logger.handlers = []
        access_logger.propagate = False
    if names.product() != "uvicorn":
        _point_out_renamed_loggers()


def _point_out_renamed_loggers() -> None:
    """Say so where loggers are set up that the server would have if it had changed uvicorn's names for them."""
    for name in (names.LOGGER, names.LOGGER_ERROR, names.LOGGER_ACCESS, names.LOGGER_ASGI):
        renamed = name.replace("uvicorn", names.product())
        logger = logging.Logger.manager.loggerDict.get(renamed)
        if isinstance(logger, logging.Logger) and (logger.handlers or logger.filters or logger.level):
            logging.getLogger(names.LOGGER_ERROR).warning(
                "Nothing is logged to '%s', which is set up: the server's logger is called '%s', as uvicorn's is.",
                renamed,
                name,
            )


def _apply(log_config: Any, use_colors: Any) -> None:
    if isinstance(log_config, dict):
        if use_colors in (True, False):
            # In place, as uvicorn does: later configs made from the same dictionary see it.
            formatters = log_config.get("formatters", {})
            for formatter in {"default", "access"}.intersection(formatters):
                formatters[formatter]["use_colors"] = use_colors
        logging.config.dictConfig(_with_own_formatters(log_config))
        return
    try:
        if isinstance(log_config, str) and log_config.endswith(".json"):
            import json  # few use it, and every process would have it

            with open(log_config) as file:
                _apply_loaded(json.load(file))
        elif isinstance(log_config, str) and log_config.endswith((".yaml", ".yml")):
            _apply_loaded(_read_yaml(log_config))
        else:
            if isinstance(log_config, str) and os.path.isdir(log_config):
                raise IsADirectoryError("it is a directory")
            logging.config.fileConfig(_ini_with_own_formatters(log_config), disable_existing_loggers=False)
    except Exception as exc:
        if not isinstance(log_config, str):
            raise
        # A syntax error in YAML spans several lines; an exception without words is named by its type.
        reason = " ".join(str(exc).split()) or type(exc).__name__
        if isinstance(exc, OSError) and exc.strerror:
            reason = exc.strerror  # without the file's name, which is said
        if isinstance(exc, KeyError):
            reason = f"it has no {reason}"
        if exc.__cause__ is not None and not isinstance(exc, ImportError):
            reason += f" ({' '.join(str(exc.__cause__).split())})"
        raise explain(exc, f"Cannot use the log config '{log_config}': {reason}")


def _apply_loaded(loaded: Any) -> None:
    if not isinstance(loaded, dict):
        raise ValueError("it must be a mapping, with a 'version' of 1")
    logging.config.dictConfig(_with_own_formatters(loaded))


def _read_yaml(path: str) -> Any:
    try:
        import yaml
    except ImportError as exc:
        extra = "uvicorn[standard]" if names.product() == "uvicorn" else "pounce-server[standard]"
        raise ImportError(
            f"Install the PyYAML package or {extra} to use `--log-config` with YAML files: pip install PyYAML"
        ) from exc
    with open(path) as file:
        return yaml.safe_load(file)


def _uvicorn_is_missing() -> bool:
    try:
        return importlib.util.find_spec("uvicorn") is None
    except ValueError:  # A module that somebody put into sys.modules by hand has no spec, and exists.
        return False


def _with_own_formatters(value: Any) -> Any:
    """The same dictionary, or where uvicorn cannot be imported a copy that names our classes in place of its own."""
    return _renamed(value) if _uvicorn_is_missing() else value


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_renamed(inner) for inner in value)
    return value.replace(_THEIRS, _OURS) if isinstance(value, str) else value


def _ini_with_own_formatters(source: Any) -> Any:
    """The same for what `fileConfig` takes: a path, an open file or a parser."""
    if not _uvicorn_is_missing():
        return source
    import configparser  # as json above

    if isinstance(source, configparser.RawConfigParser):
        text = io.StringIO()
        source.write(text)
        if _THEIRS not in text.getvalue():
            return source
        # Raw, so that the %(...)s of formats passes; fileConfig reads those raw as well.
        copy = configparser.RawConfigParser()
        copy.read_string(text.getvalue().replace(_THEIRS, _OURS))
        return copy
    if isinstance(source, str):
        if not os.path.exists(source):
            return source  # fileConfig says it best.
        with open(source) as file:
            content = file.read()
        return io.StringIO(content.replace(_THEIRS, _OURS)) if _THEIRS in content else source
    return io.StringIO(source.read().replace(_THEIRS, _OURS))

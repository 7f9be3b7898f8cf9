"""The access line: what it says, and its record, made only where a handler will emit it.

Compatible with uvicorn: `'%s - "%s %s HTTP/%s" %d'` and the five `record.args`, which users' formatters read.
"""

from __future__ import annotations

import logging
import re
import urllib.parse
from typing import Any

from pounce.exchange.app_errors import report_failed_log

_FORMAT = '%s - "%s %s HTTP/%s" %d'

#: Paths that quoting would not change: RFC 3986's unreserved characters and the slash.
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch

#: Addresses and host names, with a port.
_PLAIN_CLIENT = re.compile(r"[A-Za-z0-9_.:\[\]%~-]*").fullmatch


def get_client_addr(scope: Any) -> str:
    """`host:port` of the client, or an empty string where it is not known. A middleware may have made a host of any
    text: what could forge a line is escaped.
    """
    client = scope.get("client")
    if not client:
        return ""
    address = f"{client[0]}:{client[1]}"
    return address if _PLAIN_CLIENT(address) else _escaped(address)


def _escaped(text: str) -> str:
    r"""Visible characters of ASCII but for quotes and backslashes; the others as in Python (`\n`, `\x85`)."""
    return text.encode("unicode_escape").decode("ascii").replace('"', r"\x22").replace(" ", r"\x20")


def get_path_with_query_string(scope: Any) -> str:
    """The path, quoted again so that it cannot forge log lines, with the query string."""
    path: str = scope["path"]
    if not _PLAIN_PATH(path):
        path = urllib.parse.quote(path)
    query: bytes = scope["query_string"]
    return f"{path}?{query.decode('ascii', 'backslashreplace')}" if query else path


def log_access(logger: logging.Logger, scope: Any, status: int) -> None:
    """Log one answered request at INFO. Never raises: neither a broken handler nor what the app has done to its scope
    may keep the response from leaving. The caller's frame is not looked up: it would always be this function.
    """
    if logger.isEnabledFor(logging.INFO):
        try:
            args = (
                get_client_addr(scope),
                scope["method"],
                get_path_with_query_string(scope),
                scope["http_version"],
                status,
            )
            logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, _FORMAT, args, None, "log_access"))
        except Exception as failure:
            report_failed_log("Access log", failure)

"""Scopes as the ASGI specification describes them: one function each, used by every parser and HTTP version.

Implements the ASGI HTTP scope, with uvicorn 0.54's rule for `root_path` (it is prefixed to `path` and `raw_path`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote


def http_scope(
    method: str,
    raw_path: bytes,
    query_string: bytes,
    http_version: str,
    headers: list[tuple[bytes, bytes]],
    asgi_version: str,
    scheme: str,
    server: tuple[str, int | None] | None,
    client: tuple[str, int] | None,
    root_path: str,
    state: dict[str, Any],
) -> dict[str, Any]:
    """The scope of one HTTP request. Every dict and list in it belongs to this request alone.

    Raises UnicodeDecodeError for a path that is not ASCII.
    """
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    if root_path:
        path = root_path + path
        raw_path = root_path.encode("ascii") + raw_path
    return {
        "type": "http",
        "asgi": {"version": asgi_version, "spec_version": "2.3"},
        "http_version": http_version,
        "server": server,
        "client": client,
        "scheme": scheme,
        "method": method,
        "root_path": root_path,
        "path": path,
        "raw_path": raw_path,
        "query_string": query_string,
        "headers": headers,
        "state": state,
    }

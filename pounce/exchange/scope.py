"""Scopes as the ASGI specification describes them: one function each, used by every parser and HTTP version.

Implements the ASGI HTTP scope, with uvicorn 0.54's rule for `root_path` (it is prefixed to `path` and `raw_path`).
"""

from __future__ import annotations

from typing import Any, Protocol
from urllib.parse import unquote

EARLY_HINT, TRAILERS = "http.response.early_hint", "http.response.trailers"


class Connection(Protocol):
    """What all requests of a connection have in common."""

    @property
    def asgi_version(self) -> str: ...

    scheme: str
    server: tuple[str, int | None] | None
    client: tuple[str, int] | None
    root_path: str
    app_state: dict[str, Any]
    spec_version: str
    #: What is advertised, by name.
    extensions: dict[str, dict[str, Any]]


def http_scope(
    connection: Connection,
    method: str,
    raw_path: bytes,
    query_string: bytes,
    http_version: str,
    headers: list[tuple[bytes, bytes]],
) -> dict[str, Any]:
    """The scope of one HTTP request. Every dict and list in it belongs to this request alone, `headers` included.

    What is said of an extension belongs to the connection.

    Raises UnicodeDecodeError for a path that is not ASCII.
    """
    path = raw_path.decode("ascii")
    if "%" in path:
        path = unquote(path)
    root_path = connection.root_path
    if root_path:
        path = root_path + path
        raw_path = root_path.encode("ascii") + raw_path
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": connection.spec_version},
        "http_version": http_version,
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "method": method,
        "root_path": root_path,
        "path": path,
        "raw_path": raw_path,
        "query_string": query_string,
        "headers": headers,
        "state": connection.app_state.copy(),
        "extensions": connection.extensions.copy(),
    }

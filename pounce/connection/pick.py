"""`--http auto`: httptools where it is installed, else h11."""

from __future__ import annotations

import importlib.util

from pounce.connection.http1 import HTTP1Protocol

AutoHTTPProtocol: type[HTTP1Protocol]
if importlib.util.find_spec("httptools") is not None:
    from pounce.connection.http1_httptools import HttpToolsProtocol as AutoHTTPProtocol
else:
    from pounce.connection.http1_h11 import H11Protocol as AutoHTTPProtocol

__all__ = ["AutoHTTPProtocol"]

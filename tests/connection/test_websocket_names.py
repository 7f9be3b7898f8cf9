"""The names under which the WebSocket classes are found."""

from __future__ import annotations

import importlib
import sys

import pytest

import pounce.connection
from pounce.connection.pick_websocket import AutoWebSocketsProtocol
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.errors import UvicornDeprecationWarning


def test_auto_prefers_websockets() -> None:
    """`--ws auto` is the class on `websockets` where that library is installed."""
    assert AutoWebSocketsProtocol is WebSocketsSansIOProtocol


@pytest.mark.parametrize(
    ("missing", "name"), [(["websockets"], "WSProtocol"), (["websockets", "wsproto"], None)], ids=["wsproto", "none"]
)
def test_auto_without_libraries(monkeypatch: pytest.MonkeyPatch, missing: list[str], name: str | None) -> None:
    """`--ws auto` falls back to `wsproto`, then to nothing."""
    # Note the current modules first: monkeypatch then puts them back, whatever is imported in between.
    for module in ("ws_websockets", "ws_wsproto"):
        monkeypatch.delitem(sys.modules, f"pounce.wire.{module}", raising=False)
    for module in ("websocket_websockets", "websocket_wsproto", "pick_websocket"):
        if f"pounce.connection.{module}" in sys.modules:
            monkeypatch.setattr(pounce.connection, module, sys.modules[f"pounce.connection.{module}"])
            monkeypatch.delitem(sys.modules, f"pounce.connection.{module}")
    for library in missing:
        for module in [module for module in sys.modules if module.split(".")[0] == library]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, library, None)
    picked = importlib.import_module("pounce.connection.pick_websocket").AutoWebSocketsProtocol
    assert (picked and picked.__name__) == name


def test_legacy_name_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the legacy name warns, and gives the sans-IO class."""
    monkeypatch.delitem(sys.modules, "pounce.connection.websocket_legacy", raising=False)
    with pytest.warns(UvicornDeprecationWarning, match="^The `websockets` implementation is deprecated"):
        module = importlib.import_module("pounce.connection.websocket_legacy")
    assert issubclass(module.WebSocketProtocol, WebSocketsSansIOProtocol)

"""What the short names of `--http`, `--ws`, `--loop`, `--lifespan` and `--interface` stand for.

The tables are plain dictionaries that users may extend, as with uvicorn. Modules named here are imported only when a
config is loaded.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Literal, get_args

from pounce import names
from pounce.errors import ImportFromStringError, explain
from pounce.importer import import_from_string

HTTPProtocolType = Literal["auto", "h11", "httptools", "zttp"]
WSProtocolType = Literal["auto", "none", "websockets", "websockets-sansio", "wsproto"]
LifespanType = Literal["auto", "on", "off"]
LoopFactoryType = Literal["none", "auto", "asyncio", "uvloop", "zuvloop"]
InterfaceType = Literal["auto", "asgi3", "asgi2", "wsgi"]

INTERFACES: list[InterfaceType] = list(get_args(InterfaceType))

HTTP_PROTOCOLS: dict[str, str] = {
    "auto": "pounce.connection.pick:AutoHTTPProtocol",
    "h11": "pounce.connection.http1_h11:H11Protocol",
    "httptools": "pounce.connection.http1_httptools:HttpToolsProtocol",
    "zttp": "pounce.connection.http1_zttp:ZttpProtocol",
}
WS_PROTOCOLS: dict[str, str | None] = {
    "auto": "pounce.connection.pick_websocket:AutoWebSocketsProtocol",
    "none": None,
    "websockets": "pounce.connection.websocket_legacy:WebSocketProtocol",
    "websockets-sansio": "pounce.connection.websocket_websockets:WebSocketsSansIOProtocol",
    "wsproto": "pounce.connection.websocket_wsproto:WSProtocol",
}
LIFESPAN: dict[str, str] = {
    "auto": "pounce.worker.lifespan:LifespanOn",
    "on": "pounce.worker.lifespan:LifespanOn",
    "off": "pounce.worker.lifespan:LifespanOff",
}
LOOP_FACTORIES: dict[str, str | None] = {
    "none": None,
    "auto": "pounce.worker.loops:auto_loop_factory",
    "asyncio": "pounce.worker.loops:asyncio_loop_factory",
    "uvloop": "pounce.worker.loops:uvloop_loop_factory",
    "zuvloop": "pounce.worker.loops:zuvloop_loop_factory",
}

_TABLES: dict[str, dict[str, Any]] = {"--http": HTTP_PROTOCOLS, "--ws": WS_PROTOCOLS, "--loop": LOOP_FACTORIES}

#: The names that need a package of that name to be installed.
_PACKAGES = {"httptools", "zttp", "h2", "websockets", "wsproto", "uvloop", "zuvloop"}


def require_package(flag: str, name: Any) -> None:
    """Raise an explained `ModuleNotFoundError` if the named implementation needs a package that is not installed."""
    package = name.removesuffix("-sansio") if isinstance(name, str) else None
    if package in _PACKAGES and importlib.util.find_spec(package) is None:
        line = f"{flag} {name} needs the {package} package: pip install {package}"
        raise explain(ModuleNotFoundError(line, name=package))


def require_http2(wire: str) -> None:
    """Raise an explained `ModuleNotFoundError` if HTTP/2 cannot be spoken on this wire (`Http2WireType`)."""
    if importlib.util.find_spec("hpack") is None:  # what is needed of h2's packages
        line = f"--http2 needs the h2 package: pip install '{names.distribution()}[standard]', or pip install h2"
        raise explain(ModuleNotFoundError(line, name="h2"))
    require_package("--http2-wire", wire)


def with_http2(http1_class: Any, wire: str) -> Any:
    """The class that speaks HTTP/2 or, through `http1_class`, HTTP/1.1. Raises as `require_http2`.

    The wire is imported, too; the config says to each connection which one it is.
    """
    require_http2(wire)
    import_from_string("pounce.connection.http2:http2_wire")(wire)
    return import_from_string("pounce.connection.http2_auto:negotiator")(http1_class)


def is_built_in(flag: str, name: Any) -> bool:
    """Whether the name, short or spelled out, is one of the flag's table."""
    return isinstance(name, str) and (name in _TABLES[flag] or _target(flag, name).startswith("pounce."))


def resolve(flag: str, name: Any) -> Any:
    """The object behind a short name or an import string; anything but a string is returned as it is.

    Raises `ImportFromStringError` or `ImportError`, explained where the name, not the imported code, is at fault.
    """
    if not isinstance(name, str):
        return name
    require_package(flag, name)
    try:
        return import_from_string(_target(flag, name))
    except ImportFromStringError as exc:
        raise explain(exc, f"Cannot use {flag} {name}. {exc}")


def _target(flag: str, name: str) -> Any:
    """The import string behind a name. uvicorn's own ones are found below our name, as `pounce.loops` and so on are.

    Not under the import shim, where uvicorn's paths exist.
    """
    if name.startswith(("uvicorn.protocols.", "uvicorn.loops.")) and names.product() != "uvicorn":
        return f"pounce{name.removeprefix('uvicorn')}"
    return _TABLES[flag].get(name, name)

"""What people and uvicorn's tests import from uvicorn 0.54: module to names. Run as a script, it tries them all."""

from __future__ import annotations

import importlib
import json
import warnings

SURFACE = {
    "uvicorn": "Config Server main run __version__",
    "uvicorn.__main__": "",
    "uvicorn._ansi": "style",
    "uvicorn._compat": "asyncio_run iscoroutinefunction",
    "uvicorn._subprocess": "SpawnProcess get_subprocess spawn subprocess_started",
    "uvicorn._types": (
        "ASGI2Application ASGI2Protocol ASGI3Application ASGIApplication ASGIReceiveCallable ASGIReceiveEvent "
        "ASGISendCallable ASGISendEvent ASGIVersions Environ ExcInfo HTTPDisconnectEvent HTTPRequestEvent "
        "HTTPResponseBodyEvent HTTPResponseDebugEvent HTTPResponseEarlyHintEvent HTTPResponseStartEvent "
        "HTTPResponseTrailersEvent HTTPScope HTTPServerPushEvent LifespanScope LifespanShutdownCompleteEvent "
        "LifespanShutdownEvent LifespanShutdownFailedEvent LifespanStartupCompleteEvent LifespanStartupEvent "
        "LifespanStartupFailedEvent Scope StartResponse WSGIApp WWWScope WebSocketAcceptEvent WebSocketCloseEvent "
        "WebSocketConnectEvent WebSocketDisconnectEvent WebSocketEvent WebSocketReceiveEvent "
        "WebSocketResponseBodyEvent WebSocketResponseStartEvent WebSocketScope WebSocketSendEvent"
    ),
    "uvicorn.config": (
        "Config HTTPProtocolType HTTP_PROTOCOLS INTERFACES ImportFromStringError InterfaceType LIFESPAN LOGGING_CONFIG "
        "LOG_LEVELS LOOP_FACTORIES LifespanType LoopFactoryType SSL_PROTOCOL_VERSION STARTUP_FAILURE TRACE_LOG_LEVEL "
        "UvicornDeprecationWarning WSProtocolType WS_PROTOCOLS create_ssl_context import_from_string is_dir logger "
        "resolve_reload_patterns"
    ),
    "uvicorn.importer": "ImportFromStringError import_from_string",
    "uvicorn.lifespan": "",
    "uvicorn.lifespan.off": "LifespanOff",
    "uvicorn.lifespan.on": "LifespanOn STATE_TRANSITION_ERROR",
    "uvicorn.logging": "AccessFormatter ColourizedFormatter DefaultFormatter TRACE_LOG_LEVEL",
    "uvicorn.loops": "",
    "uvicorn.loops.asyncio": "asyncio_loop_factory",
    "uvicorn.loops.auto": "auto_loop_factory",
    "uvicorn.loops.uvloop": "uvloop_loop_factory",
    "uvicorn.loops.zuvloop": "zuvloop_loop_factory",
    "uvicorn.main": "Config ServerState STARTUP_FAILURE Server ChangeReload Multiprocess main print_version run",
    "uvicorn.middleware": "",
    "uvicorn.middleware.asgi2": "ASGI2Middleware",
    "uvicorn.middleware.message_logger": "MessageLoggerMiddleware message_with_placeholders",
    "uvicorn.middleware.proxy_headers": "ProxyHeadersMiddleware _TrustedHosts",
    "uvicorn.middleware.wsgi": "WSGIMiddleware WSGIResponder _WSGIMiddleware build_environ",
    "uvicorn.protocols": "",
    "uvicorn.protocols.http": "",
    "uvicorn.protocols.http.auto": "AutoHTTPProtocol",
    "uvicorn.protocols.http.auto_zttp_impl": "AutoZttpProtocol HTTP2_PREFACE",
    "uvicorn.protocols.http.flow_control": "CLOSE_HEADER FlowControl HIGH_WATER_LIMIT service_unavailable",
    "uvicorn.protocols.http.h11_impl": "H11Protocol RequestResponseCycle STATUS_PHRASES",
    "uvicorn.protocols.http.httptools_impl": "HttpToolsProtocol RequestResponseCycle STATUS_LINE",
    "uvicorn.protocols.http.zttp_h2_impl": "ZttpH2Protocol",
    "uvicorn.protocols.http.zttp_impl": "RequestResponseCycle ZttpProtocol",
    "uvicorn.protocols.utils": (
        "ClientDisconnected get_client_addr get_local_addr get_path_with_query_string get_remote_addr is_ssl"
    ),
    "uvicorn.protocols.websockets": "",
    "uvicorn.protocols.websockets.auto": "AutoWebSocketsProtocol",
    "uvicorn.protocols.websockets.websockets_impl": "WebSocketProtocol",
    "uvicorn.protocols.websockets.websockets_sansio_impl": "WebSocketsSansIOProtocol",
    "uvicorn.protocols.websockets.wsproto_impl": "WSProtocol",
    "uvicorn.server": "HANDLED_SIGNALS Server ServerState logger",
    "uvicorn.supervisors": "ChangeReload Multiprocess",
    "uvicorn.supervisors.basereload": "BaseReload HANDLED_SIGNALS _display_path",
    "uvicorn.supervisors.multiprocess": "Multiprocess Process SIGNALS",
    "uvicorn.supervisors.statreload": "StatReload",
    "uvicorn.supervisors.watchfilesreload": "FileFilter WatchFilesReload",
    "uvicorn.workers": "UvicornH11Worker UvicornWorker",
}

#: Modules that cannot be imported without the named library, here as in uvicorn.
NEEDS = {
    "uvicorn.loops.uvloop": "uvloop",
    "uvicorn.loops.zuvloop": "zuvloop",
    "uvicorn.protocols.http.auto_zttp_impl": "zttp",
    "uvicorn.protocols.http.httptools_impl": "httptools",
    "uvicorn.protocols.http.zttp_h2_impl": "zttp",
    "uvicorn.protocols.http.zttp_impl": "zttp",
    "uvicorn.protocols.websockets.websockets_impl": "websockets",
    "uvicorn.protocols.websockets.websockets_sansio_impl": "websockets",
    "uvicorn.protocols.websockets.wsproto_impl": "wsproto",
    "uvicorn.supervisors.watchfilesreload": "watchfiles",
    "uvicorn.workers": "gunicorn",
}


def missing() -> dict[str, str]:
    """What cannot be had, with the reason."""
    found = {}
    for name, attributes in SURFACE.items():
        try:
            module = importlib.import_module(name)
        except Exception as exc:
            found[name] = f"{type(exc).__name__}: {exc}"
            continue
        found.update({f"{name}.{one}": "missing" for one in attributes.split() if not hasattr(module, one)})
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the deprecated names are meant to be imported
    print(json.dumps(missing()))

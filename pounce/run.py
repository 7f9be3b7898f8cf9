"""run(): from settings to a running server. Reloader, supervisor or server itself; exit codes; the end of its socket.

Runs on the main thread of the process that was started. Compatible with uvicorn's `run`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from pounce import names
from pounce.asgi import ASGIApplication
from pounce.binding import SocketFile
from pounce.config import defaults
from pounce.config.config import Config
from pounce.config.registry import (
    Http2WireType,
    HTTPProtocolType,
    InterfaceType,
    LifespanType,
    LoopFactoryType,
    WSProtocolType,
)
from pounce.contracts import WorkerClassType
from pounce.errors import STARTUP_FAILURE
from pounce.importer import on_demand
from pounce.logs import LOGGING_CONFIG
from pounce.supervisors.deferred_server import DeferredServer
from pounce.watchdog import watchdog
from pounce.wire.http2_limits import Http2Limits

if TYPE_CHECKING:
    import asyncio
    from configparser import RawConfigParser
    from ssl import SSLContext

    from pounce.server import Server as Server
    from pounce.supervisors import ChangeReload as ChangeReload, Multiprocess as Multiprocess

logger = logging.getLogger(names.LOGGER_ERROR)


def run(
    app: ASGIApplication | Callable[..., Any] | str,
    *,
    host: str = defaults.HOST,
    port: int = defaults.PORT,
    uds: str | None = defaults.UDS,
    fd: int | None = defaults.FD,
    loop: LoopFactoryType | str = defaults.LOOP,
    http: type[asyncio.Protocol] | HTTPProtocolType | str = defaults.HTTP,
    http2: bool = defaults.HTTP2,
    ws: type[asyncio.Protocol] | WSProtocolType | str = defaults.WS,
    ws_max_size: int = defaults.WS_MAX_SIZE,
    ws_max_queue: int = defaults.WS_MAX_QUEUE,
    ws_ping_interval: float | None = defaults.WS_PING_INTERVAL,
    ws_ping_timeout: float | None = defaults.WS_PING_TIMEOUT,
    ws_per_message_deflate: bool = defaults.WS_PER_MESSAGE_DEFLATE,
    lifespan: LifespanType = defaults.LIFESPAN,
    interface: InterfaceType = defaults.INTERFACE,
    reload: bool = defaults.RELOAD,
    reload_dirs: list[str] | str | None = defaults.RELOAD_DIRS,
    reload_includes: list[str] | str | None = defaults.RELOAD_INCLUDES,
    reload_excludes: list[str] | str | None = defaults.RELOAD_EXCLUDES,
    reload_delay: float = defaults.RELOAD_DELAY,
    workers: int | None = defaults.WORKERS,
    env_file: str | os.PathLike[str] | None = defaults.ENV_FILE,
    log_config: dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None = LOGGING_CONFIG,
    log_level: str | int | None = defaults.LOG_LEVEL,
    access_log: bool = defaults.ACCESS_LOG,
    proxy_headers: bool = defaults.PROXY_HEADERS,
    server_header: bool = defaults.SERVER_HEADER,
    date_header: bool = defaults.DATE_HEADER,
    forwarded_allow_ips: list[str] | str | None = defaults.FORWARDED_ALLOW_IPS,
    root_path: str = defaults.ROOT_PATH,
    limit_concurrency: int | None = defaults.LIMIT_CONCURRENCY,
    backlog: int = defaults.BACKLOG,
    limit_max_requests: int | None = defaults.LIMIT_MAX_REQUESTS,
    limit_max_requests_jitter: int = defaults.LIMIT_MAX_REQUESTS_JITTER,
    timeout_keep_alive: int = defaults.TIMEOUT_KEEP_ALIVE,
    timeout_graceful_shutdown: int | None = defaults.TIMEOUT_GRACEFUL_SHUTDOWN,
    timeout_worker_healthcheck: int = defaults.TIMEOUT_WORKER_HEALTHCHECK,
    ssl_keyfile: str | os.PathLike[str] | None = defaults.SSL_KEYFILE,
    ssl_certfile: str | os.PathLike[str] | None = defaults.SSL_CERTFILE,
    ssl_keyfile_password: str | None = defaults.SSL_KEYFILE_PASSWORD,
    ssl_version: int = defaults.SSL_VERSION,
    ssl_cert_reqs: int = defaults.SSL_CERT_REQS,
    ssl_ca_certs: str | os.PathLike[str] | None = defaults.SSL_CA_CERTS,
    ssl_ciphers: str | None = defaults.SSL_CIPHERS,
    ssl_context_factory: Callable[[Config, Callable[[], SSLContext]], SSLContext] | None = None,
    headers: list[tuple[str, str]] | None = defaults.HEADERS,
    use_colors: bool | None = defaults.USE_COLORS,
    app_dir: str | None = None,
    factory: bool = defaults.FACTORY,
    h11_max_incomplete_event_size: int | None = defaults.H11_MAX_INCOMPLETE_EVENT_SIZE,
    reset_contextvars: bool = defaults.RESET_CONTEXTVARS,
    http2_limits: Http2Limits | Mapping[str, int] | None = defaults.HTTP2_LIMITS,
    worker_class: WorkerClassType | None = defaults.WORKER_CLASS,
    http2_wire: Http2WireType = defaults.HTTP2_WIRE,
) -> None:
    """Serve `app` until a signal ends it. The parameters are those of `Config`; `app_dir` goes first on `sys.path`.

    Exits with code 3 where the app, its startup, its sockets or its workers could not be brought up. Raises
    `ValueError`, `OSError` or `ImportError` for settings that do not work, and what the app's module raises.
    """
    settings = dict(locals())
    del settings["app_dir"]
    if app_dir is not None:
        app_dir = os.fspath(app_dir)
        sys.path.insert(0, app_dir)
    config = Config(**settings)
    if app_dir and not os.path.isdir(app_dir):
        logger.warning("There is no directory '%s' to import the app from (--app-dir).", app_dir)
    _serve(config)


def _serve(config: Config) -> None:
    supervised = config.reload or config.workers > 1
    if supervised and not isinstance(config.app, str):
        if config.reload or config.effective_worker_class != "thread":
            logger.warning("You must pass the application as an import string to enable 'reload' or 'workers'.")
            sys.exit(STARTUP_FAILURE)
        supervised = False  # Threads share the object, so nothing has to be imported by name.
    if supervised:
        config.check()
    else:
        config.load_app()

    exit_code = 0
    # A socket that could not be bound is somebody else's and stays; that of a server goes with its listener.
    sockets = [config.bind_socket()] if supervised else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(_clean_exit_on_sigterm())
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        if supervised and config.uds:
            watchdog.last_duty = SocketFile(config.uds).remove
            stack.callback(watchdog.last_duty)
        exit_code = _run_whoever_serves(config, supervised, sockets)
    if not watchdog.ends_with_server:
        watchdog.call_off()
    if exit_code:
        sys.exit(exit_code)


def _run_whoever_serves(config: Config, supervised: bool, sockets: list[socket.socket]) -> int:
    """Returns the exit code."""
    ours = sys.modules[__name__]
    if config.should_reload:
        server = DeferredServer(config, globals().get("Server"))
        reloader = ours.ChangeReload(config, target=server.run, sockets=sockets)
        reloader.run()
        # Callers put classes of their own in its place, which need not have this.
        return int(getattr(reloader, "has_cut_off", False) is True)
    if supervised:
        supervisor = ours.Multiprocess(config, sockets=sockets)
        supervisor.run()
        return int(supervisor.exit_code)
    server = ours.Server(config=config)
    server.owns_process = True
    server.run()
    return 0 if server.started else STARTUP_FAILURE


@contextlib.contextmanager
def _clean_exit_on_sigterm() -> Iterator[None]:
    """Meanwhile, let a graceful stop end with exit code 0, where nobody decided otherwise.

    The server raises the signals that it captured again when it is done. SIGTERM's default would then still kill the
    process (uvicorn: exit code -15); under uvicorn's name that stays as it is.
    """
    is_ours = names.product() != "uvicorn" and threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    pid = os.getpid()

    def exit_cleanly(sig: int, _frame: FrameType | None) -> None:
        if os.getpid() != pid:  # a child that the app has forked: no business of ours
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        sys.exit(0)

    signal.signal(signal.SIGTERM, exit_cleanly)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


#: What serves: imported when it is the one that will, since a supervisor needs no server and a server no supervisor.
#: `_serve` asks this module for it, so that a replacement that somebody has set here counts.
__getattr__ = on_demand(
    __name__,
    {"ChangeReload": "pounce.supervisors", "Multiprocess": "pounce.supervisors", "Server": "pounce.server"},
)

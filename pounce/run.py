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
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from pounce import names
from pounce.asgi import ASGIApplication
from pounce.binding import SocketFile
from pounce.config import registry
from pounce.config.config import Config
from pounce.errors import STARTUP_FAILURE
from pounce.fork_signals import undone_in_children
from pounce.importer import on_demand
from pounce.logs import LOGGING_CONFIG
from pounce.settings import (
    Asgi,
    Capacity,
    Compression,
    Deadlines,
    Forwarded,
    Http2,
    Limits,
    Parsing,
    ProxyProtocol,
    ServerTiming,
    Static,
    WorkerClass,
    file as settings_file,
)
from pounce.settings.worker_class import WorkerClassType
from pounce.supervisors.deferred_server import DeferredServer
from pounce.watchdog import watchdog

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
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | None = None,
    loop: registry.LoopFactoryType | str = "auto",
    http: type[asyncio.Protocol] | registry.HTTPProtocolType | str = "auto",
    http2: bool | Http2 | Mapping[str, Any] = False,
    ws: type[asyncio.Protocol] | registry.WSProtocolType | str = "auto",
    ws_max_size: int = 16 * 1024 * 1024,
    ws_max_queue: int = 32,
    ws_ping_interval: float | None = 20.0,
    ws_ping_timeout: float | None = 20.0,
    ws_per_message_deflate: bool = True,
    lifespan: registry.LifespanType = "auto",
    interface: registry.InterfaceType = "auto",
    reload: bool = False,
    reload_dirs: list[str] | str | None = None,
    reload_includes: list[str] | str | None = None,
    reload_excludes: list[str] | str | None = None,
    reload_delay: float = 0.25,
    workers: int | None = None,
    env_file: str | os.PathLike[str] | None = None,
    log_config: dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None = LOGGING_CONFIG,
    log_level: str | int | None = None,
    access_log: bool = True,
    proxy_headers: bool = True,
    server_header: bool = True,
    date_header: bool = True,
    forwarded_allow_ips: list[str] | str | None = None,
    root_path: str = "",
    limit_concurrency: int | None = None,
    backlog: int = 2048,
    limit_max_requests: int | None = None,
    limit_max_requests_jitter: int = 0,
    timeout_keep_alive: int = 5,
    timeout_graceful_shutdown: int | None = None,
    timeout_worker_healthcheck: int = 5,
    ssl_keyfile: str | os.PathLike[str] | None = None,
    ssl_certfile: str | os.PathLike[str] | None = None,
    ssl_keyfile_password: str | None = None,
    ssl_version: int = 17,  # ssl.PROTOCOL_TLS_SERVER
    ssl_cert_reqs: int = 0,  # ssl.CERT_NONE
    ssl_ca_certs: str | os.PathLike[str] | None = None,
    ssl_ciphers: str | None = None,
    ssl_context_factory: Callable[[Config, Callable[[], SSLContext]], SSLContext] | None = None,
    headers: list[tuple[str, str]] | None = None,
    use_colors: bool | None = None,
    app_dir: str | None = None,
    factory: bool = False,
    h11_max_incomplete_event_size: int | None = None,
    reset_contextvars: bool = False,
    worker_class: WorkerClassType | WorkerClass | Mapping[str, Any] | None = None,
    asgi: Asgi | Mapping[str, Any] | None = None,
    deadlines: Deadlines | Mapping[str, Any] | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    capacity: Capacity | Mapping[str, Any] | None = None,
    parsing: Parsing | Mapping[str, Any] | None = None,
    compression: str | Sequence[str] | Compression | Mapping[str, Any] = (),
    server_timing: bool | ServerTiming | Mapping[str, Any] = False,
    static: Sequence[str] | Static | Mapping[str, Any] = (),
    forwarded: Forwarded | Mapping[str, Any] | None = None,
    proxy_protocol: str | Sequence[str] | ProxyProtocol | Mapping[str, Any] = (),
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
    if settings_file.path is not None:
        logger.info("Settings from '%s'", settings_file.path)
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
        if os.getpid() != pid:  # a child that the app has forked, whose own handler calls the one before
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        sys.exit(0)

    def give_back() -> None:
        if signal.getsignal(signal.SIGTERM) is exit_cleanly:  # and not one that the app has set
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    with undone_in_children(give_back):
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

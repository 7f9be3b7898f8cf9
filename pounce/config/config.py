"""Config: every setting of a server under one name each, and the methods that turn settings into objects.

Made in the parent process, sent to child processes by pickling (before `load`), copied for each worker thread
(`for_worker`). The work is done by the other modules of this package. Answers to: uvicorn's `Config`, whose
parameters, attributes and methods these are; `worker_class` is pounce's own.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from pounce import names
from pounce.asgi import ASGIApplication
from pounce.binding import bind_socket
from pounce.config import app_import, defaults, logging_setup, values
from pounce.config.environment import from_environment, load_env_file
from pounce.config.registry import (
    HTTP_PROTOCOLS,
    LIFESPAN,
    LOOP_FACTORIES,
    WS_PROTOCOLS,
    Http2WireType,
    HTTPProtocolType,
    InterfaceType,
    LifespanType,
    LoopFactoryType,
    WSProtocolType,
    is_built_in,
    require_http2,
    require_package,
    resolve,
    with_http2,
)
from pounce.config.reload_paths import _normalize_dirs, is_dir, resolve_reload_patterns, without_excluded
from pounce.contracts import EffectiveWorkerClass, Lifespan, WorkerClassType
from pounce.errors import ImportFromStringError, StartupFailed
from pounce.importer import import_from_string
from pounce.logs import LOGGING_CONFIG
from pounce.wire.http2_limits import Http2Limits

if TYPE_CHECKING:
    import asyncio
    from configparser import RawConfigParser
    from ssl import SSLContext

logger = logging.getLogger(names.LOGGER_ERROR)


_ASGI_VERSIONS: dict[str, Literal["2.0", "3.0"]] = {"asgi2": "2.0", "asgi3": "3.0", "wsgi": "3.0"}


class Config:
    """The settings of one server. Times in seconds, sizes in bytes; see docs/settings.md for each.

    Numbers and switches may come as strings. Making a config applies the logging settings to the process and reads the
    environment (`env_file`, $WEB_CONCURRENCY, $FORWARDED_ALLOW_IPS, $POUNCE_WORKER_CLASS). Raises `ValueError` for a
    setting that makes no sense, before it does anything, and what a broken log config raises.
    """

    http_protocol_class: type[Any]
    ws_protocol_class: type[Any] | None
    lifespan_class: type[Lifespan]
    ssl: SSLContext | None
    loaded_app: Any

    def __init__(
        self,
        app: ASGIApplication | Callable[..., Any] | str,
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
        env_file: str | os.PathLike[str] | None = defaults.ENV_FILE,
        log_config: dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None = LOGGING_CONFIG,
        log_level: str | int | None = defaults.LOG_LEVEL,
        access_log: bool = defaults.ACCESS_LOG,
        use_colors: bool | None = defaults.USE_COLORS,
        interface: InterfaceType = defaults.INTERFACE,
        reload: bool = defaults.RELOAD,
        reload_dirs: list[str] | str | None = defaults.RELOAD_DIRS,
        reload_delay: float = defaults.RELOAD_DELAY,
        reload_includes: list[str] | str | None = defaults.RELOAD_INCLUDES,
        reload_excludes: list[str] | str | None = defaults.RELOAD_EXCLUDES,
        workers: int | None = defaults.WORKERS,
        proxy_headers: bool = defaults.PROXY_HEADERS,
        server_header: bool = defaults.SERVER_HEADER,
        date_header: bool = defaults.DATE_HEADER,
        forwarded_allow_ips: list[str] | str | None = defaults.FORWARDED_ALLOW_IPS,
        root_path: str = defaults.ROOT_PATH,
        limit_concurrency: int | None = defaults.LIMIT_CONCURRENCY,
        limit_max_requests: int | None = defaults.LIMIT_MAX_REQUESTS,
        limit_max_requests_jitter: int = defaults.LIMIT_MAX_REQUESTS_JITTER,
        backlog: int = defaults.BACKLOG,
        timeout_keep_alive: int = defaults.TIMEOUT_KEEP_ALIVE,
        timeout_notify: int = defaults.TIMEOUT_NOTIFY,
        timeout_graceful_shutdown: int | None = defaults.TIMEOUT_GRACEFUL_SHUTDOWN,
        timeout_worker_healthcheck: int = defaults.TIMEOUT_WORKER_HEALTHCHECK,
        callback_notify: Callable[..., Awaitable[None]] | None = defaults.CALLBACK_NOTIFY,
        ssl_keyfile: str | os.PathLike[str] | None = defaults.SSL_KEYFILE,
        ssl_certfile: str | os.PathLike[str] | None = defaults.SSL_CERTFILE,
        ssl_keyfile_password: str | None = defaults.SSL_KEYFILE_PASSWORD,
        ssl_version: int = defaults.SSL_VERSION,
        ssl_cert_reqs: int = defaults.SSL_CERT_REQS,
        ssl_ca_certs: str | os.PathLike[str] | None = defaults.SSL_CA_CERTS,
        ssl_ciphers: str | None = defaults.SSL_CIPHERS,
        ssl_context_factory: Callable[[Config, Callable[[], SSLContext]], SSLContext] | None = None,
        headers: list[tuple[str, str]] | None = defaults.HEADERS,
        factory: bool = defaults.FACTORY,
        h11_max_incomplete_event_size: int | None = defaults.H11_MAX_INCOMPLETE_EVENT_SIZE,
        reset_contextvars: bool = defaults.RESET_CONTEXTVARS,
        http2_limits: Http2Limits | Mapping[str, int] | None = defaults.HTTP2_LIMITS,
        worker_class: WorkerClassType | None = defaults.WORKER_CLASS,
        http2_wire: Http2WireType = defaults.HTTP2_WIRE,
    ) -> None:
        # Asked first: a package imported below may switch the GIL on in this process, which says nothing about the
        # server processes.
        self._runs_without_gil = not getattr(sys, "_is_gil_enabled", lambda: True)()
        self._notes: set[str] = set()

        self.app = app
        self.host = host
        self.port = port
        self.uds = uds
        self.fd = fd
        self.loop = loop
        self.http = http
        self.http2 = http2
        self.http2_wire: Http2WireType = http2_wire
        self.http2_limits: Http2Limits = http2_limits  # type: ignore[assignment]  # once it is read, below
        self.ws = ws
        self.ws_max_size = ws_max_size
        self.ws_max_queue = ws_max_queue
        self.ws_ping_interval = ws_ping_interval
        self.ws_ping_timeout = ws_ping_timeout
        self.ws_per_message_deflate = ws_per_message_deflate
        self.lifespan: LifespanType = lifespan
        self.log_config = log_config
        self.log_level = log_level
        self.access_log = access_log
        self.use_colors = use_colors
        self.interface: InterfaceType = interface
        self.reload = reload
        self.reload_delay = reload_delay
        self.workers: int = workers  # type: ignore[assignment]  # as above
        self.proxy_headers = proxy_headers
        self.server_header = server_header
        self.date_header = date_header
        self.root_path = root_path
        self.limit_concurrency = limit_concurrency
        self.limit_max_requests = limit_max_requests
        self.limit_max_requests_jitter = limit_max_requests_jitter
        self.backlog = backlog
        self.timeout_keep_alive = timeout_keep_alive
        self.timeout_notify = timeout_notify
        self.timeout_graceful_shutdown = timeout_graceful_shutdown
        self.timeout_worker_healthcheck = timeout_worker_healthcheck
        self.callback_notify = callback_notify
        self.ssl_keyfile = ssl_keyfile
        self.ssl_certfile = ssl_certfile
        self.ssl_keyfile_password = ssl_keyfile_password
        self.ssl_version = ssl_version
        self.ssl_cert_reqs = ssl_cert_reqs
        self.ssl_ca_certs = ssl_ca_certs
        self.ssl_ciphers = ssl_ciphers
        self.ssl_context_factory = ssl_context_factory
        self.headers: list[tuple[str, str]] = headers or []
        self.encoded_headers: list[tuple[bytes, bytes]] = []
        self.factory = factory
        self.h11_max_incomplete_event_size = h11_max_incomplete_event_size
        self.reset_contextvars = reset_contextvars
        self.worker_class: WorkerClassType = worker_class  # type: ignore[assignment]  # as above
        for setting in values.KINDS:
            setattr(self, setting, values.read(setting, getattr(self, setting)))
        self._app_is_factory: bool | None = True if self.factory else None

        self.loaded = False
        self.configure_logging()
        self._set_reload_paths(reload_dirs, reload_includes, reload_excludes)

        if env_file is not None:
            load_env_file(env_file)
        self._set_workers(self.workers, self.worker_class)
        self.forwarded_allow_ips: list[str] | str = (
            os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
            if forwarded_allow_ips is None
            else forwarded_allow_ips
        )
        self._warn_of_what_is_ignored()

    @property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        """The ASGI version that scopes carry. Only once the interface is known: after `load`, unless it was given."""
        return _ASGI_VERSIONS[self.interface]

    @property
    def is_ssl(self) -> bool:
        """Whether the server speaks TLS."""
        return bool(self.ssl_keyfile or self.ssl_certfile or self.ssl_context_factory)

    @property
    def use_subprocess(self) -> bool:
        """Whether a supervisor runs the server in a process of its own."""
        return bool(self.reload or self.workers > 1)

    @property
    def should_reload(self) -> bool:
        """Whether a reloader runs the server; that takes an app given as an import string."""
        return isinstance(self.app, str) and self.reload

    @property
    def effective_worker_class(self) -> EffectiveWorkerClass:
        """How several workers run: "auto" means threads if this interpreter ran without the GIL when asked.

        Under the reloader there is one worker, whatever `workers` says, and so nothing to run in threads.
        """
        if self.should_reload:
            return "process"
        if self.worker_class == "auto":
            return "thread" if self._runs_without_gil else "process"
        return self.worker_class

    def configure_logging(self) -> None:
        """Apply the logging settings to this process; every child process does it again."""
        logging_setup.configure_logging(self)

    def load_app(self) -> Any:
        """Import the app and return it as it is. Exits with code 3 if it is not where the import string says."""
        return app_import.import_app(self.app)

    def check(self) -> None:
        """Find, in a parent process, mistakes that its children would otherwise find one by one.

        Imports and keeps nothing. Raises explained exceptions; logs and exits with code 3 for an app that cannot exist
        (not under the reloader, where it may be about to be written).
        """
        if self.http2:
            require_http2(self.http2_wire)
        for flag, name in (("--http", self.http), ("--ws", self.ws), ("--loop", self.loop)):
            require_package(flag, name)
        if self.is_ssl:
            # Here, since a parent without TLS needs no OpenSSL.
            from pounce.config import tls

            tls.check(self)
        if self.should_reload or not isinstance(self.app, str):
            return
        problem = app_import.app_is_missing(self.app)
        if problem is not None:
            logger.error("Error loading ASGI app. %s", problem)
            raise StartupFailed

    def preload(self) -> None:
        """Import, before worker threads start, what their `load` would: without the GIL each thread has its own heap.

        Our own modules only, with what they need; what is wrong with them, `load` says.
        """
        with contextlib.suppress(ImportError):
            if is_built_in(self.http, HTTP_PROTOCOLS):
                http_protocol_class = resolve("--http", self.http, HTTP_PROTOCOLS)
                if self.http2:
                    with_http2(http_protocol_class, self.http2_wire)
        with contextlib.suppress(ImportError):
            if is_built_in(self.ws, WS_PROTOCOLS):
                resolve("--ws", self.ws, WS_PROTOCOLS)
        for needed in (LIFESPAN[self.lifespan], "pounce.config.app_loading:wrapped", "pounce.config.tls:context_from"):
            import_from_string(needed)

    def load(self) -> None:
        """Import app, protocol and lifespan classes; build TLS context, default headers and middleware. Once only.

        Exits with code 3 if the app cannot be found or its factory called; what the app's own code raises comes out.
        """
        assert not self.loaded
        # Here, since a supervisor loads nothing: the middleware and OpenSSL bring asyncio in.
        from pounce.config import app_loading, tls

        self.http_protocol_class = resolve("--http", self.http, HTTP_PROTOCOLS)
        if self.http2:
            self.http_protocol_class = with_http2(self.http_protocol_class, self.http2_wire)
        self.ssl = tls.context_from(self, getattr(self.http_protocol_class, "alpn_protocols", None))
        self.encoded_headers = self._encode_headers()
        self.ws_protocol_class = resolve("--ws", self.ws, WS_PROTOCOLS)
        self.lifespan_class = import_from_string(LIFESPAN[self.lifespan])

        app = self.load_app()
        if self._app_is_factory is not False:
            app, self._app_is_factory = app_loading.call_factory(app, self.factory)
            if self._app_is_factory and not self.factory and "factory" not in self._notes:
                self._notes.add("factory")
                logger.warning(
                    "ASGI app factory detected. Using it, but please consider setting the --factory flag explicitly."
                )
        if self.interface == "auto":
            self.interface = app_loading.interface_of(app)
        if self.interface == "wsgi":
            self.ws_protocol_class = None
        self.loaded_app = app_loading.wrapped(
            app,
            interface=self.interface,
            proxy_headers=self.proxy_headers,
            trusted_hosts=self.forwarded_allow_ips,
        )
        self.loaded = True

    def for_worker(self) -> Self:
        """A loaded copy for one worker thread; call it on that thread.

        What a request touches belongs to the copy: middleware, header list, TLS context, and the app itself where it
        comes from a factory. An app that is an object is the one object of all workers.
        """
        mine = copy.copy(self)
        mine.headers = list(self.headers)
        mine.loaded = False
        mine.load()
        return mine

    def setup_event_loop(self) -> None:
        """Gone from uvicorn 0.36 on; raises `AttributeError` that names `get_loop_factory`."""
        raise AttributeError(
            "The `setup_event_loop` method was replaced by `get_loop_factory` in uvicorn 0.36.0. "
            "Neither is meant to be called from outside the server."
        )

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop, or None for asyncio's own. Exits with code 3 if an import string leads nowhere."""
        try:
            found = resolve("--loop", self.loop, LOOP_FACTORIES)
        except ImportFromStringError as exc:
            logger.error("Error loading custom loop setup function. %s", exc)
            raise StartupFailed
        # Our own functions pick a factory; anything else is the factory itself.
        factory: Callable[[], asyncio.AbstractEventLoop] | None = (
            found(use_subprocess=self.use_subprocess) if is_built_in(self.loop, LOOP_FACTORIES) and found else found
        )
        return factory

    def bind_socket(self) -> socket.socket:
        """The socket to listen on, bound and inheritable; says where in the log. Exits with code 3 if it cannot be."""
        return bind_socket(self)

    def _encode_headers(self) -> list[tuple[bytes, bytes]]:
        encoded = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in self.headers]
        if self.server_header and all(name != b"server" for name, _ in encoded):
            encoded.insert(0, (b"server", names.server_header()))
        return encoded

    def _set_workers(self, workers: int | None, worker_class: WorkerClassType | None) -> None:
        """How many workers, and of which class; where nothing is given, the environment may say it."""
        if workers == 0:
            logger.warning('"workers" is 0, which counts as 1.')
        found = from_environment("workers", "WEB_CONCURRENCY") if workers is None else None
        self.workers_from_environment = found is not None
        self.workers = found if found is not None else workers or 1  # 0 from there stays, as with uvicorn
        variable = f"{names.ENV_PREFIX}_WORKER_CLASS"
        self.worker_class = worker_class or from_environment("worker_class", variable) or "auto"

    def _warn_of_what_is_ignored(self) -> None:
        if self.reload and self.workers > 1:
            logger.warning('"workers" flag is ignored when reloading is enabled.')
        for setting, needed in values.NEEDED.items():
            is_given = getattr(self, setting) != values.read(setting, getattr(defaults, setting.upper()))
            if is_given and not (self.is_ssl if needed == "ssl_certfile" else getattr(self, needed)):
                logger.warning('"%s" has no effect without "%s".', setting, needed)

    def _set_reload_paths(
        self,
        reload_dirs: list[str] | str | None,
        reload_includes: list[str] | str | None,
        reload_excludes: list[str] | str | None,
    ) -> None:
        self.reload_dirs: list[Path] = []
        self.reload_dirs_excludes: list[Path] = []
        self.reload_includes: list[str] = []
        self.reload_excludes: list[str] = []
        if not self.should_reload:
            if reload_dirs or reload_includes or reload_excludes:
                logger.warning(
                    "Current configuration will not reload as not all conditions are met, "
                    "please refer to documentation."
                )
            return

        given = _normalize_dirs(reload_dirs)
        includes, directories = resolve_reload_patterns(_normalize_dirs(reload_includes), given)
        self.reload_excludes, self.reload_dirs_excludes = resolve_reload_patterns(_normalize_dirs(reload_excludes), [])
        self.reload_includes = [pattern for pattern in includes if pattern not in self.reload_excludes]
        self.reload_dirs = without_excluded(directories, self.reload_dirs_excludes)
        if not self.reload_dirs:
            if given:
                logger.warning(
                    "Provided reload directories %s did not contain valid "
                    "directories, watching current working directory.",
                    given,
                )
            self.reload_dirs = [Path.cwd()]
        else:
            for missing in (directory for directory in given if not is_dir(Path(directory))):
                logger.warning("There is no directory '%s' to watch.", missing)
        logger.info("Will watch for changes in these directories: %s", sorted(map(str, self.reload_dirs)))

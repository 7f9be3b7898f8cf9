"""Config: every setting of a server under one name each, and the methods that turn settings into objects.

Made in the parent process, sent to child processes by pickling (before `load`), copied for each worker thread
(`for_worker`). The work is done by the other modules of this package. Parameters, attributes and methods are those of
uvicorn's `Config`; the groups of `pounce.settings` are pounce's own.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from pounce import names
from pounce.asgi import ASGIApplication
from pounce.binding import bind_socket
from pounce.config import app_import, logging_setup, registry
from pounce.config.default_headers import check_header, encoded_headers
from pounce.config.environment import from_environment, load_env_file
from pounce.config.reload_paths import _normalize_dirs, is_dir, resolve_reload_patterns, without_excluded
from pounce.contracts import PARAMETERS, ConfigView
from pounce.errors import ImportFromStringError, StartupFailed
from pounce.importer import import_from_string
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
    Settings,
    Static,
    WorkerClass,
)
from pounce.settings.worker_class import KIND, WorkerClassType

if TYPE_CHECKING:
    import asyncio
    from configparser import RawConfigParser
    from ssl import SSLContext

logger = logging.getLogger(names.LOGGER_ERROR)


class Config(ConfigView):
    """The settings of one server. Times in seconds, sizes in bytes; see docs/settings.md for each.

    Numbers and switches may come as strings. Making a config applies the logging settings to the process and reads the
    environment (`env_file`, $WEB_CONCURRENCY, $FORWARDED_ALLOW_IPS, $POUNCE_WORKER_CLASS). Raises `ValueError` for a
    setting that makes no sense, before it does anything, and what a broken log config raises.
    """

    def __init__(
        self,
        app: ASGIApplication | Callable[..., Any] | str,
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
        env_file: str | os.PathLike[str] | None = None,
        log_config: dict[str, Any] | str | os.PathLike[str] | RawConfigParser | IO[Any] | None = LOGGING_CONFIG,
        log_level: str | int | None = None,
        access_log: bool = True,
        use_colors: bool | None = None,
        interface: registry.InterfaceType = "auto",
        reload: bool = False,
        reload_dirs: list[str] | str | None = None,
        reload_delay: float = 0.25,
        reload_includes: list[str] | str | None = None,
        reload_excludes: list[str] | str | None = None,
        workers: int | None = None,
        proxy_headers: bool = True,
        server_header: bool = True,
        date_header: bool = True,
        forwarded_allow_ips: list[str] | str | None = None,
        root_path: str = "",
        limit_concurrency: int | None = None,
        limit_max_requests: int | None = None,
        limit_max_requests_jitter: int = 0,
        backlog: int = 2048,
        timeout_keep_alive: int = 5,
        timeout_notify: int = 30,
        timeout_graceful_shutdown: int | None = None,
        timeout_worker_healthcheck: int = 5,
        callback_notify: Callable[..., Awaitable[None]] | None = None,
        ssl_keyfile: str | os.PathLike[str] | None = None,
        ssl_certfile: str | os.PathLike[str] | None = None,
        ssl_keyfile_password: str | None = None,
        ssl_version: int = 17,  # ssl.PROTOCOL_TLS_SERVER
        ssl_cert_reqs: int = 0,  # ssl.CERT_NONE
        ssl_ca_certs: str | os.PathLike[str] | None = None,
        ssl_ciphers: str | None = None,
        ssl_context_factory: Callable[[Config, Callable[[], SSLContext]], SSLContext] | None = None,
        headers: list[tuple[str, str]] | None = None,
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
        given = {name: value for name, value in locals().items() if name != "self"}
        # Asked first: a package imported below may switch the GIL on in this process, which says nothing about the
        # server processes.
        self._runs_without_gil = not getattr(sys, "_is_gil_enabled", lambda: True)()
        self._notes: set[str] = set()

        self.settings = Settings.of(given)
        for name, value in given.items():
            setattr(self, name, PARAMETERS[name].kind.checked(value, name) if name in PARAMETERS else value)
        vars(self).update(self.settings.leading())
        self.headers = self.headers or []
        for header in self.headers:
            check_header(*header)
        self.encoded_headers = []
        self._app_is_factory: bool | None = True if self.factory else None

        self.loaded = False
        self.configure_logging()
        self._set_reload_paths()

        if env_file is not None:
            load_env_file(env_file)
        self._set_workers(self.workers)
        if forwarded_allow_ips is None:
            self.forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1,::1")
            PARAMETERS["forwarded_allow_ips"].kind.checked(self.forwarded_allow_ips, "$FORWARDED_ALLOW_IPS")
        self._warn_of_what_is_ignored()

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
            registry.require_http2(self.settings.http2.wire)
        for flag, name in (("--http", self.http), ("--ws", self.ws), ("--loop", self.loop)):
            registry.require_package(flag, name)
        if self.settings.compression.codings:
            import_from_string("pounce.exchange.content_codings:require")(self.settings.compression.codings)
        if self.is_ssl and self.ssl_context_factory is None:
            # Here, since a parent without TLS needs no OpenSSL.
            from pounce.config import tls

            tls.context_from(self, None)
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
        for flag, name in (("--http", self.http), ("--ws", self.ws)):
            with contextlib.suppress(ImportError):
                if registry.is_built_in(flag, name):
                    self._protocol_class(flag, name)
        for needed in (
            registry.LIFESPAN[self.lifespan],
            "pounce.config.app_loading:wrapped",
            "pounce.config.tls:context_from",
        ):
            import_from_string(needed)
        if self.settings.compression.codings:
            with contextlib.suppress(ImportError):
                import_from_string("pounce.exchange.compression:Compressor")(self.settings.compression)

    def load(self) -> None:
        """Import app, protocol and lifespan classes; build TLS context, default headers and middleware. Once only.

        Exits with code 3 if the app cannot be found or its factory called; what the app's own code raises comes out.
        """
        assert not self.loaded
        # Here, since a supervisor loads nothing: the middleware and OpenSSL bring asyncio in.
        from pounce.config import app_loading, tls

        self.http_protocol_class = self._protocol_class("--http", self.http)
        self.ssl = tls.context_from(self, getattr(self.http_protocol_class, "alpn_protocols", None))
        self.encoded_headers = encoded_headers(self)
        self.ws_protocol_class = self._protocol_class("--ws", self.ws)
        self.lifespan_class = import_from_string(registry.LIFESPAN[self.lifespan])

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
        trusted_hosts = self.forwarded_allow_ips if self.proxy_headers else None
        self.loaded_app = app_loading.wrapped(app, self.interface, trusted_hosts, self.settings.forwarded)
        self.loaded = True

    def for_worker(self) -> Self:
        """A loaded copy for one worker thread; call it on that thread.

        What a request touches belongs to the copy: middleware, header list, TLS context, and the app itself where it
        comes from a factory. An app that is an object is the one object of all workers.
        """
        mine = copy.copy(self)
        mine.headers = list(self.headers)
        mine.settings = self.settings.copy()
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
            found = registry.resolve("--loop", self.loop)
        except ImportFromStringError as exc:
            logger.error("Error loading custom loop setup function. %s", exc)
            raise StartupFailed
        # Our own functions pick a factory; anything else is the factory itself.
        factory: Callable[[], asyncio.AbstractEventLoop] | None = (
            found(use_subprocess=self.use_subprocess) if registry.is_built_in("--loop", self.loop) and found else found
        )
        return factory

    def bind_socket(self) -> socket.socket:
        """The socket to listen on, bound and inheritable; says where in the log. Exits with code 3 if it cannot be."""
        return bind_socket(self)

    def _protocol_class(self, flag: str, name: Any) -> Any:
        found = registry.resolve(flag, name)
        return registry.with_http2(found, self.settings.http2.wire) if flag == "--http" and self.http2 else found

    def _set_workers(self, workers: int | None) -> None:
        """How many workers, and of which class; where nothing is given, the environment may say it."""
        if workers == 0:
            logger.warning('"workers" is 0, which counts as 1.')
        found = from_environment(PARAMETERS["workers"].kind, "WEB_CONCURRENCY") if workers is None else None
        self.workers_from_environment = found is not None
        self.workers = found if found is not None else workers or 1  # 0 from there stays, as with uvicorn
        variable = f"{names.ENV_PREFIX}_WORKER_CLASS"
        self.worker_class = self.settings.worker_class.kind or from_environment(KIND, variable) or "auto"

    def _warn_of_what_is_ignored(self) -> None:
        if self.reload and self.workers > 1:
            logger.warning('"workers" flag is ignored when reloading is enabled.')
        vain = self.settings.vain()
        if not self.proxy_headers:
            vain += [(f"forwarded.{name}", "proxy_headers") for name in self.settings.forwarded.changed()]
        for name, (_, kind, _, needed) in PARAMETERS.items():
            if needed and getattr(self, name) != kind.checked(DEFAULTS[name]):
                vain += [] if (self.is_ssl if needed == "ssl_certfile" else getattr(self, needed)) else [(name, needed)]
        for name, needed in vain:
            logger.warning('"%s" has no effect without "%s".', name, needed)
        if self.proxy_headers and self.forwarded_allow_ips in ("*", ["*"]) and self.settings.forwarded.hops is None:
            logger.warning(
                'With "forwarded_allow_ips" as "*" clients can name any address as theirs. "--forwarded-hops" with the '
                "number of your proxies takes the address that these have seen."
            )
        if self.settings.capacity.connections_per_client and self.forwarded_allow_ips in ("*", ["*"]):
            name, value = "capacity.connections_per_client", "forwarded_allow_ips"
            logger.warning('"%s" has no effect where "%s" is "*".', name, value)

    def _set_reload_paths(self) -> None:
        given, includes, excludes = map(_normalize_dirs, (self.reload_dirs, self.reload_includes, self.reload_excludes))
        self.reload_dirs, self.reload_dirs_excludes, self.reload_includes, self.reload_excludes = [], [], [], []
        if not self.should_reload:
            if given or includes or excludes:
                logger.warning(
                    "Current configuration will not reload as not all conditions are met, "
                    "please refer to documentation."
                )
            return

        includes, directories = resolve_reload_patterns(includes, given)
        self.reload_excludes, self.reload_dirs_excludes = resolve_reload_patterns(excludes, [])
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


#: The defaults, by parameter.
DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(Config).parameters.items()
    if parameter.default is not parameter.empty
}

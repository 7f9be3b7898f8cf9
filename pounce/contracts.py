"""What one layer may ask of another without importing it.

`ConfigView` is the config as every layer below `pounce.config` sees it: they are handed a config object and never
import its class. Attributes mean what uvicorn's `Config` attributes of the same name mean; times are in seconds.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pounce.config.registry import HTTP_PROTOCOLS, INTERFACES, LIFESPAN, LOOP_FACTORIES, WS_PROTOCOLS
from pounce.settings.kinds import Flag, Headers, Integer, Kind, LogLevel, Named, OneOf, Seconds, Text
from pounce.settings.proxies import TrustedHosts

if TYPE_CHECKING:
    import asyncio
    import os
    import ssl
    from pathlib import Path

    from pounce.config.registry import InterfaceType, LifespanType
    from pounce.settings import Settings
    from pounce.settings.worker_class import WorkerClassType

#: What `--worker-class` came to on this interpreter.
EffectiveWorkerClass = Literal["thread", "process"]


class Lifespan(Protocol):
    """One run of the app's lifespan, on one event loop (ASGI lifespan specification 2.0)."""

    should_exit: bool
    state: dict[str, Any]

    def __init__(self, config: Any) -> None: ...

    async def startup(self) -> None: ...

    async def shutdown(self) -> None: ...


class Parameter(NamedTuple):
    """What is known of one of uvicorn's parameters, but for its name, place and default: those are `Config`'s."""

    heading: str
    kind: Kind
    help: str
    #: Without this one it has no effect.
    needs: str = ""


def _below(heading: str) -> Callable[..., Any]:
    """What makes the parameters below a heading of `--help`."""
    return functools.partial(Parameter, heading)


#: The heading of those without a flag; their help is the reason.
ONLY_IN_PYTHON = "Only as parameters"

_application = _below("Application")
_binding = _below("Binding")
_workers = _below("Workers and reload")
_protocols = _below("Protocols")
_limits = _below("Limits and timeouts")
_tls = _below("TLS")
_logging = _below("Logging")
_only_python = _below(ONLY_IN_PYTHON)

_INT_MAX = 2**31 - 1  # the largest `int` of C, which is what a system call takes
_ANY = Text()
_TEXTS = Text(several=True)
_PATHS = Text(several=True, is_path=True)
_FLAG = Flag()
_COUNT = Integer(optional=True)
_SECONDS = Seconds(optional=True)
_WHOLE = Seconds(whole=True)
_WHOLE_OR_NONE = Seconds(whole=True, optional=True)


class ConfigView:
    """A config, as its readers see it: the base of `Config`, which makes it.

    uvicorn's parameters come first, a row each: the heading of its flag, what it may be, what it is for, and without
    which other one it has no effect. What follows after `loaded` exists only once that is true (see `load`).
    """

    factory: bool = _application(_FLAG, "APP is a function that returns the app when called without arguments.")
    interface: InterfaceType = _application(OneOf(INTERFACES), "How APP is called: ASGI 3, ASGI 2 or WSGI.")
    lifespan: LifespanType = _application(OneOf(LIFESPAN), "Whether APP is told of startup and shutdown.")
    env_file: str = _application(Text(is_path=True), "Read environment variables for APP from this file.")
    root_path: str = _application(_ANY, "ASGI root_path of an app that is served below a URL path.")
    reset_contextvars: bool = _application(_FLAG, "Give each request an empty context, without what the lifespan set.")

    host: str = _binding(_ANY, "Address to listen on.")
    port: int = _binding(Integer(0, 65535), "Port to listen on; 0 picks a free one.")
    uds: str | None = _binding(_ANY, "Listen on a unix socket at this path instead.")
    fd: int | None = _binding(Integer(0, _INT_MAX, optional=True), "Listen on the socket with this descriptor instead.")
    backlog: int = _binding(Integer(0, _INT_MAX), "Connections that may wait to be accepted.")

    workers: int = _workers(_COUNT, "Number of workers.  [default: $WEB_CONCURRENCY, or 1]  Ignored with --reload.")
    reload: bool = _workers(_FLAG, "Restart when a file changes (for development).")
    reload_dirs: list[Path] = _workers(_PATHS, "Directory to watch instead of the working one; may be repeated.")
    reload_includes: list[str] = _workers(
        _TEXTS, "Pattern of files to watch besides '*.py'; may be repeated. Needs watchfiles."
    )
    reload_excludes: list[str] = _workers(
        _TEXTS,
        "Pattern of files not to watch besides '.*', '.py[cod]', '.sw.*' and '~*'; may be repeated. Needs watchfiles.",
    )
    # What waits for it takes no more than some 10**9, and no infinity.
    reload_delay: float = _workers(Seconds(most=10**9), "Seconds between two looks at the files.")

    loop: str = _protocols(Named(LOOP_FACTORIES), "Event loop, or an import string of a loop factory.")
    http: Any = _protocols(Named(HTTP_PROTOCOLS), "HTTP implementation, or an import string of a protocol class.")
    ws: Any = _protocols(Named(WS_PROTOCOLS), "WebSocket implementation, or an import string of a protocol class.")
    ws_max_size: int = _protocols(_COUNT, "Largest WebSocket message, in bytes.")
    ws_max_queue: int = _protocols(_COUNT, "WebSocket messages that may wait for the app.")
    ws_ping_interval: float | None = _protocols(_SECONDS, "Seconds between two WebSocket pings.")
    ws_ping_timeout: float | None = _protocols(_SECONDS, "Seconds to wait for the answer to a ping.")
    ws_per_message_deflate: bool = _protocols(Flag(valued=True), "Offer to compress WebSocket messages.")
    proxy_headers: bool = _protocols(_FLAG, "Take scheme and client from X-Forwarded-* headers of trusted proxies.")
    forwarded_allow_ips: list[str] | str = _protocols(
        TrustedHosts(),
        "Proxies to trust: addresses, networks, 'unix' (all unix sockets), separated by commas; '*' trusts everybody.  "
        "[default: $FORWARDED_ALLOW_IPS, or 127.0.0.1,::1]",
    )
    server_header: bool = _protocols(_FLAG, "Send a Server header.")
    date_header: bool = _protocols(_FLAG, "Send a Date header.")
    headers: list[tuple[str, str]] = _protocols(Headers(), "Header of every response, as Name:Value; may be repeated.")
    h11_max_incomplete_event_size: int | None = _protocols(_COUNT, "Bytes of an unfinished head that h11 keeps.")

    limit_concurrency: int | None = _limits(_COUNT, "Connections or tasks beyond which requests are answered with 503.")
    limit_max_requests: int | None = _limits(Integer(1, optional=True), "Requests after which a worker is replaced.")
    limit_max_requests_jitter: int = _limits(
        Integer(),
        "Add a random number up to this one to --limit-max-requests, so that workers end at different times.",
        "limit_max_requests",
    )
    timeout_keep_alive: int = _limits(_WHOLE, "Seconds after which a connection without a request is closed.")
    timeout_graceful_shutdown: int | None = _limits(
        _WHOLE_OR_NONE, "Seconds for running requests on shutdown.  [default: no limit]"
    )
    timeout_worker_healthcheck: int = _limits(_WHOLE, "Seconds without a sign of life until a worker is replaced.")

    # The numbers are those of Python's ssl module, but for the protocol versions of clients.
    ssl_certfile: str | os.PathLike[str] | None = _tls(_ANY, "File with the certificate chain (PEM).")
    ssl_keyfile: str | os.PathLike[str] | None = _tls(_ANY, "File with the private key, if it is not in the former.")
    ssl_keyfile_password: str | None = _tls(_ANY, "Password of the private key.", "ssl_certfile")
    ssl_version: int = _tls(OneOf((2, 3, 4, 5, 17)), "Protocol version, a number from Python's ssl module.")
    ssl_cert_reqs: int = _tls(OneOf((0, 1, 2)), "Client certificates: 0 none, 1 optional, 2 required.", "ssl_certfile")
    ssl_ca_certs: str | os.PathLike[str] | None = _tls(
        _ANY, "File with the authorities of clients (PEM).", "ssl_certfile"
    )
    ssl_ciphers: str | None = _tls(_ANY, "Ciphers, in OpenSSL's notation.  [default: its own choice]", "ssl_certfile")

    log_level: str | int | None = _logging(LogLevel(), "Level of the log.  [default: info]")
    access_log: bool = _logging(_FLAG, "Log every request.")
    use_colors: bool | None = _logging(Flag(undecided=True), "Colour the log.  [default: on a terminal]")
    log_config: Any = _logging(Text(is_path=True), "Logging configuration file: .ini, .json or .yaml.")

    app: Any = _only_python(_ANY, "the command's argument")
    callback_notify: Callable[..., Awaitable[None]] | None = _only_python(_ANY, "a function")
    timeout_notify: int = _only_python(_WHOLE, "how often `callback_notify` is called")
    ssl_context_factory: Callable[..., ssl.SSLContext] | None = _only_python(_ANY, "a function")

    http2: bool
    worker_class: WorkerClassType
    settings: Settings
    reload_dirs_excludes: list[Path]
    workers_from_environment: bool
    _runs_without_gil: bool

    loaded: bool
    loaded_app: Any
    http_protocol_class: type[Any]
    ws_protocol_class: type[Any] | None
    lifespan_class: type[Lifespan]
    ssl: ssl.SSLContext | None
    encoded_headers: list[tuple[bytes, bytes]]

    @functools.cached_property
    def asgi_version(self) -> Literal["2.0", "3.0"]:
        """The ASGI version that scopes carry. Only once the interface is known: after `load`, unless it was given."""
        return "2.0" if self.interface == "asgi2" else "3.0"

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
        """Apply the logging options to this process."""

    def load_app(self) -> Any:
        """Import the app and return it, without calling or wrapping it."""

    def preload(self) -> None:
        """Import protocol classes ahead of the `load` of worker threads. Not the app; see `load_app`."""

    def load(self) -> None:
        """Import app and protocol classes, build TLS context and headers. Once per config."""

    def for_worker(self) -> ConfigView:
        """A loaded config for one worker thread that shares nothing mutable with the others. Call on that thread."""
        raise NotImplementedError

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop, or None for asyncio's own choice."""


#: uvicorn's parameters, by name.
PARAMETERS: dict[str, Parameter] = {name: row for name, row in vars(ConfigView).items() if isinstance(row, Parameter)}

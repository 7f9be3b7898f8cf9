"""What one layer may ask of another without importing it.

`ConfigView` is the config as every layer below `pounce.config` sees it: they are handed a config object and never
import its class. Attributes mean what uvicorn's `Config` attributes of the same name mean; times are in seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import asyncio
    import os
    import ssl
    from pathlib import Path

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


class ConfigView:
    """A config, as its readers see it: the base of `Config`, which makes it.

    What follows after `loaded` exists only once that is true (see `load`).
    """

    _runs_without_gil: bool

    app: Any
    host: str
    port: int
    uds: str | None
    fd: int | None
    loop: str
    http: Any
    http2: bool
    settings: Settings
    ws: Any
    ws_max_size: int
    ws_max_queue: int
    ws_ping_interval: float | None
    ws_ping_timeout: float | None
    ws_per_message_deflate: bool
    lifespan: Literal["auto", "on", "off"]
    interface: Literal["auto", "asgi3", "asgi2", "wsgi"]
    log_config: Any
    log_level: str | int | None
    access_log: bool
    use_colors: bool | None
    reload: bool
    reload_delay: float
    reload_dirs: list[Path]
    reload_dirs_excludes: list[Path]
    reload_includes: list[str]
    reload_excludes: list[str]
    workers: int
    workers_from_environment: bool
    worker_class: WorkerClassType
    proxy_headers: bool
    forwarded_allow_ips: list[str] | str
    server_header: bool
    date_header: bool
    headers: list[tuple[str, str]]
    root_path: str
    limit_concurrency: int | None
    limit_max_requests: int | None
    limit_max_requests_jitter: int
    backlog: int
    timeout_keep_alive: int
    timeout_notify: int
    timeout_graceful_shutdown: int | None
    timeout_worker_healthcheck: int
    callback_notify: Callable[..., Awaitable[None]] | None
    ssl_keyfile: str | os.PathLike[str] | None
    ssl_certfile: str | os.PathLike[str] | None
    ssl_keyfile_password: str | None
    ssl_version: int
    ssl_cert_reqs: int
    ssl_ca_certs: str | os.PathLike[str] | None
    ssl_ciphers: str | None
    ssl_context_factory: Callable[..., ssl.SSLContext] | None
    factory: bool
    h11_max_incomplete_event_size: int | None
    reset_contextvars: bool

    loaded: bool
    loaded_app: Any
    http_protocol_class: type[Any]
    ws_protocol_class: type[Any] | None
    lifespan_class: type[Lifespan]
    ssl: ssl.SSLContext | None
    encoded_headers: list[tuple[bytes, bytes]]

    @property
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
        raise NotImplementedError

    def load_app(self) -> Any:
        """Import the app and return it, without calling or wrapping it."""
        raise NotImplementedError

    def preload(self) -> None:
        """Import protocol classes ahead of the `load` of worker threads. Not the app; see `load_app`."""
        raise NotImplementedError

    def load(self) -> None:
        """Import app and protocol classes, build TLS context and headers. Once per config."""
        raise NotImplementedError

    def for_worker(self) -> ConfigView:
        """A loaded config for one worker thread that shares nothing mutable with the others. Call on that thread."""
        raise NotImplementedError

    def get_loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        """What makes the event loop, or None for asyncio's own choice."""
        raise NotImplementedError

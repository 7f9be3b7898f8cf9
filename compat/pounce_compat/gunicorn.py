"""gunicorn worker classes: `gunicorn -k pounce_compat.gunicorn.PounceWorker module:app`.

gunicorn owns the sockets, the processes and the logs; the worker serves on one event loop per process. Compatible
with uvicorn's `uvicorn.workers`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import Any, ClassVar

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from pounce.config.config import Config
from pounce.names import LOGGER_ACCESS, LOGGER_ERROR
from pounce.server import Server
from pounce.worker.loops import asyncio_run

#: gunicorn's TLS option to ours.
_TLS_OPTIONS = {
    "keyfile": "ssl_keyfile",
    "certfile": "ssl_certfile",
    "password": "ssl_keyfile_password",
    "ssl_version": "ssl_version",
    "cert_reqs": "ssl_cert_reqs",
    "ca_certs": "ssl_ca_certs",
    "ciphers": "ssl_ciphers",
}


class PounceWorker(Worker):  # type: ignore[misc]  # gunicorn is untyped
    """One gunicorn worker process that serves an ASGI app. Subclasses may set options of `Config` in CONFIG_KWARGS."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "auto", "http": "auto"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Runs in gunicorn's parent, before the fork."""
        super().__init__(*args, **kwargs)
        self.server: Server | None = None
        _log_to(LOGGER_ERROR, self.log.error_log)
        _log_to(LOGGER_ACCESS, self.log.access_log)
        options: dict[str, Any] = {
            "app": None,
            "log_config": None,
            # WEB_CONCURRENCY is gunicorn's here; it must not multiply with threads of our own.
            "workers": 1,
            "timeout_keep_alive": self.cfg.keepalive,
            "timeout_notify": self.timeout,
            "callback_notify": self.callback_notify,
            "limit_max_requests": self.max_requests,
            "forwarded_allow_ips": self.cfg.forwarded_allow_ips,
        }
        if self.cfg.is_ssl:
            options |= {ours: self.cfg.ssl_options.get(theirs) for theirs, ours in _TLS_OPTIONS.items()}
        if self.cfg.backlog:
            options["backlog"] = self.cfg.backlog
        self.config = Config(**(options | self.CONFIG_KWARGS))

    def init_signals(self) -> None:
        """Leave the signals to the server; only the log's reopening (USR1) stays gunicorn's."""
        for sig in self.SIGNALS:
            # gunicorn's handlers would hide from the parent how a worker ended.
            signal.signal(sig, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.siginterrupt(signal.SIGUSR1, False)

    def run(self) -> None:
        """Serve until told to stop. Exits with gunicorn's "worker failed to boot" where the server did not start."""
        asyncio_run(self._serve(), loop_factory=self.config.get_loop_factory())

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        self.server = Server(config=self.config)
        # How gunicorn's parent ends its workers on Ctrl+C; the default action would dump core.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._stop)
        # gunicorn wraps its listening sockets in classes of its own.
        await self.server.serve(sockets=[getattr(listener, "sock", listener) for listener in self.sockets])
        if not self.server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)

    def _stop(self) -> None:
        self.alive = False
        if self.server is not None:
            self.server.should_exit = True

    async def callback_notify(self) -> None:
        """Tell gunicorn's parent that the event loop turns; stop where that parent is gone."""
        self.notify()
        if self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self._stop()


class PounceH11Worker(PounceWorker):
    """A worker that needs no compiled extension."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {"loop": "asyncio", "http": "h11"}


def _log_to(name: str, target: logging.Logger) -> None:
    """Send one of the server's loggers where gunicorn's logger goes."""
    logger = logging.getLogger(name)
    logger.handlers = target.handlers
    logger.setLevel(target.level)
    logger.propagate = False

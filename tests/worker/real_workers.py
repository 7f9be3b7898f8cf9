"""Workers whose connections are real, for tests of what comes before a connection is made, and of a drain."""

from __future__ import annotations

import ssl
from typing import Any

from pounce.settings import Settings
from pounce.worker.worker import Worker
from tests.fakes import PROTOCOLS, plain_config
from tests.worker.test_worker import NoLifespan


def real_worker(app: Any, context: ssl.SSLContext | None = None, parser: str = "h11", **settings: Any) -> Worker:
    """One on h11 (or another parser), with TLS where there is a context."""
    config = plain_config(
        app,
        http_protocol_class=PROTOCOLS[parser],
        lifespan_class=NoLifespan,
        date_header=False,
        encoded_headers=[],
        ssl=context,
        timeout_graceful_shutdown=None,
        settings=Settings.of(settings),
    )
    return Worker(config)

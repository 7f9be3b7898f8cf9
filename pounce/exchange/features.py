"""What changes an exchange before its app runs: who puts another writer, table of messages or app there.

A feature that is not asked for is not imported, and costs a request nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.settings import Settings

#: Told each exchange before its app is run, on the worker's loop.
Feature = Callable[[RequestResponseCycle], None]


def features_of(
    settings: Settings,
    logger: logging.Logger,
    default_headers: Sequence[tuple[bytes, bytes]] = (),
    refused: Callable[[], object] = lambda: None,
) -> list[Feature]:
    """Those that the settings ask for, in the order in which they are told: who comes later is nearer to the app.

    `default_headers` are those that the settings give every response. `refused` is called for each request that finds
    no place in the queue.
    """
    features: list[Feature] = []
    if settings.capacity.running:  # the first one: no place is taken by who has an app of its own
        from pounce.exchange.admission import Admission

        features.append(Admission(settings.capacity, refused))
    if settings.asgi.extensions:
        from pounce.exchange.files import FileMessages

        features.append(FileMessages(f"http.response.{name}" for name in settings.asgi.extensions))
    if settings.static.dirs:
        from pounce.exchange.static_files import StaticFiles

        features.append(StaticFiles(settings.static, settings.compression.codings, logger))
    if settings.server_timing.enabled:  # behind what has an app of its own, and before what codes the body
        from pounce.exchange.server_timing import ServerTimer

        features.append(ServerTimer(settings.server_timing))
    if settings.compression.codings:  # the last one: its row of the table compresses before any writer is told
        from pounce.exchange.compression import Compressor

        features.append(Compressor(settings.compression, default_headers))
    return features

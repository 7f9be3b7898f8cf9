"""uvicorn's path for `pounce.connection.flow`."""

from pounce.connection.flow import (
    CLOSE_HEADER as CLOSE_HEADER,
    HIGH_WATER_LIMIT as HIGH_WATER_LIMIT,
    FlowControl as FlowControl,
    service_unavailable as service_unavailable,
)

"""uvicorn's path for `pounce.logs`: log configurations name `pounce.logging.DefaultFormatter`."""

from pounce.logs import (
    TRACE_LOG_LEVEL as TRACE_LOG_LEVEL,
    AccessFormatter as AccessFormatter,
    ColourizedFormatter as ColourizedFormatter,
    DefaultFormatter as DefaultFormatter,
)

"""uvicorn's path for the class of `--http h11`."""

from pounce.connection.http1_h11 import (
    STATUS_PHRASES as STATUS_PHRASES,
    H11Protocol as H11Protocol,
    RequestResponseCycle as RequestResponseCycle,
)

"""uvicorn's path for what `--lifespan on` and `auto` do."""

from pounce.worker.lifespan import (
    STATE_TRANSITION_ERROR as STATE_TRANSITION_ERROR,
    LifespanOn as LifespanOn,
    LifespanReceiveMessage as LifespanReceiveMessage,
    LifespanSendMessage as LifespanSendMessage,
)

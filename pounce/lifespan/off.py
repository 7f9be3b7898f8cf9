"""uvicorn's path for what `--lifespan off` does."""

from pounce.worker.lifespan import LifespanOff as LifespanOff

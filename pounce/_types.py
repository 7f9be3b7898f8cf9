"""uvicorn's path for `pounce.asgi`."""

from pounce.asgi import *  # noqa: F403

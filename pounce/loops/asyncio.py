"""uvicorn's path for what `--loop asyncio` does."""

from pounce.worker.loops import asyncio_loop_factory as asyncio_loop_factory

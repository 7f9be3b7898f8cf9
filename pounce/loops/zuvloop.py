"""uvicorn's path for what `--loop zuvloop` does."""

from pounce.worker.loops import zuvloop_loop_factory as zuvloop_loop_factory

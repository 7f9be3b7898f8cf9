"""uvicorn's path for what `--loop uvloop` does."""

from pounce.worker.loops import uvloop_loop_factory as uvloop_loop_factory

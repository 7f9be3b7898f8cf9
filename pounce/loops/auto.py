"""uvicorn's path for what `--loop auto` does."""

from pounce.worker.loops import auto_loop_factory as auto_loop_factory

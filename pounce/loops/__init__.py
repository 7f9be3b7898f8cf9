"""uvicorn's path for `pounce.worker.loops`."""

"""uvicorn's path for `pounce.worker.lifespan`."""

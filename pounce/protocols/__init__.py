"""uvicorn's paths for the classes in `pounce.connection`."""

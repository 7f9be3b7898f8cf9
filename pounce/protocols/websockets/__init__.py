"""uvicorn's paths for the classes of `--ws`."""

"""uvicorn.protocols.http."""

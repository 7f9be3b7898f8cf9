"""uvicorn.protocols.websockets."""

"""uvicorn's own tests against pounce: `python -m conformance replay`. Standard library only; nothing is vendored."""

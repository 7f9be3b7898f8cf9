"""The folder that goes first on `sys.path` so that `import uvicorn` finds pounce; `_window.py` is its only logic."""

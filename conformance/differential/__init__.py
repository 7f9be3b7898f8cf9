"""The same bytes to uvicorn and to pounce: what they send, what their apps are told, how the connection ends.

`cases_*.py` are the table, `host/` is the process in which either server runs, `known.toml` lists the differences that
are meant. Nothing here imports a server: everything is seen from outside, over sockets.
"""

"""Clients that hold a server's connections, or its loop, for nothing: what each kind does, and a crowd of them."""

"""Apps of every kind that a config can be given by import string."""

from __future__ import annotations

from typing import Any


async def asgi3(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI 3 app."""


def asgi2(scope: Any) -> Any:
    """An ASGI 2 app."""
    return None


def wsgi(environ: Any, start_response: Any) -> Any:
    """A WSGI app."""
    return []


class Callable3:
    """Instances are ASGI 3 apps."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Called like one."""


class AwaitableClass:
    """An ASGI 3 app that is a class."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    def __await__(self) -> Any:
        yield


instance = Callable3()


def create() -> Any:
    """A factory: a new app each time."""
    return Callable3()


def create_with_a_bug() -> Any:
    """A factory that raises TypeError itself."""
    return len(3)  # type: ignore[arg-type]


class Server:
    """Stands in for a protocol class."""

    alpn_protocols = ["http/1.1"]


def make_loop() -> Any:
    """A loop factory."""

"""ASGI 2 apps (`app(scope)` gives an instance, `instance(receive, send)` runs it) as ASGI 3 apps.

Runs on the worker's loop. Implements the ASGI specification, "Legacy Applications".
"""

from __future__ import annotations

from pounce.asgi import ASGI2Application, ASGIReceiveCallable, ASGISendCallable, Scope


class ASGI2Middleware:
    """Makes both calls of the double-callable style in one."""

    def __init__(self, app: ASGI2Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await self.app(scope)(receive, send)

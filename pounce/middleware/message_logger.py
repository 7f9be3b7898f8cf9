"""Every ASGI message of an app in the `uvicorn.asgi` log at TRACE level; bodies and headers only by their size.

Runs on: the loop of the worker whose app it wraps. Switched on by `--log-level trace`.
Compatible with uvicorn's middleware (same lines, same counter).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from pounce.asgi import ASGI3Application, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent, Scope
from pounce.exchange.access_log import get_client_addr
from pounce.logs import TRACE_LOG_LEVEL
from pounce.names import LOGGER_ASGI

#: What stands in the log for the fields whose content does not belong there.
PLACEHOLDER_FORMAT = {
    "body": "<{length} bytes>",
    "bytes": "<{length} bytes>",
    "text": "<{length} chars>",
    "headers": "<...>",
}


def message_with_placeholders(message: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an ASGI message or scope that is fit for the log."""
    shown = dict(message)
    for field, placeholder in PLACEHOLDER_FORMAT.items():
        content = shown.get(field)
        if content is not None:
            shown[field] = placeholder.format(length=len(content))
    return shown


class MessageLoggerMiddleware:
    """Logs scope, messages in both directions and outcome of each call, numbered in the order of the calls."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app
        self.task_counter = 0
        self.logger = logging.getLogger(LOGGER_ASGI)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self.task_counter += 1
        number = self.task_counter
        client = get_client_addr(scope)
        prefix = f"{client} - ASGI" if client else "ASGI"

        def trace(text: str, *args: Any) -> None:
            self.logger.log(TRACE_LOG_LEVEL, "%s [%d] " + text, prefix, number, *args)

        async def receive_traced() -> ASGIReceiveEvent:
            message = await receive()
            trace("Receive %s", message_with_placeholders(message))
            return message

        async def send_traced(message: ASGISendEvent) -> None:
            trace("Send %s", message_with_placeholders(message))
            await send(message)

        trace("Started scope=%s", message_with_placeholders(scope))
        try:
            await self.app(scope, receive_traced, send_traced)
        except BaseException:
            trace("Raised exception")
            raise
        trace("Completed")

"""Answers that the server gives by itself, as ASGI apps and header constants."""

from __future__ import annotations

from pounce.asgi import ASGIReceiveCallable, ASGISendCallable, Scope

CLOSE_HEADER = (b"connection", b"close")

INTERNAL_SERVER_ERROR = b"Internal Server Error"


async def service_unavailable(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:  # noqa: ARG001
    """503 and the end of the connection: what a request gets beyond `limit_concurrency`."""
    body = b"Service Unavailable"
    await send(
        {
            "type": "http.response.start",
            "status": 503,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", b"%d" % len(body)),
                CLOSE_HEADER,
            ],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})

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


async def bad_request(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """400: a request that is well-formed but that no app can be given."""
    await _answer(send, 400, b"Bad Request")


async def header_fields_too_large(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """431: more or longer header fields than the limits allow (RFC 6585 section 5)."""
    await _answer(send, 431, b"Request header fields too large")


async def _answer(send: ASGISendCallable, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


#: Which apps are such an answer: no feature puts another app in their place.
SERVER_ANSWERS = (service_unavailable, bad_request, header_fields_too_large)

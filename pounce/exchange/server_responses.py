"""Answers that the server gives by itself, as ASGI apps and header constants."""

from __future__ import annotations

from pounce.asgi import ASGIReceiveCallable, ASGISendCallable, Scope

CLOSE_HEADER = (b"connection", b"close")

INTERNAL_SERVER_ERROR = b"Internal Server Error"


#: What a connection gets that is one too many, without a word from its client.
TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 19\r\n"
    b"connection: close\r\nretry-after: 1\r\n\r\nService Unavailable"
)


async def service_unavailable(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """503 and the end of the connection: what a request gets beyond `limit_concurrency`."""
    await send_text(send, 503, b"Service Unavailable", CLOSE_HEADER)


async def overloaded(send: ASGISendCallable, seconds: int) -> None:
    """503 with Retry-After: what a request gets that does not come to its turn. The connection may go on."""
    await send_text(send, 503, b"Service Unavailable", (b"retry-after", b"%d" % seconds))


async def bad_request(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """400: a request that is well-formed but that no app can be given."""
    await send_text(send, 400, b"Bad Request")


async def header_fields_too_large(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """431: more or longer header fields than the limits allow (RFC 6585 section 5)."""
    await send_text(send, 431, b"Request header fields too large")


async def uri_too_long(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """414: a longer request line than the limits allow (RFC 9110 section 15.5.15)."""
    await send_text(send, 414, b"Request line too long.")


async def content_too_large(_scope: Scope, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """413: a larger body than the limits allow (RFC 9110 section 15.5.14)."""
    await send_text(send, 413, b"Request body too large.")


async def send_text(send: ASGISendCallable, status: int, body: bytes, *fields: tuple[bytes, bytes]) -> None:
    """A whole response of plain text, with further fields."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), *fields]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


#: What a request gets that an app is not given, by status.
REFUSALS = {400: bad_request, 413: content_too_large, 414: uri_too_long, 431: header_fields_too_large}

#: Which apps are such an answer: no feature puts another app in their place.
SERVER_ANSWERS = (service_unavailable, *REFUSALS.values())

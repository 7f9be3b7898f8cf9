"""Types of the ASGI 3 specification (HTTP, WebSocket, lifespan) and of WSGI's calling convention (PEP 3333).

Only shapes, nothing runs here. The names are those that users of `uvicorn._types` import.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from types import TracebackType
from typing import Any, Literal, NotRequired, Protocol, TypedDict

Headers = Iterable[tuple[bytes, bytes]]
ClientAddress = tuple[str, int]
ServerAddress = tuple[str, int | None]
Extensions = dict[str, dict[object, object]]

# --- scopes: what an app is told once, when it is called


class ASGIVersions(TypedDict):
    """Which ASGI the server speaks to this app."""

    version: Literal["2.0", "3.0"]
    spec_version: str


class _ScopeBase(TypedDict):
    asgi: ASGIVersions
    state: NotRequired[dict[str, Any]]


class _ConnectionScope(_ScopeBase):
    http_version: str
    scheme: str
    path: str
    raw_path: bytes
    query_string: bytes
    root_path: str
    headers: Headers
    client: ClientAddress | None
    server: ServerAddress | None
    extensions: NotRequired[Extensions]


class HTTPScope(_ConnectionScope):
    """One HTTP request."""

    type: Literal["http"]
    method: str


class WebSocketScope(_ConnectionScope):
    """One WebSocket connection."""

    type: Literal["websocket"]
    subprotocols: Iterable[str]


class LifespanScope(_ScopeBase):
    """One life of the app on one event loop."""

    type: Literal["lifespan"]


WWWScope = HTTPScope | WebSocketScope
Scope = WWWScope | LifespanScope

# --- HTTP messages


class HTTPRequestEvent(TypedDict):
    """A piece of the request body."""

    type: Literal["http.request"]
    body: bytes
    more_body: bool


class HTTPDisconnectEvent(TypedDict):
    """The client is gone, or the response is complete."""

    type: Literal["http.disconnect"]


class HTTPResponseStartEvent(TypedDict):
    """Status and headers of the response."""

    type: Literal["http.response.start"]
    status: int
    headers: NotRequired[Headers]
    trailers: NotRequired[bool]


class HTTPResponseBodyEvent(TypedDict):
    """A piece of the response body."""

    type: Literal["http.response.body"]
    body: bytes
    more_body: NotRequired[bool]


class HTTPResponseTrailersEvent(TypedDict):
    """Extension `http.response.trailers`."""

    type: Literal["http.response.trailers"]
    headers: Headers
    more_trailers: bool


class HTTPResponseEarlyHintEvent(TypedDict):
    """Extension `http.response.early_hint` (RFC 8297)."""

    type: Literal["http.response.early_hint"]
    links: Iterable[bytes]


class HTTPServerPushEvent(TypedDict):
    """Extension `http.response.push`."""

    type: Literal["http.response.push"]
    path: str
    headers: Headers


class HTTPResponseDebugEvent(TypedDict):
    """Extension `http.response.debug`."""

    type: Literal["http.response.debug"]
    info: dict[str, object]


# --- WebSocket messages


class WebSocketConnectEvent(TypedDict):
    """The client asks for the connection."""

    type: Literal["websocket.connect"]


class WebSocketAcceptEvent(TypedDict):
    """The app grants it."""

    type: Literal["websocket.accept"]
    subprotocol: NotRequired[str | None]
    headers: NotRequired[Headers]


# A message carries bytes or text, never both; the other key is absent or None.


class _WebSocketReceiveEventBytes(TypedDict):
    type: Literal["websocket.receive"]
    bytes: bytes
    text: NotRequired[None]


class _WebSocketReceiveEventText(TypedDict):
    type: Literal["websocket.receive"]
    text: str
    bytes: NotRequired[None]


class _WebSocketSendEventBytes(TypedDict):
    type: Literal["websocket.send"]
    bytes: bytes
    text: NotRequired[None]


class _WebSocketSendEventText(TypedDict):
    type: Literal["websocket.send"]
    text: str
    bytes: NotRequired[None]


WebSocketReceiveEvent = _WebSocketReceiveEventBytes | _WebSocketReceiveEventText
WebSocketSendEvent = _WebSocketSendEventBytes | _WebSocketSendEventText


class WebSocketDisconnectEvent(TypedDict):
    """The connection is over; `code` is the close code (RFC 6455 section 7.4)."""

    type: Literal["websocket.disconnect"]
    code: int
    reason: NotRequired[str | None]


class WebSocketCloseEvent(TypedDict):
    """The app ends the connection, or refuses it with a 403 before it was accepted."""

    type: Literal["websocket.close"]
    code: NotRequired[int]
    reason: NotRequired[str | None]


class WebSocketResponseStartEvent(TypedDict):
    """Extension `websocket.http.response`: the app refuses with a response of its own."""

    type: Literal["websocket.http.response.start"]
    status: int
    headers: Headers


class WebSocketResponseBodyEvent(TypedDict):
    """A piece of that response's body."""

    type: Literal["websocket.http.response.body"]
    body: bytes
    more_body: NotRequired[bool]


# --- lifespan messages


class LifespanStartupEvent(TypedDict):
    """Before the first request."""

    type: Literal["lifespan.startup"]


class LifespanStartupCompleteEvent(TypedDict):
    """The app is ready."""

    type: Literal["lifespan.startup.complete"]


class LifespanStartupFailedEvent(TypedDict):
    """The app cannot serve; the server exits."""

    type: Literal["lifespan.startup.failed"]
    message: str


class LifespanShutdownEvent(TypedDict):
    """After the last request."""

    type: Literal["lifespan.shutdown"]


class LifespanShutdownCompleteEvent(TypedDict):
    """The app has tidied up."""

    type: Literal["lifespan.shutdown.complete"]


class LifespanShutdownFailedEvent(TypedDict):
    """Tidying up went wrong."""

    type: Literal["lifespan.shutdown.failed"]
    message: str


# --- the calls

WebSocketEvent = WebSocketConnectEvent | WebSocketReceiveEvent | WebSocketDisconnectEvent

ASGIReceiveEvent = (
    HTTPRequestEvent | HTTPDisconnectEvent | WebSocketEvent | LifespanStartupEvent | LifespanShutdownEvent
)

ASGISendEvent = (
    HTTPResponseStartEvent
    | HTTPResponseBodyEvent
    | HTTPResponseTrailersEvent
    | HTTPResponseEarlyHintEvent
    | HTTPServerPushEvent
    | HTTPDisconnectEvent
    | WebSocketAcceptEvent
    | WebSocketSendEvent
    | WebSocketCloseEvent
    | WebSocketResponseStartEvent
    | WebSocketResponseBodyEvent
    | LifespanStartupCompleteEvent
    | LifespanStartupFailedEvent
    | LifespanShutdownCompleteEvent
    | LifespanShutdownFailedEvent
)

ASGIReceiveCallable = Callable[[], Awaitable[ASGIReceiveEvent]]
ASGISendCallable = Callable[[ASGISendEvent], Awaitable[None]]


class ASGI2Protocol(Protocol):
    """An ASGI 2 app: made with the scope, then called with the two channels."""

    def __init__(self, scope: Scope) -> None: ...

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None: ...


ASGI2Application = type[ASGI2Protocol]
ASGI3Application = Callable[[Scope, ASGIReceiveCallable, ASGISendCallable], Awaitable[None]]
ASGIApplication = ASGI2Application | ASGI3Application

# --- WSGI

Environ = MutableMapping[str, Any]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]
StartResponse = Callable[[str, Iterable[tuple[str, str]], ExcInfo | None], None]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes] | BaseException]

"""WSGI apps on an ASGI server: a2wsgi's middleware where that is installed, else the one of this module.

Runs on: the worker's loop, and (the app, and whatever is marked so) a thread of a bounded pool.
Implements PEP 3333; names, constructor and the deprecation are those of uvicorn's middleware.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast

from pounce.asgi import (
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Environ,
    ExcInfo,
    HTTPScope,
    Scope,
    WSGIApp,
)
from pounce.errors import ClientDisconnected, MisusedByApp
from pounce.names import banner

_CONTENT_HEADERS = {"content-length": "CONTENT_LENGTH", "content-type": "CONTENT_TYPE"}


def build_environ(scope: HTTPScope, message: Any, body: io.BytesIO) -> Environ:  # noqa: ARG001
    """The WSGI environment of a request whose whole body is in `body`.

    Text is what PEP 3333 calls native strings: bytes seen as latin-1. `message` is not looked at; it is part of the
    signature because uvicorn's has it.
    """
    script_name = scope.get("root_path", "").encode("utf-8").decode("latin-1")
    path_info = scope["path"].encode("utf-8").decode("latin-1").removeprefix(script_name)
    scheme = scope.get("scheme", "http")
    host, port = scope.get("server") or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": script_name,
        "PATH_INFO": path_info,
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": host,
        # A unix socket has no port, and WSGI no word for that.
        "SERVER_PORT": str(port if port is not None else (443 if scheme == "https" else 80)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    if client := scope.get("client"):
        environ["REMOTE_ADDR"] = client[0]
    for raw_name, raw_value in scope.get("headers", ()):
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        key = _CONTENT_HEADERS.get(name) or "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


class _WSGIMiddleware:
    """The fallback: buffers the request body, runs the app in a pool of `workers` threads, streams the response."""

    def __init__(self, app: WSGIApp, workers: int = 10) -> None:
        warnings.warn(
            f"{banner()}'s native WSGI implementation is deprecated, "
            "you should switch to a2wsgi (`pip install a2wsgi`).",
            DeprecationWarning,
        )
        self.app = app
        self.executor = concurrent.futures.ThreadPoolExecutor(max_workers=workers, thread_name_prefix="pounce-wsgi")

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"A WSGI app cannot serve {scope['type']!r}.")
        await WSGIResponder(self.app, self.executor, scope)(receive, send)


class WSGIResponder:
    """One request of a WSGI app. The app's thread waits for each chunk to be sent, which is the flow control."""

    def __init__(self, app: WSGIApp, executor: concurrent.futures.ThreadPoolExecutor, scope: HTTPScope) -> None:
        self.app = app
        self.executor = executor
        self.scope = scope
        self.exc_info: ExcInfo | None = None
        self.response_started = False
        self._head: ASGISendEvent | None = None
        self._sent: concurrent.futures.Future[None] | None = None
        self._is_abandoned = False

    # On the worker's loop

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Serve the request. Raises what the app raised; also what it reported through `exc_info`, once it is sent."""
        body = io.BytesIO()
        message: Any = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # half a body is not a request
            body.write(message.get("body", b""))
        body.seek(0)

        environ = build_environ(self.scope, message, body)
        self._loop = asyncio.get_running_loop()
        self._send = send
        try:
            await self._loop.run_in_executor(self.executor, self.wsgi, environ, self.start_response)
        finally:
            # Where the request's task was cancelled nobody will send for the thread, and it must be able to end.
            self._is_abandoned = True
            if self._sent is not None:
                self._sent.cancel()
        if self.exc_info is not None:
            # The client has its answer; the reason of it belongs into the server's log (uvicorn does the same).
            raise self.exc_info[1].with_traceback(self.exc_info[2])

    # On a thread of the pool

    def wsgi(self, environ: Environ, start_response: Any) -> None:
        """Run the app and send what it yields."""
        chunks: Any = self.app(environ, start_response)
        try:
            for chunk in chunks:
                self._write(chunk)
            self._send_head()
            self._send_threadsafe({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            getattr(chunks, "close", lambda: None)()

    def start_response(
        self, status: str, response_headers: Iterable[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's `start_response`: keeps the head until the first byte of the body. Returns `write()`.

        With `exc_info` a head that is not yet sent is replaced; one that is sent cannot be, and the exception goes on
        to the server. Raises `MisusedByApp` when called twice without it.
        """
        if exc_info is not None:
            self.exc_info = exc_info
            if self.response_started:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._head is not None:
            raise MisusedByApp("start_response() was called twice without exc_info.")
        self._head = {
            "type": "http.response.start",
            "status": int(status.split(" ", 1)[0]),
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response_headers],
        }
        return self._write

    def _write(self, chunk: bytes) -> None:
        if chunk:  # an empty one must not send the head yet: the app may still replace it
            self._send_head()
            self._send_threadsafe({"type": "http.response.body", "body": chunk, "more_body": True})

    def _send_head(self) -> None:
        if self._head is None:
            raise MisusedByApp("The WSGI app did not call start_response().")
        if not self.response_started:
            self.response_started = True
            self._send_threadsafe(self._head)

    def _send_threadsafe(self, message: ASGISendEvent) -> None:
        sending = cast("Coroutine[Any, Any, None]", self._send(message))
        try:
            self._sent = asyncio.run_coroutine_threadsafe(sending, self._loop)
        except RuntimeError as exc:  # the loop is closed
            sending.close()
            raise ClientDisconnected from exc
        if self._is_abandoned:
            self._sent.cancel()
        try:
            self._sent.result()
        except concurrent.futures.CancelledError:
            raise ClientDisconnected from None


WSGIMiddleware: type[Any]
try:
    import a2wsgi
except ModuleNotFoundError:
    WSGIMiddleware = _WSGIMiddleware
else:
    WSGIMiddleware = a2wsgi.WSGIMiddleware

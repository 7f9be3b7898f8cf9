"""The apps of a fuzzed connection: those that behave, those that do what a list of steps says, and what they sent."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from pounce.errors import ClientDisconnected
from tests.connection import app_steps

_STATUSES = (200, 200, 200, 201, 204, 304, 404, 500, 99, 101, 103, 999)
_BODIES = (b"", b"abc", b"abc", b"y" * 70000)
_FIELDS: list[list[tuple[bytes, bytes]]] = [
    [], [], [], [(b"x", b"y")], [(b"content-length", b"3")], [(b"content-length", b"0")], [(b"content-length", b"x")],
    [(b"transfer-encoding", b"chunked")], [(b"connection", b"close")], [(b"", b"y")], [(b"x", b"a\r\nb: c")],
    [(b"upgrade", b"x"), (b"connection", b"upgrade")], [(b":status", b"200")], [(b"X-Upper", b"\xc3\xa9")],
]  # fmt: skip
_OTHERS = ("receive", "receive", "wait", "wait", "fail", "return")


def http_step(dice: Random) -> Any:
    """Of an app that sends anything."""
    what = dice.random()
    if what < 0.3:
        fields = dice.choice(_FIELDS)
        return {
            "type": "http.response.start", "status": dice.choice(_STATUSES), "headers": fields,
            "trailers": dice.random() < 0.1,
        }  # fmt: skip
    if what < 0.65:
        return {"type": "http.response.body", "body": dice.choice(_BODIES), "more_body": dice.random() < 0.5}
    if what < 0.7:
        return {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False}
    if what < 0.74:
        return {"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]}
    return dice.choice(_OTHERS)


def websocket_step(dice: Random) -> Any:
    """The same over a WebSocket."""
    what = dice.random()
    if what < 0.25:
        fields = dice.choice(_FIELDS)
        return {"type": "websocket.accept", "subprotocol": dice.choice((None, None, "a", "b\n")), "headers": fields}
    if what < 0.5:
        return {"type": "websocket.send", **dice.choice([{"text": "abc"}, {"bytes": b"y" * 70000}, {"text": ""}])}
    if what < 0.6:
        return {"type": "websocket.close", "code": dice.choice((1000, 3000, 1006, 5000)), "reason": "so it is"}
    if what < 0.66:
        status = dice.choice(_STATUSES)
        return {"type": "websocket.http.response.start", "status": status, "headers": dice.choice(_FIELDS)}
    if what < 0.72:
        body = dice.choice(_BODIES)
        return {"type": "websocket.http.response.body", "body": body, "more_body": dice.random() < 0.5}
    return dice.choice(_OTHERS)


def some(dice: Random, step: Any) -> list[dict[str, Any]]:
    """One to four of any kind."""
    found: list[dict[str, Any]] = []
    for _ in range(dice.choice((1, 1, 2, 4))):
        kind = dice.choice(("echo", "echo", "early", "stream", "hold", "plan", "plan"))
        app: dict[str, Any] = {"kind": kind}
        if kind == "plan":
            app["steps"] = [step(dice) for _ in range(dice.randrange(8))]
            app["goes_on"] = dice.random() < 0.5
        elif kind == "stream":
            app["parts"], app["size"] = dice.choice(((1, 1), (3, 1000), (20, 1000), (3, 40000)))
        found.append(app)
    return found


class Exchange:
    """One run of an app: what it was asked, what it has sent, and whether that is all."""

    def __init__(self, scope: Any, kind: str) -> None:
        self.type: str = scope["type"]
        self.method: str = scope.get("method", "GET")
        #: It keeps to the specification.
        self.behaves = kind != "plan"
        self.status = 0
        self.body = b""
        self.messages: list[str | bytes] = []
        self.complete = False
        self.disconnected = False


class Apps:
    """All of one connection over a transport; `send` raising what it must not is a fault in `faults`."""

    def __init__(self, kinds: list[dict[str, Any]], transport: Any, faults: list[str]) -> None:
        self.kinds = kinds
        self.transport = transport
        self.faults = faults
        self.exchanges: list[Exchange] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        number = len(self.exchanges)
        what = self.kinds[number % len(self.kinds)]
        exchange = Exchange(scope, what["kind"])
        self.exchanges.append(exchange)

        async def send_noted(message: Any) -> None:
            kind = message["type"]
            if kind in ("http.response.start", "websocket.accept", "websocket.http.response.start"):
                message = message | {"headers": [(b"x-app", b"%d" % number), *message.get("headers", ())]}
            was_closing = self.transport.closing
            await send(message)
            if was_closing:
                return  # it is dropped
            exchange.status = message.get("status", exchange.status)
            if kind.endswith("response.body"):
                exchange.body += message.get("body", b"")
            elif kind == "websocket.send":
                exchange.messages.append(message.get("bytes", message.get("text")))
            if self.transport.gone:
                return  # perhaps it was written, and `send` has waited behind that
            if (kind.endswith("response.body") and not message.get("more_body")) or kind == "websocket.close":
                exchange.complete = True

        async def receive_noted() -> Any:
            message = await receive()
            exchange.disconnected |= message["type"].endswith(".disconnect")
            return message

        if what["kind"] == "plan":
            try:
                await app_steps.run(app_steps.Plan(what["steps"], what["goes_on"]), receive_noted, send_noted)
            except AssertionError as exc:
                self.faults.append(f"raised: {exc}")
                raise app_steps.Failed from exc
        elif scope["type"] == "websocket":
            await _websocket(what, receive_noted, send_noted)
        else:
            await _http(what, receive_noted, send_noted)


async def _http(what: dict[str, Any], receive: Any, send: Any) -> None:
    body, kind = b"", what["kind"]
    while kind != "early":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"] and kind != "hold":
            break
    try:
        if kind == "stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(what["parts"]):
                await send({"type": "http.response.body", "body": b"z" * what["size"], "more_body": True})
                await asyncio.sleep(0)
            await send({"type": "http.response.body"})
        else:
            fields = [(b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": fields})
            await send({"type": "http.response.body", "body": body})
    except ClientDisconnected:
        pass


async def _websocket(what: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    try:
        if what["kind"] == "early":
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "websocket.accept"})
        for _ in range(what.get("parts", 0)):
            await send({"type": "websocket.send", "bytes": b"z" * what["size"]})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if what["kind"] == "hold":
                await asyncio.sleep(0)
            elif message.get("text") is not None:
                await send({"type": "websocket.send", "text": message["text"]})
            else:
                await send({"type": "websocket.send", "bytes": message["bytes"]})
    except ClientDisconnected:
        pass

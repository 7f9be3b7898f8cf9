"""Apps for WebSockets."""

from __future__ import annotations

from typing import Any

from apps_http import PLAIN, hello, length
from stage import Stage, app


async def accept(stage: Stage, **more: Any) -> None:
    await stage.receive()
    await stage.send({"type": "websocket.accept", **more})


@app
async def echo(stage: Stage) -> None:
    await accept(stage)
    while True:
        message = await stage.receive()
        if message["type"] == "websocket.disconnect":
            return
        text, data = message.get("text"), message.get("bytes")
        key, value = ("text", text) if text is not None else ("bytes", data)
        await stage.send({"type": "websocket.send", key: value})


@app
async def subprotocol(stage: Stage) -> None:
    await accept(stage, subprotocol=stage.scope["subprotocols"][-1], headers=[(b"x-a", b"b"), (b"X-C", b"d")])
    await stage.receive()


@app
async def subprotocol_unasked(stage: Stage) -> None:
    await accept(stage, subprotocol="other")
    await stage.receive()


@app
async def ws_bad_header(stage: Stage) -> None:
    await accept(stage, headers=[(b"x-a", b"1\r\nx-b: 2")])


@app
async def ws_refuses(stage: Stage) -> None:
    await stage.receive()
    await stage.send({"type": "websocket.close"})


@app
async def ws_refuses_at_once(stage: Stage) -> None:
    await stage.send({"type": "websocket.close", "code": 4000, "reason": "no"})


@app
async def ws_denies(stage: Stage) -> None:
    await stage.receive()
    start = {"type": "websocket.http.response.start", "status": 401, "headers": [*length(4), *PLAIN]}
    await stage.send(start)
    await stage.send({"type": "websocket.http.response.body", "body": b"go", "more_body": True})
    await stage.send({"type": "websocket.http.response.body", "body": b"ne"})


@app
async def ws_denies_unfinished(stage: Stage) -> None:
    await stage.receive()
    await stage.send({"type": "websocket.http.response.start", "status": 401, "headers": length(4)})


@app
async def waits_for_ws_disconnect(stage: Stage) -> None:
    await stage.receive()
    stage.reach("called")
    await stage.receive()


@app
async def ws_raises_before(stage: Stage) -> None:
    raise ValueError("before the handshake")


@app
async def ws_returns_before(stage: Stage) -> None:
    return


@app
async def ws_raises_after(stage: Stage) -> None:
    await accept(stage)
    raise ValueError("after the handshake")


@app
async def ws_returns_after(stage: Stage) -> None:
    await accept(stage)


@app
async def ws_sends_first(stage: Stage) -> None:
    await stage.send({"type": "websocket.send", "text": "early"})


@app
async def ws_accepts_twice(stage: Stage) -> None:
    await accept(stage)
    await stage.send({"type": "websocket.accept"})


@app
async def ws_closes(stage: Stage) -> None:
    await accept(stage)
    await stage.send({"type": "websocket.close"})
    await stage.receive()


@app
async def ws_closes_with_code(stage: Stage) -> None:
    await accept(stage)
    await stage.send({"type": "websocket.send", "text": "bye"})
    await stage.send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    await stage.receive()


@app
async def ws_sends_after_close(stage: Stage) -> None:
    await accept(stage)
    await stage.send({"type": "websocket.close"})
    await stage.send({"type": "websocket.send", "text": "late"})


@app
async def ws_sends_to_the_gone(stage: Stage) -> None:
    await accept(stage)
    stage.reach("accepted")
    await stage.receive()
    await stage.send({"type": "websocket.send", "text": "late"})


@app
async def ws_sends_kinds(stage: Stage) -> None:
    await accept(stage)
    await stage.send({"type": "websocket.send", "text": "t\xe4xt"})
    await stage.send({"type": "websocket.send", "bytes": b"\x00\xff"})
    await stage.send({"type": "websocket.send", "text": ""})
    await stage.send({"type": "websocket.send", "text": None, "bytes": b"b"})
    await stage.send({"type": "websocket.send", "bytes": b"x" * 70000})
    await stage.receive()


@app
async def ws_sends_nothing(stage: Stage) -> None:
    await accept(stage)
    await stage.send({"type": "websocket.send"})


@app
async def either(stage: Stage) -> None:
    """A WebSocket or a plain request, as it comes."""
    await (echo if stage.scope["type"] == "websocket" else hello)(stage)

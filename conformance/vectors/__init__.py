"""What smuggles, splits, confuses or forges, as data: what is sent, and the one verdict that every backend has to give.

A `*.toml` file is a group of a list that every HTTP server can be held to: `http1` has sections 1 to 8 of it, requests;
`responses` section 9, what an app answers; `logs` section 10, what of a request a line of the log may hold. Bytes are
written as in Python; `\\{a*9}` is nine times `a`. `rfc` is the section that asks for the verdict.

`http1` (`vector.py`): `vectors` are bytes (`send`), or what fills the hole, `@`, of one of the file's `shapes` (`in`,
`put`), and a verdict:

    refuse = 400                answered with this status; the connection ends; nothing behind it is answered
    accept = ["POST /a abc"]    the app sees these requests, and what comes behind them is answered as well
    waits = true                neither: more has to come, and what comes behind is a part of it

Beside `accept`: `fields`, what the app sees in the first request; `closes`, the connection ends with its last answer;
`then`, what is left behind these requests is refused with this status; `hangs`, nothing behind them is ever answered.

Where a parser gives another verdict it is under `uvicorn` (only with `--parsing uvicorn`), or under `except` (always),
there with its `reason`. Both are strict: a verdict that is not another one any more fails, and so does one that is
about no vector.

`responses` (`response.py`): a vector fills the holes of the file's `places` (`in`; else all of them), each with what an
app `sends`, as ASGI has it, and what is seen of it. `put` is what fills `@`; of a table, `@KEY` is an entry:

    refused = true              the place says what becomes of it
    sent = 'a'                  the same, with this in the hole of what is seen
    answer = { status = 200 }   this is seen

What is seen: `status` (0: nothing), `fields` (those of the server's own only where they are named), `without` (fields
that are not there), `hints`, `body`, `trailers`; `cut`, it ends before its end; `closes`, over HTTP/1.1 the connection
ends with it; `breaks`, so it does, and over HTTP/2 its stream is reset; `told`, the app's `send` raises. Nothing else
arrives, and what the client sends behind it is answered where nothing ended. `method` and `version` are the request's;
`http2 = false` leaves HTTP/2 out; `except` is by WebSocket library.

`logs` (`log_line.py`): a request's `method`, `target` and `fields`, by a peer that is a trusted proxy, or the `reason`
with which a WebSocket is closed; and the lines that the log has of it, in uvicorn's format:

    logged = '/%0A'             one, with this path and query, and with `client` where that is not the peer
    refused = true              the line of every request that is refused, with nothing of this one

`uvicorn` is as in `http1`. No line may have a control character in it, nor be two.
"""

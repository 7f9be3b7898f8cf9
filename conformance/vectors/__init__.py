"""Requests that smuggle, split or confuse, as data: what is sent, and the one verdict that every parser has to give.

A `*.toml` file is a group: section 1 to 7 of a list that every HTTP server can be held to. Its `vectors` are bytes
(`send`), or what fills the hole, `@`, of one of its `shapes` (`in`, `put`), and a verdict. Bytes are written as in
Python; `\\{a*9}` is nine times `a`. `rfc` is the section that asks for the verdict:

    refuse = 400                answered with this status; the connection ends; nothing behind it is answered
    accept = ["POST /a abc"]    the app sees these requests, and what comes behind them is answered as well
    waits = true                neither: more has to come, and what comes behind is a part of it

Beside `accept`: `fields`, what the app sees in the first request; `closes`, the connection ends with its last answer;
`then`, what is left behind these requests is refused with this status; `hangs`, nothing behind them is ever answered.

Where a parser gives another verdict it is under `uvicorn` (only with `--parsing uvicorn`), or under `except` (always),
there with its `reason`. Both are strict: a verdict that is not another one any more fails, and so does one that is
about no vector.
"""

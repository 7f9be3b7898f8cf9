"""Apps that answer requests, rightly and wrongly, and what they do with the request."""

from __future__ import annotations

from stage import Stage, app


def length(size: int) -> list[tuple[bytes, bytes]]:
    return [(b"content-length", str(size).encode())]


PLAIN = [(b"content-type", b"text/plain")]


# Whole responses


@app
async def hello(stage: Stage) -> None:
    await stage.start(200, length(5) + PLAIN)
    await stage.body(b"hello")


@app
async def reads_first(stage: Stage) -> None:
    body = await stage.read()
    await stage.start(200, length(len(body)))
    await stage.body(body)


@app
async def echo_target(stage: Stage) -> None:
    text = repr((stage.scope["path"], stage.scope["raw_path"], stage.scope["query_string"])).encode()
    await stage.start(200, length(len(text)))
    await stage.body(text)


@app
async def no_length(stage: Stage) -> None:
    await stage.start(200, PLAIN)
    await stage.body(b"hello")


@app
async def no_length_empty(stage: Stage) -> None:
    await stage.start()
    await stage.body()


@app
async def no_headers_key(stage: Stage) -> None:
    await stage.send({"type": "http.response.start", "status": 200})
    await stage.send({"type": "http.response.body"})


@app
async def parts(stage: Stage) -> None:
    await stage.start(200, PLAIN)
    for part in (b"one", b"", b"two", b"three"):
        await stage.body(part, True)
    await stage.body()


@app
async def parts_with_length(stage: Stage) -> None:
    await stage.start(200, length(11))
    for part in (b"one", b"", b"two", b"three"):
        await stage.body(part, True)
    await stage.body()


@app
async def chunked_by_app(stage: Stage) -> None:
    await stage.start(200, [(b"Transfer-Encoding", b"chunked")])
    await stage.body(b"hello", True)
    await stage.body(b"world")


@app
async def large(stage: Stage) -> None:
    await stage.start(200, length(1 << 20))
    for _ in range(16):
        await stage.body(b"x" * 65536, True)
    await stage.body()


@app
async def large_whole(stage: Stage) -> None:
    await stage.start(200, length(1 << 20))
    await stage.body(b"x" * (1 << 20))


@app
async def closes(stage: Stage) -> None:
    await stage.start(200, [*length(5), (b"connection", b"close")])
    await stage.body(b"hello")


@app
async def keeps_alive(stage: Stage) -> None:
    await stage.start(200, [*length(5), (b"connection", b"keep-alive")])
    await stage.body(b"hello")


@app
async def status_204(stage: Stage) -> None:
    await stage.start(204)
    await stage.body()


@app
async def status_204_with_body(stage: Stage) -> None:
    await stage.start(204, PLAIN)
    await stage.body(b"gone")


@app
async def status_304(stage: Stage) -> None:
    await stage.start(304, [(b"etag", b'"1"')])
    await stage.body()


@app
async def status_304_with_length(stage: Stage) -> None:
    await stage.start(304, length(5))
    await stage.body()


@app
async def status_404(stage: Stage) -> None:
    await stage.start(404, length(4))
    await stage.body(b"none")


@app
async def status_unknown(stage: Stage) -> None:
    await stage.start(299, length(0))
    await stage.body()


@app
async def status_599(stage: Stage) -> None:
    await stage.start(599, length(0))
    await stage.body()


@app
async def many_headers(stage: Stage) -> None:
    fields = [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"X-UPPER", b"Value"), (b"x-empty", b"")]
    fields += [(b"x-latin", b"\xe4\xf6"), (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"server", b"mine")]
    await stage.start(200, [*fields, *length(2)])
    await stage.body(b"ok")


@app
async def headers_iterator(stage: Stage) -> None:
    await stage.start(200, iter(length(2)))
    await stage.body(b"ok")


# The app's mistakes


@app
async def raises_before(stage: Stage) -> None:
    raise ValueError("before")


@app
async def raises_after_head(stage: Stage) -> None:
    await stage.start(200, length(5))
    raise ValueError("after the head")


@app
async def raises_in_body(stage: Stage) -> None:
    await stage.start(200, PLAIN)
    await stage.body(b"part", True)
    raise ValueError("in the body")


@app
async def raises_after(stage: Stage) -> None:
    await stage.start(200, length(5))
    await stage.body(b"hello")
    raise ValueError("after the end")


@app
async def returns_early(stage: Stage) -> None:
    return


@app
async def returns_after_head(stage: Stage) -> None:
    await stage.start(200, length(5))


@app
async def returns_in_body(stage: Stage) -> None:
    await stage.start(200, PLAIN)
    await stage.body(b"part", True)


@app
async def body_first(stage: Stage) -> None:
    await stage.body(b"hello")


@app
async def two_starts(stage: Stage) -> None:
    await stage.start(200, length(5))
    await stage.start(200, length(5))


@app
async def body_after_end(stage: Stage) -> None:
    await stage.start(200, length(5))
    await stage.body(b"hello")
    await stage.body(b"more")


@app
async def unknown_message(stage: Stage) -> None:
    await stage.send({"type": "http.response.unknown"})


@app
async def too_long(stage: Stage) -> None:
    await stage.start(200, length(3))
    await stage.body(b"hello")


@app
async def too_long_late(stage: Stage) -> None:
    await stage.start(200, length(3))
    await stage.body(b"abc", True)
    await stage.body(b"def")


@app
async def too_short(stage: Stage) -> None:
    await stage.start(200, length(9))
    await stage.body(b"hello")


@app
async def status_text(stage: Stage) -> None:
    await stage.start("200", length(2))  # type: ignore[arg-type]
    await stage.body(b"ok")


@app
async def header_text(stage: Stage) -> None:
    await stage.start(200, [("x-a", "b"), *length(2)])
    await stage.body(b"ok")


@app
async def header_splits(stage: Stage) -> None:
    await stage.start(200, [(b"x-a", b"1\r\nx-b: 2"), *length(2)])
    await stage.body(b"ok")


@app
async def header_bad_name(stage: Stage) -> None:
    await stage.start(200, [(b"x a", b"1"), *length(2)])
    await stage.body(b"ok")


@app
async def length_not_a_number(stage: Stage) -> None:
    await stage.start(200, [(b"content-length", b"two")])
    await stage.body(b"ok")


@app
async def catches_send(stage: Stage) -> None:
    await stage.start(200, length(3))
    try:
        await stage.body(b"hello")
    except Exception:
        return


# What the app does with its request


@app
async def receives_after(stage: Stage) -> None:
    await stage.start(200, length(5))
    await stage.body(b"hello")
    await stage.receive()
    await stage.receive()


@app
async def receives_twice(stage: Stage) -> None:
    await stage.receive()
    await stage.start(200, PLAIN)
    await stage.body(b"part", True)
    stage.reach("streaming")
    await stage.receive()
    await stage.body(b"late")


@app
async def waits_for_disconnect(stage: Stage) -> None:
    stage.reach("called")
    message = await stage.receive()
    while message["type"] != "http.disconnect":
        message = await stage.receive()


@app
async def answers_the_gone(stage: Stage) -> None:
    stage.reach("called")
    await stage.released("go")
    await stage.start(200, PLAIN)
    await stage.body(b"one", True)
    await stage.body(b"two")


@app
async def answers_released(stage: Stage) -> None:
    stage.reach("called")
    await stage.released("go")
    await stage.start(200, length(5))
    await stage.body(b"hello")


@app
async def streams_released(stage: Stage) -> None:
    await stage.start(200, PLAIN)
    await stage.body(b"one", True)
    stage.reach("streaming")
    await stage.released("go")
    await stage.body(b"two", True)
    await stage.body(b"three")


@app
async def by_path(stage: Stage) -> None:
    """Answers with its path; each kind of path with another framing."""
    path = stage.scope["path"].encode()
    if path.startswith(b"/read"):
        path += b" " + await stage.read()
    if path.startswith(b"/stream"):
        await stage.start(200, PLAIN)
        await stage.body(path, True)
        await stage.body(b"end")
    elif path.startswith(b"/close"):
        await stage.start(200, [*length(len(path)), (b"connection", b"close")])
        await stage.body(path)
    elif path.startswith(b"/raise"):
        raise ValueError("by path")
    else:
        await stage.start(200, length(len(path)))
        await stage.body(path)

"""Requests that smuggle, split or confuse: what each parser refuses, in one segment and byte by byte.

Behind each vector comes a second request. Where the vector is refused there is one 400 (or nothing), the connection
ends, and the second request is not answered. The vectors are of RFC 9112 sections 2.2, 3, 5, 6 and 7, and of the
advisories of servers before this one. `ACCEPTED` names the vectors that a parser lets through, each for a reason.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.fakes import Connection, answer, cuts, get, read_body

pytestmark = pytest.mark.anyio

HOST = b"Host: a\r\n"
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"


def head(*lines: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def length(value: bytes) -> bytes:
    return head(b"Content-Length: " + value) + b"abc"


CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"


def coding(*values: bytes) -> bytes:
    return head(*[b"Transfer-Encoding: " + value for value in values]) + CHUNKS


def in_chunks(data: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + data


def field(raw: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\n" + HOST + raw + b"\r\n"


def line(raw: bytes) -> bytes:
    return raw + b"\r\n" + HOST + b"\r\n"


FRAMING = {
    "length and chunked": head(b"Content-Length: 3", b"Transfer-Encoding: chunked") + CHUNKS,
    "chunked and length": head(b"Transfer-Encoding: chunked", b"Content-Length: 3") + CHUNKS,
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKS,
    "length twice": head(b"Content-Length: 3", b"Content-Length: 3") + b"abc",
    "two lengths": head(b"Content-Length: 3", b"Content-Length: 4") + b"abc",
    "list of equal lengths": length(b"3, 3"),
    "list of lengths": length(b"3, 4"),
    "length empty": length(b""),
    "length signed": length(b"+3"),
    "length negative": length(b"-3"),
    "length minus zero": length(b"-0"),
    "length hexadecimal": length(b"0x3"),
    "length with underscore": length(b"3_0"),
    "length with space inside": length(b"3 3"),
    "length of 5000 digits": length(b"1" * 5000),
    "length in other digits": length("\u0663".encode()),
    "length with parameter": length(b"3;"),
    "length with fraction": length(b"3.0"),
    "coding xchunked": coding(b"xchunked"),
    "coding ,chunked": coding(b",chunked"),
    "coding chunked,": coding(b"chunked,"),
    "coding chunked, identity": coding(b"chunked, identity"),
    "coding identity": coding(b"identity"),
    "coding identity, chunked": coding(b"identity, chunked"),
    "coding with parameter": coding(b"chunked;q=1"),
    "coding chunked, chunked": coding(b"chunked, chunked"),
    "coding gzip, chunked": coding(b"gzip, chunked"),
    "coding gzip": coding(b"gzip"),
    "coding with \\x0b": coding(b"\x0bchunked"),
    "coding with \\x0c": coding(b"chunked\x0c"),
    "coding with \\xa0": coding(b"\xa0chunked"),
    "coding with \\x85": coding(b"chunked\x85"),
    "coding with NUL": coding(b"chunked\x00"),
    "coding quoted": coding(b'"chunked"'),
    "coding twice": coding(b"chunked", b"chunked"),
    "coding identity and chunked": coding(b"identity", b"chunked"),
    "coding with space before colon": head(b"Transfer-Encoding : chunked") + CHUNKS,
    "coding with tab before colon": head(b"Transfer-Encoding\t: chunked") + CHUNKS,
    "coding folded": head(b"Transfer-Encoding:\r\n chunked") + CHUNKS,
}

CHUNKED = {
    "size signed": in_chunks(b"+2\r\nab\r\n0\r\n\r\n"),
    "size negative": in_chunks(b"-2\r\nab\r\n0\r\n\r\n"),
    "size with 0x": in_chunks(b"0x2\r\nab\r\n0\r\n\r\n"),
    "size with underscore": in_chunks(b"2_0\r\nab\r\n0\r\n\r\n"),
    "size with space behind": in_chunks(b"2 \r\nab\r\n0\r\n\r\n"),
    "size with space before": in_chunks(b" 2\r\nab\r\n0\r\n\r\n"),
    "size empty": in_chunks(b"\r\nab\r\n0\r\n\r\n"),
    "bare LF after size": in_chunks(b"2\nab\r\n0\r\n\r\n"),
    "bare CR after size": in_chunks(b"2\rab\r\n0\r\n\r\n"),
    "bare LF after data": in_chunks(b"2\r\nab\n0\r\n\r\n"),
    "anything after data": in_chunks(b"2\r\nabXX0\r\n\r\n"),
    "bare LF at the end": in_chunks(b"2\r\nab\r\n0\n\n"),
    "LF in extension": in_chunks(b"2;a\nxx\r\nab\r\n0\r\n\r\n"),
    "CR in extension": in_chunks(b"2;a\rxx\r\nab\r\n0\r\n\r\n"),
    "NUL in extension": in_chunks(b"2;a\x00\r\nab\r\n0\r\n\r\n"),
    "trailer without colon": in_chunks(b"2\r\nab\r\n0\r\nXT\r\n\r\n"),
    "bare LF in trailers": in_chunks(b"2\r\nab\r\n0\r\nX-T: 1\n\r\n"),
}

FIELDS = {
    "bare LF": field(b"X: 1\n"),
    "only bare LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "bare CR": field(b"X: 1\rY: 2\r\n"),
    "NUL": field(b"X: a\x00b\r\n"),
    "control character": field(b"X: a\x01b\r\n"),
    "\\x1c": field(b"X: a\x1cb\r\n"),
    "DEL": field(b"X: a\x7fb\r\n"),
    "empty name": field(b": v\r\n"),
    "no colon": field(b"Xv\r\n"),
    "name with space": field(b"X y: v\r\n"),
    "name with parentheses": field(b"X(y): v\r\n"),
    "name of 8 bits": field(b"X\xe9: v\r\n"),
    "space before colon": field(b"X : v\r\n"),
    "folded": field(b"X: a\r\n b\r\n"),
    "folded with tab": field(b"X: a\r\n\tb\r\n"),
    "space before the first field": b"GET / HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "host twice": field(HOST),
    "two hosts": field(b"Host: b\r\n"),
    "two hosts, apart": field(b"X: y\r\nhOST: b\r\n"),
    "two hosts behind others": b"GET / HTTP/1.1\r\nX: y\r\nHost: a\r\nHost: b\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\nX: y\r\n\r\n",
}

LINES = {
    "two spaces": line(b"GET  / HTTP/1.1"),
    "tab": line(b"GET\t/ HTTP/1.1"),
    "space at the end": line(b"GET / HTTP/1.1 "),
    "no version": line(b"GET /"),
    "only a method": line(b"GET"),
    "no target": line(b"GET HTTP/1.1"),
    "HTTP/0.9": line(b"GET / HTTP/0.9"),
    "HTTP/2.0": line(b"GET / HTTP/2.0"),
    "HTTP/3.0": line(b"GET / HTTP/3.0"),
    "HTTP/11": line(b"GET / HTTP/11"),
    "HTTP/1.10": line(b"GET / HTTP/1.10"),
    "http/1.1": line(b"GET / http/1.1"),
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "PRI with fields": line(b"PRI * HTTP/2.0"),
    "PRI of HTTP/1.1": line(b"PRI * HTTP/1.1"),
    "8 bits in the path": line(b"GET /\xc3\xa9 HTTP/1.1"),
    "NUL in the path": line(b"GET /\x00 HTTP/1.1"),
    "ESC in the path": line(b"GET /\x1b HTTP/1.1"),
    "ESC in the query": line(b"GET /?\x1b HTTP/1.1"),
    "DEL in the path": line(b"GET /\x7f HTTP/1.1"),
    "space in the path": line(b"GET /a b HTTP/1.1"),
    "method not a token": line(b"GE(T / HTTP/1.1"),
    "NUL in the method": line(b"G\x00T / HTTP/1.1"),
    "space first": line(b" GET / HTTP/1.1"),
    "a response": line(b"HTTP/1.1 200 OK"),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}

#: What stays as it is with uvicorn on the same parser. None of it moves the end of a message in a way that another
#: server could read otherwise, except for h11's line ends, which nothing behind h11 can tell any more.
ACCEPTED = {
    "h11": {
        "length twice",  # h11 makes one of equal lengths (RFC 9112 section 6.3 allows that)
        "list of equal lengths",
        "coding folded",
        "size with space behind",
        "CR in extension",
        "NUL in extension",
        "bare LF in trailers",
        "bare LF",
        "only bare LF",
        "folded",
        "folded with tab",
    },
    "httptools": {
        "no host",  # health checks do that
        "two spaces",
    },
    "zttp": set(),
}

VECTORS = {**FRAMING, **CHUNKED, **FIELDS, **LINES}


@pytest.mark.parametrize("name", VECTORS)
async def test_vector(parser: str, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """The vector is refused with a 400 and the end of the connection, or it is one of those that are known to pass."""
    caplog.set_level(logging.CRITICAL)
    complete: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_body(receive)
        complete.append(scope["path"])
        await answer(send)

    for parts in cuts(VECTORS[name] + SECOND):
        complete.clear()
        async with Connection(parser, app) as connection:
            await connection.feed(*parts)
            statuses = [response.status for response in connection.responses()]
            if name in ACCEPTED[parser]:
                assert statuses == [200, 200]
            else:
                assert statuses == [400]
                assert complete == []
                assert connection.closed


async def test_a_length_that_no_body_has(parser: str) -> None:
    """A length beyond 2**63 waits for a body that never comes, or is refused; what follows is never a request."""
    for parts in cuts(length(b"9223372036854775808") + SECOND):
        seen: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope["path"])  # noqa: B023
            while (await receive())["type"] != "http.disconnect":
                pass

        async with Connection(parser, app) as connection:
            await connection.feed(*parts)
            assert "/second" not in seen
            assert all(response.status == 400 for response in connection.responses())


async def test_a_body_where_none_is_expected_is_a_body(parser: str) -> None:
    """GET, HEAD and OPTIONS with a length have that body: its bytes are never a request (CL.0)."""
    for method in ("GET", "HEAD", "OPTIONS", "DELETE"):
        raw = get("/", f"Content-Length: {len(SECOND)}", method=method) + SECOND
        for parts in cuts(raw + get("/third")):
            seen: list[str] = []

            async def app(scope: Any, receive: Any, send: Any) -> None:
                seen.append(scope["path"])  # noqa: B023
                await answer(send)

            async with Connection(parser, app) as connection:
                await connection.feed(*parts)
                assert seen == ["/", "/third"]


async def test_an_underscore_is_no_hyphen(parser: str) -> None:
    """`Transfer_Encoding` is a field like any other."""
    raw = head(b"Transfer_Encoding: chunked", b"Content-Length: 3") + b"abc"
    seen: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await read_body(receive))
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(raw + SECOND)
        assert seen == [b"abc", b""]


async def test_absolute_form(parser: str) -> None:
    """An absolute-form target: httptools' scope has its path, h11's and zttp's the whole, as with uvicorn."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["query_string"], dict(scope["headers"])[b"host"]))
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(line(b"GET http://b/p?q=1 HTTP/1.1"))
        path = "/p" if parser == "httptools" else "http://b/p"
        assert seen == [(path, b"q=1", b"a")]


@pytest.mark.parametrize("target", ["/%00", "/%0d%0aX:%20y", "/%c0%af", "/..%2f..%2f", "//x", "/\\x", "/%zz", "/%"])
async def test_what_a_path_may_hold(parser: str, target: str) -> None:
    """An encoded path is decoded once into `path` and stays as it came in `raw_path`."""
    from urllib.parse import unquote

    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["path"], scope["raw_path"]))
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(get(target))
        assert seen == [(unquote(target), target.encode())]


@pytest.mark.parametrize("name", [b"x", b"content-length", b"transfer-encoding", b"connection"])
@pytest.mark.parametrize("value", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\x00b", b"a\x1bb"])
async def test_response_splitting(parser: str, name: bytes, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A value that would break the head leaves no byte of it on the wire, nor of another head, as with uvicorn."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(name, value)]})
        await send({"type": "http.response.body", "body": b"secret"})

    if parser != "httptools" and value == b"a\x1bb" and name in (b"x", b"connection"):
        pytest.skip("lets control characters pass that end no line, as with uvicorn")
    async with Connection(parser, app) as connection:
        await connection.feed(get() + get())
        assert connection.take() == b""
        assert connection.closed
    assert caplog.text.count("Exception in ASGI application") == 1


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 600, 1000])
async def test_a_status_out_of_range(parser: str, status: int) -> None:
    """No such response leaves the server, but a 500 instead."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send, b"x", status)

    async with Connection(parser, app) as connection:
        await connection.feed(get())
        assert connection.closed
        assert [response.status for response in connection.responses()] == [500]


@pytest.mark.parametrize("target", ["/%1b%5b31m", "/%0a", "/?%1b", "/%e2%80%a8", "/?a=%0a", "/%22%20200%20GET%20%22"])
async def test_no_line_of_the_access_log_is_forged(parser: str, target: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is encoded in path and query is logged encoded."""
    caplog.set_level(logging.INFO, "uvicorn.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    async with Connection(parser, app) as connection:
        await connection.feed(get(target))
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert [text.isprintable() for text in lines] == [True]
    assert lines[0].startswith('127.0.0.2:9000 - "GET /')
    assert lines[0].count('"') == 2


async def test_eight_bits_in_a_query(caplog: pytest.LogCaptureFixture) -> None:
    """zttp lets bytes above 127 into the query: such a request is answered, and its line escapes them."""
    caplog.set_level(logging.INFO, "uvicorn.access")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)

    async with Connection("zttp", app) as connection:
        await connection.feed(line(b"GET /?\xc2\x85 HTTP/1.1"))
        assert [response.status for response in connection.responses()] == [200]
    assert "GET /?\\xc2\\x85 HTTP" in caplog.text

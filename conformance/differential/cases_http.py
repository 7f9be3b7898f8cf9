"""HTTP/1.1: what clients send."""

from __future__ import annotations

from conformance.differential.case import (
    AWAIT_END,
    CLOSE,
    HALF_CLOSE,
    RESET,
    SETTLE,
    Case,
    Reached,
    Reading,
    Release,
    Use,
    case,
)


def request(line: str = "GET / HTTP/1.1", *fields: str, body: bytes = b"", host: str | None = "example.org") -> bytes:
    """The bytes of a request."""
    lines = [line, *([f"Host: {host}"] if host is not None else []), *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


GET = request()


def get(path: str, *fields: str) -> bytes:
    return request(f"GET {path} HTTP/1.1", *fields)


def post(path: str, body: bytes, *fields: str) -> bytes:
    return request(f"POST {path} HTTP/1.1", *fields, f"Content-Length: {len(body)}", body=body)


def chunked(path: str, *chunks: bytes, fields: tuple[str, ...] = (), end: bytes = b"0\r\n\r\n") -> bytes:
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request(f"POST {path} HTTP/1.1", *fields, "Transfer-Encoding: chunked", body=data + end)


EXPECT = request("POST / HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")

METHODS: list[Case] = [
    case("get", GET),
    case("head", request("HEAD / HTTP/1.1"), SETTLE, GET),
    case("post", post("/", b"hello"), app="reads_first"),
    case("put-empty", post("/", b"").replace(b"POST", b"PUT"), app="reads_first"),
    case("delete-options-patch", *(request(f"{method} / HTTP/1.1") for method in ("DELETE", "OPTIONS", "PATCH"))),
    case("options-star", request("OPTIONS * HTTP/1.1"), app="echo_target"),
    case("method-unknown", request("BREW / HTTP/1.1")),
    case("method-lower-case", request("get / HTTP/1.1")),
    case("connect", request("CONNECT example.org:80 HTTP/1.1")),
]

TARGETS: list[Case] = [
    case("target-query", get("/a/b?x=1&y=%20"), app="echo_target"),
    case("target-escapes", get("/a%20b/%C3%A4/%2F/%zz/%"), app="echo_target"),
    case("target-bad-utf8", get("/%ff%fe"), app="echo_target"),
    case("target-dots", get("/a/../b//c/./d;p=1"), app="echo_target"),
    case("target-empty-query", get("/?"), app="echo_target"),
    case("target-two-question-marks", get("/a?b?c"), app="echo_target"),
    case("target-fragment", get("/a#b"), app="echo_target"),
    case("target-absolute", get("http://example.org/a?b=c"), app="echo_target"),
    case("target-absolute-other-host", get("http://other.example/a"), app="echo_target"),
    case("target-non-ascii", get("/\xe4"), app="echo_target"),
    case("target-without-slash", get("a"), app="echo_target"),
    case("target-long", get("/" + "a" * 5000)),
]

HEADS: list[Case] = [
    case("fields-cases-and-spaces", get("/", "X-One:  spaced \t", "x-TWO:value", "X-Empty:")),
    case("fields-repeated", get("/", "Accept: a", "Cookie: a=1", "Accept: b", "Cookie: b=2")),
    case("fields-latin-1", get("/", "X-A: \xe4\xf6")),
    case("fields-many", get("/", *(f"X-{n}: {n}" for n in range(90)))),
    case("head-32k", get("/", "X-A: " + "a" * 32000)),
    case("head-100k", get("/", "X-A: " + "a" * 100_000)[:80_000], SETTLE, b"a" * 20_000 + b"\r\n\r\n"),
    case("head-in-two-parts", GET[:20], SETTLE, GET[20:]),
    case("head-byte-by-byte", *(GET[i : i + 1] for i in range(len(GET)))),
    case("head-never-ends", GET[:20]),
    case("empty-line-before", b"\r\n" + GET),
    case("host-missing", request(host=None)),
    case("host-twice", get("/", "Host: other.example")),
    case("host-empty", request(host="")),
    case("bare-lf", GET.replace(b"\r\n", b"\n")),
    case("folded-field", get("/", "X-A: one\r\n two")),
    case("field-without-colon", get("/", "broken")),
    case("field-name-with-space", get("/", "X A: b")),
    case("space-before-colon", get("/", "X-A : b")),
    case("nul-in-value", get("/", "X-A: a\0b")),
    case("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    case("no-version", b"GET /\r\n\r\n"),
    case("version-0.9", request("GET / HTTP/0.9")),
    case("version-1.2", request("GET / HTTP/1.2")),
    case("version-2.0", request("GET / HTTP/2.0")),
    case("http2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    case("bad-after-good", GET, SETTLE, b"BAD\r\n\r\n"),
    case("nothing-then-half-close", HALF_CLOSE),
    case("half-a-head-then-half-close", GET[:20], SETTLE, HALF_CLOSE),
]

KEEP_ALIVE: list[Case] = [
    case("keep-alive", get("/1"), SETTLE, get("/2"), SETTLE, get("/3"), app="by_path"),
    case("same-request-many-times", *(GET, SETTLE) * 5),
    case("same-request-on-many-connections", *(step for n in range(4) for step in (Use(n), GET, SETTLE, GET, SETTLE))),
    case("close", get("/", "Connection: close"), SETTLE, GET),
    case("close-among-tokens", get("/", "Connection: x-a, Close")),
    case("keep-alive-asked", get("/", "Connection: keep-alive"), SETTLE, GET),
    case("version-1.0", request("GET / HTTP/1.0")),
    case("version-1.0-keep-alive", request("GET / HTTP/1.0", "Connection: keep-alive"), SETTLE, GET),
    case("version-1.0-no-host", request("GET / HTTP/1.0", host=None)),
    case("version-1.0-no-length", request("GET / HTTP/1.0"), app="no_length"),
    case("app-closes", GET, SETTLE, GET, app="closes"),
    case("app-keeps-alive", GET, SETTLE, GET, app="keeps_alive"),
    case("keep-alive-timeout", GET, SETTLE, AWAIT_END, timeout_keep_alive=1),
    case("keep-alive-timeout-unused", SETTLE, timeout_keep_alive=1),
    case("keep-alive-zero", GET, AWAIT_END, timeout_keep_alive=0),
]

PIPELINES: list[Case] = [
    case("pipeline-2", get("/1") + get("/2"), app="by_path"),
    case("pipeline-5-mixed", get("/1") + post("/read", b"ab") + get("/stream") + get("/4") + get("/5"), app="by_path"),
    case("pipeline-close-in-the-middle", get("/1") + get("/2", "Connection: close") + get("/3"), app="by_path"),
    case("pipeline-app-closes", get("/1") + get("/close") + get("/3"), app="by_path"),
    case("pipeline-raises", get("/1") + get("/raise") + get("/3"), app="by_path"),
    case("pipeline-bad-request-behind", get("/1") + b"BAD\r\n\r\n", app="by_path"),
    case("pipeline-head-in-between", get("/1") + request("HEAD /2 HTTP/1.1") + get("/3"), app="by_path"),
    case("pipeline-while-the-app-waits", GET, Reached("called"), GET, SETTLE, Release("go"), app="answers_released"),
    case("pipeline-cut-in-the-second", get("/1") + get("/2")[:10], SETTLE, get("/2")[10:], app="by_path"),
    case("pipeline-unread-body", post("/1", b"hello") + get("/2"), app="by_path"),
    case(
        "pipeline-half-close",
        GET + GET,
        Reached("called"),
        HALF_CLOSE,
        SETTLE,
        Release("go"),
        app="answers_released",
    ),
]

BODIES: list[Case] = [
    case("body-cut", post("/", b"hello")[:-3], SETTLE, post("/", b"hello")[-3:], app="reads_first"),
    case("body-after-head", post("/", b"hello")[:-5], SETTLE, b"hello", SETTLE, GET, app="reads_first"),
    case("body-large", post("/", b"x" * 300_000), app="reads_first"),
    case("body-incomplete", post("/", b"hello")[:-2], app="reads_first"),
    case("body-incomplete-half-close", post("/", b"hello")[:-2], SETTLE, HALF_CLOSE, app="reads_first"),
    case("chunked", chunked("/", b"hello", b"world"), SETTLE, GET, app="reads_first"),
    case("chunked-cut", *(chunked("/", b"hello", b"world")[i:][:7] for i in range(0, 120, 7)), app="reads_first"),
    case("chunked-empty", chunked("/"), SETTLE, GET, app="reads_first"),
    case("chunk-extension", chunked("/", b"hello").replace(b"5\r\n", b"5;a=b\r\n"), app="reads_first"),
    case("chunk-size-upper-case", chunked("/", b"x" * 10).replace(b"a\r\n", b"A\r\n"), app="reads_first"),
    case("trailer", chunked("/", b"hello", end=b"0\r\nX-Trailer: a\r\n\r\n"), SETTLE, GET, app="reads_first"),
    case("chunk-size-bad", chunked("/", end=b"xyz\r\n"), app="reads_first"),
    case("chunk-too-long", chunked("/", end=b"2\r\nhello\r\n0\r\n\r\n"), app="reads_first"),
    case("chunk-bad-after-a-part", chunked("/", b"hello", end=b"zz\r\n"), app="reads_first"),
    case("length-and-chunked", chunked("/", b"hello", fields=("Content-Length: 5",)), app="reads_first"),
    case("length-twice-equal", post("/", b"hello", "Content-Length: 5"), app="reads_first"),
    case("length-twice-unequal", post("/", b"hello", "Content-Length: 6"), app="reads_first"),
    case("length-bad", request("POST / HTTP/1.1", "Content-Length: five"), app="reads_first"),
    case("length-negative", request("POST / HTTP/1.1", "Content-Length: -5"), app="reads_first"),
    case("coding-unknown", request("POST / HTTP/1.1", "Transfer-Encoding: gzip"), app="reads_first"),
    case("get-with-body", request("GET / HTTP/1.1", "Content-Length: 5", body=b"hello"), SETTLE, GET),
    case("version-1.0-body", request("POST / HTTP/1.0", "Content-Length: 5", body=b"hello"), app="reads_first"),
    case("answer-before-the-body", post("/", b"hello")[:-5], SETTLE, b"hello", SETTLE, GET),
    case("answer-before-a-large-body", post("/", b"x" * 300_000)[:-200_000], SETTLE, b"x" * 200_000, SETTLE, GET),
    case("answer-before-the-chunks", chunked("/", b"hello")[:-15], SETTLE, chunked("/", b"hello")[-15:], SETTLE, GET),
    case("expect", EXPECT, SETTLE, b"hello", SETTLE, GET, app="reads_first"),
    case("expect-with-body-at-once", EXPECT + b"hello", SETTLE, GET, app="reads_first"),
    case("expect-upper-case", EXPECT.replace(b"100-continue", b"100-Continue"), SETTLE, b"hello", app="reads_first"),
    case("expect-unknown", EXPECT.replace(b"100-continue", b"magic"), SETTLE, b"hello", app="reads_first"),
    case("expect-answered-early", EXPECT, SETTLE, GET),
    case("expect-version-1.0", EXPECT.replace(b"HTTP/1.1", b"HTTP/1.0"), SETTLE, b"hello", app="reads_first"),
    case("expect-without-body", get("/", "Expect: 100-continue"), app="reads_first"),
]

UPGRADES: list[Case] = [
    case("upgrade-unknown", get("/", "Connection: upgrade", "Upgrade: magic")),
    case("upgrade-h2c", get("/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")),
    case("upgrade-post", post("/", b"hello", "Connection: upgrade", "Upgrade: magic"), app="reads_first"),
    case("upgrade-without-connection", get("/", "Upgrade: websocket")),
]

ENDS: list[Case] = [
    case("client-leaves-before-the-answer", GET, Reached("called"), CLOSE, app="waits_for_disconnect"),
    case("client-resets-before-the-answer", GET, Reached("called"), RESET, app="waits_for_disconnect"),
    case("client-leaves-then-answer", GET, Reached("called"), CLOSE, SETTLE, Release("go"), app="answers_the_gone"),
    case("client-resets-then-answer", GET, Reached("called"), RESET, SETTLE, Release("go"), app="answers_the_gone"),
    case(
        "client-leaves-in-the-stream", GET, Reached("streaming"), CLOSE, SETTLE, Release("go"), app="streams_released"
    ),
    case("client-leaves-in-the-body", post("/", b"hello")[:-2], SETTLE, CLOSE, app="reads_first"),
    case("client-resets-in-the-body", post("/", b"hello")[:-2], SETTLE, RESET, app="reads_first"),
    case("client-leaves-in-the-chunks", chunked("/", b"hello", end=b""), SETTLE, CLOSE, app="reads_first"),
    case("client-leaves-while-app-receives", GET, Reached("streaming"), CLOSE, app="receives_twice"),
    case(
        "client-leaves-behind-a-pipeline",
        GET + GET,
        Reached("called"),
        CLOSE,
        SETTLE,
        Release("go"),
        app="answers_released",
    ),
    case(
        "client-resets-behind-a-pipeline",
        GET + GET,
        Reached("called"),
        RESET,
        SETTLE,
        Release("go"),
        app="answers_released",
    ),
    case(
        "client-resets-in-the-stream", GET, Reached("streaming"), RESET, SETTLE, Release("go"), app="streams_released"
    ),
    case("half-close-idle", GET, SETTLE, HALF_CLOSE),
    case("half-close-slow-answer", GET, HALF_CLOSE, Reached("called"), SETTLE, Release("go"), app="answers_released"),
    case(
        "half-close-in-the-stream", GET, Reached("streaming"), HALF_CLOSE, SETTLE, Release("go"), app="streams_released"
    ),
    case("half-close-app-receives", GET, Reached("called"), HALF_CLOSE, app="waits_for_disconnect"),
    case("slow-reader", GET, Reading(False), SETTLE, Reading(True), SETTLE, GET, app="large"),
    case("slow-reader-leaves", GET, Reading(False), SETTLE, CLOSE, app="large"),
]

CASES = [*METHODS, *TARGETS, *HEADS, *KEEP_ALIVE, *PIPELINES, *BODIES, *UPGRADES, *ENDS]

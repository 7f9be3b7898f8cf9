"""HTTP/1.1: what apps answer, rightly and wrongly; and what the server's settings add."""

from __future__ import annotations

from conformance.differential.case import SETTLE, Case, Reached, Release, Use, case
from conformance.differential.cases_http import GET, get, post, request

HEAD = request("HEAD / HTTP/1.1")

#: Each app is asked twice on one connection.
ASKED_TWICE = [
    "no_length",
    "no_length_empty",
    "no_headers_key",
    "parts",
    "parts_with_length",
    "chunked_by_app",
    "large",
    "large_whole",
    "status_204",
    "status_204_with_body",
    "status_304",
    "status_304_with_length",
    "status_404",
    "status_unknown",
    "status_599",
    "many_headers",
    "headers_iterator",
    "raises_before",
    "raises_after_head",
    "raises_in_body",
    "raises_after",
    "returns_early",
    "returns_after_head",
    "returns_in_body",
    "body_first",
    "two_starts",
    "body_after_end",
    "unknown_message",
    "too_long",
    "too_long_late",
    "too_short",
    "status_text",
    "header_text",
    "header_splits",
    "header_bad_name",
    "length_not_a_number",
    "catches_send",
    "receives_after",
]

APPS: list[Case] = [case(f"app-{name.replace('_', '-')}", GET, SETTLE, GET, app=name) for name in ASKED_TWICE]

#: What changes where the response has no body, and where it has no chunks.
WITHOUT_BODY: list[Case] = [
    *(
        case(f"head-{name.replace('_', '-')}", HEAD, SETTLE, GET, app=name)
        for name in ("no_length", "parts", "chunked_by_app", "status_304_with_length", "too_long", "too_short")
    ),
    *(
        case(f"version-1.0-{name.replace('_', '-')}", request("GET / HTTP/1.0"), app=name)
        for name in ("parts", "chunked_by_app", "keeps_alive", "status_204", "raises_in_body")
    ),
    case("post-raises-before", post("/", b"hello"), SETTLE, GET, app="raises_before"),
    case("pipeline-returns-early", GET + GET, app="returns_early"),
    case("close-streaming", get("/", "Connection: close"), app="parts"),
]

FORWARDED = ("X-Forwarded-For: 192.0.2.1, 198.51.100.7", "X-Forwarded-Proto: https")
PROXY = get("/", *FORWARDED)

SETTINGS: list[Case] = [
    case("root-path", get("/a%20b?c"), app="echo_target", root_path="/root"),
    case("root-path-in-path", get("/root/a"), app="echo_target", root_path="/root"),
    case("forwarded", PROXY),
    case("forwarded-trusts-all", PROXY, forwarded_allow_ips="*"),
    case("forwarded-trusts-none", PROXY, forwarded_allow_ips="192.0.2.9"),
    case("forwarded-trusts-a-network", PROXY, forwarded_allow_ips="127.0.0.0/8,198.51.100.0/24"),
    case("forwarded-off", PROXY, proxy_headers=False),
    case("forwarded-port", get("/", "X-Forwarded-For: 192.0.2.1:99")),
    case("forwarded-ipv6", get("/", "X-Forwarded-For: [2001:db8::1]:99", "X-Forwarded-Proto: wss")),
    case("forwarded-odd", get("/", "X-Forwarded-For: unknown, ,", "X-Forwarded-Proto: gopher")),
    case("forwarded-empty", get("/", "X-Forwarded-For:", "X-Forwarded-Proto:")),
    case("no-server-no-date", GET, server_header=False, date_header=False),
    case("default-headers", GET, headers=[("X-Default", "a"), ("Server", "mine")]),
    case("default-headers-app-sets-too", GET, app="many_headers", headers=[("X-Empty", "default")]),
    case("default-headers-bad-request", b"BAD\r\n\r\n", headers=[("X-Default", "a")]),
    case("default-headers-500", GET, app="raises_before", headers=[("X-Default", "a")]),
    case("head-limit-h11", get("/", "X-A: " + "a" * 2000), h11_max_incomplete_event_size=1000),
    # pounce says "Exceeded concurrency limit." once a second: one refusal in each of these, see `make_jobs`.
    case("limit-concurrency-1", GET, limit_concurrency=1),
    case(
        "limit-concurrency-2",
        *(Use(0), GET, Reached("called"), Use(1), GET, SETTLE, Use(0), Release("go")),
        app="answers_released",
        limit_concurrency=2,
    ),
    case("limit-concurrency-post", post("/", b"hello"), app="reads_first", limit_concurrency=1),
    case("websocket-none", get("/", "Connection: upgrade", "Upgrade: websocket"), ws="none"),
    case("contextvars-reset", GET, SETTLE, GET, reset_contextvars=True),
]

CASES = [*APPS, *WITHOUT_BODY, *SETTINGS]

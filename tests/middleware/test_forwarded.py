"""pounce/middleware/forwarded.py: what else a trusted proxy may say, how it is read, and what it changes in a scope."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import pytest

from pounce.middleware.proxy_headers import ProxyHeadersMiddleware

pytestmark = pytest.mark.anyio

ALL = ("for", "proto", "host", "port", "prefix", "forwarded")
TRUSTED = "127.0.0.1, 10.0.0.0/8, 2001:db8:1::/48"
PEER = ("127.0.0.1", 5000)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def scope_of(*headers: tuple[str, str], **changes: Any) -> Any:
    return {
        "type": "http",
        "scheme": "http",
        "client": PEER,
        "server": ("127.0.0.1", 8000),
        "root_path": "",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    } | changes


async def seen_by_app(
    scope: Any, fields: tuple[str, ...] = ALL, hops: int | None = None, trusted: list[str] | str = TRUSTED
) -> Any:
    """The scope as the app behind the middleware gets it."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await ProxyHeadersMiddleware(app, trusted, fields=fields, hops=hops)(scope, None, None)
    return seen[0]


# The number of proxies


@pytest.mark.parametrize(
    "chain,hops,client",
    [
        ("1.2.3.4", 1, ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4", 1, ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4, 8.8.8.8", 2, ("1.2.3.4", 0)),
        ("6.6.6.6, 1.2.3.4:99, 8.8.8.8", 2, ("1.2.3.4", 99)),
        ("6.6.6.6, [2001:db8::1]:99, 8.8.8.8", 2, ("2001:db8::1", 99)),
        ("10.0.0.1, 10.0.0.2", 1, ("10.0.0.2", 0)),
        ("1.2.3.4", 2, PEER),
        ("1.2.3.4, ", 1, PEER),
        ("1.2.3.4, , ", 3, ("1.2.3.4", 0)),
        ("1.2.3.4, unknown", 1, PEER),
        ("1.2.3.4", 10**9, PEER),
        ("", 1, PEER),
    ],
)
@pytest.mark.parametrize("trusted", [TRUSTED, "*"])
async def test_so_many_proxies(chain: str, hops: int, client: tuple[str, int], trusted: str) -> None:
    """The client is that many entries from the right, whatever addresses these have; with fewer there is none."""
    seen = await seen_by_app(scope_of(("x-forwarded-for", chain)), ("for", "proto"), hops, trusted)
    assert seen["client"] == client


async def test_so_many_proxies_over_several_lines() -> None:
    """Duplicate fields are one list, in order."""
    lines = [("x-forwarded-for", value) for value in ("6.6.6.6, 7.7.7.7", "1.2.3.4", "8.8.8.8")]
    assert (await seen_by_app(scope_of(*lines), ("for",), 2))["client"] == ("1.2.3.4", 0)


async def test_the_number_of_proxies_makes_nobody_trusted() -> None:
    """It says how far a trusted peer is believed."""
    scope = scope_of(("x-forwarded-for", "1.2.3.4"), client=("8.8.8.8", 1))
    assert (await seen_by_app(scope, ALL, 1))["client"] == ("8.8.8.8", 1)


@pytest.mark.parametrize(
    "lines,hops,scheme",
    [
        (["https"], None, "https"),
        (["https"], 1, "https"),
        (["https"], 2, "https"),  # one proxy sets it, the other passes it on
        (["http, https"], 1, "https"),
        (["https, http"], 2, "https"),
        (["https", "http"], 2, "https"),
        (["https, http"], 3, "http"),
        (["https, http"], None, "http"),  # uvicorn: no scheme
        (["https", "http"], None, "http"),
        (["HTTPS"], None, "http"),
        (["gopher"], None, "http"),
        (["gopher"], 1, "http"),
        ([""], 1, "http"),
    ],
)
async def test_the_scheme(lines: list[str], hops: int | None, scheme: str) -> None:
    """Without a number it is what uvicorn takes: the last line, whole."""
    seen = await seen_by_app(scope_of(*(("x-forwarded-proto", line) for line in lines)), ALL, hops)
    assert seen["scheme"] == scheme


# Forwarded (RFC 7239)


@pytest.mark.parametrize(
    "value,client",
    [
        ("for=1.2.3.4", ("1.2.3.4", 0)),
        ("For=1.2.3.4", ("1.2.3.4", 0)),
        ('for="1.2.3.4"', ("1.2.3.4", 0)),
        ('for="1.2.3.4:4711"', ("1.2.3.4", 4711)),
        ("for=1.2.3.4:4711", ("1.2.3.4", 4711)),
        ('for="[2001:db8::1]"', ("2001:db8::1", 0)),
        ('for="[2001:db8::1]:4711"', ("2001:db8::1", 4711)),
        ("for=[2001:db8::1]:4711", ("2001:db8::1", 4711)),
        ('for="1.2.3.4:_port"', ("1.2.3.4", 0)),
        ('for="[2001:db8::1]:_port"', ("2001:db8::1", 0)),
        (r'for="1.2\.3.4"', ("1.2.3.4", 0)),
        ("for=1.2.3.4;proto=https;by=10.0.0.1", ("1.2.3.4", 0)),
        ("by=10.0.0.1;for=1.2.3.4", ("1.2.3.4", 0)),
        ("for=1.2.3.4 ; proto=https", ("1.2.3.4", 0)),
        (";for=1.2.3.4;", ("1.2.3.4", 0)),
        ('secret="a,b;for=6.6.6.6";for=1.2.3.4', ("1.2.3.4", 0)),
        (r'secret="a\",for=6.6.6.6";for=1.2.3.4', ("1.2.3.4", 0)),
        ("for=1.2.3.4, for=10.0.0.2", ("1.2.3.4", 0)),
        ("for=6.6.6.6, for=1.2.3.4, for=10.0.0.2", ("1.2.3.4", 0)),
        ('for=6.6.6.6,for="[2001:db8:1::1]:1"', ("6.6.6.6", 0)),
        ("for=10.0.0.1, for=10.0.0.2", ("10.0.0.1", 0)),
        ('for="x, for=1.2.3.4', ("1.2.3.4", 0)),  # the quote is the client's, the rest the proxy's
        ('for=6.6.6.6;a="x, for=1.2.3.4;proto=https', ("1.2.3.4", 0)),
        ('",",",",for=1.2.3.4', ("1.2.3.4", 0)),
        ("for=unknown", PEER),
        ("for=_hidden", PEER),
        ('for="_hidden:80"', PEER),
        ("for=6.6.6.6, for=unknown", PEER),
        ("for=6.6.6.6, for=_hidden, for=10.0.0.2", PEER),
        ('for="1.2.3.4:99999999999999"', PEER),
        ('for="1.2.3.4\x85"', PEER),
        (r'for="1.2.3.4\" 200"', PEER),
        ("for=" + "h" * 300, PEER),
        ("for=1.2.3.4;for=5.6.7.8", PEER),
        ("for=1.2.3.4;FOR=5.6.7.8", PEER),
        ("for = 1.2.3.4", PEER),
        ("for=1.2.3.4;", ("1.2.3.4", 0)),
        ("for=1.2.3.4 proto=https", PEER),
        ("1.2.3.4", PEER),
        ("proto=https", PEER),
        ("for=", PEER),
        ('for=""', PEER),
        ('for="1.2.3.4', PEER),
        ('for=1.2.3.4"', PEER),
        ("", PEER),
        (",", PEER),
        ("for=1.2.3.4,", PEER),
        ("for=1.2.3.4, , for=10.0.0.1", PEER),
        ('for="' + "," * 20 + '"', PEER),
    ],
)
async def test_forwarded(value: str, client: tuple[str, int]) -> None:
    """It is read from the right. What is no element, or names nobody, leaves the peer as the client."""
    assert (await seen_by_app(scope_of(("forwarded", value)), ("forwarded",)))["client"] == client


@pytest.mark.parametrize(
    "hops,trusted,client",
    [(1, TRUSTED, "1.2.3.4"), (2, TRUSTED, "6.6.6.6"), (None, "*", "6.6.6.6"), (3, "*", "127.0.0.1")],
)
async def test_forwarded_is_believed_as_far_as_the_other(hops: int | None, trusted: str, client: str) -> None:
    """The same walk, the same number of proxies, the same asterisk as for X-Forwarded-For."""
    scope = scope_of(("forwarded", "for=6.6.6.6"), ("forwarded", "for=1.2.3.4"))
    assert (await seen_by_app(scope, ("forwarded",), hops, trusted))["client"][0] == client


async def test_an_element_tells_of_its_own_hop() -> None:
    """Scheme and host are those that the proxy saw which has seen the client."""
    value = (
        "for=6.6.6.6;proto=http;host=evil, for=1.2.3.4;proto=HTTPS;host=a.example, for=10.0.0.2;proto=http;host=inner"
    )
    seen = await seen_by_app(scope_of(("forwarded", value), ("host", "inner:8000")))
    assert (seen["client"], seen["scheme"]) == (("1.2.3.4", 0), "https")
    assert (seen["server"], seen["headers"][0]) == (("a.example", 443), (b"host", b"a.example"))


async def test_an_element_without_an_address_tells_of_the_rest() -> None:
    seen = await seen_by_app(scope_of(("forwarded", "for=unknown;proto=https;host=a.example")))
    assert (seen["client"], seen["scheme"], seen["server"]) == (PEER, "https", ("a.example", 443))


async def test_forwarded_comes_before_the_older_fields() -> None:
    """Where a request has both; port and prefix have no place in it."""
    older = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-proto", "http"), ("x-forwarded-host", "b.example")]
    others = [("x-forwarded-port", "8443"), ("x-forwarded-prefix", "/api")]
    newer = ("forwarded", "for=1.2.3.4;proto=https;host=a.example")
    seen = await seen_by_app(scope_of(newer, *older, *others))
    assert (seen["client"], seen["scheme"], seen["server"]) == (("1.2.3.4", 0), "https", ("a.example", 8443))
    assert seen["root_path"] == "/api"


async def test_a_long_chain_takes_no_long() -> None:
    """Linear: 64 KiB of elements, and of what looks like the beginning of one."""
    for value in ("for=10.0.0.1," * 5000, '",' * 30000, 'a="' * 20000, "for=10.0.0.1;" * 5000, "a" * 60000):
        seen = await seen_by_app(scope_of(("forwarded", value + ",for=1.2.3.4")))
        assert seen["client"] == ("1.2.3.4", 0)
        await seen_by_app(scope_of(("forwarded", value)))


# Host, port, prefix


@pytest.mark.parametrize(
    "told,scheme,host,server",
    [
        ({"host": "a.example"}, "http", "a.example", ("a.example", 80)),
        ({"host": "a.example"}, "https", "a.example", ("a.example", 443)),
        ({"host": "a.example:8443"}, "https", "a.example:8443", ("a.example", 8443)),
        ({"host": "a.example", "port": "8443"}, "https", "a.example:8443", ("a.example", 8443)),
        ({"host": "a.example", "port": "443"}, "https", "a.example", ("a.example", 443)),
        ({"host": "a.example:1", "port": "443"}, "https", "a.example", ("a.example", 443)),
        ({"host": "a.example", "port": "443"}, "http", "a.example:443", ("a.example", 443)),
        ({"host": "[2001:db8::1]"}, "http", "[2001:db8::1]", ("2001:db8::1", 80)),
        ({"host": "[2001:db8::1]:81"}, "http", "[2001:db8::1]:81", ("2001:db8::1", 81)),
        ({"host": "[2001:db8::1]", "port": "81"}, "http", "[2001:db8::1]:81", ("2001:db8::1", 81)),
        ({"host": "1.2.3.4"}, "http", "1.2.3.4", ("1.2.3.4", 80)),
        ({"host": "x_y.example."}, "http", "x_y.example.", ("x_y.example.", 80)),
        ({"host": "evil, a.example"}, "http", "a.example", ("a.example", 80)),
        ({"host": "h" * 253}, "http", "h" * 253, ("h" * 253, 80)),
        ({"port": "81"}, "http", "inner:81", ("inner", 81)),
        ({"port": "80"}, "http", "inner", ("inner", 80)),
        ({"port": "1, 81"}, "http", "inner:81", ("inner", 81)),
        *(
            ({"host": host}, "http", "inner:8000", ("127.0.0.1", 8000))
            for host in (
                *(
                    "",
                    " ",
                    "a b",
                    "a/b",
                    "a@b",
                    "a\\b",
                    "a?b",
                    "a#b",
                    'a"b',
                    "a\x85",
                    "a.example\x00",
                    "-a",
                    "a%00",
                    "\xe4",
                ),
                *(
                    "a:",
                    "a:x",
                    "a:0",
                    "a:65536",
                    "a:99999999999999",
                    "[::1",
                    "::1",
                    "[1.2.3.4]",
                    "[::1]x",
                    "[::g]",
                    ":80",
                ),
                *("h" * 254, "h" * 300, "http://a.example", "a.example, "),
            )
        ),
        *(
            ({"port": port}, "http", "inner:8000", ("127.0.0.1", 8000))
            for port in ("", "0", "65536", "99999999999999", "-1", "+1", "8 0", "http", "\xb2", "80,")
        ),
    ],
)
async def test_host_and_port(told: dict[str, str], scheme: str, host: str, server: tuple[str, int]) -> None:
    """They become the `Host` field, once, and the scope's server; what is none changes nothing."""
    fields = [(f"x-forwarded-{name}", value) for name, value in told.items()]
    scope = scope_of(("accept", "*/*"), ("host", "inner:8000"), *fields, scheme=scheme)
    before = scope["headers"].copy()
    seen = await seen_by_app(scope)
    assert [value for name, value in seen["headers"] if name == b"host"] == [host.encode()]
    assert seen["server"] == server
    assert sorted(field for field in seen["headers"] if field[0] != b"host") == sorted(
        field for field in before if field[0] != b"host"
    )


async def test_a_host_takes_the_place_of_none_and_of_garbage() -> None:
    for own in ([], [("host", 'x"y')], [("host", "a"), ("host", "b")]):
        seen = await seen_by_app(scope_of(*own, ("x-forwarded-host", "a.example")))
        assert [value for name, value in seen["headers"] if name == b"host"] == [b"a.example"]
        seen = await seen_by_app(scope_of(("host", 'x"y'), ("x-forwarded-port", "81")))
        assert seen["server"] == ("127.0.0.1", 8000), "there is no host that it could belong to"


async def test_a_host_with_so_many_proxies() -> None:
    """Of several values, the farthest proxy's."""
    for hops, host in ((1, "c"), (2, "b"), (3, "a"), (4, "127.0.0.1")):
        seen = await seen_by_app(scope_of(("x-forwarded-host", "a, b"), ("x-forwarded-host", "c")), ALL, hops)
        assert seen["server"][0] == host


@pytest.mark.parametrize("scheme,port", [("ws", 80), ("wss", 443)])
async def test_the_usual_port_of_a_websocket(scheme: str, port: int) -> None:
    fields = [("x-forwarded-proto", scheme), ("x-forwarded-host", "a.example")]
    seen = await seen_by_app(scope_of(*fields, type="websocket", scheme="ws"))
    assert (seen["scheme"], seen["server"]) == (scheme, ("a.example", port))


@pytest.mark.parametrize(
    "prefix,root_path",
    [
        ("/api", "/api"),
        ("/api/", "/api"),
        ("/api/v1.0", "/api/v1.0"),
        ("/~me/a:b@c;d=e", "/~me/a:b@c;d=e"),
        ("/evil, /api", "/api"),
        ("/..a/b..", "/..a/b.."),
        ("/", ""),
        *(
            (prefix, "")
            for prefix in (
                *(
                    "",
                    "api",
                    "//evil.example",
                    "/a//b",
                    "http://evil.example",
                    "/../a",
                    "/a/..",
                    "/a/.",
                    "/a?b",
                    "/a#b",
                ),
                *("/a b", "/a%2fb", "/a\\b", "/a\x00", "/a\x85", "/\xe4", '/a"b', "/a<b>", "/a\r\n", "///", "/a//"),
            )
        ),
    ],
)
async def test_a_prefix(prefix: str, root_path: str) -> None:
    """A plain path is what the proxy has cut off: it stands before the paths, as root_path does. Else it is ignored."""
    seen = await seen_by_app(scope_of(("x-forwarded-prefix", prefix)))
    assert seen["root_path"] == root_path
    assert (seen["path"], seen["raw_path"]) == (f"{root_path}/a b", root_path.encode() + b"/a%20b")


async def test_a_prefix_stands_before_the_servers_own() -> None:
    scope = scope_of(("x-forwarded-prefix", "/outer"), root_path="/inner", path="/inner/x", raw_path=b"/inner/x")
    seen = await seen_by_app(scope)
    assert (seen["root_path"], seen["path"], seen["raw_path"]) == ("/outer/inner", "/outer/inner/x", b"/outer/inner/x")


async def test_a_scope_without_a_raw_path() -> None:
    """It is optional."""
    for changes in ({"raw_path": None}, {}):
        scope = scope_of(("x-forwarded-prefix", "/api"), **changes)
        if not changes:
            del scope["raw_path"]
        assert (await seen_by_app(scope)).get("raw_path") is None


# What is not asked for


EVERYTHING = [
    ("x-forwarded-for", "1.2.3.4"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "a.example"),
    ("x-forwarded-port", "8443"),
    ("x-forwarded-prefix", "/api"),
    ("forwarded", "for=5.6.7.8;proto=https;host=b.example"),
]
CHANGED_BY = {
    "for": {"client"},
    "proto": {"scheme"},
    "host": {"server", "headers"},
    "port": {"server", "headers"},
    "prefix": {"root_path", "path", "raw_path"},
    "forwarded": {"client", "scheme", "server", "headers"},
}


@pytest.mark.parametrize("fields", [(), *((field,) for field in ALL), ("for", "proto"), ("host", "prefix")])
async def test_only_what_is_listed_counts(fields: tuple[str, ...]) -> None:
    """And by default that is what uvicorn believes."""
    before = scope_of(("host", "inner"), *EVERYTHING)
    seen = await seen_by_app(before.copy(), fields)
    changed = {name for name in before if seen[name] != before[name]}
    assert changed == set().union(*(CHANGED_BY[field] for field in fields))


@pytest.mark.parametrize("client", [("8.8.8.8", 1), ("::ffff:8.8.8.8", 1), ("127.0.0.1x", 1), None])
async def test_nothing_of_it_counts_from_others(client: Any) -> None:
    """Each field comes from the client as it is, where the peer is not a trusted proxy."""
    before = scope_of(("host", "inner"), *EVERYTHING, client=client)
    for hops in (None, 1):
        assert await seen_by_app(before.copy(), ALL, hops) == before


async def test_whatever_is_said_nothing_but_an_address_is_a_client() -> None:
    """Pieces of fields in any order: no exception, and each value of the scope is of its kind."""
    dice = random.Random(31)
    pieces = [
        "for=",
        "1.2.3.4",
        "10.0.0.1",
        "[::1]",
        ":80",
        '"',
        "\\",
        ",",
        ";",
        " ",
        "unknown",
        "_x",
        "host=a.b",
        "/p",
    ]
    pieces += ["proto=https", "\x85", "::ffff:1.2.3.4", "=", "a", "/", ".."]
    names = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "forwarded", "host"]
    clients = set()
    for _ in range(2000):
        fields = [(dice.choice(names), "".join(dice.choices(pieces, k=dice.randrange(9)))) for _ in range(3)]
        scope = scope_of(*((name, value) for name, value in fields))
        seen = await seen_by_app(scope, ALL, dice.choice([None, 1, 2]), dice.choice([TRUSTED, "*"]))
        host, port = seen["client"]
        assert ip_address(host)
        assert 0 <= port < 65536
        clients.add(seen["client"])
        assert 0 < seen["server"][1] < 65536
        assert len(seen["server"][0]) < 254
        assert seen["path"] == seen["root_path"] + "/a b"
        if seen["server"] != ("127.0.0.1", 8000):
            (authority,) = [value for name, value in seen["headers"] if name == b"host"]
            assert seen["server"][0].encode() in authority
    assert len(clients) > 3

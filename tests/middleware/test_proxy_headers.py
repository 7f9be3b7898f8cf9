"""pounce/middleware/proxy_headers.py: who is trusted, and what a trusted peer may change."""

from __future__ import annotations

from typing import Any

import pytest

from pounce.exchange.access_log import get_client_addr
from pounce.middleware.proxy_headers import ProxyHeadersMiddleware, _parse_host_port, _TrustedHosts

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def scope_of(
    *headers: tuple[str, str], type: str = "http", client: tuple[str, int] | None = ("127.0.0.1", 5000)
) -> Any:
    return {
        "type": type,
        "scheme": "ws" if type == "websocket" else "http",
        "client": client,
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }


async def seen_by_app(scope: Any, trusted_hosts: list[str] | str = "127.0.0.1") -> Any:
    """The scope as the app behind the middleware gets it."""
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    await ProxyHeadersMiddleware(app, trusted_hosts)(scope, None, None)
    return seen[0]


@pytest.mark.parametrize(
    "trusted,host",
    [
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.1, 127.0.0.1", "127.0.0.1"),
        (["10.0.0.0/8"], "10.255.0.3"),
        ("2001:db8::1", "2001:0DB8:0:0:0:0:0:1"),
        ("2001:db8:1::/48", "2001:db8:1:ffff::2"),
        ("unix:///run/proxy.sock ,literal", "unix:///run/proxy.sock"),
        ("/run/proxy.sock", "/run/proxy.sock"),
        ("*", "8.8.8.8"),
        (["*"], "anything at all"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("10.0.0.0/8", "::FFFF:0a01:0203"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::ffff:10.0.0.0/104", "10.1.2.3"),
        ("fe80::/10", "fe80::1%eth0"),
        ("*", ""),
        ("*", None),
    ],
)
def test_a_listed_host_is_trusted(trusted: list[str] | str, host: str | None) -> None:
    """An address matches in any spelling, a network by membership, a literal by its text, and "*" always."""
    assert host in _TrustedHosts(trusted)


@pytest.mark.parametrize(
    "trusted,host",
    [
        ([], "127.0.0.1"),
        ("", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.2"),
        ("127.0.0.1", None),
        ("127.0.0.1", ""),
        (["10.0.0.0/8"], "11.0.0.1"),
        (["10.0.0.1/8"], "10.0.0.2"),  # host bits set: no network, hence a literal
        ("literal", "other"),
        ("10.0.0.0/8", "::1"),
        (["*", "127.0.0.1"], "8.8.8.8"),
        ("127.0.0.1", "1" * 300),
        ("127.0.0.1", "::127.0.0.1"),
        ("10.0.0.0/8", "::ffff:11.0.0.1"),
        ("::ffff:0:0/96", "2001:db8::1"),
        ("fe80::/10", 'fe80::1%"'),
    ],
)
def test_any_other_host_is_not_trusted(trusted: list[str] | str, host: str | None) -> None:
    """What is not listed, empty or absent is not trusted; "*" beside others is only a literal."""
    assert host not in _TrustedHosts(trusted)


def test_an_overlong_literal_is_trusted_without_being_cached() -> None:
    """A host longer than any DNS name is compared each time, so that it cannot fill the cache."""
    trusted = _TrustedHosts(["x" * 300])
    assert "x" * 300 in trusted
    assert trusted._known.cache_info().currsize == 0


@pytest.mark.parametrize(
    "entry,expected",
    [
        ("1.2.3.4", ("1.2.3.4", 0)),
        ("1.2.3.4:80", ("1.2.3.4", 80)),
        ("1.2.3.4:", ("1.2.3.4:", 0)),
        ("1.2.3.4:http", ("1.2.3.4:http", 0)),
        ("::1", ("::1", 0)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("[::1]", ("::1", 0)),
        ("[::1]:443", ("::1", 443)),
        ("[::1]:", ("::1", 0)),
        ("[::1]:x", ("::1", 0)),
        ("[::1]x", ("[::1]x", 0)),
        ("[::1", ("[::1", 0)),
        ("", ("", 0)),
        ("unix:", ("unix:", 0)),
        ("1.2.3.4:" + "9" * 5000, ("1.2.3.4:" + "9" * 5000, 0)),
        ("1.2.3.4:99999999999999", ("1.2.3.4:99999999999999", 0)),
        ("[::1]:99999999999999", ("::1", 0)),
    ],
)
def test_an_entry_is_split_into_host_and_port(entry: str, expected: tuple[str, int]) -> None:
    """Only the known forms are taken apart; garbage stays whole, with port 0."""
    assert _parse_host_port(entry) == expected


@pytest.mark.parametrize(
    "trusted,chain,expected",
    [
        ("127.0.0.1", "1.2.3.4", ("1.2.3.4", 0)),
        ("127.0.0.1, 10.0.0.0/8", "6.6.6.6, 1.2.3.4, 10.0.0.7", ("1.2.3.4", 0)),
        ("127.0.0.1", "1.2.3.4, 10.0.0.7:99", ("10.0.0.7", 99)),
        ("127.0.0.1, 10.0.0.7", "10.0.0.7, 127.0.0.1", ("10.0.0.7", 0)),
        ("127.0.0.1", "1.2.3.4, [::1]:8080", ("::1", 8080)),
        ("*", "6.6.6.6:1, 1.2.3.4", ("6.6.6.6", 1)),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_a_proxy(trusted: str, chain: str, expected: tuple[str, int]) -> None:
    """The chain is read from the right, past our proxies; the left-most entry wins only if all are trusted."""
    assert _TrustedHosts(trusted).get_trusted_client_address(chain) == expected


async def test_a_trusted_peer_sets_client_and_scheme() -> None:
    """Both forwarded headers of a trusted peer reach the scope."""
    scope = scope_of(("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", " https "))
    seen = await seen_by_app(scope)
    assert (seen["client"], seen["scheme"]) == (("1.2.3.4", 0), "https")


#: Nobody's address; the last ones would forge lines of a log, or move a terminal's cursor.
GARBAGE = [
    *("unknown", "_hidden", "localhost", "unix:", "1.2.3.4:http", "1.2.3.4:99999999999999", "[::1", "[::1]x", "1.2.3"),
    *("h" * 300, "1" * 300, "1.2.3.4 5.6.7.8", "fe80::1%a b", "\xf0\xfd", "::1\x00", "1.2.3.4;", "0x7f.1", "010.0.0.1"),
    *(
        '1.2.3.4" 200 "',
        '1.2.3.4:1 - "GET /admin HTTP/1.1" 200',
        "1.2.3.4\x85INFO: forged",
        "fe80::1%\x9b2J",
        "\x1b[2J",
    ),
]


@pytest.mark.parametrize("trusted", ["127.0.0.1", "*"])
@pytest.mark.parametrize("entry", GARBAGE)
async def test_garbage_never_becomes_a_client(entry: str, trusted: str) -> None:
    """What is no address says nothing, and the peer stays the client."""
    seen = await seen_by_app(scope_of(("x-forwarded-for", entry)), trusted)
    assert seen["client"] == ("127.0.0.1", 5000)


@pytest.mark.parametrize("entry", GARBAGE)
async def test_garbage_before_the_client_is_not_looked_at(entry: str) -> None:
    """A client may send what it likes."""
    seen = await seen_by_app(scope_of(("x-forwarded-for", entry), ("x-forwarded-for", "1.2.3.4")))
    assert seen["client"] == ("1.2.3.4", 0)


async def test_under_uvicorns_name_any_text_becomes_a_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own tests have it so; what of it could forge a line is escaped in the log."""
    monkeypatch.setenv("POUNCE_PRESENT_AS", "uvicorn")
    seen = await seen_by_app(scope_of(("x-forwarded-for", '[::1]"\x85x')))
    assert seen["client"] == ('[::1]"\x85x', 0)
    assert get_client_addr(seen) == r"[::1]\x22\x85x:0"


@pytest.mark.parametrize(
    "server,trusted,client",
    [
        (("/run/a.sock", None), "unix", ("1.2.3.4", 0)),
        (("/run/a.sock", None), "127.0.0.1, unix", ("1.2.3.4", 0)),
        (("/run/a.sock", None), "*", ("1.2.3.4", 0)),
        (("/run/a.sock", None), "127.0.0.1", None),
        (("/run/a.sock", None), "unix:", None),
        (("127.0.0.1", 80), "unix", None),
        (None, "unix", None),
    ],
)
async def test_unix_sockets_are_trusted_by_name(server: Any, trusted: str, client: Any) -> None:
    """Who comes by one has no address, and the server a path; a peer that is gone has none, either."""
    seen = await seen_by_app(scope_of(("x-forwarded-for", "1.2.3.4"), client=None) | {"server": server}, trusted)
    assert seen["client"] == client


@pytest.mark.parametrize("client", [("10.0.0.1", 1), None])
async def test_an_untrusted_peer_changes_nothing(client: tuple[str, int] | None) -> None:
    """Forwarded headers of a peer that is not listed, or not known, are ignored."""
    scope = scope_of(("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https"), client=client)
    seen = await seen_by_app(scope)
    assert (seen["client"], seen["scheme"]) == (client, "http")


async def test_a_peer_without_an_address_is_trusted_by_the_asterisk() -> None:
    """Behind a unix socket "*" is the way to trust the proxy."""
    seen = await seen_by_app(scope_of(("x-forwarded-for", "1.2.3.4"), client=None), "*")
    assert seen["client"] == ("1.2.3.4", 0)


@pytest.mark.parametrize("proto,scheme", [("http", "ws"), ("https", "wss"), ("ws", "ws"), ("wss", "wss"), ("x", "ws")])
async def test_a_websocket_scope_gets_a_websocket_scheme(proto: str, scheme: str) -> None:
    """For a WebSocket the forwarded http schemes become ws schemes, and unknown ones are ignored."""
    seen = await seen_by_app(scope_of(("x-forwarded-proto", proto), type="websocket"))
    assert seen["scheme"] == scheme


async def test_repeated_headers_form_one_chain_and_the_last_scheme_wins() -> None:
    """X-Forwarded-For lines are joined in order; of several X-Forwarded-Proto lines the last one counts."""
    seen = await seen_by_app(
        scope_of(
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
        )
    )
    assert (seen["client"], seen["scheme"]) == (("1.2.3.4", 0), "http")


@pytest.mark.parametrize("value", ["", " , ", "9.9.9.9 , , 127.0.0.1"])
async def test_an_empty_entry_leaves_the_peer_as_client(value: str) -> None:
    """A chain whose deciding entry is empty names nobody."""
    seen = await seen_by_app(scope_of(("x-forwarded-for", value)))
    assert seen["client"] == ("127.0.0.1", 5000)


async def test_a_lifespan_scope_passes_untouched() -> None:
    """A lifespan scope has neither headers nor client, and needs none."""
    assert await seen_by_app({"type": "lifespan"}, "*") == {"type": "lifespan"}


def test_rewrite_and_trusts_do_together_what_the_call_does() -> None:
    """A caller that keeps `trusts()` per connection may apply `rewrite()` itself, without a coroutine."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    middleware = ProxyHeadersMiddleware(app, "127.0.0.1")
    scope = scope_of(("x-forwarded-for", "1.2.3.4"))
    assert middleware.trusts(("127.0.0.1", 1), None)
    assert not middleware.trusts(("1.2.3.4", 1), None)
    assert not middleware.trusts(None, None)
    middleware.rewrite(scope)
    assert scope["client"] == ("1.2.3.4", 0)

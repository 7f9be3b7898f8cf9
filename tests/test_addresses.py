"""pounce/addresses.py: what is an address, which lists hold it, what is meant as a network and is none."""

from __future__ import annotations

import pytest

from pounce.addresses import Peers, address_of, problem_with, split_port


@pytest.mark.parametrize(
    "text", ["1.2.3.4", "::", "::1", "2001:DB8::1", "::ffff:1.2.3.4", "fe80::1%eth0", "fe80::1%en0.100", "0.0.0.0"]
)
def test_an_address(text: str) -> None:
    assert address_of(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1.2.3", "1.2.3.256", "1.2.3.4.5", "01.2.3.4", "1.2.3.4 ", "1.2.3.4:80", "1.2.3.4/32", "0x7f.0.0.1"),
        *("[::1]", ":::", "::1::", "12345::", "fe80::1%", 'fe80::1%"', "fe80::1%a b", "fe80::1%\x85", "fe80::1%a%b"),
        *("unknown", "_hidden", "localhost", "\xb2.0.0.1", "1.2.3.4\n", "::1\r\n", "1" * 300, "::" + "1" * 300),
    ],
)
def test_no_address(text: str) -> None:
    """Nor anything around one, which may be meant for a log."""
    assert address_of(text) is None


@pytest.mark.parametrize(
    "text,host,port",
    [
        ("1.2.3.4:0", "1.2.3.4", 0),
        ("1.2.3.4:65535", "1.2.3.4", 65535),
        ("1.2.3.4:65536", "1.2.3.4:65536", 0),
        ("1.2.3.4:99999999999999", "1.2.3.4:99999999999999", 0),
        ("1.2.3.4:-1", "1.2.3.4:-1", 0),
        ("1.2.3.4:+1", "1.2.3.4:+1", 0),
        ("1.2.3.4:1_0", "1.2.3.4:1_0", 0),
        ("1.2.3.4: 80", "1.2.3.4: 80", 0),
        ("1.2.3.4:\xb2", "1.2.3.4:\xb2", 0),
        ("[::1]:65535", "::1", 65535),
        ("[::1]:65536", "::1", 0),
        ("[::1]:99999999999999", "::1", 0),
        ("[::1]80", "[::1]80", 0),
        ("::1:80", "::1:80", 0),
    ],
)
def test_a_port(text: str, host: str, port: int) -> None:
    """Only a number that can be one is; else an IPv4 entry stays whole, and is no address."""
    assert split_port(text) == (host, port)


@pytest.mark.parametrize(
    "entry",
    [
        *("10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/a", "10.0.0.0/255.255.0.1", "10/8", "8"),
        *("10.0.0.1/8", "10.0.0.256", "10.0.0", "10.0.0.*", "10.*", "10.0.0.1-10.0.0.9", "10.0.0.1:80", "300.1.1.1/8"),
        *("::1/129", "fe80:/10", "2001:db8::1/32", "2001:db8:::/32", "::1/8", "[::1]", "[::1]:80", "1:2:3"),
    ],
)
def test_what_is_meant_as_a_network_and_is_none(entry: str) -> None:
    """The line names it; where only bits are too many, it names the network, too."""
    problem = problem_with(entry)
    assert problem is not None
    assert entry in problem
    assert "\n" not in problem


def test_a_network_with_an_address_in_it_is_named() -> None:
    assert problem_with("10.0.0.1/8") == "'10.0.0.1/8' is an address within a network; the network is 10.0.0.0/8"


@pytest.mark.parametrize(
    "entry",
    [
        *("10.0.0.0/8", "10.0.0.1", "10.0.0.0/255.0.0.0", "::1", "2001:db8::/32", "::ffff:10.0.0.0/104", "::/0"),
        *("", "*", "unix", "unix:", "unix:/run/a.sock", "unix:///foo/bar", "/foo/bar", "./a", "a/b", "localhost"),
        *("some-literal", "garba*gewith*", "*.example.com", "proxy-1", "10.example.com", "3com", "testclient", "fe80"),
    ],
)
def test_what_is_legal(entry: str) -> None:
    """Addresses, networks, and uvicorn's literals."""
    assert problem_with(entry) is None


@pytest.mark.parametrize(
    "entries,host,is_listed",
    [
        (["10.0.0.0/8"], "10.1.2.3", True),
        (["10.0.0.0/8"], "11.1.2.3", False),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["10.0.0.0/8"], "::10.1.2.3", False),
        (["::ffff:10.0.0.0/104"], "10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "::ffff:10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "11.1.2.3", False),
        (["127.0.0.1"], "::ffff:7f00:1", True),
        (["::/0"], "10.1.2.3", False),
        (["::/0"], "::1", True),
        (["0.0.0.0/0"], "::1", False),
        (["fe80::/10"], "fe80::1%eth0", True),
        (["unix"], None, True),
        (["unix"], "unix", False),
        (["10.0.0.0/8"], None, False),
        (["*"], None, True),
        (["*"], "10.1.2.3", True),
        (["10.0.0.0/8"], "no address", False),
        ([], "10.1.2.3", False),
        ([], None, False),
    ],
)
def test_peers(entries: list[str], host: str | None, is_listed: bool) -> None:
    """An IPv4 address that is mapped into IPv6 is the same address (a listener of both kinds sees it so)."""
    peers = Peers(entries)
    assert peers.include(host) is is_listed
    assert peers.include(host) is is_listed, "and again, when it is known"


@pytest.mark.parametrize("entry", ["10.0.0.0/33", "10.0.0.1/8", "host", "", "/run/a.sock"])
def test_a_list_of_peers_knows_no_literals(entry: str) -> None:
    with pytest.raises(ValueError):
        Peers([entry])

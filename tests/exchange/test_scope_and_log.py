"""Scopes, access lines and the log of app errors."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import pytest

from pounce.exchange.access_log import get_client_addr, get_path_with_query_string, log_access
from pounce.exchange.app_errors import LOOP_HINT, crossed_loops, log_app_exception
from pounce.exchange.scope import http_scope
from pounce.logs import AccessFormatter


def make_scope(raw_path: bytes = b"/", query: bytes = b"", root_path: str = "") -> dict[str, Any]:
    connection: Any = SimpleNamespace(
        asgi_version="3.0",
        scheme="http",
        server=("127.0.0.1", 1),
        client=("127.0.0.2", 2),
        root_path=root_path,
        app_state={},
        spec_version="2.3",
        extensions={"an.extension": {}},
    )
    return http_scope(connection, "GET", raw_path, query, "1.1", [])


def test_scope_has_the_keys_of_the_specification() -> None:
    """The ASGI HTTP scope, with uvicorn's spec_version."""
    assert make_scope(b"/a%20b", b"c=%20") == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.2", 2),
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/a b",
        "raw_path": b"/a%20b",
        "query_string": b"c=%20",
        "headers": [],
        "state": {},
        "extensions": {"an.extension": {}},
    }


def test_root_path_is_put_before_both_paths() -> None:
    """As with uvicorn, for a proxy that strips the prefix."""
    scope = make_scope(b"/a%20b", root_path="/api")
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == ("/api/a b", b"/api/a%20b", "/api")


def test_scopes_share_nothing_that_can_change() -> None:
    """Neither the scope nor its entries are shared between requests."""
    one, two = make_scope(), make_scope()
    assert one["asgi"] is not two["asgi"]


def test_a_path_that_is_not_ascii_is_refused() -> None:
    """The caller turns this into a 400."""
    with pytest.raises(UnicodeDecodeError):
        make_scope("/é".encode())


@pytest.mark.parametrize(
    ("host", "logged"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("testclient", "testclient"),
        ("", ""),
        (None, "None"),
        ('1.2.3.4" 200', r"1.2.3.4\x22\x20200"),
        ("1.2.3.4\x85INFO:", r"1.2.3.4\x85INFO:"),
        ("1.2.3.4\r\nINFO:", r"1.2.3.4\r\nINFO:"),
        ("\x9b2J\x1b[2J\x07\x00\x7f", r"\x9b2J\x1b[2J\x07\x00\x7f"),
        ("a\\x22", r"a\\x22"),
        ("\xe4\u2028\u202e\U0001f600\udc80", r"\xe4\u2028\u202e\U0001f600\udc80"),
    ],
)
def test_a_client_cannot_forge_a_line(host: Any, logged: str, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a proxy, a middleware or the app makes of it: one line, in which only pounce writes quotes."""
    scope = make_scope() | {"client": (host, 80)}
    assert get_client_addr(scope) == f"{logged}:80"
    access = logging.getLogger("uvicorn.access")
    with caplog.at_level(logging.INFO, "uvicorn.access"):
        access.addHandler(caplog.handler)
        try:
            log_access(access, scope, 200)
        finally:
            access.removeHandler(caplog.handler)
    record = next(record for record in caplog.records if record.name == "uvicorn.access")
    for use_colors in (False, True):
        text = AccessFormatter('%(client_addr)s - "%(request_line)s" %(status_code)s', use_colors=use_colors)
        line = text.format(record)
        assert line.startswith(f'{logged}:80 - "')
        assert len(line.splitlines()) == 1
        assert line.count('"') == 2
        plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
        assert plain == f'{logged}:80 - "GET / HTTP/1.1" 200 OK'
        assert plain.isprintable()


@pytest.mark.parametrize(
    ("raw_path", "query", "expected"),
    [
        (b"/", b"", "/"),
        (b"/a-b_c.d~e", b"", "/a-b_c.d~e"),
        (b"/a%20b", b"q=%20", "/a%20b?q=%20"),
        (b"/%1b%5b31m", b"", "/%1B%5B31m"),
        (b"/%0a", b"", "/%0A"),
        (b"/%e2%80%a8", b"", "/%E2%80%A8"),
        (b"/\"'<>", b"", "/%22%27%3C%3E"),
        (b"/", b"\xc2\x85", "/?\\xc2\\x85"),
    ],
)
def test_path_in_the_access_line(raw_path: bytes, query: bytes, expected: str) -> None:
    """The decoded path is quoted again; what the query holds beyond ASCII is escaped."""
    assert get_path_with_query_string(make_scope(raw_path, query)) == expected


def test_client_in_the_access_line() -> None:
    """host:port, or nothing."""
    assert get_client_addr(make_scope()) == "127.0.0.2:2"
    assert get_client_addr({"client": None}) == ""


def test_the_access_record(caplog: pytest.LogCaptureFixture) -> None:
    """The record has uvicorn's five arguments, and is not even made below INFO."""
    logger = logging.getLogger("uvicorn.access")
    caplog.set_level(logging.WARNING, "uvicorn.access")
    log_access(logger, make_scope(), 200)
    assert caplog.records == []
    caplog.set_level(logging.INFO, "uvicorn.access")
    log_access(logger, make_scope(b"/a", b"b"), 404)
    (record,) = caplog.records
    assert record.args == ("127.0.0.2:2", "GET", "/a?b", "1.1", 404)
    assert record.levelno == logging.INFO
    assert record.name == "uvicorn.access"


def test_filters_of_the_access_log_are_asked(caplog: pytest.LogCaptureFixture) -> None:
    """A filter on the logger (users silence health checks with one) drops the record."""
    logger = logging.getLogger("uvicorn.access")
    caplog.set_level(logging.INFO, "uvicorn.access")

    def no_health_checks(record: logging.LogRecord) -> bool:
        assert isinstance(record.args, tuple)
        return record.args[2] != "/health"

    logger.addFilter(no_health_checks)
    try:
        log_access(logger, make_scope(b"/health"), 200)
        log_access(logger, make_scope(b"/other"), 200)
    finally:
        logger.removeFilter(no_health_checks)
    assert [record.args[2] for record in caplog.records if isinstance(record.args, tuple)] == ["/other"]


OTHER_LOOP = RuntimeError("<Lock> is bound to a different event loop")


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (OTHER_LOOP, True),
        (RuntimeError("Task got Future attached to a different loop"), True),
        (RuntimeError("something else"), False),
        (ValueError("bound to a different event loop"), False),
        (ExceptionGroup("some", [ValueError(), OTHER_LOOP]), True),
        (ExceptionGroup("some", [ValueError()]), False),
    ],
)
def test_crossed_loops(exc: BaseException, expected: bool) -> None:
    """Found in the exception itself, or in a group."""
    assert crossed_loops(exc) is expected


def test_crossed_loops_behind_another_exception(caplog: pytest.LogCaptureFixture) -> None:
    """Found behind what it caused too, and logged with a hint of one line."""
    outer = ValueError()
    outer.__cause__ = OTHER_LOOP
    OTHER_LOOP.__context__ = outer  # a circle must not hang the search
    try:
        assert crossed_loops(outer)
        log_app_exception(logging.getLogger("uvicorn.error"), outer)
    finally:
        OTHER_LOOP.__context__ = None
    assert [record.getMessage() for record in caplog.records] == ["Exception in ASGI application\n", LOOP_HINT]

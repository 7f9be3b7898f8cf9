"""What the vectors of HTTP/1.1 say of hosts, fields, lengths and paths holds over HTTP/2, on each of its wires."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from conformance.vectors.vector import Vector, groups, read_group
from tests.wire.http2_peer import ENDH, GET, POST, WIRES, Peer, headers

#: A field line, whose value may hold what ends a line elsewhere.
_is_line = re.compile(rb"([^:]*):(.*)\r\n", re.DOTALL).fullmatch

Fields = list[tuple[bytes, bytes]]


def _fields(pairs: list[tuple[str, str]]) -> Fields:
    return [(name.encode(), value.encode()) for name, value in pairs]


def _bare(value: bytes) -> bytes:
    """Without the white space that is no part of it; HTTP/2 has none there."""
    return value.strip(b" \t")


def _translated(vector: Vector) -> Iterator[tuple[str, Fields]]:
    """The same over HTTP/2, where there is such a thing."""
    put = vector.put
    line = _is_line(put)
    if vector.shape == "host":
        yield "as :authority", [*_fields([*GET[:2], (":path", "/")]), (b":authority", _bare(put))]
        yield "as Host", [*_fields([*GET[:2], (":path", "/")]), (b"host", _bare(put))]
    elif vector.shape == "length":
        yield "", [*_fields(POST), (b"content-length", _bare(put))]
    elif vector.shape == "field" and line and (vector.verdict.refuse or b"\r" not in line[2]):
        yield "", [*_fields(GET), (line[1].lower(), _bare(line[2]))]
    elif vector.shape == "target" and put[:1] in (b"/", b"*", b"?", b"#", b"@"):
        yield "", [*_fields(GET[:3]), (b":path", put)]


TRAILERS = {
    vector.name: (vector, (line[1].lower(), _bare(line[2])))
    for path in groups()
    for vector in read_group(path)
    if vector.shape == "trailer" and (line := _is_line(vector.put))
    if vector.put.count(b"\n") == 1 and len(vector.put) < 1000
}

TRANSLATED = {
    f"{vector.group}: {vector.name} {how}".rstrip(): (vector, fields)
    for path in groups()
    for vector in read_group(path)
    for how, fields in _translated(vector)
}


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize("name", TRANSLATED)
def test_one_verdict_for_both_versions(name: str, wire: str) -> None:
    """What HTTP/1.1 refuses is a malformed request here, or answered 400; what it takes is taken as it is."""
    vector, fields = TRANSLATED[name]
    peer = Peer(wire=wire, header_list_size=2**20, header_count=1000).open(headers(1, fields, ENDH))
    output = peer.take()
    if vector.verdict.refuse:
        assert peer.events in ([], ["request 1 400"]), vector.rfc
        # h2 ends the connection where a Content-Length is no number: docs/http2.md.
        assert peer.events or "RST_STREAM 1 PROTOCOL_ERROR" in output or output[-1].startswith("GOAWAY")
    else:
        assert peer.events == ["request 1"], vector.rfc
        given = dict(peer.heads[1].headers)
        for field, value in vector.verdict.fields:
            assert given.get(field) == value
        assert not any(word.startswith("RST_STREAM") for word in output)


@pytest.mark.parametrize("wire", sorted(WIRES))
@pytest.mark.parametrize("name", TRAILERS)
def test_one_verdict_on_trailers(name: str, wire: str) -> None:
    """What has no place behind a body has none here."""
    vector, trailer = TRAILERS[name]
    peer = Peer(wire=wire).open(headers(1, POST, ENDH), headers(1, [trailer]))
    output = peer.take()
    if vector.verdict.refuse:
        assert peer.events[:1] == ["request 1"]
        assert "end 1 0" not in peer.events
        assert "RST_STREAM 1 PROTOCOL_ERROR" in output or output[-1].startswith("GOAWAY")
    else:
        assert peer.events == ["request 1", "end 1 0"]


@pytest.mark.parametrize("wire", sorted(WIRES))
def test_a_request_for_no_host(wire: str) -> None:
    """Neither :authority nor Host: 400, as with HTTP/1.1."""
    peer = Peer(wire=wire).open(headers(1, [*GET[:2], (":path", "/")]))
    assert peer.events[0] == "request 1 400"


def test_there_are_some() -> None:
    """So many are translated that a mistake in that would show."""
    assert len(TRANSLATED) > 180
    assert len(TRAILERS) > 15

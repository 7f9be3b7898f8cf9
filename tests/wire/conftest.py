"""What the tests of wires run over."""

from __future__ import annotations

import pytest

from tests.wire import http2_peer


@pytest.fixture(params=sorted(http2_peer.WIRES, reverse=True))
def http2_wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the wire of every `Peer` in the test."""
    monkeypatch.setattr(http2_peer, "WIRE", request.param)
    return str(request.param)

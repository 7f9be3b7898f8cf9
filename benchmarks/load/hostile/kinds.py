"""All kinds of hostile clients, by name."""

from __future__ import annotations

from benchmarks.load.hostile import http1, http2, tls, websocket
from benchmarks.load.hostile.client import Kind

KINDS: tuple[Kind, ...] = (*http1.KINDS, *tls.KINDS, *websocket.KINDS, *http2.KINDS)
BY_NAME = {kind.name: kind for kind in KINDS}

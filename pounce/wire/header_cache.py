"""What one worker's apps send again and again in heads of HTTP/1.1, checked and encoded once."""

from __future__ import annotations

from typing import Any

from pounce.wire.response_fields import Headers, checked_name

#: The beginnings of lines that frame a body. Those of a cache are these very objects.
CONTENT_LENGTH = b"\r\ncontent-length: "
TRANSFER_ENCODING = b"\r\ntransfer-encoding: "
CONNECTION = b"\r\nconnection: "

#: What is kept per worker, and how long a kept one may be: an app that invents fields must not fill the memory.
_MAX_NAMES = 1024
_MAX_HEADS = 512
_MAX_HEAD_SIZE = 1024


class HeaderCache:
    """Field lines and heads by what the app gave for them."""

    __slots__ = ("defaults", "heads", "prefixes", "starts")

    def __init__(self) -> None:
        #: A name as the app writes it, to the line's beginning: CR LF, the name in lower case, colon, space.
        self.starts: dict[bytes, bytes] = {}
        #: The fields of a response as the app gave them (and what else decides), to what `_encode_fields` made of them.
        self.heads: dict[Any, tuple[bytes, int, int, bool]] = {}
        #: The default fields of this second, and status lines with those fields, by status.
        self.defaults: Headers | None = None
        self.prefixes: dict[int, bytes] = {}

    def start_of(self, name: bytes) -> bytes:
        """The beginning of a line for a name that is not in `starts`. Raises MisusedByApp."""
        name = checked_name(name)
        start = b"\r\n%b: " % name.lower()
        # The very objects, so that identities can be compared.
        for framing in (CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION):
            if start == framing:
                start = framing
        if len(self.starts) < _MAX_NAMES and len(start) <= _MAX_HEAD_SIZE:
            self.starts[name] = start
        return start

    def keep_head(self, key: Any, head: tuple[bytes, int, int, bool]) -> None:
        """Keep encoded fields, unless they are one client's own (a cookie): those will not come again."""
        if key is None or len(head[0]) > _MAX_HEAD_SIZE or b"\r\nset-cookie: " in head[0]:
            return
        if len(self.heads) >= _MAX_HEADS:
            self.heads.clear()
        self.heads[key] = head

"""The headers that every response carries: those of the settings, and Server."""

from __future__ import annotations

from typing import Any

from pounce import names
from pounce.errors import wrong_value
from pounce.wire.response_fields import bad_in_value, is_token


def check_header(name: str, value: str) -> None:
    """Raise an explained `ValueError` that names the part which cannot be sent."""
    if not is_token(name.encode("utf-8", "surrogateescape")):
        raise wrong_value(f"The name of a header consists of letters, digits and '-', not {name!r}")
    try:
        if not bad_in_value(value.encode("latin-1")):
            return
        reason = f"The value of the header '{name}' has a control character: {value!r}"
    except UnicodeEncodeError:
        reason = f"The value of the header '{name}' must be in Latin-1, not {value!r}"
    raise wrong_value(reason)


def encoded_headers(config: Any) -> list[tuple[bytes, bytes]]:
    """The headers as they are sent; Server comes first, where the settings do not have one."""
    encoded = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in config.headers]
    if config.server_header and all(name != b"server" for name, _ in encoded):
        encoded.insert(0, (b"server", names.server_header()))
    return encoded

"""uvicorn's path for the class of `--http httptools`. Importing it needs httptools."""

import re

from pounce.connection.http1_httptools import (
    STATUS_LINE as STATUS_LINE,
    HttpToolsProtocol as HttpToolsProtocol,
    RequestResponseCycle as RequestResponseCycle,
)

#: Bytes that a field's name, and its value, may not have (RFC 9110 sections 5.1 and 5.5).
HEADER_RE = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
HEADER_VALUE_RE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")

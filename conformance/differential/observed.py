"""Pure: what came of a case as lines of text, and what two servers' lines differ in."""

from __future__ import annotations

import hashlib
import re
from difflib import SequenceMatcher
from typing import Any

#: A line of a response longer than this is shown by its size and hash.
LONG = 200

_DATE = re.compile(rb"(\r\ndate: )\w{3}, \d{2} \w{3} 20\d{2} \d{2}:\d{2}:\d{2} GMT(?=\r\n)", re.IGNORECASE)
_SCOPE = re.compile(r"app \d+ scope ")
#: A line ends with its LF, or where a response follows.
_LINE_ENDS = re.compile(rb"(?<=\n)|(?=HTTP/1\.[01] \d{3} )")
_SERVER = re.compile(rb"(\r\nserver: )(?:uvicorn|pounce)(?=\r\n)")


def lines_of(found: dict[str, Any]) -> list[str]:
    """An outcome of `Lane.run` as lines. The first word of each says what it is about."""
    lines = []
    several = len(found["sent"]) > 1
    for number, (sent, end) in enumerate(zip(found["sent"], found["ends"], strict=True)):
        label = f" {number}" if several else ""
        lines += [f"bytes{label} {shown(line)}" for line in _LINE_ENDS.split(normal(sent)) if line]
        lines.append(f"end{label} {end}")
    for number, call in enumerate(found["calls"], start=1):
        lines += [f"app {number} {line}" for line in ("called", *call)]
    return lines + [f"log {line}" for line in found["logs"]]


def normal(data: bytes) -> bytes:
    """The bytes with the time and the product's name left out of the fields that name them."""
    return _SERVER.sub(rb"\1NAME", _DATE.sub(rb"\1NOW", data))


def shown(line: bytes) -> str:
    """A line of bytes, readable."""
    if len(line) <= LONG:
        return repr(line)[1:]
    return f"{repr(line[:40])[1:]}… {len(line)} bytes, {hashlib.sha256(line).hexdigest()[:12]}"


def difference(reference: list[str], checked: list[str]) -> list[str]:
    """What only the reference has, with "-" in front, and what only the checked one has, with "+".

    The scope of a call that the other one did not make is not spelled out.
    """
    reference, checked = without_scopes(reference, checked), without_scopes(checked, reference)
    changes = []
    for kind, a, b, c, d in SequenceMatcher(None, reference, checked, autojunk=False).get_opcodes():
        if kind != "equal":
            changes += [f"-{line}" for line in reference[a:b]] + [f"+{line}" for line in checked[c:d]]
    return changes


def without_scopes(lines: list[str], other: list[str]) -> list[str]:
    """The lines less those of the scopes of calls that `other` does not have."""
    calls = {line.removesuffix("called") for line in other if line.startswith("app ") and line.endswith(" called")}
    return [line for line in lines if not _SCOPE.match(line) or line.partition("scope")[0] in calls]

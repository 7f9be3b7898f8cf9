"""What the HTTP/1.1 parsers read differently, each with its reason. Nothing else may differ.

Strict: `tests/corpus/http1` has a request that shows each row, and one that is not true any more fails its test.
All of it is as with uvicorn on the same parser. What is dangerous (where a message ends) is refused by all of them, or
`tests/connection/test_http1_security.py` says why not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from pounce.wire.strictness import Rules, UvicornRules
from tests.wire.http1_reading import Reading


class How(Enum):
    """In what way it differs from the others."""

    TAKES = "takes what the others refuse"
    REFUSES = "refuses what the others take"
    VALUES = "tells other values of the same fields"
    READS = "reads it in another way"


@dataclass(frozen=True)
class Difference:
    """Of these parsers, where `pattern` is found; `name` is that of the file which shows it."""

    name: str
    parsers: tuple[str, ...]
    how: How
    pattern: bytes
    reason: str
    #: The rules that let it happen, if not both do.
    only: type[Rules] | None = None

    def holds_with(self, rules: type[Rules]) -> bool:
        """Whether it may happen with these rules."""
        return self.only in (None, rules)

    def applies(self, raw: bytes) -> bool:
        """Whether the bytes are of that kind."""
        return re.search(self.pattern, raw, re.IGNORECASE | re.MULTILINE) is not None

    def allows(self, own: Reading, others: Reading) -> bool:
        """Whether the parser may read `own` where the others read `others`."""
        if self.how is How.TAKES:
            return others.end == "refused" and _begins(own, others)
        if self.how is How.REFUSES:
            return own.end == "refused" and _begins(others, own)
        return self.how is How.READS


#: llhttp's list; all other parsers take any token.
_KNOWN_METHODS = (
    b"DELETE|GET|HEAD|POST|PUT|CONNECT|OPTIONS|TRACE|COPY|LOCK|MKCOL|MOVE|PROPFIND|PROPPATCH|SEARCH|UNLOCK|BIND|REBIND|"
    b"UNBIND|ACL|REPORT|MKACTIVITY|CHECKOUT|MERGE|M-SEARCH|NOTIFY|SUBSCRIBE|UNSUBSCRIBE|PATCH|PURGE|MKCALENDAR|LINK|"
    b"UNLINK|SOURCE|QUERY"
)

H11, HTTPTOOLS, ZTTP = "h11", "httptools", "zttp"

DIFFERENCES = [
    Difference(
        "no-host",
        (HTTPTOOLS,),
        How.TAKES,
        rb"\A\s*\S+ \S* HTTP/1\.1\r\n((?!host:)[^\n]+\n)*\r\n",
        "health checks send no Host",
        only=UvicornRules,
    ),
    Difference(
        "minor-version",
        (HTTPTOOLS,),
        How.REFUSES,
        rb" HTTP/1\.[2-9]\r?$",
        "llhttp knows 1.0 and 1.1; RFC 9110 section 2.5 has any other 1.x read as 1.1",
        only=UvicornRules,
    ),
    Difference(
        "method",
        (HTTPTOOLS,),
        How.REFUSES,
        rb"^(?-i:(?!(" + _KNOWN_METHODS + rb"|(?i:head)) ))[!#-'*+.^_`|~\w-]+ ",
        "llhttp has a list of methods, in which the case of letters counts",
    ),
    Difference(
        "head-in-lower-case",
        (HTTPTOOLS, ZTTP),
        How.REFUSES,
        rb"^head(?-i:(?<!HEAD)) ",
        "zttp takes it for HEAD, and then no body; to llhttp it is no method. The others have the app say",
    ),
    Difference(
        "target-form",
        (HTTPTOOLS,),
        How.REFUSES,
        rb"^(?!CONNECT)[A-Z-]+ (?![/*]|[a-z]+://)\S* HTTP/",
        "llhttp knows the forms of RFC 9112 section 3.2; the others take any visible characters",
        only=UvicornRules,
    ),
    Difference(
        "empty-lines-before",
        (HTTPTOOLS,),
        How.TAKES,
        rb"\A[\r\n]+|\r\n\r\n[\r\n]",
        "llhttp skips them, as RFC 9112 section 2.2 recommends; h11 and zttp do not",
        only=UvicornRules,
    ),
    Difference(
        "connect-with-body",
        (HTTPTOOLS,),
        How.READS,
        rb"^CONNECT [^\n]*\n([^\n]+\n)*(content-length|transfer-enc|upgrade)",
        "what follows CONNECT belongs to a tunnel, not to its request",
        only=UvicornRules,
    ),
    Difference(
        "connect",
        (HTTPTOOLS,),
        How.REFUSES,
        rb"^CONNECT [^/ ]* [^\n]*\n(?!([^\n]+\n)*(content-length|transfer-enc|upgrade))",
        "it names no path",
        only=UvicornRules,
    ),
    Difference(
        "absolute-form",
        (HTTPTOOLS,),
        How.READS,
        rb"^\S+ ([a-z]+://|[^ \r\n]*#)",
        "uvicorn asks a URL parser for the path there, with the others for nothing",
        only=UvicornRules,
    ),
    Difference(
        "empty-line-before",
        (ZTTP,),
        How.REFUSES,
        rb"\A[\r\n]|\r\n\r\n[\r\n]",
        "the others skip it, as RFC 9112 section 2.2 recommends",
        only=Rules,
    ),
    Difference(
        "lax-extension",
        (ZTTP,),
        How.TAKES,
        rb"^[0-9a-f]+;(?!;)(?![^\r\n]*;;)",
        "zttp reads over it, to the end of the line",
        only=Rules,
    ),
    Difference(
        "nameless-extension",
        (HTTPTOOLS, ZTTP),
        How.TAKES,
        rb"^[0-9a-f]+;([^\r\n]*;)?;",
        "llhttp, too, reads over an extension without a name, if another one follows",
        only=Rules,
    ),
    Difference(
        "blanks-in-request-line",
        (HTTPTOOLS,),
        How.TAKES,
        rb"^[A-Z-]+ ( +\S* *|\S*  +)HTTP/1\.[01]\r?$",
        "llhttp takes several spaces for one (RFC 9112 section 3 allows it), and does not tell",
    ),
    Difference(
        "proxy-connection",
        (HTTPTOOLS,),
        How.READS,
        rb"^proxy-connection: *close",
        "llhttp takes it for Connection, as old proxies meant it",
    ),
    Difference(
        "value-with-blanks-behind",
        (HTTPTOOLS,),
        How.VALUES,
        rb":[^\n]*[ \t]\r?\n",
        "llhttp leaves white space behind a value",
    ),
    Difference(
        "empty-extension",
        (HTTPTOOLS,),
        How.REFUSES,
        rb"^[0-9a-f]+;[; \r]",
        "llhttp wants an extension to have a name",
        only=UvicornRules,
    ),
    Difference(
        "blank-in-extension",
        (HTTPTOOLS,),
        How.REFUSES,
        rb"^[0-9a-f]+;[^\r\n]*[ \t]",
        "llhttp takes no white space there, which RFC 9112 section 7.1.1 calls bad",
        only=UvicornRules,
    ),
    Difference(
        "eight-bits-in-extension",
        (HTTPTOOLS,),
        How.REFUSES,
        rb"^[0-9a-f]+;[^\r\n]*[\x80-\xff]",
        "llhttp takes only ASCII there",
        only=UvicornRules,
    ),
    Difference(
        "length-in-trailers",
        (HTTPTOOLS, ZTTP),
        How.REFUSES,
        rb"^0+\r\n([^\r\n]+\r\n)*(content-length|transfer-encoding):",
        "llhttp reads it as if it came with the head; zttp lets no such trailer pass",
        only=UvicornRules,
    ),
    Difference(
        "line-feed",
        (H11,),
        How.TAKES,
        rb"(?<!\r)\n",
        "h11 takes a bare LF for the end of a line (RFC 9112 section 2.2 allows it)",
        only=UvicornRules,
    ),
    Difference(
        "folded",
        (H11,),
        How.TAKES,
        rb"\r?\n[ \t]",
        "h11 unfolds (RFC 9112 section 5.2 allows it)",
        only=UvicornRules,
    ),
    Difference(
        "equal-lengths",
        (H11,),
        How.TAKES,
        rb"^content-length:[ \t]*(\d+)[ \t]*(,|\r?\n(.*\n)*content-length:)[ \t]*\1[ \t]*\r?$",
        "h11 makes one of equal lengths (RFC 9112 section 6.3 allows it)",
        only=UvicornRules,
    ),
    Difference(
        "immense",
        (H11,),
        How.TAKES,
        rb"^content-length: *\d{19}|^[0-9a-f]{17}",
        "h11 counts as far as Python does, and waits for that body",
        only=UvicornRules,
    ),
    Difference(
        "lowered-coding",
        (H11,),
        How.VALUES,
        rb"^transfer-encoding: [^\r\n]*(?-i:[A-Z])",
        "h11 tells the coding in lower case",
        only=UvicornRules,
    ),
    Difference(
        "blank-behind-size",
        (H11,),
        How.TAKES,
        rb"^[0-9a-f]+[ \t]+\r?$",
        "h11 takes white space there, which servers are known to send",
        only=UvicornRules,
    ),
    Difference(
        "control-in-extension",
        (H11,),
        How.TAKES,
        rb"^[0-9a-f]+;[^\n]*[\x00-\x08\x0a-\x1f\x7f]",
        "h11 leaves extensions unread, up to the end of the line",
        only=UvicornRules,
    ),
    Difference(
        "keep-alive-of-1.0",
        (ZTTP,),
        How.READS,
        rb" HTTP/1\.0\r?\n([^\n]+\n)*connection:[^\n]*keep-alive",
        "zttp keeps an HTTP/1.0 connection whose client asks for that; the others close it",
        only=UvicornRules,
    ),
    Difference(
        "eight-bits-in-target",
        (ZTTP,),
        How.TAKES,
        rb"^\S+ [^ \r\n]*[\x80-\xff]",
        "zttp leaves that to the app",
        only=UvicornRules,
    ),
    Difference(
        "delimiters-in-target",
        (ZTTP,),
        How.REFUSES,
        rb'^\S+ [^ \r\n]*["<>\\^`{|}]',
        "RFC 3986 has them nowhere; the others take what browsers send in queries",
    ),
    Difference(
        "forbidden-trailer",
        (ZTTP,),
        How.REFUSES,
        rb"^0+\r\n([^\r\n]+\r\n)*(host|te):",
        "RFC 9110 section 6.5.1: such a field means nothing behind a body; the others drop it",
        only=UvicornRules,
    ),
]


def unexplained(raw: bytes, readings: dict[str, Reading], rules: type[Rules], but: Difference | None = None) -> bool:
    """Whether the parsers differ in a way that is not listed: nobody's reading leaves the others with a reason."""
    rows = [row for row in DIFFERENCES if row is not but and row.holds_with(rules) and row.applies(raw)]
    return not any(
        all(is_allowed([row for row in rows if parser in row.parsers], own, common) for parser, own in readings.items())
        for common in readings.values()
    )


def is_allowed(rows: list[Difference], own: Reading, common: Reading) -> bool:
    """Whether these rows of one parser let it read `own` where the others read `common`."""
    if any(row.how is How.VALUES for row in rows):
        own, common = _without_values(own), _without_values(common)
    return own == common or any(row.allows(own, common) for row in rows)


def _begins(longer: Reading, shorter: Reading) -> bool:
    """Whether the requests of one are those that the other begins with, but for a last one that broke off."""
    whole = [request for request in shorter.requests if request.complete]
    return longer.requests[: len(whole)] == whole and longer != shorter


def _without_values(reading: Reading) -> Reading:
    requests = [one._replace(fields=[(name, b"") for name, _ in one.fields]) for one in reading.requests]
    return reading._replace(requests=requests)

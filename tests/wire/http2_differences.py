"""Where the h2 library's wire may do something else than the native one, each with its reason. Nothing else may differ.

Strict: what is listed here has to happen. A row that is not true any more fails its test.
"""

from __future__ import annotations

from dataclasses import dataclass

#: h2 knows the error, but ends the connection for it.
CONNECTION = "a stream error of RFC 9113; h2 has none of this kind and ends the connection"
LENGTH = "RFC 9113 section 8.1.1 asks for a stream error; h2 counts the body itself, and ends the connection"
LATER = "h2 waits for the end of a header block before it says that there must be none"
CODE = "another code for the same end of the connection"
LATE = "h2 answers each late frame with a reset of its stream, of which the client takes no notice"
CLOSED = "RFC 9113 section 5.1 has a connection error; h2 resets the stream, which is over anyway"
IDLE = "h2 takes no notice of a reset of a stream that was never opened"
RESERVED = "h2 reads the reserved bit of the increment"
PRIORITY = "RFC 9113 has dropped such priorities; h2 still refuses a stream that depends on itself, as RFC 7540 did"
AFTER_END = "h2 keeps a stream until it is reset: those after our last GOAWAY are refused instead of ignored"

#: Of the table in `test_http2_rfc9113`: the section and what it says -> what h2's wire says then, and why.
RFC_9113: dict[tuple[str, str], tuple[tuple[str, ...], str]] = {
    ("5.1", "closed: DATA"): (("HEADERS 1 END", "RST_STREAM 1 STREAM_CLOSED"), CLOSED),
    ("5.1", "reset by us: DATA on its way is dropped"): (
        ("RST_STREAM 1 FLOW_CONTROL_ERROR", "RST_STREAM 1 STREAM_CLOSED", "PING ACK 12345678"),
        LATE,
    ),
    ("5.1", "reset by us: HEADERS on its way is dropped"): (
        ("RST_STREAM 1 FLOW_CONTROL_ERROR", "RST_STREAM 1 STREAM_CLOSED"),
        LATE,
    ),
    ("5.1", "lower streams that were skipped are closed"): (("GOAWAY 5 PROTOCOL_ERROR",), CODE),
    ("5.2", "DATA of more than a stream's window"): (("GOAWAY 1 FLOW_CONTROL_ERROR",), CONNECTION),
    ("5.2", "DATA for a stream that is closed counts for the connection"): (
        ("RST_STREAM 1 STREAM_CLOSED", "WINDOW_UPDATE 0 32768", "RST_STREAM 1 STREAM_CLOSED"),
        LATE,
    ),
    ("6.3", "PRIORITY of four bytes, on a stream"): (("GOAWAY 1 FRAME_SIZE_ERROR",), CONNECTION),
    ("6.5", "an acknowledgement that sets something"): (("GOAWAY 0 PROTOCOL_ERROR",), CODE),
    ("6.8", "ours: later streams are ignored, their blocks not"): (
        (
            "GOAWAY 1 NO_ERROR",
            "RST_STREAM 3 REFUSED_STREAM",
            "RST_STREAM 3 STREAM_CLOSED",
            "RST_STREAM 1 STREAM_CLOSED",
        ),
        AFTER_END,
    ),
    ("6.9", "an increment of 0 on a stream"): (("GOAWAY 1 PROTOCOL_ERROR",), CONNECTION),
    ("6.9", "the reserved bit is ignored"): (("GOAWAY 0 PROTOCOL_ERROR",), RESERVED),
    ("8.1", "trailers without END_STREAM"): (("GOAWAY 1 PROTOCOL_ERROR",), CONNECTION),
    ("8.1", "the rest of that request is dropped"): (
        ("HEADERS 1 END", "RST_STREAM 1 NO_ERROR", "RST_STREAM 1 STREAM_CLOSED", "PING ACK 12345678"),
        LATE,
    ),
    ("8.1.1", "content longer than Content-Length"): (("GOAWAY 1 PROTOCOL_ERROR",), LENGTH),
    ("8.1.1", "content shorter than Content-Length"): (("GOAWAY 1 PROTOCOL_ERROR",), LENGTH),
    **{
        ("8.1.1", f"a Content-Length of {value!r}"): (("GOAWAY 0 PROTOCOL_ERROR",), LENGTH)
        for value in ("+1", "-1", "0x1", "1,1", "", "1 ", "\u0661")
    },
}

#: Of the floods in `test_http2_floods`: with h2 the first frame is the last one; the code is that of its error.
FLOODS: dict[str, tuple[str, str]] = {
    "provoked by an empty window": ("PROTOCOL_ERROR", CONNECTION),
    "provoked by a bad PRIORITY": ("FRAME_SIZE_ERROR", CONNECTION),
    "provoked by content-length": ("PROTOCOL_ERROR", LENGTH),
}


@dataclass(frozen=True)
class Difference:
    """What the two may say to one frame of a kind (None: of any): patterns of their frames in words, with commas."""

    reason: str
    kind: int | None
    native: str
    h2: str


#: Not in a row of its own: what h2's wire does not know until a stream's turn is that its window is empty.
TURNS = "where the connection's window is too small for all, a stream whose own was empty may keep its place in the row"

#: Of generated clients. After such a frame the two are in different states, and no more is compared.
GENERATED = [
    Difference(CONNECTION, 0, r"RST_STREAM \d+ FLOW_CONTROL_ERROR", r"GOAWAY \d+ FLOW_CONTROL_ERROR"),
    Difference(LENGTH, 0, r"RST_STREAM \d+ PROTOCOL_ERROR", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(CLOSED, 0, r"GOAWAY \d+ STREAM_CLOSED", r"(RST_STREAM \d+ STREAM_CLOSED)?"),
    Difference(CONNECTION, 1, r"RST_STREAM \d+ PROTOCOL_ERROR", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(AFTER_END, 1, r"", r"RST_STREAM \d+ REFUSED_STREAM"),
    Difference(PRIORITY, 1, r"", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(LATER, 1, r"GOAWAY \d+ PROTOCOL_ERROR", r""),
    Difference(LATER, 5, r"GOAWAY \d+ PROTOCOL_ERROR", r""),
    Difference(CONNECTION, 2, r"RST_STREAM \d+ FRAME_SIZE_ERROR", r"GOAWAY \d+ FRAME_SIZE_ERROR"),
    Difference(PRIORITY, 2, r"", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(IDLE, 3, r"GOAWAY \d+ PROTOCOL_ERROR", r""),
    Difference(CONNECTION, 8, r"RST_STREAM \d+ PROTOCOL_ERROR", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(CONNECTION, 9, r"RST_STREAM \d+ PROTOCOL_ERROR", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(RESERVED, 8, r".*", r"GOAWAY \d+ PROTOCOL_ERROR"),
    Difference(CODE, None, r"GOAWAY \d+ [A-Z_]+", r"GOAWAY \d+ [A-Z_]+"),
]

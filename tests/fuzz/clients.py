"""What the client of a fuzzed connection makes of the server's bytes, by h11, h2 and wsproto, against what was sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import h11
import hpack
import wsproto.extensions
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

from tests.fuzz.apps import Exchange
from tests.wire.http2_peer import ENDH, PREFACE, split
from tests.wire.ws_frames import CLOSE, server_frames

_LARGEST = 2**31 - 1


class Answer:
    """One answer, as the client has it."""

    def __init__(self, number: int | None, status: int = 0) -> None:
        #: Of the exchange; None where the server has answered itself.
        self.number = number
        self.status = status
        self.body = b""
        self.messages: list[str | bytes] = []
        self.complete = False
        self.reset = False
        self.is_websocket = False


def number_in(fields: Any) -> int | None:
    """Which exchange has sent the head."""
    told = dict(fields).get(b"x-app")
    return None if told is None else int(told)


def read_http1(data: bytes, exchanges: list[Exchange], ended: bool) -> Iterator[Answer | str]:
    """Answers, or what is wrong. `ended`: the connection is over."""
    is_last = False
    while data:
        if is_last:
            yield f"output: {data[:80]!r} behind an answer that ends the connection"
            return
        head = re.match(rb"(?s)(?:HTTP/1\.1 1(?!01).*?\r\n\r\n)*(.*?\r\n\r\n)", data)
        told = re.search(rb"\r\nx-app: (\d+)\r\n", head[1] if head else b"")
        number = int(told[1]) if told else None
        if head and head[1].startswith(b"HTTP/1.1 101"):
            yield from _read_upgrade(data[head.end() :], head[1], number)
            return
        if number is not None and number >= len(exchanges):
            yield f"output: an answer of an app that there is not: {number}"
            return
        method = exchanges[number].method if number is not None else "GET"
        client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        client.send(h11.Request(method="HEAD" if method == "HEAD" else "GET", target="/", headers=[("host", "a")]))
        client.send(h11.EndOfMessage())
        answer = Answer(number)
        try:
            client.receive_data(data)
            _read_events(client, answer)
        except h11.RemoteProtocolError as exc:
            yield f"output: {exc}: {data[:200]!r}"
            return
        if ended and not answer.complete:
            try:
                client.receive_data(b"")
                _read_events(client, answer)
            except h11.RemoteProtocolError:
                pass  # it was cut off
        yield answer
        if not answer.complete:
            return
        is_last = client.our_state is h11.MUST_CLOSE or client.their_state in (h11.MUST_CLOSE, h11.CLOSED)
        data = client.trailing_data[0]


def _read_events(client: h11.Connection, answer: Answer) -> None:
    while (event := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        if isinstance(event, h11.Response):
            answer.status = event.status_code
        elif isinstance(event, h11.Data):
            answer.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            answer.complete = True
            return
        elif isinstance(event, h11.ConnectionClosed):
            return


def _read_upgrade(frames: bytes, head: bytes, number: int | None) -> Iterator[Answer | str]:
    offer = re.search(rb"(?i)\r\nsec-websocket-extensions: (.*)\r\n", head)
    answer = Answer(number, 101)
    wrong = read_frames(frames, offer[1] if offer else b"", answer)
    yield answer
    if wrong:
        yield wrong


def read_frames(data: bytes, extensions: bytes, answer: Answer) -> str | None:
    """The frames of a WebSocket. Returns what is wrong."""
    answer.is_websocket = True
    deflate = wsproto.extensions.PerMessageDeflate()
    if extensions:
        deflate.finalize(extensions.decode())
    client = FrameProtocol(client=True, extensions=[deflate] if extensions else [])
    part: Any = None
    try:
        client.receive_bytes(data)
        for frame in client.received_frames():
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY):  # continued ones are told as what they continue
                part = frame.payload if part is None else part + frame.payload
                if frame.message_finished:
                    answer.messages.append(part)
                    part = None
            elif frame.opcode is Opcode.CLOSE:
                answer.complete = True
    except ParseFailed as exc:
        return f"output: {exc}: {data[-200:]!r}"
    try:
        opcodes = [first & 15 for first, _ in server_frames(data)]
    except AssertionError:
        return None  # the rest has not come
    return "output: frames behind a close frame" if CLOSE in opcodes[:-1] else None


def read_http2(data: bytes, sent: bytes, exchanges: list[Exchange], is_cut: bool = False) -> Iterator[Answer | str]:
    """The same over HTTP/2; `sent` by the client, whatever it is, says what its windows are. `is_cut`: not all came."""
    try:
        frames = split(_whole(data) if is_cut else data)
        numbers = _numbers(frames)
    except Exception as exc:
        yield f"output: {exc!r} in what was sent"
        return
    yield from _over_windows(frames, sent)
    last = _LARGEST
    for kind, _, _, payload in frames:
        if kind == 7:
            said = int.from_bytes(payload[:4], "big")
            if said > last:
                yield f"output: GOAWAY {said} behind GOAWAY {last}"
            last = said
    client = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=True, header_encoding=None, validate_outbound_headers=False)
    )
    client.local_settings = h2.settings.Settings(
        client=True, initial_values={4: _LARGEST, 5: 2**24 - 1, 1: 2**20, 6: 2**24}
    )
    client.max_inbound_frame_size = 2**24 - 1
    client.decoder.max_allowed_table_size = 2**20
    client.decoder.max_header_list_size = 2**24
    client.initiate_connection()
    client.increment_flow_control_window(_LARGEST - 65535)
    answers: dict[int, Answer] = {}
    offers: dict[int, bytes] = {}
    without_body: set[int] = set()
    lengths: dict[int, int] = {}
    for stream_id, number in sorted(numbers.items()):
        exchange = exchanges[number] if number is not None and number < len(exchanges) else None
        method = exchange.method if exchange else "POST"
        is_websocket = exchange is not None and exchange.type == "websocket"
        fields = [(":method", "CONNECT" if is_websocket else method), (":scheme", "http"), (":path", "/")]
        client.send_headers(stream_id, [*fields, (":authority", "a")])
        if method == "HEAD" or exchange is None:  # it may have been one that the server has refused
            without_body.add(stream_id)
        answers[stream_id] = Answer(number)
        answers[stream_id].is_websocket = is_websocket
    rest = b"".join(
        len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload
        for kind, flags, stream_id, payload in frames
        if kind != 7  # h2 takes that for the end of everything
    )
    try:
        events = client.receive_data(rest)
    except h2.exceptions.ProtocolError as exc:
        yield f"output: {exc!r} over HTTP/2"
        return
    for event in events:
        answer = answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            continue
        if isinstance(event, h2.events.ResponseReceived):
            fields_ = dict(event.headers)
            answer.status = int(fields_[b":status"])
            offers[event.stream_id] = fields_.get(b"sec-websocket-extensions", b"")
            length = fields_.get(b"content-length")
            if length is not None and event.stream_id not in without_body and answer.status not in (204, 304):
                lengths[event.stream_id] = int(length)
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
        elif isinstance(event, h2.events.StreamEnded):
            answer.complete = True
        elif isinstance(event, h2.events.StreamReset):
            answer.reset = True
    for stream_id, answer in answers.items():
        if answer.complete and not answer.reset and lengths.get(stream_id, len(answer.body)) != len(answer.body):
            yield f"output: {len(answer.body)} bytes of {lengths[stream_id]}"
        if answer.is_websocket and answer.status == 200:
            answer.complete = False
            wrong = read_frames(answer.body, offers[stream_id], answer)
            if wrong:
                yield wrong
        yield answer


def _whole(data: bytes) -> bytes:
    """Without a last frame of which a part is lost."""
    at = 0
    while at + 9 <= len(data) and (end := at + 9 + int.from_bytes(data[at : at + 3], "big")) <= len(data):
        at = end
    return data[:at]


def _numbers(frames: list[tuple[int, int, int, bytes]]) -> dict[int, int | None]:
    """By stream: which exchange it is; the blocks are all read in their order."""
    decoder = hpack.Decoder(max_header_list_size=2**24)
    decoder.max_allowed_table_size = 2**20
    numbers: dict[int, int | None] = {}
    encoded = b""
    for kind, flags, stream_id, payload in frames:
        if kind not in (1, 9):
            assert not encoded, "a frame within a header block"
            if stream_id and kind == 0:
                assert stream_id in numbers, f"DATA on stream {stream_id} before its head"
            elif stream_id and kind == 3:
                numbers.setdefault(stream_id, None)  # which h2 has to know before it can be reset
            continue
        encoded += payload
        if flags & ENDH:
            fields = decoder.decode(encoded, raw=True)
            encoded = b""
            if numbers.get(stream_id) is None:
                numbers[stream_id] = number_in(fields)
    return numbers


def _over_windows(frames: list[tuple[int, int, int, bytes]], sent: bytes) -> Iterator[str]:
    """Whether more was sent than the client may ever have allowed."""
    windows: dict[int, int] = {0: 65535}
    initial = 65535
    at = len(PREFACE) if sent.startswith(PREFACE) else 0
    while len(sent) - at >= 9:
        size, kind = int.from_bytes(sent[at : at + 3], "big"), sent[at + 3]
        stream_id, payload = int.from_bytes(sent[at + 5 : at + 9], "big") & _LARGEST, sent[at + 9 : at + 9 + size]
        if kind == 8 and size == 4:
            windows[stream_id] = windows.get(stream_id, 0) + (int.from_bytes(payload, "big") & _LARGEST)
        elif kind == 4:
            for pair in range(0, size - 5, 6):
                if payload[pair : pair + 2] == b"\0\x04":
                    initial = max(initial, int.from_bytes(payload[pair + 2 : pair + 6], "big"))
        at += 9 + size
    used: dict[int, int] = {}
    for kind, _flags, stream_id, payload in frames:
        if kind == 0:
            for one in (0, stream_id):
                used[one] = used.get(one, 0) + len(payload)
    for stream_id, size in used.items():
        if size > windows.get(stream_id, 0) + (initial if stream_id else 0):
            yield f"output: more than the window of stream {stream_id}"

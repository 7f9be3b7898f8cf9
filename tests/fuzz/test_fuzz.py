"""A short run of the fuzzer on each implementation, the same every time; what it has found; and that it would find."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from pounce.connection.flow import FlowControl
from pounce.connection.http1 import HTTP1Protocol
from pounce.exchange.http_cycle import RequestResponseCycle
from pounce.wire.http1_writer import Http1Writer
from pounce.wire.http2_native import NativeWire
from tests.fakes import get, post
from tests.fuzz import __main__ as command, cases, connections, generators, kinds
from tests.fuzz.cases import Case
from tests.fuzz.clients import Answer, read_frames, read_http1, read_http2
from tests.fuzz.minimise import minimised, shorter, smaller
from tests.fuzz.mutator import mutate, pieces
from tests.wire.http2_peer import END, ENDH, PREFACE, data, goaway, headers, settings
from tests.wire.ws_frames import handshake

ALL = [name for name in kinds.names() if name not in connections.TARGETS]
KEPT = sorted(path for folder in ("connection", "http2") for path in (cases.CORPUS / folder).glob("[!.]*"))

#: Inputs of each kind.
COUNT = 60


@pytest.mark.parametrize("name", ALL)
def test_a_short_run(name: str) -> None:
    """The first inputs of one seed: nothing is wrong."""
    [kind] = kinds.named(name)
    for number in range(COUNT):
        given = kind.make(Random(f"every run {number}"), kinds.known_bytes())
        faults = kind.faults(given)
        assert not faults, f"input {number}: {kind.write(given)[:3000]!r}\n" + "\n".join(faults)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found(path: Path) -> None:
    """Each file of the corpora, on each implementation. (Those of `http1` are read in `wire/test_http1_parsers.py`.)"""
    assert command.replay(path) == []


# That it would find something

GET = [("data", get())]


def broken(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, function: Any) -> None:
    """Have a method do something else: it is given what it was before, the object, and the arguments."""
    before = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *arguments: function(before, *arguments))


def raises(*_: Any) -> None:
    raise KeyError("broken")


def loses_a_byte(before: Any, self: Any, body: bytes, more_body: bool) -> None:
    before(self, body and body[:-1] + b"?", more_body)


def starts_a_timer(before: Any, self: Any, *arguments: Any) -> None:
    before(self, *arguments)
    self.loop.call_later(100, print)


def forgets_itself(_before: Any, self: Any, *_: Any) -> None:
    self.active = self.cycle = self.scope = self.behind = None


def goes_on(_before: Any, self: Any) -> None:
    pass


def writes_again(before: Any, self: Any) -> None:
    before(self)
    self.transport.write(b"more")


def logs(_before: Any, self: Any) -> None:
    self.logger.error("What is this?")


@pytest.mark.parametrize(
    "owner,name,function,events,finding",
    [
        (HTTP1Protocol, "_on_drained", raises, GET, "log: "),
        (HTTP1Protocol, "go_on", raises, [("data", get() * 300)], "loop: "),
        (HTTP1Protocol, "data_received", raises, GET, "raised: "),
        (HTTP1Protocol, "connection_lost", raises, GET, "raised: "),
        (HTTP1Protocol, "connection_lost", starts_a_timer, GET, "left: timers"),
        (HTTP1Protocol, "connection_lost", forgets_itself, GET, "left: connections"),
        (HTTP1Protocol, "_advance", goes_on, GET, "unanswered: "),
        (HTTP1Protocol, "close", writes_again, [("data", get("/", "Connection: close"))], "transport: written"),
        (Http1Writer, "send_body", loses_a_byte, [("data", post(b"hello"))], "output: another body"),
        (RequestResponseCycle, "on_disconnect", goes_on, [("data", post(b"hello")[:-1])], "left: tasks"),
        (FlowControl, "resume_writing", raises, GET, "raised: "),
    ],
)
def test_faults_are_found(
    owner: Any, name: str, function: Any, events: Any, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken on purpose, the server is found to be."""
    case = Case("http1", events, expects=1 if finding.startswith("unanswered") else None)
    assert connections.run(case, "h11") == []
    broken(monkeypatch, owner, name, function)
    faults = connections.run(case, "h11")
    assert any(fault.startswith(finding) for fault in faults), faults


def test_books_and_lines_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of what HTTP/2 counts, and of a line in the log that nobody knows."""
    case = Case("http2", [("data", PREFACE + settings() + headers(1))])
    assert connections.run(case, "native") == []
    broken(monkeypatch, NativeWire, "start", lambda before, self: (before(self), setattr(self, "queued_size", 1)))
    assert any(fault.startswith("books: ") for fault in connections.run(case, "native"))
    monkeypatch.undo()
    broken(monkeypatch, HTTP1Protocol, "_on_drained", logs)
    assert "log: What is this?" in connections.run(Case("http1", GET), "httptools")


@pytest.mark.parametrize(
    "answers",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nx-app: 7\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x88\x00\x81\x01a",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x83\x00",
    ],
)
def test_a_client_of_http1_understands_no_more_than_it_should(answers: bytes) -> None:
    """What no client understands is told."""
    assert [one for one in read_http1(answers, [], True) if isinstance(one, str)]


@pytest.mark.parametrize(
    "frames",
    [
        data(1, b"x"),
        headers(1, [(":status", "200")], ENDH) + data(1, b"x" * 70000),
        headers(1, [(":status", "200"), ("content-length", "5")], ENDH) + data(1, b"abc", END),
        goaway(1) + goaway(3),
        b"\0\0\1",
    ],
)
def test_a_client_of_http2_understands_no_more_than_it_should(frames: bytes) -> None:
    """The same over HTTP/2: an answer without a head, over its window, too short; ends that move; half a frame."""
    found = [one for one in read_http2(settings() + frames, PREFACE + settings(), []) if isinstance(one, str)]
    assert found


def test_a_client_of_websocket_reads_messages() -> None:
    """Messages in one piece or several, up to the close frame."""
    answer = Answer(0)
    assert read_frames(b"\x01\x01a\x80\x01b\x82\x01c\x88\x00", b"", answer) is None
    assert (answer.messages, answer.complete) == (["ab", b"c"], True)


# The tools


def test_cases_are_files() -> None:
    """What is written is read as it was; what is no case is refused."""
    case = generators.make("websocket", Random("a case"), [])
    assert cases.read(cases.write(case)) == case
    with pytest.raises(ValueError):
        cases.read("[1]")


def test_inputs_are_those_of_their_seed() -> None:
    """The same seed makes the same input, another one another."""
    for wire in connections.TARGETS:
        made = [generators.make(wire, Random(seed), [b"abc"]) for seed in (1, 1, 2)]
        assert made[0] == made[1] != made[2]


def test_mutated_and_cut() -> None:
    """Something changes; pieces are all of it."""
    dice = Random(1)
    changed = [mutate(dice, b"0123456789" * 5, [b"abc"]) for _ in range(200)]
    assert sum(one != b"0123456789" * 5 for one in changed) > 180
    assert all(b"".join(pieces(dice, one)) == one for one in changed)


def test_an_input_is_made_small() -> None:
    """Of bytes only what shows it is left; of a case as well."""
    assert minimised(b"abcdXefgh", shorter, lambda one: b"X" in one, 5) == b"X"
    case = Case("http1", [("turns", 3), ("data", b"ab"), ("data", b"cdXef")], [{"kind": "hold"}], tls=True)
    assert minimised(case, smaller, lambda one: b"X" in one.data(), 5) == Case("http1", [("data", b"X")])


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It finds, saves and shows what is wrong, once; it runs that again; and says what it does not know."""
    assert command.main(["http1-h11", "--minutes", "0.002", "--seed", "1"]) == 0
    assert command.main(["--list"]) == 0
    assert command.main(["http3"]) == 2
    monkeypatch.setattr(command, "_MINIMISE_SECONDS", 0.2)
    monkeypatch.setattr(cases, "CONNECTIONS", tmp_path)
    kinds.kinds.cache_clear()
    broken(monkeypatch, HTTP1Protocol, "connection_lost", raises)
    try:
        assert command.main(["http1-h11", "--minutes", "0.02", "--seed", "1"]) == 1
    finally:
        kinds.kinds.cache_clear()
    saved = list(tmp_path.iterdir())
    assert saved
    assert command.main(["--replay", str(saved[0])]) == 1
    monkeypatch.undo()
    assert command.main(["--replay", str(saved[0])]) == 0
    assert f"--replay {saved[0]}" in capsys.readouterr().out.replace("\n", " ")


def test_a_websocket_is_answered() -> None:
    """A handshake and a message, on each implementation."""
    case = Case("websocket", [("data", handshake() + b"\x81\x81\0\0\0\0a")], expects=1)
    for target in connections.TARGETS["websocket"]:
        assert connections.run(case, target) == []

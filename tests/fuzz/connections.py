"""One case on one implementation: a whole connection over a transport that is none, and all that must be true of it.

Nothing raises, neither out of what asyncio calls nor into its loop; the log has nothing but what apps and clients have
done; no more turns of the loop than the input is worth; every byte is one that a client understands, and what apps have
sent is what it got; nothing is left once the connection is lost. Deterministic: clocks are those of the loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
import time
import traceback
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

from pounce.connection import http1_input, http2, http2_turns, input_turns
from pounce.connection.http2 import HTTP2Protocol
from pounce.connection.http2_auto import negotiator
from pounce.connection.state import ServerState
from pounce.connection.websocket_websockets import WebSocketsSansIOProtocol
from pounce.connection.websocket_wsproto import WSProtocol
from pounce.exchange import http_cycle, turns, ws_cycle
from pounce.names import LOGGER_ERROR
from pounce.settings import Settings
from tests.connection.app_steps import Failed
from tests.fakes import DEFAULT_HEADERS, PROTOCOLS, Clock, plain_config
from tests.fuzz.apps import Apps
from tests.fuzz.cases import Case
from tests.fuzz.clients import Answer, read_http1, read_http2
from tests.fuzz.transport import CountingLoop, Transport
from tests.wire.http2_random import balance

#: By wire: its implementations.
TARGETS: dict[str, tuple[str, ...]] = {
    "http1": tuple(sorted(PROTOCOLS)),
    "http2": ("native", "h2"),
    "websocket": ("wsproto", "websockets"),
    "websocket-http2": ("wsproto", "websockets", "wsproto+h2"),
}

_WEBSOCKETS = {"wsproto": WSProtocol, "websockets": WebSocketsSansIOProtocol}

#: Turns of the loop for any input at all, and how many bytes are good for one more.
_TURNS, _BYTES_PER_TURN = 3000, 5
#: Seconds of this process for one case.
_SECONDS = 5.0

#: Lines that clients and apps are good for.
_LINES = re.compile(
    r"Invalid HTTP request received|Invalid HTTP/2 frame received: |Request body too large|Unsupported upgrade request|"
    r"No supported WebSocket library|Responses of status 204 and 304|Exceeded concurrency limit|"
    r"ASGI callable returned without (starting response|completing (response|handshake))|"
    r"(Transfer coding not implemented|Request|Header|Head|Content|Body|Field|Trailer|URI|Timeout|Too)|The client"
)

#: Where a real clock is looked at.
_CLOCKS = (http1_input, http2, http2_turns, input_turns, http_cycle, turns, ws_cycle)


class _Log(logging.Handler):
    """Lines of the error log and of asyncio's: those that are no known ones are faults."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self.faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        exc = record.exc_info[1] if record.exc_info else None
        text = record.getMessage()
        if exc is not None:
            if not _is_of_app(exc):
                told = "".join(traceback.format_exception(exc, limit=-4))
                self.faults.append(f"log: {text.splitlines()[0] if text else ''} {told}")
        elif record.name == "asyncio" or (record.levelno >= logging.WARNING and not _LINES.match(text)):
            self.faults.append(f"log: {text}")


def _is_of_app(exc: BaseException) -> bool:
    """Whether an app has failed by itself, or was told that it did something wrong."""
    if isinstance(exc, Failed):
        return True
    frames = [frame.f_code.co_qualname for frame, _ in traceback.walk_tb(exc.__traceback__)]
    return isinstance(exc, RuntimeError | OSError) and any("send_noted" in name for name in frames)


@cache
def _followed(protocol_class: Any) -> Any:
    """The same class, of whose objects one can know whether they are gone."""
    slots = () if any("__weakref__" in vars(base) for base in protocol_class.__mro__) else ("__weakref__",)
    return type(protocol_class.__name__, (protocol_class,), {"__slots__": slots})


@contextmanager
def _observed(loop: CountingLoop, faults: list[str]) -> Iterator[None]:
    """Clocks stand still but for the loop's; what is said behind our back is a fault."""
    reads = 0

    def monotonic() -> float:
        nonlocal reads
        reads += 1
        return loop.time() + reads * 1e-5

    def on_unraisable(told: Any) -> None:
        faults.append(f"loop: unraisable: {told.exc_value!r} {told.err_msg or ''} {told.object!r}")

    log = _Log(faults)
    loggers = [logging.getLogger(name) for name in (LOGGER_ERROR, "asyncio")]
    before = [(logger.handlers, logger.propagate, logger.level) for logger in loggers]
    with ExitStack() as stack:
        for module in _CLOCKS:
            stack.enter_context(mock.patch.object(module, "monotonic", monotonic))
        stack.enter_context(mock.patch.object(sys, "unraisablehook", on_unraisable))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")
        for logger in loggers:
            logger.handlers, logger.propagate = [log], False
            logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            for logger, (handlers, propagate, level) in zip(loggers, before, strict=True):
                logger.handlers, logger.propagate = handlers, propagate
                logger.setLevel(level)


def run(case: Case, target: str) -> list[str]:
    """What is wrong; each begins with its kind and a colon."""
    faults: list[str] = []
    loop = CountingLoop()
    loop.set_exception_handler(lambda _, told: faults.append(f"loop: {told.get('message')}: {told.get('exception')!r}"))
    begun = time.process_time()
    with _observed(loop, faults):
        runs = _Run(case, target, loop, faults)
        try:
            loop.run_until_complete(runs.drive())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
        runs.check_rest()
    if time.process_time() - begun > _SECONDS:
        faults.append("spin: it has taken too long")
    return list(dict.fromkeys(faults))


class _Run:
    """The connection, while it lasts."""

    def __init__(self, case: Case, target: str, loop: CountingLoop, faults: list[str]) -> None:
        self.case = case
        self.target = target
        self.loop = loop
        self.faults = faults
        self.state = ServerState()
        self.state.sweeps_idle = case.sweeps
        self.state.default_headers = list(DEFAULT_HEADERS)
        self.clock = Clock(self.state, head=30, body=20, write=20)
        self.transport = Transport(loop, faults, tls=case.tls)
        self.apps = Apps(case.apps, self.transport, faults)
        self.known: list[weakref.ref[Any]] = []

    def protocol(self) -> Any:
        """A new one."""
        case, target = self.case, self.target
        websocket, _, wire = target.partition("+")
        given = dict(case.settings)
        groups = dict(given.pop("settings", {}))
        if case.wire.endswith("http2"):
            wire = "h2" if "h2" in (target, wire) else "native"
            groups["http2"] = {"wire": wire} | groups.get("http2", {})
        usual = {
            "ws_protocol_class": _WEBSOCKETS.get(websocket), "ws_max_size": 1 << 20, "ws_max_queue": 32,
            "ws_ping_interval": 20, "ws_ping_timeout": 20, "ws_per_message_deflate": True,
        }  # fmt: skip
        config = plain_config(self.apps, **(usual | given), settings=Settings.of(groups))
        if case.wire == "http1":
            protocol_class: Any = PROTOCOLS[target]
        elif case.wire == "websocket":
            names = sorted(PROTOCOLS)
            protocol_class = PROTOCOLS[names[len(case.data()) % len(names)]]
        else:
            protocol_class = HTTP2Protocol
        protocol_class = _followed(protocol_class)
        if case.auto:
            protocol_class = _followed(negotiator(protocol_class if "http2" not in case.wire else PROTOCOLS["h11"]))
        protocol = protocol_class(config, self.state, {}, _loop=self.loop)
        self.known.append(weakref.ref(protocol))
        return protocol

    async def drive(self) -> None:
        """From the first to the last thing that happens."""
        transport = self.transport
        transport.protocol = self.protocol()
        self.clock.run(1)
        self._told(transport.protocol.connection_made, transport)
        for kind, argument in self.case.events:
            await self._happen(kind, argument)
            self._balance()
        await self._until_quiet()
        transport.is_slow = False
        transport.take()
        await self._until_quiet()
        self._balance()
        if self.case.expects is not None:
            self._check_answered(self._read())
        transport.lose(None if len(self.case.events) % 2 else ConnectionResetError())
        await self._end()

    async def _happen(self, kind: str, argument: Any) -> None:
        transport = self.transport
        match kind:
            case "data":
                transport.arrive(argument)
            case "eof":
                transport.arrive(None)
            case "turns":
                for _ in range(argument):
                    await asyncio.sleep(0)
            case "time":
                await asyncio.sleep(argument)
                self.clock.run(argument)
            case "reset":
                transport.reset()
            case "lose":
                transport.lose(None)
            case "slow":
                transport.is_slow = True
            case "take":
                transport.take(argument)
            case "fast":
                transport.is_slow = False
                transport.take()
            case "stop" | "retire" | "shutdown":
                self.state.stopping |= kind == "stop"
                for connection in list(self.state.connections):
                    ask = connection.shutdown
                    self._told(getattr(connection, "shutdown_when_idle", ask) if kind == "retire" else ask)
            case _:
                raise ValueError(kind)

    def _told(self, function: Any, *arguments: Any) -> None:
        try:
            function(*arguments)
        except Exception:
            self.faults.append(f"raised: {traceback.format_exc(limit=-3)}")

    async def _until_quiet(self) -> None:
        most = _TURNS + len(self.case.data()) // _BYTES_PER_TURN
        begun = self.loop.turns
        while not self.loop.is_quiet:
            if self.loop.turns - begun > most:
                self.faults.append("spin: the loop does not come to rest")
                return
            await asyncio.sleep(0)

    async def _end(self) -> None:
        """Everything ends once the connection is lost."""
        begun = self.loop.turns
        if self.state.tasks:
            await asyncio.wait(list(self.state.tasks), timeout=60)
        await self._until_quiet()
        if self.loop.turns - begun > _TURNS + len(self.case.data()) // _BYTES_PER_TURN:
            self.faults.append("spin: turns behind the end")
        for what, there in (
            ("tasks", self.state.tasks), ("connections", self.state.connections), ("timers", self.loop.timers),
        ):  # fmt: skip
            if there:
                self.faults.append(f"left: {what}: {list(there)}")
        if self.state.input_turns.are_busy:
            self.faults.append("left: somebody waits for a turn")
        self.clock.run(1)
        if self.clock.held:
            self.faults.append("left: debts")
        self._check_answers()

    def check_rest(self) -> None:
        """Behind the end of the loop: no object is left."""
        self.transport.protocol = None
        for known in self.known:
            if known() is not None:
                gc.collect()
                if known() is not None:
                    self.faults.append(f"left: {known()!r}, held by {[type(o) for o in gc.get_referrers(known())]}")

    # What is checked

    def _balance(self) -> None:
        protocol = self.transport.protocol
        if isinstance(protocol, HTTP2Protocol) and not self.transport.closing and not protocol.ended:
            try:
                balance(protocol.wire)
            except AssertionError:
                self.faults.append(f"books: {traceback.format_exc(limit=-1)}")

    def _read(self) -> list[Answer]:
        transport = self.transport
        data, exchanges = bytes(transport.taken), self.apps.exchanges
        if not self._is_http1:
            told = read_http2(data, self.case.data(), exchanges, transport.cut)
        else:
            told = read_http1(data, exchanges, transport.closing or transport.ended)
        answers = []
        for answer in told:
            if isinstance(answer, str):
                self.faults.append(answer)
            else:
                answers.append(answer)
        return answers

    def _check_answers(self) -> None:
        """What the client got is what apps have sent, in their order; the server's own end the connection."""
        answers = self._read()
        numbers = [answer.number for answer in answers if answer.number is not None]
        if len(numbers) != len(set(numbers)) or (self._is_http1 and numbers != sorted(numbers)):
            self.faults.append(f"output: answers out of order: {numbers}")
        for answer in answers:
            if answer.number is None:
                continue
            exchange = self.apps.exchanges[answer.number]
            if not exchange.behaves:
                continue
            if answer.is_websocket:
                whole, got = exchange.messages, answer.messages
            elif exchange.method == "HEAD":
                continue
            else:
                whole, got = exchange.body, answer.body
            if whole[: len(got)] != got:
                self.faults.append("output: another body than that which was sent")
            elif exchange.complete and len(got) < len(whole):
                is_whole = self._is_http1 and not self.transport.cut
                if is_whole or (answer.complete and not answer.is_websocket and not answer.reset):
                    self.faults.append(f"output: {len(whole) - len(got)} less than was sent")

    @property
    def _is_http1(self) -> bool:
        """What the server speaks, as its first bytes show."""
        taken = self.transport.taken
        return taken.startswith(b"HTTP/1.1") if taken else not self.case.wire.endswith("http2")

    def _check_answered(self, answers: list[Answer]) -> None:
        """A client that keeps to the rules, and waits, has got all of its answers."""
        expected = self.case.expects
        if self.case.wire == "websocket":
            got = sum(len(answer.messages) for answer in answers)
        else:
            got = sum(answer.complete and answer.number is not None for answer in answers)
        if got != expected:
            self.faults.append(f"unanswered: {got} answers of {expected}")

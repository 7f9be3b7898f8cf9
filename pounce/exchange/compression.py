"""Compression of responses, between an exchange and its writer, on any version of HTTP.

`Compressor` is the feature of one worker, `CompressingWriter` stands before one exchange's writer. What is compressed
is decided by the head, how it is framed when the first part of the body comes: a whole body gets its new length, a
stream is flushed with every part, so that each arrives at once. Which fields change, `coded_fields` says.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pounce.errors import MisusedByApp
from pounce.exchange.coded_fields import HeadFields, forbids_coding
from pounce.exchange.content_codings import Choice, Coder, Codings, Use, sibling_of
from pounce.exchange.extensions import DerivedTables
from pounce.exchange.files import FileBecameShorter, read_at
from pounce.exchange.held_head import HeldHead
from pounce.exchange.http_cycle import Handler, Messages, RequestResponseCycle, ResponseState
from pounce.settings import Compression
from pounce.wire.response_fields import TOO_SHORT, Headers, ResponseBody, as_bytes, body_bytes

#: The name under which a scope has the app's say, a dictionary: `{"enabled": False}` switches compression off.
EXTENSION = "pounce.compression"

_EVENTS = "text/event-stream"

#: Bytes of a body part from which on compressing takes longer than handing it to a thread and back.
_OFF_LOOP = {"zstd": 256 * 1024, "br": 64 * 1024, "gzip": 64 * 1024}

_LEAST_OFF_LOOP = min(_OFF_LOOP.values())

#: Bytes of a file that are compressed at a time.
_FILE_PART = 256 * 1024

#: Heads that are remembered, per worker, and how many fields and bytes such a head has at most.
_MAX_HEADS = 512
_MAX_FIELDS = 16
_MAX_HEAD_SIZE = 1024


class Compressor:
    """The compression of one worker: its settings, its codings, and a table of messages that goes by size."""

    def __init__(self, settings: Compression, default_headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """`default_headers` are those that the settings give every response.

        Raises an explained `ModuleNotFoundError` for a coding that is named and not installed.
        """
        self.codings = Codings(settings.codings, settings.levels())
        self.min_size = settings.min_size
        types = [re.escape(one).replace(r"\*", "[^/]*") for one in settings.types.split(",") if one]
        if any(forbids_coding(name.lower(), value) for name, value in default_headers):
            types = []
        self._is_listed = re.compile("|".join(types) or "(?!)").fullmatch
        self._heads: dict[Any, HeadFields] = {}
        self._tables = DerivedTables(_by_size)
        self._threads: ThreadPoolExecutor | None = None

    def __call__(self, cycle: RequestResponseCycle) -> None:
        """Stand before the writer of an exchange."""
        switch: dict[str, Any] = {}
        cycle.scope["extensions"][EXTENSION] = switch
        CompressingWriter(cycle, self, switch)
        cycle.messages = self._tables.of(cycle.messages)

    def head_fields(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> HeadFields:
        """What a head says; kept, unless it is one client's own. Raises MisusedByApp."""
        fields = tuple(headers)
        key: Any = (status, fields)
        try:
            known = self._heads.get(key)
        except (TypeError, ValueError):  # lists, or what can be changed: allowed, but not hashable
            known = key = None
        if known is None:
            known = HeadFields(status, list(fields), self._listed)
            if key is not None and _comes_again(fields):
                if len(self._heads) >= _MAX_HEADS:
                    self._heads.clear()
                self._heads[key] = known
        return known

    def _listed(self, content_type: bytes) -> str:
        """The media type of a Content-Type field, or nothing where it is not to be compressed."""
        media_type = content_type.partition(b";")[0].strip(b" \t").decode("latin-1").lower()
        return media_type if self._is_listed(media_type) else ""

    def on_thread(self, cycle: RequestResponseCycle, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Have something done beside the loop for an exchange; zlib, zstd and brotli let go of the GIL.

        None comes of it where that is over before it begins.
        """
        if self._threads is None:
            self._threads = ThreadPoolExecutor(2, "pounce-compression")
        return asyncio.get_running_loop().run_in_executor(self._threads, _unless_gone, cycle, work, *arguments)


def _unless_gone(cycle: RequestResponseCycle, work: Callable[..., Any], *arguments: Any) -> Any:
    """What was to be done; None, where the client left while it waited for a thread, and nobody wants it any more."""
    return None if cycle.disconnected else work(*arguments)


def _comes_again(fields: tuple[tuple[bytes, bytes], ...]) -> bool:
    """Whether a head may be seen again, and is small enough to be kept until then."""
    return (
        len(fields) <= _MAX_FIELDS
        and sum(len(name) + len(value) for name, value in fields) <= _MAX_HEAD_SIZE
        and not any(len(name) == 10 and as_bytes(name, True).lower() == b"set-cookie" for name, _ in fields)
    )


class CompressingWriter(HeldHead):
    """Compresses one response, if it is one that may be and the client takes it."""

    #: What the client takes of a response that may be compressed; None: this one may not be.
    _choice: Choice | None = None
    _fields: HeadFields
    _is_head = False
    #: Of the file that is sent in place of another one, and the size of any.
    _file_coding = ""
    _file_size: int | None = None
    #: What codes the body, once the head has left; None: it is sent as it is, or was there at once.
    _coder: Coder | None = None
    _name = ""
    _counter: ResponseBody
    #: The next part, coded.
    _ready: bytes | None = None
    #: A thread's work on a part.
    busy: asyncio.Future[Any] | None = None
    _is_broken = False

    def __init__(self, cycle: RequestResponseCycle, compressor: Compressor, switch: dict[str, Any]) -> None:
        """`switch` is what the app finds in its scope."""
        super().__init__(cycle)
        self._compressor = compressor
        self._switch = switch
        self._request_headers = cycle.scope["headers"]

    # The head

    def send_head(
        self,
        status: int,
        headers: Iterable[tuple[bytes, bytes]],
        is_head: bool,
        keep_alive: bool,
        body_follows: bool = False,
    ) -> None:
        """See `HttpWriter.send_head`."""
        compressor = self._compressor
        self._fields = fields = compressor.head_fields(status, headers)
        self._is_head = is_head
        if fields.is_plain and self._switch.get("enabled", True):
            accepted = [value for name, value in self._request_headers if name == b"accept-encoding"]
            self._choice = compressor.codings.choice(accepted)
        self.hold(status, fields.given, is_head, keep_alive)

    def _coding(self, size: int | None) -> str | None:
        """What a body of this size is coded with; None: it is sent as it is."""
        choice = self._choice
        if choice is None or size == 0:
            return None
        if size is not None and size < self._compressor.min_size and not choice.refuses_identity:
            return None
        made = self._compressor.codings.names
        for name in choice.codings:
            if name in made:
                return name
        return None

    def on_head(self, status: int, headers: Headers, is_head: bool, body: Any, is_whole: bool) -> Headers:
        """See `HeldHead.on_head`."""
        if self._choice is None:
            return headers
        fields = self._fields
        if self._file_coding:
            return fields.coded(self._file_coding, self._file_size)
        length = fields.length
        if is_whole and (body or not is_head):
            size: int | None = len(body)
            if length is not None and length != size and not is_head:
                return fields.varied  # a mistake: whoever sends it says so
        else:
            size = length if self._file_size is None else self._file_size
        name = None if is_whole and size is None else self._coding(size)
        if name is None:
            return fields.varied
        if is_head:
            return fields.coded(name, None)
        codings = self._compressor.codings
        if is_whole:
            if self._ready is None:
                self._ready = codings.whole(name, body)
            return fields.coded(name, len(self._ready))
        use = Use.EVENTS if fields.media_type == _EVENTS else Use.BODY
        self._name = name
        self._coder = codings.coder(name, use, length)
        self._counter = ResponseBody(status, False, length)
        return fields.coded(name, None)

    # The body

    def send_body(self, body: Any, more_body: bool) -> None:
        """See `HttpWriter.send_body`."""
        if type(body) is not bytes:
            body = body_bytes(body)
        if self.head is not None:
            self._file_coding = ""
            self.pass_head(body, not more_body)
        coder = self._coder
        if coder is None:
            if self._ready is not None:
                body, self._ready = self._ready, None
            self.next.send_body(body, more_body)
            return
        self._check_broken()
        if self._ready is None:
            self._counter.take(body, more_body)
            coded = self._code(coder, body, more_body)
        else:
            coded, self._ready = self._ready, None
        is_short = self._counter.is_short
        self.next.send_body(coded, more_body or is_short)
        if is_short:
            raise MisusedByApp(TOO_SHORT)  # and the response remains without an end

    def _code(self, coder: Coder, body: bytes, more_body: bool) -> bytes:
        if more_body or self._counter.is_short:
            return coder.flush(body) if body else b""
        return coder.finish(body)

    def send_trailers(self, fields: list[tuple[bytes, bytes]]) -> None:
        """See `ExtendedWriter.send_trailers`."""
        self.pass_head(None, False)
        if self._coder is not None:
            self._check_broken()
            if self._counter.left:
                raise MisusedByApp(TOO_SHORT)
            self.next.send_body(self._coder.finish(b""), True)
        self.next.send_trailers(fields)

    # Beside the loop

    def on_turn_over(self) -> None:
        """See `HeldHead.on_turn_over`: not while its body is being compressed, or its file opened."""
        if self.busy is None and not self._file_coding:
            super().on_turn_over()

    def waits(self, body: Any, more_body: bool) -> bool:
        """Whether a large part has to wait: for one before it, or since compressing it would hold all others up."""
        if self.busy is not None:
            return True
        if self._is_head:
            return False
        name: str | None = self._name
        if self.head is not None:
            size, length = len(body), self._fields.length
            if not more_body and length is not None and length != size:
                return False  # a mistake: whoever sends it says so
            name = self._coding(length if more_body else size)
        return bool(name) and len(body) >= _OFF_LOOP[name]  # type: ignore[index]

    async def send_later(self, cycle: RequestResponseCycle, message: Any, handler: Handler, more_body: bool) -> bool:
        """Compress a part of the body on a thread, and then do what its handler does."""
        if self.busy is not None:
            return await self.send_again(cycle, message)
        body = message["body"]
        if more_body:
            self.pass_head(body, False)
        coder = self._coder
        if coder is None:
            name = self._coding(len(body))
            self._ready = await self._on_thread(cycle, self._compressor.codings.whole, name, body)
        else:
            self._check_broken()
            self._counter.take(body, more_body)
            self._ready = await self._on_thread(cycle, self._code, coder, body, more_body)
        if not cycle.disconnected:
            handler(cycle, message)
        return more_body

    async def send_again(self, cycle: RequestResponseCycle, message: Any) -> bool:
        """Send a message when the part that is with a thread, from another task of the app, has left."""
        assert self.busy is not None
        await asyncio.wait([self.busy])
        await cycle.send(message)
        return True

    async def _on_thread(self, cycle: RequestResponseCycle, work: Callable[..., Any], *arguments: Any) -> Any:
        self.busy = self._compressor.on_thread(cycle, work, *arguments)
        try:
            return await self.busy
        except BaseException:
            self._is_broken = self._coder is not None  # what was coded is lost
            if self.head is not None:
                self.due_soon()  # the app may send another body, or none for long
            raise
        finally:
            self.busy = None

    def _check_broken(self) -> None:
        if self._is_broken:
            raise MisusedByApp("A part of the response's body was cancelled.")

    # Files

    def forget_file(self) -> None:
        """Another file follows than that of `path_for`, which could not be opened."""
        self._file_coding = ""

    def path_for(self, path: Any) -> Any:
        """The path to open in place of this one: of the same content in a coding that the client takes, or the same."""
        if self.head is None or self._choice is None:
            return path
        beside, self._file_coding = sibling_of(path, self._choice.codings) or (path, "")
        return beside

    async def send_file(self, file: int, offset: int, count: int, more_body: bool) -> None:
        """See `ExtendedWriter.send_file`."""
        if self.head is not None:
            self._file_size = None if more_body else count
            self.pass_head(None, False)
        coder = self._coder
        if coder is None:
            await self.next.send_file(file, offset, count, more_body)
            return
        counter = self._counter
        self._check_broken()
        counter.takes(count)
        cycle = self.cycle
        assert cycle is not None
        end = offset + count
        while offset < end:
            size = min(_FILE_PART, end - offset)
            found = await self._on_thread(cycle, _code_file, coder, file, offset, size)
            if cycle.disconnected:
                return
            part, coded = found
            if len(part) < size:
                raise FileBecameShorter
            offset += size
            counter.take(part, more_body or offset < end)
            self.next.send_body(coded, True)
            if cycle.flow.write_paused:
                await cycle.flow.drain()
        if more_body:
            self.next.send_body(coder.flush(b""), True)
        elif not cycle.disconnected:
            self.send_body(b"", False)


def _code_file(coder: Coder, file: int, offset: int, size: int) -> tuple[bytes, bytes]:
    """A part of a file, and what there is of it coded."""
    part = read_at(file, offset, size)
    return part, coder.add(part)


def _by_size(messages: Messages) -> Messages:
    """The same table, in which parts of a body that take long to compress do not hold the loop up."""
    table = [dict(row) for row in messages]
    for state in (ResponseState.HEAD, ResponseState.HEAD_OF_TRAILERS):
        for kind, handler in table[state].items():
            if kind == "http.response.body":
                table[state][kind] = _beside_loop(handler, state is ResponseState.HEAD_OF_TRAILERS)
            else:
                table[state][kind] = _behind_thread(handler)
    return table


def _behind_thread(handler: Handler) -> Handler:
    """What begins when no part of the body is with a thread: until then, what it may do is not decided."""

    def on_message(cycle: RequestResponseCycle, message: Any) -> bool | Awaitable[Any]:
        writer: CompressingWriter = cycle.writer  # type: ignore[assignment]
        if writer.busy is not None:
            return writer.send_again(cycle, message)
        writer.forget_file()
        return handler(cycle, message)

    return on_message


def _beside_loop(handler: Handler, trailers_follow: bool) -> Handler:
    def on_body(cycle: RequestResponseCycle, message: Any) -> bool | Awaitable[bool]:
        writer: CompressingWriter = cycle.writer  # type: ignore[assignment]
        body = message.get("body", b"")
        if type(body) is not bytes:  # a buffer may be as large, and change meanwhile
            body = body_bytes(body)
            message = {**message, "body": body}
        if writer.busy is None and len(body) < _LEAST_OFF_LOOP:
            return handler(cycle, message)
        more_body = trailers_follow or bool(message.get("more_body", False))
        if writer.waits(body, more_body):
            return writer.send_later(cycle, message, handler, more_body)
        return handler(cycle, message)

    return on_body

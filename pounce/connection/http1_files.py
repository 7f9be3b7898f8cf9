"""The way out of an HTTP/1.1 connection, for parts of files as well: which way each of them takes.

Runs on the worker's loop. Small ones are read and leave with the head; others leave by the kernel where there is no
TLS, framed as one part, or are read and written by parts.
"""

from __future__ import annotations

from pounce.connection.file_parts import send_in_parts
from pounce.connection.flow import FlowControl
from pounce.connection.sendfile import can_sendfile, sendfile
from pounce.wire.http1_writer import Http1Writer

#: Up to so many bytes are read: that is less than it takes to wait for the socket.
_SMALL_SIZE = 64 * 1024


class Http1FileWriter(Http1Writer):
    """An `Http1Writer` that sends files."""

    __slots__ = ("flow",)

    flow: FlowControl  # set when the transport is

    async def send_file(self, file: int, offset: int, count: int, more_body: bool) -> None:
        """See `ExtendedWriter.send_file`."""
        transport, flow = self.transport, self.flow
        if not count or not self.takes(count):
            self.send_body(b"", more_body)
            return
        behind = None
        if count > _SMALL_SIZE and can_sendfile(transport):  # type: ignore[arg-type]
            behind = self.begin_part(count)
        if behind is None:
            await send_in_parts(
                file, offset, count, flow, transport.is_closing,
                lambda part, is_last: self.send_body(part, more_body or not is_last),
            )  # fmt: skip
            return
        left = await sendfile(transport, flow, file, offset, count)  # type: ignore[arg-type]
        if left:
            await send_in_parts(
                file, offset + count - left, left, flow, transport.is_closing, lambda part, _: transport.write(part)
            )
        self.end_part(behind, more_body)

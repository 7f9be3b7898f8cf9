"""Clients that ask without a pause and tell exactly what became of every request."""

from __future__ import annotations

import asyncio
import time


class Clients:
    """Half of the connections are kept, half are for one request each. On one event loop."""

    def __init__(self, port: int, count: int = 32, path: str = "/") -> None:
        self.answered = 0
        self.failures: list[tuple[float, str]] = []
        self._port = port
        self._count = count
        self._path = path
        self._over = False

    async def run(self, seconds: float) -> None:
        """Ask for so long, then wait for what is open."""
        asyncio.get_running_loop().call_later(seconds, self.stop)
        await asyncio.gather(*(self._ask(number % 2 == 0) for number in range(self._count)))

    def stop(self) -> None:
        """Ask no more."""
        self._over = True

    async def _ask(self, keeps_alive: bool) -> None:
        request = f"GET {self._path} HTTP/1.1\r\nHost: localhost\r\n"
        request += "\r\n" if keeps_alive else "Connection: close\r\n\r\n"
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        while not self._over:
            try:
                async with asyncio.timeout(10):
                    if reader is None or writer is None:
                        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.write(request.encode())
                    head = await reader.readuntil(b"\r\n\r\n")
                    lines = head.lower().split(b"\r\n")
                    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
                    await reader.readexactly(length)
                if b" 200 " not in lines[0] + b" ":
                    raise ConnectionError(lines[0].decode())
            except (OSError, EOFError, TimeoutError) as exc:
                self.failures.append((time.monotonic(), repr(exc)))
                if writer is not None:
                    writer.close()
                reader = writer = None
                await asyncio.sleep(0.01)
                continue
            self.answered += 1
            if not keeps_alive or b"connection: close" in lines:
                writer.close()
                reader = writer = None
        if writer is not None:
            writer.close()

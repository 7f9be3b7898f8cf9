"""`python host NAME`: the process in which servers of one product (uvicorn or pounce) run, one per control connection.

Prints one line of JSON: the control port, and what was imported. A control connection carries one line of JSON per
command and per reply; its first command starts a server on a thread and a loop of its own, its end ends it. The process
ends with its standard input.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import socket
import sys
import threading
from typing import Any

from recording import LogHandler, Recorder

#: Seconds for anything that happens at once, on a busy machine.
PATIENCE = 30.0


class Lane:
    """One server and the recorder that is its app."""

    def __init__(self, product: Any, logs: LogHandler) -> None:
        self.product = product
        self.logs = logs
        self.recorder = Recorder()
        self.server: Any = None
        self.thread: threading.Thread | None = None

    def start(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Run a server; returns its port when it listens."""
        # The protocol is named, since asyncio sets TCP_NODELAY on no other.
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        if self.product.__name__ == "pounce":
            # What is stricter by default has vectors of its own: conformance/vectors.
            settings["parsing"] = {"rules": "uvicorn"}
        config = self.product.Config(self.recorder, interface="asgi3", lifespan="on", log_config=None, **settings)
        self.server = self.product.Server(config)
        self.thread = threading.Thread(target=self._run, args=(listener,), daemon=True)
        self.thread.start()
        if not self.recorder.started.wait(PATIENCE):
            raise RuntimeError("the server did not start")
        self.recorder.settle(PATIENCE)
        return {"port": listener.getsockname()[1]}

    def _run(self, listener: socket.socket) -> None:
        self.logs.listen(self.recorder)
        self.server.run(sockets=[listener])

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command."""
        recorder, do = self.recorder, command["do"]
        if do == "start":
            return self.start(command["settings"])
        if do == "begin":
            recorder.begin(command["app"])
        elif do == "reached":
            return {"done": recorder.wait_reached(command["point"], PATIENCE)}
        elif do == "release":
            recorder.release(command["point"])
        elif do == "settle":
            recorder.settle(PATIENCE)
        elif do == "collect":
            return recorder.collect(PATIENCE)
        else:
            raise ValueError(do)
        return {}

    def end(self) -> None:
        """End the server. A thread that does not end is left to the process's end."""
        if self.server is not None and self.thread is not None:
            self.server.should_exit = self.server.force_exit = True
            self.thread.join(PATIENCE)


def serve_control(control: socket.socket, product: Any, logs: LogHandler) -> None:
    """Obey one control connection."""
    lane = Lane(product, logs)
    with control, control.makefile("rwb") as stream:
        for line in stream:
            try:
                reply = lane.obey(json.loads(line))
            except Exception as exc:
                reply = {"error": repr(exc)}
            stream.write(json.dumps(reply).encode() + b"\n")
            stream.flush()
        lane.end()


def main(name: str) -> None:
    """Serve control connections until the standard input ends."""
    logs = LogHandler()
    logging.basicConfig(level=logging.INFO, handlers=[logs])
    product = importlib.import_module(name)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    facts = {
        "port": listener.getsockname()[1],
        "version": product.__version__,
        "file": product.__file__,
        "gil": getattr(sys, "_is_gil_enabled", lambda: True)(),
    }
    print(json.dumps(facts), flush=True)

    def accept() -> None:
        while True:
            control, _ = listener.accept()
            threading.Thread(target=serve_control, args=(control, product, logs), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])

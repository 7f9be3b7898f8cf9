"""The ASGI lifespan protocol: startup, shutdown, and the `state` dict that requests of this worker get a copy of.

Runs on: the worker's loop; one instance per worker (the specification asks for one lifespan per event loop).
Knows nothing of: other workers. Implements ASGI's "Lifespan Protocol"; compatible with uvicorn's lifespan/on.py and
lifespan/off.py for attributes, log lines and what counts as a failure.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pounce import asgi
from pounce.contracts import ConfigView
from pounce.exchange.app_errors import log_exception
from pounce.names import LOGGER_ERROR

LifespanReceiveMessage = asgi.LifespanStartupEvent | asgi.LifespanShutdownEvent
LifespanSendMessage = (
    asgi.LifespanStartupFailedEvent
    | asgi.LifespanShutdownFailedEvent
    | asgi.LifespanStartupCompleteEvent
    | asgi.LifespanShutdownCompleteEvent
)

STATE_TRANSITION_ERROR = "Got invalid state transition on lifespan protocol."

#: Seconds that an abandoned lifespan call gets to take note of it. Somebody may have asked twice.
_TIMEOUT_ABANDON = 0.2


class LifespanOff:
    """`--lifespan off`: the app is never told."""

    def __init__(self, config: ConfigView) -> None:
        self.should_exit = False
        self.state: dict[str, Any] = {}

    async def startup(self) -> None:
        """Nothing to start."""

    async def shutdown(self) -> None:
        """Nothing to shut down."""


class LifespanOn:
    """`--lifespan on` and `auto`: runs the app's lifespan call in a task of its own, and steers it by messages.

    `should_exit` says after `startup()` or `shutdown()` that the server must not go on. With `auto`, an app that
    raises before it has completed its startup is taken for one that knows no lifespan.
    """

    def __init__(self, config: ConfigView) -> None:
        if not config.loaded:
            config.load()
        self.config = config
        self.logger = logging.getLogger(LOGGER_ERROR)
        self.startup_event = asyncio.Event()
        self.shutdown_event = asyncio.Event()
        self.receive_queue: asyncio.Queue[LifespanReceiveMessage] = asyncio.Queue()
        self.error_occurred = False
        self.startup_failed = False
        self.shutdown_failed = False
        self.should_exit = False
        self.state: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_abandoned = False

    # Asked by the worker

    async def startup(self) -> None:
        """Run the app up to its `startup.complete`. Look at `should_exit` afterwards."""
        self.logger.info("Waiting for application startup.")
        # The loop refers to its tasks only weakly.
        self._task = asyncio.get_running_loop().create_task(self.main())
        await self.receive_queue.put({"type": "lifespan.startup"})
        await self.startup_event.wait()
        self._conclude("startup", failed=self.startup_failed)

    async def shutdown(self) -> None:
        """Tell the app to end and wait until it has. Does nothing where its lifespan call is known to have broken."""
        if self.error_occurred:
            return
        self.logger.info("Waiting for application shutdown.")
        await self.receive_queue.put({"type": "lifespan.shutdown"})
        await self.shutdown_event.wait()
        self._conclude("shutdown", failed=self.shutdown_failed)

    async def abandon(self) -> None:
        """End the app's call without asking, and without a word about how it takes that. Never raises."""
        self._is_abandoned = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_TIMEOUT_ABANDON)

    def _conclude(self, phase: str, *, failed: bool) -> None:
        if failed or (self.error_occurred and self.config.lifespan == "on"):
            self.logger.error("Application %s failed. Exiting.", phase)
            self.should_exit = True
        else:
            self.logger.info("Application %s complete.", phase)

    # The app's side

    async def main(self) -> None:
        """The app's lifespan call, from start to end. Never raises."""
        scope: asgi.LifespanScope = {
            "type": "lifespan",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self.config.loaded_app(scope, self.receive, self.send)
        except BaseException as exc:
            self.error_occurred = True
            if not (self.startup_failed or self.shutdown_failed or self._is_abandoned):
                self._log_broken_call(exc)
        finally:
            # Whoever waits must not wait for a call that is over.
            self.startup_event.set()
            self.shutdown_event.set()

    def _log_broken_call(self, exc: BaseException) -> None:
        started = self.startup_event.is_set()
        if started and isinstance(exc, asyncio.CancelledError):
            return  # a forced exit ends the call this way, and there is nothing to learn from it
        if self.config.lifespan == "auto" and not started:
            self.logger.info("ASGI 'lifespan' protocol appears unsupported.")
        else:
            log_exception(self.logger, "Exception in 'lifespan' protocol\n", exc)

    async def receive(self) -> LifespanReceiveMessage:
        """ASGI `receive()` of the lifespan call."""
        return await self.receive_queue.get()

    async def send(self, message: LifespanSendMessage) -> None:
        """ASGI `send()` of the lifespan call. Raises `AssertionError` for a message that has no place there."""
        match message["type"].split("."):
            case ["lifespan", "startup" | "shutdown" as phase, "complete" | "failed" as outcome]:
                pass
            case _:
                raise AssertionError(f"Unexpected lifespan message {message['type']!r}.")
        if self.shutdown_event.is_set() or self.startup_event.is_set() is (phase == "startup"):
            raise AssertionError(STATE_TRANSITION_ERROR)
        if phase == "startup":
            self.startup_event.set()
            self.startup_failed = outcome == "failed"
        else:
            self.shutdown_event.set()
            self.shutdown_failed = outcome == "failed"
        reason: Any = message.get("message")
        if outcome == "failed" and reason and not self._is_abandoned:
            self.logger.error(reason)

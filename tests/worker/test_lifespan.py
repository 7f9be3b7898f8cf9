"""pounce/worker/lifespan.py: startup, shutdown, and what an app may do wrong in between."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from pounce.worker.lifespan import STATE_TRANSITION_ERROR, LifespanOff, LifespanOn
from tests.failures.exceptions import EXCEPTIONS

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    caplog.set_level(logging.INFO, logger="uvicorn.error")
    return caplog


class FakeConfig:
    """What the lifespan looks at."""

    def __init__(self, app: Any, lifespan: str = "auto", loaded: bool = True) -> None:
        self.loaded_app = app
        self.lifespan = lifespan
        self.loaded = loaded
        self.asgi_version = "3.0"

    def load(self) -> None:
        self.loaded = True


def lifespan_of(app: Any, mode: str = "auto") -> LifespanOn:
    return LifespanOn(FakeConfig(app, mode))


async def good_app(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    scope["state"]["pool"] = "a pool"
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    scope["state"]["closed"] = True
    await send({"type": "lifespan.shutdown.complete"})


async def test_startup_and_shutdown_frame_the_app(log: pytest.LogCaptureFixture) -> None:
    """Startup returns when the app has started, shutdown when it has ended, with a line before and after each."""
    lifespan = lifespan_of(good_app)
    await lifespan.startup()
    assert lifespan.state == {"pool": "a pool"}
    await lifespan.shutdown()
    assert lifespan.state == {"pool": "a pool", "closed": True}
    assert not lifespan.should_exit
    assert log.messages == [
        "Waiting for application startup.",
        "Application startup complete.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
    ]


async def test_the_scope_is_the_specified_one() -> None:
    """The lifespan scope carries the type, the versions and the very dict that requests are given copies of."""
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)

    lifespan = lifespan_of(app)
    await lifespan.startup()
    assert scopes == [{"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}]
    assert scopes[0]["state"] is lifespan.state


def test_a_config_is_loaded_once_needed() -> None:
    """A config that nobody has loaded yet is loaded before the app is asked for."""
    config = FakeConfig(good_app, loaded=False)
    LifespanOn(config)
    assert config.loaded


@pytest.mark.parametrize("mode,should_exit", [("auto", False), ("on", True)])
async def test_an_app_without_lifespan_is_an_error_only_where_it_is_demanded(
    mode: str, should_exit: bool, log: pytest.LogCaptureFixture
) -> None:
    """An app that raises at once serves without lifespan under "auto" and ends the server under "on"."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("http only")

    lifespan = lifespan_of(app, mode)
    await lifespan.startup()
    assert (lifespan.error_occurred, lifespan.should_exit) == (True, should_exit)
    if should_exit:
        assert log.messages[-2:] == ["Exception in 'lifespan' protocol\n", "Application startup failed. Exiting."]
        assert log.records[-2].exc_info is not None
    else:
        assert log.messages[-2:] == [
            "ASGI 'lifespan' protocol appears unsupported.",
            "Application startup complete.",
        ]
    log.clear()
    await lifespan.shutdown()
    assert log.messages == []


@pytest.mark.parametrize("mode", ["auto", "on"])
@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("phase", ["startup", "shutdown"])
async def test_a_reported_failure_ends_the_server(
    mode: str, raises: bool, phase: str, log: pytest.LogCaptureFixture
) -> None:
    """The app's own message is logged, and its exception after that is not logged a second time."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if phase == "shutdown":
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": f"lifespan.{phase}.failed", "message": "no database"})
        if raises:
            raise RuntimeError

    lifespan = lifespan_of(app, mode)
    await lifespan.startup()
    if phase == "shutdown":
        assert not lifespan.should_exit
        await lifespan.shutdown()
    assert lifespan.should_exit
    assert getattr(lifespan, f"{phase}_failed")
    assert lifespan.error_occurred is raises
    errors = [record.getMessage() for record in log.records if record.levelno == logging.ERROR]
    assert errors == ["no database", f"Application {phase} failed. Exiting."]


async def test_a_failure_without_a_message_is_one_line(log: pytest.LogCaptureFixture) -> None:
    """An empty message is not logged as an empty line."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed", "message": ""})

    await lifespan_of(app).startup()
    assert [r.getMessage() for r in log.records if r.levelno == logging.ERROR] == [
        "Application startup failed. Exiting."
    ]


async def test_an_exception_after_startup_is_logged_under_auto_too(log: pytest.LogCaptureFixture) -> None:
    """An app that completed its startup knows lifespan, so that its exception is no sign of the contrary."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        raise ValueError("in the shutdown code")

    lifespan = lifespan_of(app)
    await lifespan.startup()
    await lifespan.shutdown()
    failed = next(record for record in log.records if record.levelno == logging.ERROR)
    assert failed.getMessage() == "Exception in 'lifespan' protocol\n"
    assert failed.exc_info is not None
    assert isinstance(failed.exc_info[1], ValueError)
    assert not lifespan.should_exit


async def test_a_cancelled_lifespan_is_silent(log: pytest.LogCaptureFixture) -> None:
    """A forced exit cancels the call; that is no event for the log."""
    lifespan = lifespan_of(good_app)
    await lifespan.startup()
    log.clear()
    lifespan._task.cancel()
    await asyncio.wait([lifespan._task])
    assert lifespan.error_occurred
    assert log.messages == []


async def test_an_app_that_returns_early_holds_nobody_up() -> None:
    """Both phases end when the call is over, whatever it has said."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    lifespan = lifespan_of(app, "on")
    await asyncio.wait_for(lifespan.startup(), 5)
    await asyncio.wait_for(lifespan.shutdown(), 5)
    assert not lifespan.should_exit


@pytest.mark.parametrize(
    "messages",
    [
        ["startup.complete", "startup.complete"],
        ["startup.complete", "startup.failed"],
        ["shutdown.complete"],
        ["shutdown.failed"],
        ["startup.complete", "shutdown.complete", "shutdown.complete"],
        ["startup.complete", "shutdown.complete", "shutdown.failed"],
    ],
)
async def test_messages_out_of_order_are_refused(messages: list[str]) -> None:
    """`send()` raises in the app where a message does not fit the state."""
    lifespan = lifespan_of(good_app)
    *before, last = ({"type": f"lifespan.{name}"} for name in messages)
    for message in before:
        await lifespan.send(message)
    with pytest.raises(AssertionError, match=STATE_TRANSITION_ERROR):
        await lifespan.send(last)


async def test_an_unknown_message_is_refused() -> None:
    """`send()` takes the four lifespan messages only."""
    with pytest.raises(AssertionError, match=r"http\.response\.start"):
        await lifespan_of(good_app).send({"type": "http.response.start"})


async def test_off_says_nothing(log: pytest.LogCaptureFixture) -> None:
    """With lifespan off nothing is called, nothing is logged and the state is empty."""
    lifespan = LifespanOff(FakeConfig(None))
    await lifespan.startup()
    await lifespan.shutdown()
    assert (lifespan.state, lifespan.should_exit, log.messages) == ({}, False, [])


@pytest.mark.parametrize("reports", [True, False])
async def test_an_abandoned_call_ends_without_a_word(reports: bool, log: pytest.LogCaptureFixture) -> None:
    """Whatever the app makes of its cancellation, a failed shutdown or an exception: it is over, and not logged."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        try:
            await receive()
        except BaseException:
            if reports:  # as Starlette does
                await send({"type": "lifespan.shutdown.failed", "message": "Traceback ..."})
                raise
            raise RuntimeError from None

    lifespan = lifespan_of(app)
    await lifespan.startup()
    log.clear()
    await lifespan.abandon()
    assert lifespan.error_occurred
    assert log.messages == []


async def test_abandoning_what_was_never_begun_or_is_over() -> None:
    """Nothing happens."""
    await lifespan_of(good_app).abandon()
    lifespan = lifespan_of(good_app)
    await lifespan.startup()
    await lifespan.shutdown()
    await lifespan.abandon()


@pytest.mark.parametrize("moment", ["startup", "running", "shutdown"])
@pytest.mark.parametrize("kind", EXCEPTIONS)
async def test_whatever_the_app_raises(kind: str, moment: str, log: pytest.LogCaptureFixture) -> None:
    """Nobody waits for a call that has failed, whatever it raised and when; its one report is of bounded length."""
    startup_is_over = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if moment != "startup":
            await send({"type": "lifespan.startup.complete"})
            await startup_is_over.wait()
        if moment == "shutdown":
            await receive()
        raise EXCEPTIONS[kind]()

    lifespan = lifespan_of(app, "on")
    async with asyncio.timeout(5):
        await lifespan.startup()
        assert lifespan.should_exit == (moment == "startup")
        startup_is_over.set()
        for _ in range(3):
            await asyncio.sleep(0)
        await lifespan.shutdown()
    reports = [record for record in log.records if "Exception in 'lifespan' protocol" in record.getMessage()]
    if kind != "CancelledError" or moment == "startup":
        assert len(reports) == 1
        assert logging.Formatter().format(reports[0]).count("\n") < 1000

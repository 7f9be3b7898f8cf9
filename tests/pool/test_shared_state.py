"""pounce/pool/shared_state.py: what the lifespans of two workers do to one app."""

from __future__ import annotations

import asyncio
import datetime
import logging
import types
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette

from tests.pool.startups import check_startups


@pytest.fixture
def loops() -> Iterator[list[asyncio.AbstractEventLoop]]:
    made = [asyncio.SelectorEventLoop() for _ in range(3)]
    yield made
    for loop in made:
        loop.close()


class Pool:
    """Knows its loop, at some depth, as database pools do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._holders = [{"loop": loop}]


class Client:
    """Knows no loop before it is used."""

    async def aclose(self) -> None: ...


class Database:
    """Made at import, connected by the lifespan."""

    def __init__(self) -> None:
        self._pool: Pool | None = None


def test_a_pool_in_app_state_is_found(loops: Any, log: Any) -> None:
    """`app.state.pool`, absent before the first startup and replaced by the second, stops `auto` and is named."""
    app = Starlette()
    check = check_startups(app, lambda loop: setattr(app.state, "pool", Pool(loop)), loops)
    assert check.complaint() == "All worker threads share objects that belong to one event loop (app.state.pool)."
    assert log.messages == [
        "The startup of pounce-worker-1 replaced app.state.pool, which belongs to one event loop but is shared by all "
        "worker threads. Give each worker its own: make it in the lifespan and `yield` it as lifespan state, "
        "or make it in an app factory (--factory)."
    ]


def test_a_global_of_the_project_is_found(loops: Any, log: Any, project: types.ModuleType) -> None:
    """`global pool` in a module of the project, None at import."""
    project.pool = None  # type: ignore[attr-defined]
    check = check_startups(Starlette(), lambda loop: setattr(project, "pool", Pool(loop)), loops)
    assert "project.pool" in (check.complaint() or "")


def test_an_entry_of_a_shared_dict_is_found(loops: Any, log: Any, project: types.ModuleType) -> None:
    """`clients["db"] = ...` rebinds nothing, and is the same mistake."""
    project.clients = {}  # type: ignore[attr-defined]
    check = check_startups(Starlette(), lambda loop: project.clients.update(db=Pool(loop)), loops)
    assert "project.clients" in (check.complaint() or "")
    line = (
        "The startup of pounce-worker-1 bound project.clients to its own event loop, but all worker threads share it."
    )
    assert line in log.text


def test_an_object_connected_by_each_startup_is_found(loops: Any, log: Any, project: types.ModuleType) -> None:
    """`database.connect()` on an object that was made at import leaves it with the last worker's loop."""
    project.database = Database()  # type: ignore[attr-defined]
    check = check_startups(Starlette(), lambda loop: setattr(project.database, "_pool", Pool(loop)), loops)
    assert "project.database" in (check.complaint() or "")


def test_a_client_that_has_not_met_its_loop_yet_is_found(loops: Any, log: Any) -> None:
    """An HTTP client binds its connections later; that it is closed by awaiting says enough."""
    app = Starlette()
    check = check_startups(app, lambda _: setattr(app.state, "client", Client()), loops)
    assert "app.state.client" in (check.complaint() or "")


@pytest.mark.parametrize("make", [Client, asyncio.Lock, asyncio.Queue], ids=lambda kind: kind.__name__)
def test_what_belongs_to_a_loop_and_was_made_at_import_is_found(
    make: Any, loops: Any, log: Any, project: types.ModuleType
) -> None:
    """A client, lock or queue at module level is shared by all threads, whatever the lifespan does."""
    project.thing = make()  # type: ignore[attr-defined]
    check = check_startups(Starlette(), lambda _: None, loops)
    assert "project.thing" in (check.complaint() or "")
    line = f"project.thing ({make.__name__}) belongs to one event loop, but all worker threads share it. Give each"
    assert line in log.text


def test_explicit_threads_carry_on_with_the_warning(loops: Any, log: Any) -> None:
    """`--worker-class thread` is the user's decision: warned once, never stopped."""
    app = Starlette()
    check = check_startups(app, lambda loop: setattr(app.state, "pool", Pool(loop)), loops, worker_class="thread")
    assert check.complaint() is None
    assert [record.levelname for record in log.records] == ["WARNING"]


def test_an_app_of_its_own_for_each_worker_is_left_alone(loops: Any, log: Any) -> None:
    """A factory's instances each have their own state."""
    apps: list[Starlette] = []

    def startup(loop: asyncio.AbstractEventLoop) -> None:
        apps.append(Starlette())
        apps[-1].state.pool = Pool(loop)

    check = check_startups(None, startup, loops, make_app=lambda: apps[-1])
    assert check.complaint() is None
    assert not log.records


def test_globals_are_shared_by_a_factorys_instances_too(loops: Any, log: Any, project: types.ModuleType) -> None:
    """What the lifespan of a factory's app puts into a module, the next worker's overwrites all the same."""
    check = check_startups(None, lambda loop: setattr(project, "pool", Pool(loop)), loops, make_app=Starlette)
    assert "project.pool" in (check.complaint() or "")


def rebinds_counters(loop: asyncio.AbstractEventLoop, app: Any, project: Any) -> None:
    app.state.starts = getattr(app.state, "starts", 0) + 1
    app.state.started_at = datetime.datetime.now(datetime.UTC)
    app.state.version = f"1.{app.state.starts}"
    project.logger = logging.Logger("project")
    project.handler = lambda: None
    project.Model = type("Model", (), {})


def fills_a_registry(loop: asyncio.AbstractEventLoop, app: Any, project: Any) -> None:
    project.registry[loop] = Pool(loop)


def starts_once(loop: asyncio.AbstractEventLoop, app: Any, project: Any) -> None:
    if not hasattr(project, "scheduler"):
        project.scheduler = Pool(loop)


@pytest.mark.parametrize("startup", [rebinds_counters, fills_a_registry, starts_once], ids=lambda f: f.__name__)
def test_what_does_no_harm_is_not_mentioned(startup: Any, loops: Any, log: Any, project: types.ModuleType) -> None:
    """Counters, dates, loggers, functions, things kept per loop, and a job that runs on the first loop only."""
    app = Starlette()
    project.registry = {}  # type: ignore[attr-defined]
    project.app = app  # type: ignore[attr-defined]
    check = check_startups(app, lambda loop: startup(loop, app, project), loops)
    assert check.complaint() is None
    assert not log.records


def test_a_cache_is_named_but_stops_nothing(loops: Any, log: Any) -> None:
    """A replaced object without a loop may be meant for one worker or for all: the user is told, threads go on."""
    app = Starlette()
    check = check_startups(app, lambda _: setattr(app.state, "cache", {"a": [1]}), loops)
    assert check.complaint() is None
    line = "The startup of pounce-worker-1 replaced app.state.cache, which all worker threads share. Give each worker"
    assert log.text.count(line) == 1


def test_the_walk_is_bounded(loops: Any, log: Any) -> None:
    """A large value costs a look at a part of it, and a long chain ends before its end."""
    app = Starlette()

    def startup(loop: asyncio.AbstractEventLoop) -> None:
        chain: Any = Pool(loop)
        for _ in range(100):
            chain = [chain]
        app.state.rows = [[[number]] for number in range(100_000)]
        app.state.chain = chain

    check = check_startups(app, startup, loops)
    assert check.complaint() is None

"""pounce/pool/loop_bound.py, through the check that asks it: proxies, lazy objects, clients and locks of a module."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import sys
import types
import unittest.mock
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.pool.startups import check_startups


@pytest.fixture
def loops() -> Iterator[list[asyncio.AbstractEventLoop]]:
    made: list[asyncio.AbstractEventLoop] = [asyncio.SelectorEventLoop() for _ in range(2)]
    yield made
    for loop in made:
        loop.close()


def installed(kind: Any) -> Any:
    """As if an installed package defined this class."""
    kind.__module__ = "installed"
    return kind


@installed
class App:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


@installed
class AppWithAttributes(App):
    """A framework's app, which has an event of its own, made anew by each startup, and generators to go through."""

    async def startup(self) -> None:
        self.shutdown_event = asyncio.Event()
        for generator in self.generators:
            await anext(generator)


class Forwarded:
    """A descriptor for special methods, as werkzeug's LocalProxy has them."""

    def __get__(self, value: Any, kind: Any = None) -> Any:
        return self if value is None else getattr(value._wrapped, "__aenter__")  # noqa: B009


class LocalProxy:
    """Answers to every name, and to the special ones by a descriptor."""

    __slots__ = ("_wrapped",)
    __aenter__ = __aexit__ = Forwarded()

    def __init__(self, wrapped: Any = None) -> None:
        object.__setattr__(self, "_wrapped", wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


class ObjectProxy:
    """Forwards by plain methods, as wrapt's does where it is in Python."""

    def __init__(self, wrapped: Any) -> None:
        self.__wrapped__ = wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __aenter__(self) -> Any:
        return self.__wrapped__.__aenter__()


class AnswersAll:
    def __getattr__(self, name: str) -> Any:
        async def answer() -> None: ...

        return answer


class Liar:
    """Says that it is a lock."""

    @property
    def __class__(self) -> Any:
        return asyncio.Lock

    @__class__.setter
    def __class__(self, kind: Any) -> None: ...


def refuse(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError("the object's own code ran")


SPECIAL = (
    "__getattribute__ __getattr__ __setattr__ __eq__ __ne__ __hash__ __repr__ __str__ __bool__ __len__ __iter__ "
    "__contains__ __getitem__ __call__ __dir__ __reduce_ex__ __format__ __lt__ __index__ __instancecheck__ "
    "__subclasscheck__ __get__ __set_name__ __aenter__ __await__"
)


class Hostile(type):
    """The class of a class: it does not let itself be looked at either."""

    __getattribute__ = __eq__ = __hash__ = __repr__ = __instancecheck__ = __subclasscheck__ = __iter__ = refuse


def hostile() -> Any:
    """An object none of whose code may run: a lazy one, which would read a database now."""
    body: dict[str, Any] = dict.fromkeys(SPECIAL.split(), refuse)
    for name in ("__class__", "__dict__", "__wrapped__", "__doc__", "close", "app", "state", "_state", "sync_engine"):
        body[name] = property(refuse)
    return type.__call__(Hostile, "Lazy", (), body)


def hostile_object() -> Any:
    return object.__new__(hostile())


@installed
class Resource:
    """What is closed by awaiting something."""

    async def close(self) -> None: ...


@installed
class EnteredResource:
    async def __aenter__(self) -> None: ...

    async def stop(self) -> None: ...


@installed
class ClosedByDecorated:
    @staticmethod
    def _deprecated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any) -> Any:
            return function(*args)

        return call

    @_deprecated
    async def close(self) -> None: ...


@installed
class Cache:
    """For threads, with a courtesy to coroutines: as Django's caches."""

    def close(self) -> None: ...

    async def aclose(self) -> None: ...


@installed
class Store:
    """Entered with `async with`, with a lock in it."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> None: ...


@installed
class HasLock:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()


@installed
class Engine:
    """As SQLAlchemy's asynchronous one."""

    def __init__(self, pool: Any) -> None:
        self.sync_engine = types.SimpleNamespace(pool=pool)

    async def dispose(self) -> None: ...


@installed
class NullPool: ...


def context() -> Any:
    @contextlib.asynccontextmanager
    async def manager() -> Any:
        yield

    return manager()


HARMLESS: dict[str, Callable[[], Any]] = {
    "LocalProxy": LocalProxy,
    "LocalProxy of a proxy": lambda: LocalProxy(LocalProxy()),
    "ObjectProxy of a list": lambda: ObjectProxy([]),
    "answers all": AnswersAll,
    "lies about its class": Liar,
    "hostile": hostile_object,
    "hostile in a list": lambda: [hostile_object()],
    "hostile in a proxy": lambda: ObjectProxy(hostile_object()),
    "hostile class": hostile,
    "MagicMock": unittest.mock.MagicMock,
    "AsyncMock": unittest.mock.AsyncMock,
    "nullcontext": contextlib.nullcontext,
    "async context manager": context,
    "closed either way": Cache,
    "engine without a pool": lambda: Engine(NullPool()),
    "installed package's object with a lock": HasLock,
    "class": lambda: Resource,
    "coroutine function": lambda: Resource.close,
    "bound method": lambda: Cache().close,
}


@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS.keys())
@pytest.mark.parametrize("place", ["module", "app.state", "app", "every startup"])
def test_what_belongs_to_no_loop_is_not_stopped_at(make: Any, place: str, loops: Any, log: Any, project: Any) -> None:
    """A proxy, a mock, a lazy object: at import, or bound anew by each startup, it is looked at without running it."""
    app: Any = App()
    app.state = types.SimpleNamespace()
    holder = {"app.state": app.state, "app": app}.get(place, project)
    holder.thing = make()
    check = check_startups(
        app, lambda _: setattr(project, "thing", make()) if place == "every startup" else None, loops
    )
    assert check.complaint() is None
    assert all("replaced project.thing, which all" in line for line in log.messages)
    assert len(log.messages) == 0 or place == "every startup"


BOUND: dict[str, tuple[Callable[[], Any], str]] = {
    "closed by awaiting": (Resource, "Resource"),
    "entered and stopped": (EnteredResource, "EnteredResource"),
    "closed by a decorated method": (ClosedByDecorated, "ClosedByDecorated"),
    "engine with a pool": (lambda: Engine([]), "Engine"),
    "asyncio.Barrier": (lambda: asyncio.Barrier(2), "Barrier"),
    "asyncio.Semaphore": (asyncio.Semaphore, "Semaphore"),
    "asyncio.Condition": (asyncio.Condition, "Condition"),
    "asyncio.Event": (asyncio.Event, "Event"),
    "anyio.Lock": (anyio.Lock, "LockAdapter"),
    "anyio.CapacityLimiter": (lambda: anyio.CapacityLimiter(1), "CapacityLimiterAdapter"),
    "exit stack": (contextlib.AsyncExitStack, "AsyncExitStack"),
}
HELD: dict[str, tuple[Callable[[], Any], str]] = {
    "in a dict": (lambda: {"db": Resource()}, "Resource"),
    "lock in a list": (lambda: [asyncio.Lock()], "Lock"),
    "queue in a deque": (lambda: deque([asyncio.Queue()]), "Queue"),
    "in a LocalProxy": (lambda: LocalProxy(Resource()), "Resource"),
    "in an ObjectProxy": (lambda: ObjectProxy(Resource()), "Resource"),
    "in a partial": (lambda: functools.partial(print, Resource()), "Resource"),
    "in the arguments of a factory": (lambda: types.SimpleNamespace(kw={"bind": Engine([])}), "Engine"),
    "lock in a store": (Store, "Lock"),
}


@pytest.mark.parametrize("make, kind", BOUND.values(), ids=BOUND.keys())
def test_what_belongs_to_a_loop_is_named(make: Any, kind: str, loops: Any, log: Any, project: Any) -> None:
    """Clients, pools and locks that were made at import stop `auto`, and the line names their class."""
    project.thing = make()
    check = check_startups(App(), lambda _: None, loops)
    assert "(project.thing)" in (check.complaint() or "")
    assert f"project.thing ({kind}) belongs to one event loop, but all worker threads share it." in log.text


@pytest.mark.parametrize("make, kind", HELD.values(), ids=HELD.keys())
def test_what_holds_something_of_a_loop_is_named(make: Any, kind: str, loops: Any, log: Any, project: Any) -> None:
    """It may be in a container, a proxy, an object: the line names what was found there."""
    project.thing = make()
    check = check_startups(App(), lambda _: None, loops)
    assert "(project.thing)" in (check.complaint() or "")
    line = f"project.thing holds something that belongs to one event loop ({kind}), but all worker threads share it."
    assert line in log.text


def test_a_lock_in_an_object_of_the_project_is_named(loops: Any, log: Any, project: Any) -> None:
    """Who wrote the class cannot count on one loop; of an installed package's classes that is not known."""
    kind = type("Manager", (HasLock,), {"__module__": "project"})
    project.manager = kind()
    assert "(project.manager)" in (check_startups(App(), lambda _: None, loops).complaint() or "")


@pytest.mark.parametrize("place", ["module", "app.state"])
def test_a_client_from_import_is_named_though_the_first_startup_used_it(
    place: str, loops: Any, log: Any, project: Any
) -> None:
    """`async with engine.begin()` in the lifespan leaves a connection of that loop in it; the next one gets both."""
    app: Any = App()
    project.app = app
    app.state = types.SimpleNamespace()
    client: Any = Resource()
    (project if place == "module" else app.state).client = client
    client.connections = []
    check = check_startups(app, client.connections.append, loops)
    assert "client)" in (check.complaint() or "")


def test_an_object_of_the_project_may_keep_its_loops_apart(loops: Any, log: Any, project: Any) -> None:
    """It is closed by awaiting, and has an entry per loop after their startups: nothing to say."""
    kind = type("PerLoop", (Resource,), {"__module__": "project"})
    project.clients = kind()
    project.clients.by_loop = []
    check = check_startups(App(), project.clients.by_loop.append, loops)
    assert check.complaint() is None
    assert not log.records


@pytest.mark.parametrize("kind", [Resource, types.SimpleNamespace], ids=["client", "job"])
def test_a_client_that_the_first_startup_made_for_all_is_named(kind: Any, loops: Any, log: Any, project: Any) -> None:
    """`if pool is None: pool = ...` in the lifespan. A job that runs on the first loop is another matter."""

    def startup(loop: asyncio.AbstractEventLoop) -> None:
        if not hasattr(project, "pool"):
            project.pool = kind()
            project.pool.loop = loop

    check = check_startups(App(), startup, loops)
    line = (
        "project.pool (Resource) belongs to the event loop of the first worker thread, but all worker threads share it."
    )
    assert (line in log.text) == (kind is Resource) == (check.complaint() is not None)


def test_an_attribute_of_the_app_is_found(loops: Any, log: Any) -> None:
    """`app.db_pool = ...` before serving: the way of frameworks without `app.state`."""
    app: Any = AppWithAttributes()
    check = check_startups(app, lambda loop: setattr(app, "db_pool", [loop]), loops)
    assert "(app.db_pool)" in (check.complaint() or "")


def test_what_the_framework_keeps_in_its_app_is_its_own_business(loops: Any, log: Any) -> None:
    """An attribute that the methods of the app's class use is not the user's."""
    app = AppWithAttributes()
    check = check_startups(app, lambda _: setattr(app, "shutdown_event", asyncio.Event()), loops)
    assert check.complaint() is None
    assert not log.records


@pytest.mark.parametrize("is_known", [True, False], ids=["at import", "from the startup"])
def test_a_generator_that_the_framework_keeps_is_named(is_known: bool, loops: Any, log: Any, project: Any) -> None:
    """What its first startup began, a second one would end (Quart's `while_serving`)."""

    async def lifespan() -> Any:
        loop = asyncio.get_running_loop()
        yield loop

    app: Any = AppWithAttributes()
    app.generators = [lifespan()]
    if is_known:
        project.app = app
    check = check_startups(app, lambda loop: loop.run_until_complete(app.startup()), loops)
    assert "(app.generators)" in (check.complaint() or "")
    line = "app.generators holds something that belongs to one event loop (async_generator), but all worker threads"
    assert line in log.text
    loops[0].run_until_complete(app.generators[0].aclose())


def test_a_module_that_loads_later_is_not_loaded(
    loops: Any, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """importlib's lazy modules run at the first look at an attribute, `__file__` and `__dict__` included."""
    (tmp_path / "lazy_module.py").write_text("raise AssertionError('loaded')\n")
    spec = importlib.util.spec_from_file_location("lazy_module", tmp_path / "lazy_module.py")
    assert spec is not None
    assert spec.loader is not None
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    spec.loader.exec_module(module)
    assert check_startups(App(), lambda _: None, loops).complaint() is None


@pytest.mark.parametrize(
    "folder, import_string, is_own",
    [
        ("lib/python3/site-packages/project", "project.main:app", True),
        ("lib/python3/site-packages/project", "other.main:app", False),
        ("lib/python3/dist-packages/project", "projects:app", False),
        ("src/project", "other.main:app", True),
    ],
)
def test_an_installed_project_is_one(
    folder: str, import_string: str, is_own: bool, loops: Any, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package that the app is in is looked at wherever it is; others where they are not installed."""
    module: Any = types.ModuleType("project.clients")
    module.__file__ = str(tmp_path / folder / "clients.py")
    monkeypatch.setitem(sys.modules, "project.clients", module)
    module.client = Resource()
    check = check_startups(App(), lambda _: None, loops, import_string=import_string)
    assert (check.complaint() is not None) == is_own


@pytest.mark.parametrize(
    "module_name, path, is_own",
    [
        ("quart_like.app.clients", "quart_like/app/clients.py", False),
        ("quart_like.app", "quart_like/app/__init__.py", False),
        ("single", "single.py", False),
        ("beside", "beside.py", True),
        ("project.quart_like", "project/quart_like.py", True),
    ],
)
def test_a_folder_tells_what_was_installed_there(
    module_name: str, path: str, is_own: bool, loops: Any, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pip install --target FOLDER`, beside the project or with it."""
    (tmp_path / "quart_like-1.0.dist-info").mkdir()
    record = "quart_like/__init__.py,sha256=x,1\nquart_like/app/clients.py,,\nsingle.py,,\n../bin/run,,\n"
    (tmp_path / "quart_like-1.0.dist-info" / "RECORD").write_text(record)
    module: Any = types.ModuleType(module_name)
    module.__file__ = str(tmp_path / path)
    monkeypatch.setitem(sys.modules, module_name, module)
    module.client = Resource()
    check = check_startups(App(), lambda _: None, loops, import_string="main:app")
    assert (check.complaint() is not None) == is_own

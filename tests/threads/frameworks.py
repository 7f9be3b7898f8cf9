"""Projects as their authors write them, one module each: a framework's app, and what is kept at module level beside it.

For `test_frameworks`. Whoever adds one adds its row to the tables of docs/threads.md.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass


@dataclass(frozen=True)
class Project:
    """One module, and what the check has to say of it."""

    #: Import names of what has to be installed.
    needs: tuple[str, ...]
    source: str
    #: What has to be named, as in `project.client`; nothing if threads are kept.
    named: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def _project(needs: str, source: str, named: str = "", options: str = "") -> Project:
    return Project(tuple(needs.split()), textwrap.dedent(source), tuple(named.split()), tuple(options.split()))


#: Each answers GET / with "hello".
FRAMEWORKS = {
    "starlette": _project(
        "starlette",
        """
        import contextlib
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        @contextlib.asynccontextmanager
        async def lifespan(app):
            yield {"pool": object()}

        async def home(request):
            return PlainTextResponse("hello")

        app = Starlette(routes=[Route("/", home)], lifespan=lifespan)
        """,
    ),
    "fastapi": _project(
        "fastapi",
        """
        from fastapi import APIRouter, Depends, FastAPI
        from fastapi.middleware.gzip import GZipMiddleware
        from fastapi.responses import PlainTextResponse
        from fastapi.security import OAuth2PasswordBearer
        from pydantic import BaseModel

        class Item(BaseModel):
            name: str = "hello"

        scheme = OAuth2PasswordBearer(tokenUrl="token")
        router = APIRouter()
        default = Item()

        @router.get("/", response_class=PlainTextResponse)
        async def home(item: Item = Depends(lambda: default)):
            return item.name

        inner = FastAPI()
        app = FastAPI()
        app.include_router(router)
        app.mount("/inner", inner)
        app.add_middleware(GZipMiddleware)
        """,
    ),
    "quart": _project(
        "quart",
        """
        from quart import Blueprint, Quart, current_app, g, request, session, websocket

        pages = Blueprint("pages", __name__)

        @pages.get("/")
        async def home():
            g.seen = True
            return "hello" if request.method == "GET" and current_app.name else "no"

        app = Quart(__name__)
        app.register_blueprint(pages)

        @app.before_serving
        async def startup():
            app.config["STARTED"] = True
        """,
    ),
    "litestar": _project(
        "litestar",
        """
        from pathlib import Path
        from litestar import Litestar, MediaType, Router, get
        from litestar.events import listener
        from litestar.stores.file import FileStore

        @listener("seen")
        async def on_seen() -> None: ...

        @get("/", media_type=MediaType.TEXT)
        async def home() -> str:
            return "hello"

        store = FileStore(Path("store"))
        router = Router(path="/", route_handlers=[home])
        app = Litestar([router], listeners=[on_seen], stores={"files": store})
        """,
    ),
    "blacksheep": _project(
        "blacksheep",
        """
        from blacksheep import Application, Router, text

        router = Router()

        @router.get("/")
        async def home():
            return text("hello")

        app = Application(router=router)

        @app.on_start
        async def startup(app): ...
        """,
    ),
    "django": _project(
        "django",
        """
        from django.conf import settings
        if not settings.configured:
            settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
        from django.core.asgi import get_asgi_application
        from django.core.cache import cache, caches
        from django.db import connection, connections
        from django.http import HttpResponse
        from django.urls import path, reverse_lazy
        from django.utils.functional import SimpleLazyObject
        from django.utils.translation import gettext_lazy

        memory = caches["default"]
        title = gettext_lazy("hello")
        front = reverse_lazy("front")
        unset = SimpleLazyObject(lambda: 1 / 0)

        async def home(request):
            return HttpResponse("hello")

        urlpatterns = [path("", home)]
        app = get_asgi_application()
        """,
    ),
    "flask": _project(
        "flask",
        """
        from flask import Blueprint, Flask, current_app, g, request, session

        pages = Blueprint("pages", __name__)

        @pages.get("/")
        def home():
            return "hello" if request.method == "GET" and current_app.name else "no"

        app = Flask(__name__)
        app.register_blueprint(pages)
        """,
        options="--interface wsgi",
    ),
}

#: Beside an app that does nothing (`APP`).
EXTENSIONS = {
    "werkzeug proxies": _project(
        "werkzeug",
        """
        from contextvars import ContextVar
        from werkzeug.local import Local, LocalProxy, LocalStack
        local = Local()
        stack = LocalStack()
        user = local("user")
        top = stack()
        var = LocalProxy(ContextVar("var"))
        lazy = LocalProxy(lambda: 1 / 0)
        """,
    ),
    "wrapt proxies": _project(
        "wrapt",
        """
        import wrapt
        rows = wrapt.ObjectProxy([])
        lazy = wrapt.LazyObjectProxy(lambda: 1 / 0) if hasattr(wrapt, "LazyObjectProxy") else None

        @wrapt.synchronized
        def work(): ...
        """,
    ),
    "sqlalchemy": _project(
        "sqlalchemy",
        """
        from sqlalchemy import MetaData, create_engine
        from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker
        engine = create_engine("sqlite://")
        Session = sessionmaker(engine)
        session = scoped_session(Session)
        metadata = MetaData()
        Base = declarative_base()
        """,
    ),
    "sqlalchemy without a pool": _project(
        "sqlalchemy greenlet aiosqlite",
        """
        from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
        from sqlalchemy.pool import NullPool
        engine = create_async_engine("sqlite+aiosqlite:///x.db", poolclass=NullPool)
        Session = async_sessionmaker(engine)
        """,
    ),
    "sqlalchemy asyncio": _project(
        "sqlalchemy greenlet aiosqlite",
        """
        from sqlalchemy.ext.asyncio import (
            AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
        )
        engine = create_async_engine("sqlite+aiosqlite:///x.db")
        Session = async_sessionmaker(create_async_engine("sqlite+aiosqlite:///y.db"))
        """,
        named="project.engine project.Session",
    ),
    "sqlalchemy asyncio, used by the startup": _project(
        "sqlalchemy greenlet aiosqlite",
        """
        from sqlalchemy import MetaData
        from sqlalchemy.ext.asyncio import create_async_engine
        metadata = MetaData()
        engine = create_async_engine("sqlite+aiosqlite:///x.db")

        async def on_startup():
            async with engine.begin() as connection:
                await connection.run_sync(metadata.create_all)

        async def on_shutdown():
            await engine.dispose()
        """,
        named="project.engine",
    ),
    "redis": _project(
        "redis",
        """
        import redis
        client = redis.Redis()
        pool = redis.ConnectionPool()
        lock = client.lock("x")
        """,
    ),
    "redis.asyncio": _project(
        "redis",
        """
        import redis.asyncio
        client = redis.asyncio.Redis()
        pool = redis.asyncio.ConnectionPool()
        """,
        named="project.client project.pool",
    ),
    "httpx": _project(
        "httpx",
        """
        import httpx
        client = httpx.Client()
        limits = httpx.Limits()
        timeout = httpx.Timeout(5)
        """,
    ),
    "httpx.AsyncClient": _project(
        "httpx",
        """
        import httpx
        client = httpx.AsyncClient()
        transport = httpx.AsyncHTTPTransport()
        """,
        named="project.client project.transport",
    ),
    "aiohttp": _project(
        "aiohttp",
        """
        import aiohttp
        timeout = aiohttp.ClientTimeout(5)
        trace = aiohttp.TraceConfig()
        """,
    ),
    "aiohttp.ClientSession": _project(
        "aiohttp",
        """
        import aiohttp
        session = aiohttp.ClientSession()

        async def on_last_shutdown():
            await session.close()
        """,
        named="project.session",
    ),
    "asyncpg": _project(
        "asyncpg",
        """
        import asyncpg
        pool = asyncpg.create_pool("postgresql://nowhere")
        """,
        named="project.pool",
    ),
    "aiosqlite": _project(
        "aiosqlite",
        """
        import aiosqlite
        database = aiosqlite.connect(":memory:")
        """,
        named="project.database",
    ),
    "structlog": _project(
        "structlog",
        """
        import structlog
        log = structlog.get_logger()
        bound = structlog.get_logger().bind(a=1)
        """,
    ),
    "celery": _project(
        "celery",
        """
        from celery import Celery, current_app, shared_task
        celery = Celery("project", broker="memory://", backend="cache+memory://", set_as_current=False)

        @celery.task
        def add(a, b):
            return a + b

        @shared_task
        def double(a):
            return 2 * a
        """,
    ),
    "sentry": _project(
        "sentry_sdk",
        """
        import sentry_sdk
        sentry_sdk.init(dsn="http://key@localhost/1", transport=lambda event: None, default_integrations=False)
        client = sentry_sdk.get_client()
        scope = sentry_sdk.get_isolation_scope()

        async def on_last_shutdown():
            sentry_sdk.get_client().close(0)
            sentry_sdk.get_global_scope().set_client(None)
        """,
    ),
    "opentelemetry": _project(
        "opentelemetry.sdk",
        """
        import io
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=io.StringIO())))
        tracer = trace.get_tracer(__name__)
        own = provider.get_tracer(__name__)
        meter = metrics.get_meter(__name__)
        counter = MeterProvider(shutdown_on_exit=False).get_meter(__name__).create_counter("x")

        async def on_last_shutdown():
            provider.shutdown()
        """,
    ),
    "quart, a client in the app": _project(
        "quart httpx",
        """
        import httpx
        from quart import Quart
        app = Quart(__name__)

        @app.before_serving
        async def startup():
            app.client = httpx.AsyncClient()
        """,
        named="app.client",
    ),
    "quart, while_serving": _project(
        "quart",
        """
        from quart import Quart
        app = Quart(__name__)

        @app.while_serving
        async def lifespan():
            yield
        """,
        named="app.while_serving_gens",
    ),
    "fastapi, a client in app.state": _project(
        "fastapi httpx",
        """
        import contextlib
        import httpx
        from fastapi import FastAPI

        @contextlib.asynccontextmanager
        async def lifespan(app):
            async with httpx.AsyncClient() as app.state.client:
                yield

        app = FastAPI(lifespan=lifespan)
        """,
        named="app.state.client",
    ),
    "litestar, a client in app.state": _project(
        "litestar httpx",
        """
        import httpx
        from litestar import Litestar

        async def startup(app: Litestar) -> None:
            app.state.client = httpx.AsyncClient()

        app = Litestar([], on_startup=[startup])
        """,
        named="app.state.client",
    ),
    "litestar, a memory store": _project(
        "litestar",
        """
        from litestar import Litestar
        from litestar.stores.memory import MemoryStore
        store = MemoryStore()
        app = Litestar([], stores={"sessions": store})
        """,
        named="project.store",
    ),
    "blacksheep, its client": _project(
        "blacksheep",
        """
        from blacksheep import Application
        from blacksheep.client import ClientSession
        client = ClientSession()
        app = Application()
        """,
        named="project.client",
    ),
}

#: Runs the functions on_startup, on_shutdown and on_last_shutdown of the module it is put in front of.
APP = textwrap.dedent(
    """
    async def app(scope, receive, send):
        here = globals()
        if scope["type"] != "lifespan":
            raise RuntimeError("not served")
        await receive()
        if "on_startup" in here:
            await on_startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if "on_shutdown" in here:
            await on_shutdown()
        await send({"type": "lifespan.shutdown.complete"})
    """
)

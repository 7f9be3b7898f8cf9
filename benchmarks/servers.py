"""The servers to compare: what each needs installed and how it is started, at its own best documented settings.

All get the same backlog, no access log (unless the case is about it) and a log level of warning. Knows nothing of
measuring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BACKLOG = "2048"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Launch:
    """What a case asks of a server. `keep_alive` is in seconds; None leaves the server's own. `floor`: which kind."""

    python: Path
    app: str
    port: int
    workers: int = 1
    access_log: bool = False
    websocket: bool = False
    pipelined: bool = False
    http2: bool = False
    floor: str = ""
    keep_alive: int | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True)
class Server:
    """One row of the tables. `requires` must have wheels for the interpreter; `optional` is installed where it has."""

    name: str
    requires: tuple[str, ...]
    command: Callable[[Launch], list[str]]
    optional: tuple[str, ...] = ()
    package: str = ""  # whose version is shown; empty: pounce from this checkout
    http: bool = True  # takes part in the HTTP cases
    websocket: bool = True  # takes part in the WebSocket cases
    http2: bool = False  # takes part in the HTTP/2 cases
    many_workers: bool = True  # has --workers
    reference: bool = False  # no server, but what bounds one: only in cases that say which kind of it answers
    by_default: bool = True  # measured unless --servers says otherwise


def _given(flag: str, value: object) -> list[str]:
    return [] if value is None else [flag, str(value)]


def _like_uvicorn(module: str, *extra: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        return [
            str(launch.python), "-m", module, launch.app, "--host", HOST, "--port", str(launch.port),
            "--backlog", BACKLOG, "--log-level", "info" if launch.access_log else "warning",
            "--access-log" if launch.access_log else "--no-access-log", "--workers", str(launch.workers),
            *_given("--timeout-keep-alive", launch.keep_alive),
            *_given("--ssl-certfile", launch.certificate), *_given("--ssl-keyfile", launch.key), *extra,
            *(["--http2"] if launch.http2 else []),
        ]  # fmt: skip

    return command


def _granian(launch: Launch) -> list[str]:
    # Its flushing of pipelined answers in one go is marked experimental, and is its best where requests are pipelined.
    return [
        str(launch.python), "-m", "granian", "--interface", "asgi", "--loop", "uvloop",
        "--http", "2" if launch.http2 else "1",
        "--host", HOST, "--port", str(launch.port), "--backlog", BACKLOG, "--workers", str(launch.workers),
        "--log-level", "info" if launch.access_log else "warning", *(["--access-log"] if launch.access_log else []),
        "--ws" if launch.websocket else "--no-ws", *(["--http1-pipeline-flush"] if launch.pipelined else []),
        *_given("--ssl-certificate", launch.certificate), *_given("--ssl-keyfile", launch.key), launch.app,
    ]  # fmt: skip


def _hypercorn(launch: Launch) -> list[str]:
    return [
        str(launch.python), "-m", "hypercorn", launch.app, "--bind", f"{HOST}:{launch.port}", "--backlog", BACKLOG,
        "--worker-class", "uvloop", "--workers", str(launch.workers),
        "--log-level", "info" if launch.access_log else "warning",  # its access log has a level too
        *(["--access-logfile", "-"] if launch.access_log else []), *_given("--keep-alive", launch.keep_alive),
        *_given("--certfile", launch.certificate), *_given("--keyfile", launch.key),
        *(["--config", "python:hypercorn_http2"] if launch.http2 else []),
    ]  # fmt: skip


def _daphne(launch: Launch) -> list[str]:
    if launch.certificate:
        where = f"ssl:{launch.port}:interface={HOST}:certKey={launch.certificate}:privateKey={launch.key}"
    else:
        where = f"tcp:{launch.port}:interface={HOST}"
    return [
        str(launch.python), "-m", "daphne", "--verbosity", "0", "--endpoint", f"{where}:backlog={BACKLOG}",
        *(["--access-log", "-"] if launch.access_log else []), launch.app,
    ]  # fmt: skip


def _gunicorn(launch: Launch) -> list[str]:
    return [
        str(launch.python), "-m", "gunicorn", launch.app, "--worker-class", "asgi", "--asgi-loop", "uvloop",
        "--bind", f"{HOST}:{launch.port}", "--backlog", BACKLOG, "--workers", str(launch.workers),
        "--log-level", "warning", "--no-control-socket", *(["--access-logfile", "-"] if launch.access_log else []),
        *_given("--keep-alive", launch.keep_alive),
        *_given("--certfile", launch.certificate), *_given("--keyfile", launch.key),
    ]  # fmt: skip


def _bengal(launch: Launch) -> list[str]:
    return [
        str(launch.python), "-m", "pounce", "serve", "--app", launch.app, "--host", HOST, "--port", str(launch.port),
        "--workers", str(launch.workers), "--no-compression", "--signage", "off",
        "--log-level", "info" if launch.access_log else "warning",
        *([] if launch.access_log else ["--no-access-log"]), *_given("--keep-alive-timeout", launch.keep_alive),
        *_given("--ssl-certfile", launch.certificate), *_given("--ssl-keyfile", launch.key),
    ]  # fmt: skip


def _floor(loop: str) -> Callable[[Launch], list[str]]:
    def command(launch: Launch) -> list[str]:
        script = Path(__file__).parent / "apps" / "floor.py"
        return [str(launch.python), str(script), str(launch.port), loop, launch.floor]

    return command


_POUNCE = ("click", "h11", "hpack", "httptools", "uvloop", "wsproto", "websockets")
_POUNCE_MORE = ("zttp", "zuvloop")
_ZTTP = ("--http", "zttp", "--loop", "zuvloop")
_UVICORN = ("uvicorn[standard]", "wsproto")

SERVERS: tuple[Server, ...] = (
    Server("pounce", _POUNCE, _like_uvicorn("pounce"), _POUNCE_MORE, http2=True),
    Server(
        "pounce-zuvloop", (*_POUNCE, *_POUNCE_MORE), _like_uvicorn("pounce", "--loop", "zuvloop"), http2=True
    ),
    Server("pounce-zttp", (*_POUNCE, *_POUNCE_MORE), _like_uvicorn("pounce", *_ZTTP), by_default=False),
    Server("pounce-h11", _POUNCE, _like_uvicorn("pounce", "--http", "h11"), _POUNCE_MORE, websocket=False),
    Server("pounce-wsproto", _POUNCE, _like_uvicorn("pounce", "--ws", "wsproto"), _POUNCE_MORE, http=False),
    Server("uvicorn", _UVICORN, _like_uvicorn("uvicorn"), package="uvicorn"),
    Server(
        "uvicorn-best", (*_UVICORN, "zttp", "zuvloop"), _like_uvicorn("uvicorn", *_ZTTP), package="uvicorn",
        http2=True,
    ),
    Server(
        "uvicorn-wsproto", _UVICORN, _like_uvicorn("uvicorn", "--ws", "wsproto"), package="uvicorn", http=False
    ),
    Server("granian", ("granian", "uvloop"), _granian, package="granian", http2=True),
    Server("hypercorn", ("hypercorn", "uvloop"), _hypercorn, package="hypercorn", http2=True),
    Server("daphne", ("daphne", "twisted[tls]"), _daphne, package="daphne", many_workers=False),
    Server("gunicorn", ("gunicorn", "uvloop"), _gunicorn, ("gunicorn_h1c",), package="gunicorn"),
    Server("bengal-pounce", ("bengal-pounce[ws,tls]",), _bengal, package="bengal-pounce"),
    Server("floor", _POUNCE, _floor("uvloop"), _POUNCE_MORE, websocket=False, many_workers=False, reference=True),
    Server(
        "floor-zuvloop", (*_POUNCE, *_POUNCE_MORE), _floor("zuvloop"), websocket=False, many_workers=False,
        reference=True,
    ),
)  # fmt: skip

BY_NAME = {server.name: server for server in SERVERS}

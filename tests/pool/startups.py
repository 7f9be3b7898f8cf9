"""Startups of several workers, one after the other, under the eyes of a `SharedStateCheck`, without threads."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pounce.middleware.proxy_headers import ProxyHeadersMiddleware
from pounce.pool.shared_state import SharedStateCheck


def check_startups(
    app: Any,
    startup: Callable[[asyncio.AbstractEventLoop], Any],
    loops: Sequence[asyncio.AbstractEventLoop],
    worker_class: Literal["auto", "thread"] = "auto",
    make_app: Callable[[], Any] | None = None,
    import_string: str = "project:app",
) -> SharedStateCheck:
    """Run `startup` as the lifespan of one worker after the other, and look after each."""
    check = SharedStateCheck(types.SimpleNamespace(worker_class=worker_class, app=import_string))  # type: ignore[arg-type]
    for number, loop in enumerate(loops):
        startup(loop)
        config = types.SimpleNamespace(loaded_app=ProxyHeadersMiddleware(make_app() if make_app else app))
        worker = types.SimpleNamespace(config=config)
        if check.after_startup(types.SimpleNamespace(name=f"pounce-worker-{number}", loop=loop, worker=worker)):
            break
    return check

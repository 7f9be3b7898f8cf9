"""uvicorn's path for what differs between versions of Python."""

from pounce.config.app_loading import iscoroutinefunction as iscoroutinefunction
from pounce.worker.loops import asyncio_run as asyncio_run

"""uvicorn's path for `pounce.logs.style`."""

from pounce.logs import style as style

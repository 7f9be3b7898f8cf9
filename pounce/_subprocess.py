"""uvicorn's path for `pounce.supervisors.child`."""

from pounce.supervisors.child import (
    SpawnProcess as SpawnProcess,
    get_subprocess as get_subprocess,
    spawn as spawn,
    subprocess_started as subprocess_started,
)

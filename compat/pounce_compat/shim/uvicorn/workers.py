"""uvicorn.workers: gunicorn worker classes; deprecated, as there, for the `uvicorn-worker` distribution."""

import warnings

from pounce_compat.gunicorn import PounceH11Worker, PounceWorker
from pounce_compat.shim._window import open_onto

warnings.warn(
    "The `uvicorn.workers` module is deprecated. Please use `uvicorn-worker` package instead.\n"
    "For more details, see https://github.com/Kludex/uvicorn-worker.",
    DeprecationWarning,
)


class UvicornWorker(PounceWorker):
    """PounceWorker under uvicorn's name."""


class UvicornH11Worker(PounceH11Worker):
    """PounceH11Worker under uvicorn's name."""


open_onto(__name__)

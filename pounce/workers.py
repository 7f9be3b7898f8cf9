"""uvicorn's path for the gunicorn worker classes: `gunicorn -k pounce.workers.UvicornWorker`, under either name."""

from pounce_compat.gunicorn import PounceH11Worker as PounceH11Worker, PounceWorker as PounceWorker

UvicornWorker = PounceWorker
UvicornH11Worker = PounceH11Worker

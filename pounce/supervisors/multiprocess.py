"""uvicorn's path for `pounce.supervisors.processes`."""

from pounce.supervisors.processes import Multiprocess as Multiprocess, logger as logger
from pounce.supervisors.server_process import Process as Process
from pounce.supervisors.signals import SIGNALS as SIGNALS

"""The default of every setting, once: `Config`, `run` and the command line all read them here.

A constant is its parameter's name in capitals. Imports nothing, so that `pounce --help` stays light; the two `ssl`
constants are therefore numbers (`ssl.PROTOCOL_TLS_SERVER`, `ssl.CERT_NONE`). Times in seconds, sizes in bytes.
"""

from __future__ import annotations

from typing import Final

HOST: Final = "127.0.0.1"
PORT: Final = 8000
UDS: Final = None
FD: Final = None
BACKLOG: Final = 2048

WORKERS: Final = None
WORKER_CLASS: Final = None
RELOAD: Final = False
RELOAD_DIRS: Final = None
RELOAD_INCLUDES: Final = None
RELOAD_EXCLUDES: Final = None
RELOAD_DELAY: Final = 0.25

LOOP: Final = "auto"
HTTP: Final = "auto"
HTTP2: Final = False
HTTP2_WIRE: Final = "native"
HTTP2_LIMITS: Final = None
H11_MAX_INCOMPLETE_EVENT_SIZE: Final = None
WS: Final = "auto"
WS_MAX_SIZE: Final = 16 * 1024 * 1024
WS_MAX_QUEUE: Final = 32
WS_PING_INTERVAL: Final = 20.0
WS_PING_TIMEOUT: Final = 20.0
WS_PER_MESSAGE_DEFLATE: Final = True

LIFESPAN: Final = "auto"
INTERFACE: Final = "auto"
FACTORY: Final = False
APP_DIR: Final = ""
ENV_FILE: Final = None
ROOT_PATH: Final = ""
RESET_CONTEXTVARS: Final = False
PROXY_HEADERS: Final = True
FORWARDED_ALLOW_IPS: Final = None
SERVER_HEADER: Final = True
DATE_HEADER: Final = True
HEADERS: Final = None

#: On the command line; in Python the default is the dictionary `pounce.logs.LOGGING_CONFIG`.
LOG_CONFIG: Final = None
LOG_LEVEL: Final = None
ACCESS_LOG: Final = True
USE_COLORS: Final = None

LIMIT_CONCURRENCY: Final = None
LIMIT_MAX_REQUESTS: Final = None
LIMIT_MAX_REQUESTS_JITTER: Final = 0
TIMEOUT_KEEP_ALIVE: Final = 5
TIMEOUT_NOTIFY: Final = 30
TIMEOUT_GRACEFUL_SHUTDOWN: Final = None
TIMEOUT_WORKER_HEALTHCHECK: Final = 5
CALLBACK_NOTIFY: Final = None

SSL_KEYFILE: Final = None
SSL_CERTFILE: Final = None
SSL_KEYFILE_PASSWORD: Final = None
SSL_VERSION: Final = 17
SSL_CERT_REQS: Final = 0
SSL_CA_CERTS: Final = None
SSL_CIPHERS: Final = None
SSL_CONTEXT_FACTORY: Final = None

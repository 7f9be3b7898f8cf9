"""uvicorn's parameters, one row each: what it may be, what it is for, and without which other one it has no effect.

Names, order and defaults are in the signature of `Config`; `Config` reads its parameters by this table, and the command
makes its options from it. What is pounce's own is in `pounce.settings`. Imports nothing that `--help` can do without.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

from pounce.config.registry import INTERFACES, LIFESPAN, HTTPProtocolType, LoopFactoryType, WSProtocolType
from pounce.errors import explain
from pounce.logs import LOG_LEVELS
from pounce.settings.kinds import Flag, Integer, Kind, OneOf, Seconds
from pounce.wire.response_fields import bad_in_value, is_token


class Texts(Kind):
    """A list of texts."""

    several = True


class ExistingPath(Kind):
    """A path; the command asks for one that exists."""


class ExistingPaths(ExistingPath):
    """A list of them."""

    several = True


class Named(Kind):
    """One of the names of a `Literal`, or an import string, or an object."""

    def __init__(self, names: Any) -> None:
        self.metavar = f"[{'|'.join(name for name in get_args(names) if name != 'none')}]"


class LogLevel(Kind):
    """The name of a level, in any case, or its number."""

    optional = True

    @property
    def words(self) -> str:
        """See `Kind`."""
        return f"{', '.join(LOG_LEVELS)} or a number"

    def read(self, value: Any) -> Any:
        """See `Kind`. A name stays as it was written."""
        if isinstance(value, str) and value.lower() in LOG_LEVELS:
            return value
        return int(value) if isinstance(value, str) else operator.index(value)


class Headers(Kind):
    """Pairs of a header's name and value."""

    optional = True
    several = True
    words = "a list of pairs of a name and a value, both strings"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        if isinstance(value, str | bytes | Mapping):
            raise TypeError(value)
        pairs = value if isinstance(value, list) else list(value)
        for name, content in pairs:
            _check_header(name, content)
        return pairs


def _check_header(name: Any, value: Any) -> None:
    """Raise an explained `ValueError` that names the part which cannot be sent; `TypeError` for what is no string."""
    if not (isinstance(name, str) and isinstance(value, str)):
        raise TypeError(name)
    reason = None
    if not is_token(name.encode("utf-8", "surrogateescape")):
        reason = f"The name of a header consists of letters, digits and '-', not {name!r}"
    else:
        try:
            if bad_in_value(value.encode("latin-1")):
                reason = f"The value of the header '{name}' has a control character: {value!r}"
        except UnicodeEncodeError:
            reason = f"The value of the header '{name}' must be in Latin-1, not {value!r}"
    if reason is not None:
        raise explain(ValueError(reason), reason)


class Parameter(NamedTuple):
    """A parameter of uvicorn's."""

    kind: Kind
    help: str
    #: Without this one it has no effect.
    needs: str = ""


_INT_MAX = 2**31 - 1  #: The largest `int` of C, which is what a system call takes.
_ANY = Kind()
_FLAG = Flag()
_COUNT = Integer(optional=True)
_P = Parameter

#: The heading of those without a flag; their help is the reason.
ONLY_IN_PYTHON = "Only as parameters"

#: By the headings of `--help`.
TABLE: dict[str, dict[str, Parameter]] = {
    "Application": {
        "factory": _P(_FLAG, "APP is a function that returns the app when called without arguments."),
        "app_dir": _P(_ANY, "Directory to import APP from.  [default: the working one]"),
        "interface": _P(OneOf(INTERFACES), "How APP is called: ASGI 3, ASGI 2 or WSGI."),
        "lifespan": _P(OneOf(LIFESPAN), "Whether APP is told of startup and shutdown."),
        "env_file": _P(ExistingPath(), "Read environment variables from this file."),
        "root_path": _P(_ANY, "ASGI root_path of an app that is served below a URL path."),
        "reset_contextvars": _P(
            _FLAG, "Give each request an empty context, without what the lifespan set in its context variables."
        ),
    },
    "Binding": {
        "host": _P(_ANY, "Address to listen on."),
        "port": _P(Integer(0, 65535), "Port to listen on; 0 picks a free one."),
        "uds": _P(_ANY, "Listen on a unix socket at this path instead."),
        "fd": _P(Integer(0, _INT_MAX, optional=True), "Listen on the socket with this file descriptor instead."),
        "backlog": _P(Integer(0, _INT_MAX), "Connections that may wait to be accepted."),
    },
    "Workers and reload": {
        "workers": _P(_COUNT, "Number of workers.  [default: $WEB_CONCURRENCY, or 1]  Ignored with --reload."),
        "reload": _P(_FLAG, "Restart when a file changes (for development)."),
        "reload_dirs": _P(ExistingPaths(), "Directory to watch instead of the working directory; may be repeated."),
        "reload_includes": _P(Texts(), "Pattern of files to watch besides '*.py'; may be repeated. Needs watchfiles."),
        "reload_excludes": _P(
            Texts(),
            "Pattern of files not to watch besides '.*', '.py[cod]', '.sw.*' and '~*'; may be repeated. "
            "Needs watchfiles.",
        ),
        # What waits for it takes no more than some 10**9, and no infinity.
        "reload_delay": _P(Seconds(most=10**9), "Seconds between two looks at the files."),
    },
    "Protocols": {
        "loop": _P(Named(LoopFactoryType), "Event loop, or an import string of a loop factory."),
        "http": _P(Named(HTTPProtocolType), "HTTP implementation, or an import string of a protocol class."),
        "ws": _P(Named(WSProtocolType), "WebSocket implementation, or an import string of a protocol class."),
        "ws_max_size": _P(_COUNT, "Largest WebSocket message, in bytes."),
        "ws_max_queue": _P(_COUNT, "WebSocket messages that may wait for the app."),
        "ws_ping_interval": _P(Seconds(optional=True), "Seconds between two WebSocket pings."),
        "ws_ping_timeout": _P(Seconds(optional=True), "Seconds to wait for the answer to a ping."),
        "ws_per_message_deflate": _P(Flag(valued=True), "Offer to compress WebSocket messages."),
        "proxy_headers": _P(
            _FLAG, "Take scheme and client address from X-Forwarded-Proto and X-Forwarded-For of trusted proxies."
        ),
        "forwarded_allow_ips": _P(
            _ANY,
            "Proxies to trust: addresses, networks or unix socket paths, separated by commas; '*' trusts everybody. "
            " [default: $FORWARDED_ALLOW_IPS, or 127.0.0.1,::1]",
        ),
        "server_header": _P(_FLAG, "Send a Server header."),
        "date_header": _P(_FLAG, "Send a Date header."),
        "headers": _P(Headers(), "Header to add to every response, as Name:Value; may be repeated."),
        "h11_max_incomplete_event_size": _P(_COUNT, "Bytes of an unfinished request head that h11 keeps."),
    },
    "Limits and timeouts": {
        "limit_concurrency": _P(_COUNT, "Connections or tasks beyond which requests are answered with 503."),
        "limit_max_requests": _P(Integer(1, optional=True), "Requests after which a worker ends and is replaced."),
        "limit_max_requests_jitter": _P(
            Integer(),
            "Add a random number up to this one to --limit-max-requests, so that workers end at different times.",
            "limit_max_requests",
        ),
        "timeout_keep_alive": _P(Seconds(whole=True), "Seconds after which a connection without a request is closed."),
        "timeout_graceful_shutdown": _P(
            Seconds(whole=True, optional=True),
            "Seconds that running requests get to finish on shutdown.  [default: no limit]",
        ),
        "timeout_worker_healthcheck": _P(
            Seconds(whole=True), "Seconds without a sign of life after which a worker is replaced."
        ),
    },
    # The numbers are those of Python's ssl module, but for the protocol versions of clients.
    "TLS": {
        "ssl_certfile": _P(_ANY, "File with the certificate chain (PEM)."),
        "ssl_keyfile": _P(_ANY, "File with the private key, if it is not in the former."),
        "ssl_keyfile_password": _P(_ANY, "Password of the private key.", "ssl_certfile"),
        "ssl_version": _P(OneOf((2, 3, 4, 5, 17)), "Protocol version, a number from Python's ssl module."),
        "ssl_cert_reqs": _P(
            OneOf((0, 1, 2)),
            "Client certificates: 0 none, 1 optional, 2 required (Python's ssl module).",
            "ssl_certfile",
        ),
        "ssl_ca_certs": _P(_ANY, "File with the authorities that sign client certificates.", "ssl_certfile"),
        "ssl_ciphers": _P(_ANY, "Ciphers, in OpenSSL's notation.  [default: its own choice]", "ssl_certfile"),
    },
    "Logging": {
        "log_level": _P(LogLevel(), "Level of the log.  [default: info]"),
        "access_log": _P(_FLAG, "Log every request."),
        "use_colors": _P(Flag(undecided=True), "Colour the log.  [default: on a terminal]"),
        "log_config": _P(ExistingPath(), "Logging configuration file: .ini, .json or .yaml."),
    },
    ONLY_IN_PYTHON: {
        "app": _P(_ANY, "the command's argument"),
        "callback_notify": _P(_ANY, "a function"),
        "timeout_notify": _P(Seconds(whole=True), "how often `callback_notify` is called"),
        "ssl_context_factory": _P(_ANY, "a function"),
    },
}

PARAMETERS: dict[str, Parameter] = {name: row for rows in TABLE.values() for name, row in rows.items()}

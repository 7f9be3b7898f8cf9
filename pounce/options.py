"""Every command line option, once: parameter, flags, help, type. The command in `pounce.cli` is built from this table.

Defaults are those of `pounce.config.defaults`, the values that are allowed those of `pounce.config.values`. Flags,
metavars and environment variables are uvicorn's; `--worker-class`, `--http2-wire` and `--http2-limit` are pounce's own.
Knows nothing of: the config, the server; importing it loads neither asyncio nor ssl.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import click
from click.core import ParameterSource

from pounce import names
from pounce.config import defaults
from pounce.config.registry import HTTPProtocolType, LoopFactoryType, WSProtocolType
from pounce.config.values import KINDS, Integer, Kind, LogLevel, OneOf, Seconds, check_header, checked
from pounce.logs import LOG_LEVELS

#: The headings of `--help`, in order.
BINDING = "Binding"
WORKERS = "Workers and reload"
PROTOCOLS = "Protocols"
LIMITS = "Limits and timeouts"
TLS = "TLS"
LOGGING = "Logging"
APPLICATION = "Application"
GROUPS = (APPLICATION, BINDING, WORKERS, PROTOCOLS, LIMITS, TLS, LOGGING)

#: Parameters that uvicorn does not have.
OWN = ("worker_class", "http2_limits", "http2_wire")

#: Parameters of `Config` that no flag sets, with the reason.
NOT_ON_CLI = {
    "app": "the command's argument",
    "callback_notify": "a function",
    "timeout_notify": "how often `callback_notify` is called",
    "ssl_context_factory": "a function",
}

#: Parameters that a flag sets but that `Config` does not have, with the reason.
NOT_IN_CONFIG = {"app_dir": "`run` puts it on sys.path before the config is made"}


class ValueType(click.ParamType):  # type: ignore[type-arg]
    """A value as `Config` reads it, from the same string."""

    def __init__(self, kind: Kind, name: str) -> None:
        self._kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value; a usage error that says what it must be."""
        try:
            return checked(self._kind, value)
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)


class HeaderType(click.ParamType):  # type: ignore[type-arg]
    """`Name:Value`, split at the first colon into a list of two."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """The name and the value; a usage error where there is no colon, or what cannot be sent."""
        if isinstance(value, list):
            return value
        name, colon, content = value.partition(":")
        if not (name and colon):
            self.fail(f"{value!r} is not of the form Name:Value.", param, ctx)
        try:
            check_header(name, content)
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)
        return [name, content]


class LimitType(click.ParamType):  # type: ignore[type-arg]
    """`name=number`, as a pair; dashes and underscores in the name are the same."""

    name = "name=number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """The name and the number; a usage error where the form is another, or there is no such limit."""
        if isinstance(value, tuple):
            return value
        name, equals, number = value.partition("=")
        if not (name and equals and number.isdecimal()):
            self.fail(f"{value!r} is not of the form name=number.", param, ctx)
        limit = name.replace("-", "_"), int(number)
        try:
            checked(KINDS["http2_limits"], dict([limit]))
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)
        return limit


class ServerOption(click.Option):
    """An option that says so where one of its environment variables has a wrong value or is not heard."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The value of the first variable that is set; a line on stderr for one that its user may think was heard."""
        found = None
        for variable in self._variables():
            value = os.environ.get(variable)
            if _is_service_link(variable, value):
                service = variable.partition("_")[0].lower()
                _warn(f"${variable} is ignored: '{value}' is what Kubernetes says of a service called '{service}'.")
            else:
                found = found or value
            by_flag = f"{variable.partition('_')[0]}{self.opts[0][1:].replace('-', '_').upper()}"
            if by_flag != variable and os.environ.get(by_flag):
                _warn(f"${by_flag} is ignored: the variable is called ${variable}.")
        return found or None

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The flag, and the variable if the value is from there."""
        hint = super().get_error_hint(ctx)
        if ctx is None or ctx.get_parameter_source(self.name or "") is not ParameterSource.ENVIRONMENT:
            return hint
        heard = (name for name in self._variables() if os.environ.get(name))
        return f"{hint} (${next(name for name in heard if not _is_service_link(name, os.environ[name]))})"

    def _variables(self) -> list[str]:
        return [self.envvar] if isinstance(self.envvar, str) else list(self.envvar or ())


def _warn(line: str) -> None:
    click.echo(f"Warning: {line}", err=True)


def _is_service_link(variable: str, value: str | None) -> bool:
    """Whether it is one of the variables that Kubernetes makes of each service: NAME_PORT=tcp://10.0.0.1:80."""
    return variable.endswith("_PORT") and re.match("(tcp|udp|sctp)://", value or "") is not None


@dataclass(frozen=True)
class Option:
    """One option. `flags` as click takes them; `type` where it is not that of `KINDS`; `settings` are further arguments
    of `click.Option`.
    """

    parameter: str
    group: str
    flags: str
    help: str
    type: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def default(self) -> Any:
        """The default value, from `pounce.config.defaults`."""
        return getattr(defaults, self.parameter.upper())

    @property
    def environment(self) -> list[str]:
        """The environment variables that set it, the winning one first."""
        name = self.parameter.upper()
        own = f"{names.ENV_PREFIX}_{name}"
        return [own] if self.parameter in OWN else [own, f"{names.ENV_PREFIX_UVICORN}_{name}"]

    def as_click(self) -> click.Option:
        """The click option. Lists default to nothing given, and shown are the defaults that say something."""
        settings: dict[str, Any] = dict(self.settings)
        if not settings.get("multiple"):
            settings["default"] = self.default
            settings["show_default"] = self.default not in (None, "") and self.default is not False
        kind = self.type or _type_of(self.parameter)
        return ServerOption(
            [self.flags, self.parameter], help=self.help, type=kind, envvar=self.environment, **settings
        )


def _type_of(parameter: str) -> Any:
    """The click type of a setting that `KINDS` has; None, which is text, for all others."""
    kind = KINDS.get(parameter)
    if isinstance(kind, LogLevel):
        return click.Choice(list(LOG_LEVELS), case_sensitive=False)
    if isinstance(kind, OneOf):
        names_only = all(isinstance(choice, str) for choice in kind.choices)
        return click.Choice(list(kind.choices)) if names_only else ValueType(kind, "integer")
    return ValueType(kind, kind.metavar) if isinstance(kind, Integer | Seconds) else None


def _names_of(literal: Any) -> str:
    return f"[{'|'.join(name for name in get_args(literal) if name != 'none')}]"


_FLAG = {"is_flag": True}
_MANY = {"multiple": True}
_EXISTING = click.Path(exists=True)

OPTIONS: tuple[Option, ...] = (
    Option(
        "factory", APPLICATION, "--factory", "APP is a function that returns the app when called without arguments.",
        None, _FLAG,
    ),
    Option("app_dir", APPLICATION, "--app-dir", "Directory to import APP from.  [default: the working one]"),
    Option("interface", APPLICATION, "--interface", "How APP is called: ASGI 3, ASGI 2 or WSGI."),
    Option("lifespan", APPLICATION, "--lifespan", "Whether APP is told of startup and shutdown."),
    Option("env_file", APPLICATION, "--env-file", "Read environment variables from this file.", _EXISTING),
    Option("root_path", APPLICATION, "--root-path", "ASGI root_path of an app that is served below a URL path."),
    Option(
        "reset_contextvars", APPLICATION, "--reset-contextvars",
        "Give each request an empty context, without what the lifespan set in its context variables.", None, _FLAG,
    ),
    Option("host", BINDING, "--host", "Address to listen on."),
    Option("port", BINDING, "--port", "Port to listen on; 0 picks a free one."),
    Option("uds", BINDING, "--uds", "Listen on a unix socket at this path instead."),
    Option("fd", BINDING, "--fd", "Listen on the socket with this file descriptor instead."),
    Option("backlog", BINDING, "--backlog", "Connections that may wait to be accepted."),
    Option(
        "workers", WORKERS, "--workers",
        "Number of workers.  [default: $WEB_CONCURRENCY, or 1]  Ignored with --reload.",
    ),
    Option(
        "worker_class", WORKERS, "--worker-class",
        "What a worker is. auto: a thread where Python runs without the GIL, else a process.  [default: auto]",
    ),
    Option("reload", WORKERS, "--reload", "Restart when a file changes (for development).", None, _FLAG),
    Option(
        "reload_dirs", WORKERS, "--reload-dir",
        "Directory to watch instead of the working directory; may be repeated.", _EXISTING, _MANY,
    ),
    Option(
        "reload_includes", WORKERS, "--reload-include",
        "Pattern of files to watch besides '*.py'; may be repeated. Needs watchfiles.", None, _MANY,
    ),
    Option(
        "reload_excludes", WORKERS, "--reload-exclude",
        "Pattern of files not to watch besides '.*', '.py[cod]', '.sw.*' and '~*'; may be repeated. Needs watchfiles.",
        None, _MANY,
    ),
    Option("reload_delay", WORKERS, "--reload-delay", "Seconds between two looks at the files."),
    Option(
        "loop", PROTOCOLS, "--loop", "Event loop, or an import string of a loop factory.", None,
        {"metavar": _names_of(LoopFactoryType)},
    ),
    Option(
        "http", PROTOCOLS, "--http", "HTTP implementation, or an import string of a protocol class.", None,
        {"metavar": _names_of(HTTPProtocolType)},
    ),
    Option("http2", PROTOCOLS, "--http2", "Speak HTTP/2 as well. Needs the h2 package.", None, _FLAG),
    Option("http2_wire", PROTOCOLS, "--http2-wire", "HTTP/2 implementation: pounce's own, or that of the h2 library."),
    Option(
        "ws", PROTOCOLS, "--ws", "WebSocket implementation, or an import string of a protocol class.", None,
        {"metavar": _names_of(WSProtocolType)},
    ),
    Option("ws_max_size", PROTOCOLS, "--ws-max-size", "Largest WebSocket message, in bytes."),
    Option("ws_max_queue", PROTOCOLS, "--ws-max-queue", "WebSocket messages that may wait for the app."),
    Option("ws_ping_interval", PROTOCOLS, "--ws-ping-interval", "Seconds between two WebSocket pings."),
    Option("ws_ping_timeout", PROTOCOLS, "--ws-ping-timeout", "Seconds to wait for the answer to a ping."),
    Option(
        "ws_per_message_deflate", PROTOCOLS, "--ws-per-message-deflate", "Offer to compress WebSocket messages.", bool
    ),
    Option(
        "proxy_headers", PROTOCOLS, "--proxy-headers/--no-proxy-headers",
        "Take scheme and client address from X-Forwarded-Proto and X-Forwarded-For of trusted proxies.", None, _FLAG,
    ),
    Option(
        "forwarded_allow_ips", PROTOCOLS, "--forwarded-allow-ips",
        "Proxies to trust: addresses, networks or unix socket paths, separated by commas; '*' trusts everybody. "
        " [default: $FORWARDED_ALLOW_IPS, or 127.0.0.1,::1]",
    ),
    Option("server_header", PROTOCOLS, "--server-header/--no-server-header", "Send a Server header.", None, _FLAG),
    Option("date_header", PROTOCOLS, "--date-header/--no-date-header", "Send a Date header.", None, _FLAG),
    Option(
        "headers", PROTOCOLS, "--header", "Header to add to every response, as Name:Value; may be repeated.",
        HeaderType(), _MANY,
    ),
    Option(
        "h11_max_incomplete_event_size", PROTOCOLS, "--h11-max-incomplete-event-size",
        "Bytes of an unfinished request head that h11 keeps.",
    ),
    Option(
        "limit_concurrency", LIMITS, "--limit-concurrency",
        "Connections or tasks beyond which requests are answered with 503.",
    ),
    Option(
        "limit_max_requests", LIMITS, "--limit-max-requests", "Requests after which a worker ends and is replaced."
    ),
    Option(
        "limit_max_requests_jitter", LIMITS, "--limit-max-requests-jitter",
        "Add a random number up to this one to --limit-max-requests, so that workers end at different times.",
    ),
    Option(
        "http2_limits", LIMITS, "--http2-limit",
        "Limit of an HTTP/2 connection, as name=number; may be repeated. docs/http2.md has the names.",
        LimitType(), _MANY,
    ),
    Option(
        "timeout_keep_alive", LIMITS, "--timeout-keep-alive",
        "Seconds after which a connection without a request is closed.",
    ),
    Option(
        "timeout_graceful_shutdown", LIMITS, "--timeout-graceful-shutdown",
        "Seconds that running requests get to finish on shutdown.  [default: no limit]",
    ),
    Option(
        "timeout_worker_healthcheck", LIMITS, "--timeout-worker-healthcheck",
        "Seconds without a sign of life after which a worker is replaced.",
    ),
    Option("ssl_certfile", TLS, "--ssl-certfile", "File with the certificate chain (PEM)."),
    Option("ssl_keyfile", TLS, "--ssl-keyfile", "File with the private key, if it is not in the former."),
    Option("ssl_keyfile_password", TLS, "--ssl-keyfile-password", "Password of the private key."),
    Option("ssl_version", TLS, "--ssl-version", "Protocol version, a number from Python's ssl module."),
    Option(
        "ssl_cert_reqs", TLS, "--ssl-cert-reqs",
        "Client certificates: 0 none, 1 optional, 2 required (Python's ssl module).",
    ),
    Option("ssl_ca_certs", TLS, "--ssl-ca-certs", "File with the authorities that sign client certificates."),
    Option("ssl_ciphers", TLS, "--ssl-ciphers", "Ciphers, in OpenSSL's notation.  [default: its own choice]"),
    Option("log_level", LOGGING, "--log-level", "Level of the log.  [default: info]"),
    Option("access_log", LOGGING, "--access-log/--no-access-log", "Log every request.", None, _FLAG),
    Option(
        "use_colors", LOGGING, "--use-colors/--no-use-colors", "Colour the log.  [default: on a terminal]", None, _FLAG
    ),
    Option("log_config", LOGGING, "--log-config", "Logging configuration file: .ini, .json or .yaml.", _EXISTING),
)  # fmt: skip

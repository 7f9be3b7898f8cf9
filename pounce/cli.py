"""The `pounce` command, built from `pounce.options`. Compatible with uvicorn's command line.

Stays light: the server is imported when the command runs, not when it explains itself.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click
from click.core import ParameterSource

import pounce
from pounce import names
from pounce.errors import exit_code_of, explanation
from pounce.logs import LOGGING_CONFIG
from pounce.options import HEADINGS, OPTIONS, Option, from_file, warn_of_strangers
from pounce.settings import GROUPS
from pounce.watchdog import GRACE, GRACE_AFTER_FAILURE, watchdog


def run(app: Any, **settings: Any) -> None:
    """`pounce.run`, imported at the last moment. `main` calls it under this name, which callers may replace."""
    from pounce.run import run as serve

    serve(app, **settings)


#: The end of `--help`.
ELSEWHERE = (
    "Each option may also be a variable ($POUNCE_HTTP2), or stand in pounce.toml or [tool.pounce] of pyproject.toml.",
    "A switch that is on there is off with its --no- form: --no-http2.",
)


class StartError(click.ClickException):
    """A mistake in the settings that showed only when the server was started: one line and an exit code."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code  # type: ignore[misc]


def start_error(exc: Exception) -> Exception:
    """The explained exception as a `StartError`; any other one as it is."""
    found = explanation(exc)
    return exc if found is None else StartError(*found)


class ServerCommand(click.Command):
    """A command whose `--help` groups the options under headings, and that has defaults from a settings file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the file first; not where uvicorn's command is meant. Help and version need nothing else to be right."""
        if asked := [arg for arg in args if arg in ("--help", "--version")]:
            args = asked
        elif not ctx.resilient_parsing:
            warn_of_strangers()
            if names.product() != "uvicorn":
                try:
                    ctx.default_map = from_file() | {**(ctx.default_map or {})}
                except (OSError, ValueError) as exc:
                    raise start_error(exc)
        return super().parse_args(ctx, list(spelled_out(args)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group; those of the command itself come last."""
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*HEADINGS, "Help")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows[param.heading if isinstance(param, Option) else "Help"].append(record)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say what else there is, but for uvicorn's command."""
        if names.product() != "uvicorn":
            formatter.write_paragraph()
            for line in ELSEWHERE:
                formatter.write_text(line)


def spelled_out(args: Iterable[str]) -> Iterator[str]:
    """The arguments, with `--http2-resets=7` in place of `--http2-limit resets=7`."""
    rest = iter(args)
    for arg in rest:
        flag, equals, limit = arg.partition("=")
        if flag == "--http2-limit":
            limit = limit if equals else next(rest, "")
            name, equals, number = limit.partition("=")
            if not (name and equals and number.isdecimal()):
                raise click.UsageError(f"Invalid value for '--http2-limit': {limit!r} is not of the form name=number.")
            arg = f"--http2-{name.replace('_', '-')}={number}"
        yield arg


def serve_app(app: str, **values: Any) -> None:
    """Serve APP, the import string of an ASGI app: "package.module:attribute"."""
    for several in ("reload_dirs", "reload_includes", "reload_excludes"):
        values[several] = values[several] or None
    values["headers"] = list(values["headers"])
    if values["log_config"] is None:
        values["log_config"] = LOGGING_CONFIG
    listen_once(click.get_current_context(), values)
    gather_groups(click.get_current_context(), values)
    watchdog.ends_with_server = True
    try:
        run(app, **values)
        if values["timeout_graceful_shutdown"] is not None:
            watchdog.expect_end_of_interpreter(GRACE, 0)
    except SystemExit as exc:
        watchdog.expect_end_of_interpreter(GRACE_AFTER_FAILURE if exc.code else GRACE, exit_code_of(exc))
        raise
    except Exception as exc:
        raise start_error(exc) from exc
    finally:
        watchdog.ends_with_server = False


def listen_once(ctx: click.Context, values: dict[str, Any]) -> None:
    """Where to listen is one choice: what was given nearer than the file makes a path or descriptor there void."""
    sources = {name: ctx.get_parameter_source(name) for name in ("host", "port", "uds", "fd")}
    if {ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT}.intersection(sources.values()):
        for name in ("uds", "fd"):
            if sources[name] is ParameterSource.DEFAULT_MAP:
                values[name] = None


def gather_groups(ctx: click.Context, values: dict[str, Any]) -> None:
    """Put what was given of each group's options into one mapping, its parameter; the leading one may stand alone."""
    for name, group in GROUPS.items():
        given = {}
        for option in OPTIONS:
            if option.group == name and option.field != group.lead:
                value = values.pop(option.parameter)
                if ctx.get_parameter_source(option.parameter) is not ParameterSource.DEFAULT:
                    given[option.field] = value
        if given and group.lead:
            given[group.lead] = values[name]
        if given or not group.lead:
            values[name] = given or None


def print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Print product, Python and platform, and leave."""
    if not value or ctx.resilient_parsing:
        return
    product = names.product()
    version = names.UVICORN_VERSION if product == "uvicorn" else pounce.__version__
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if product != "uvicorn" and not getattr(sys, "_is_gil_enabled", lambda: True)():
        python += " (free-threaded)"
    click.echo(f"Running {product} {version} with {python} on {platform.system()}")
    ctx.exit()


main = ServerCommand(
    "main",
    callback=serve_app,
    help=serve_app.__doc__,
    params=[
        click.Argument(["app"], envvar=[f"{names.ENV_PREFIX}_APP", f"{names.ENV_PREFIX_UVICORN}_APP"]),
        *OPTIONS,
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=print_version,
            help="Show the version and exit.",
        ),
    ],
)

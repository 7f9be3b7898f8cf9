"""The `pounce` command, built from `pounce.options`. Answers to: uvicorn's command line.

Stays light: the server is imported when the command runs, not when it explains itself.
"""

from __future__ import annotations

import platform
import sys
from typing import Any

import click

import pounce
from pounce import names
from pounce.errors import exit_code_of, explanation
from pounce.logs import LOGGING_CONFIG
from pounce.options import GROUPS, OPTIONS
from pounce.watchdog import GRACE, GRACE_AFTER_FAILURE, watchdog


def run(app: Any, **settings: Any) -> None:
    """`pounce.run`, imported at the last moment. `main` calls it under this name, which callers may replace."""
    from pounce.run import run as serve

    serve(app, **settings)


class StartError(click.ClickException):
    """A mistake in the settings that showed only when the server was started: one line and an exit code."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code  # type: ignore[misc]


class ServerCommand(click.Command):
    """A command whose `--help` groups the options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, group by group; those of the command itself come last."""
        groups = {option.parameter: option.group for option in OPTIONS}
        rows: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*GROUPS, "Help")}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows[groups.get(param.name or "", "Help")].append(record)
        for heading, records in rows.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def serve_app(app: str, **values: Any) -> None:
    """Serve APP, the import string of an ASGI app: "package.module:attribute"."""
    for several in ("reload_dirs", "reload_includes", "reload_excludes"):
        values[several] = values[several] or None
    values["headers"] = list(values["headers"])
    values["http2_limits"] = dict(values["http2_limits"]) or None
    if values["log_config"] is None:
        values["log_config"] = LOGGING_CONFIG
    watchdog.ends_with_server = True
    try:
        run(app, **values)
        if values["timeout_graceful_shutdown"] is not None:
            watchdog.expect_end_of_interpreter(GRACE, 0)
    except SystemExit as exc:
        watchdog.expect_end_of_interpreter(GRACE_AFTER_FAILURE if exc.code else GRACE, exit_code_of(exc))
        raise
    except Exception as exc:
        found = explanation(exc)
        if found is None:
            raise
        raise StartError(*found) from exc
    finally:
        watchdog.ends_with_server = False


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
        *(option.as_click() for option in OPTIONS),
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

"""Every option of the command line: uvicorn's parameters and the fields of pounce's settings groups, as one table.

Flags, metavars and environment variables of the former are uvicorn's. The command in `pounce.cli` is built from this.
Importing it loads neither asyncio nor ssl.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import click
from click.core import ParameterSource

from pounce import names
from pounce.config.config import DEFAULTS
from pounce.config.default_headers import check_header
from pounce.contracts import ONLY_IN_PYTHON, PARAMETERS, Parameter
from pounce.errors import explain
from pounce.logs import LOG_LEVELS
from pounce.settings import GROUPS, file as settings_file
from pounce.settings.kinds import Flag, Headers, Kind, ListOf, LogLevel, OneOf, Text

#: Parameters of `Config` that no flag sets, with the reason.
NOT_ON_CLI = {name: row.help for name, row in PARAMETERS.items() if row.heading == ONLY_IN_PYTHON}

#: Parameters that a flag sets but that `Config` does not have: `run` puts this one on sys.path before it is made.
NOT_IN_CONFIG = {
    "app_dir": Parameter("Application", Text(), "Directory to import APP from.  [default: the working one]")
}

#: Where the default of the command is not that of `Config`.
_DEFAULTS = DEFAULTS | {"app_dir": "", "log_config": None}


class ValueType(click.ParamType):  # type: ignore[type-arg]
    """A value that is read from its string; a usage error says what is wrong with it."""

    name = "integer"

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        try:
            return self._read(value)
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)


def _header(value: Any) -> Any:
    """`Name:Value`, split at the first colon into a list of two."""
    if isinstance(value, list):
        return value
    name, colon, content = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not (name and colon):
        raise ValueError(f"{value!r} is not of the form Name:Value")
    check_header(name, content)
    return [name, content]


class Option(click.Option):
    """One option. `parameter` is its name on all ways in, but that a field of a group is `group.field` in Python.

    It says so where one of its environment variables has a wrong value or is a service's.
    """

    def __init__(
        self,
        parameter: str,
        row: Parameter,
        *,
        flag: str = "",
        is_uvicorns: bool = True,
        group: str = "",
        field: str = "",
    ) -> None:
        self.parameter = parameter
        self.heading, self.kind, help, _ = row
        self.group = group
        self.field = field
        several, is_switch = self.kind.several, isinstance(self.kind, Flag) and not self.kind.valued
        #: What applies where it is not given.
        self.preset = _DEFAULTS[parameter] if parameter in _DEFAULTS else getattr(GROUPS[group](), field)
        self.flags = flag or "--" + (parameter.removesuffix("s") if several else parameter).replace("_", "-")
        both = f"{self.flags}/--no-{self.flags[2:]}" if is_switch else self.flags
        if self.preset is not False:
            self.flags = both
        prefixes = (names.ENV_PREFIX, names.ENV_PREFIX_UVICORN) if is_uvicorns else (names.ENV_PREFIX,)
        #: The environment variables that set it, the winning one first.
        self.variables = [f"{prefix}_{parameter.upper()}" for prefix in prefixes]
        # Lists default to nothing given, and shown are the defaults that say something.
        settings: dict[str, Any] = {"multiple": True} if several else {"default": self.preset}
        settings |= {"is_flag": True} if is_switch else {"type": _type_of(self.kind)}
        settings["show_default"] = not several and self.preset not in (None, "", False, ())
        super().__init__([both, parameter], help=help, metavar=self.kind.metavar, envvar=self.variables, **settings)

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The value of the first variable that is set; a line on stderr for one that names a service."""
        for variable in self.variables:
            value = os.environ.get(variable)
            prefix = variable.partition("_")[0]
            if _is_service_link(variable, value):
                warning = f"'{value}' is what Kubernetes says of a service called '{prefix.lower()}'"
                click.echo(f"Warning: ${variable} is ignored: {warning}.", err=True)
        heard = self._heard_variable()
        return os.environ[heard] if heard else None

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Its line in `--help`: a switch that is off by default without its `--no-` form, as with uvicorn."""
        record = super().get_help_record(ctx)
        if record and isinstance(self.preset, str):  # a long list may be broken
            return record[0], record[1].replace(self.preset, self.preset.replace(",", ", "))
        return (self.flags.replace("/", " / "), record[1]) if record and self.is_flag else record

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """The flag, and the variable or the file if the value is from there."""
        hint = super().get_error_hint(ctx)
        source = ctx and ctx.get_parameter_source(self.parameter)
        if source is ParameterSource.DEFAULT_MAP:
            return f"{hint} ({settings_file.path})"
        return f"{hint} (${self._heard_variable()})" if source is ParameterSource.ENVIRONMENT else hint

    def _heard_variable(self) -> str | None:
        values = ((variable, os.environ.get(variable)) for variable in self.variables)
        return next((variable for variable, value in values if value and not _is_service_link(variable, value)), None)


def _is_service_link(variable: str, value: str | None) -> bool:
    """Whether it is one of the variables that Kubernetes makes of each service: NAME_PORT=tcp://10.0.0.1:80."""
    return variable.endswith("_PORT") and re.match("(tcp|udp|sctp)://", value or "") is not None


def _type_of(kind: Kind) -> Any:
    """The click type of a kind; None is text."""
    if isinstance(kind, LogLevel):
        return click.Choice(list(LOG_LEVELS), case_sensitive=False)
    if isinstance(kind, OneOf) and all(isinstance(choice, str) for choice in kind.choices):
        return click.Choice(list(kind.choices))
    if isinstance(kind, Headers):
        return ValueType(_header)
    if isinstance(kind, ListOf):
        return ValueType(kind.read_one)
    if isinstance(kind, Text) and kind.is_path:
        return click.Path(exists=True)
    if isinstance(kind, Flag):
        return bool
    return ValueType(kind.checked) if kind.words else None


def make_options() -> Iterator[Option]:
    """All options, uvicorn's first. That of the leading field of a group has the name of the parameter."""
    for name, row in (PARAMETERS | NOT_IN_CONFIG).items():
        if name not in NOT_ON_CLI:
            yield Option(name, row)
    for group in GROUPS.values():
        for field in fields(group):  # type: ignore[arg-type]
            said = dict(field.metadata)
            row = Parameter(group.heading, said.pop("kind"), said.pop("help"))
            name = group.name if field.name == group.lead else f"{group.name}_{field.name}"
            yield Option(name, row, **said, group=group.name, field=field.name)


OPTIONS = list(make_options())


def meant(name: str, options: list[Option]) -> str | None:
    """The parameter that may be meant by a name that none has: it is a flag's, or a group's field's, or misspelt."""
    from difflib import get_close_matches  # few misspell

    called = {f"{one.group}_{one.field}": one.parameter for one in options}
    called |= {one.opts[0][2:].replace("-", "_"): one.parameter for one in options}
    called |= {one.parameter: one.parameter for one in options}
    return next((called[word] for word in get_close_matches(name, called, 1, 0.75)), None)


def warn_of_strangers() -> None:
    """A line on stderr for each environment variable that nobody reads, if it is known which one may be meant."""
    heard = {variable for option in OPTIONS for variable in option.variables}
    for prefix in (names.ENV_PREFIX, names.ENV_PREFIX_UVICORN):
        for variable in sorted(os.environ.keys() - heard - {f"{prefix}_APP"}):
            name = variable.removeprefix(f"{prefix}_")
            # Kubernetes says where services are, images which version they have.
            if name == variable or re.search(r"(^|_)PORT_\d|^VERSION$", name) or not (value := os.environ[variable]):
                continue
            parameter = meant(name.lower(), [one for one in OPTIONS if f"{prefix}_{one.parameter.upper()}" in heard])
            if parameter and not _is_service_link(variable, value):
                click.echo(f"Warning: ${variable} is ignored; is ${prefix}_{parameter.upper()} meant?", err=True)


#: The headings of `--help`, in order.
HEADINGS = list(dict.fromkeys(option.heading for option in OPTIONS))
OPTIONS.sort(key=lambda option: HEADINGS.index(option.heading))


def _check_type(kind: Kind, value: Any, called: str) -> None:
    """Raise `ValueError` for what TOML has types for and the command line has not; the string of a value may be any."""
    if isinstance(kind, Flag):
        fits = isinstance(value, bool | str)
    else:
        fits = isinstance(value, str) or (not isinstance(value, bool) and not isinstance(kind, Text))
    if not fits:
        raise ValueError(f"{called} must be {kind.words or 'a string'}, not {value!r}")


def _from_table(name: str, table: dict[str, Any]) -> dict[str, Any]:
    """Settings of a group, by the parameters of their options."""
    given = {field.replace("-", "_"): value for field, value in table.items()}
    GROUPS[name].of(given)
    found = {}
    for option in OPTIONS:
        if option.group == name and option.field in given:
            value = given[option.field]
            _check_type(option.kind, value, name if option.parameter == name else f"{name}.{option.field}")
            found[option.parameter] = [value] if option.kind.several and isinstance(value, str) else value
    return found


def from_file() -> dict[str, Any]:
    """What the settings file says, by the parameters of options. Raises explained errors for what makes no sense."""
    known = {option.parameter: option for option in OPTIONS}
    found: dict[str, Any] = {}
    for key, value in settings_file.read_table().items():
        name = key.replace("-", "_")
        option = known.get(name)
        try:
            if name in GROUPS and isinstance(value, dict):
                group = GROUPS[name]
                found |= {name: getattr(group(), group.lead)} if group.lead else {}
                found |= _from_table(name, value)
            elif option and option.group:
                found |= _from_table(option.group, {option.field: value})
            elif name in GROUPS:
                raise ValueError(f"The setting '{key}' must be a table")
            elif not option and name != "app":
                other = meant(name, OPTIONS)
                raise ValueError(f"There is no setting '{key}'" + (f"; the nearest is {other!r}" if other else ""))
            else:
                kind = option.kind if option else Text()
                if isinstance(value, dict) or (isinstance(value, list) and not kind.several):
                    wrong = "table" if isinstance(value, dict) else "list"
                    raise ValueError(f"The setting '{key}' must not be a {wrong}")
                for one in value if isinstance(value, list) else [value]:
                    _check_type(kind, one, f"The setting '{key}'")
                found[name] = [value] if kind.several and isinstance(value, str) else value
        except ValueError as exc:
            raise explain(exc, f"{exc}, in '{settings_file.path}'", 2)
    # What `Config` looks for in the environment itself comes before a file as well.
    if os.environ.get("WEB_CONCURRENCY"):
        found.pop("workers", None)
    if "FORWARDED_ALLOW_IPS" in os.environ:
        found.pop("forwarded_allow_ips", None)
    return found

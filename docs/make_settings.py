"""Writes docs/settings.md from the table of options: `python docs/make_settings.py`. A test keeps the two together."""

from __future__ import annotations

import re
from pathlib import Path

from pounce import options

HEAD = """\
# Settings

Made by `docs/make_settings.py` from the table of options; do not edit.

`pounce APP [OPTIONS]`: APP is `package.module:attribute` (`$POUNCE_APP`, `$UVICORN_APP`). Each option is also a
parameter of `pounce.run()` and `pounce.Config`, and an environment variable: `POUNCE_` and the parameter's name in
capitals (`POUNCE_GROUP_SETTING` for `group.setting`), or the same with `UVICORN_`; the first one wins. The values of an
option that may be repeated are separated by spaces there. A variable that nobody reads, but is called nearly like one
of these, is ignored with a line that says so. Times are in seconds, sizes in bytes.

In Python a number or a switch may be given as its string: `pounce.run("main:app", port=os.environ["PORT"])`. A value
that a setting cannot have is an error before anything is started: one line and exit code 2 from the command,
`ValueError` from `run` and `Config`.

## What is pounce's own

stands in groups (`group.setting` in the tables below) and has no `UVICORN_` form, but for `http2` itself. In Python
a group is one parameter: a mapping, its class from `pounce.settings`, or what is given to the flag of its name (not for
`asgi`, which has none).

    pounce main:app --http2 --http2-resets 100                  # or POUNCE_HTTP2=1 POUNCE_HTTP2_RESETS=100
    pounce.run("main:app", http2={"resets": 100})               # or http2=Http2(resets=100); on, where it is a group
    pounce.run("main:app", http2=True, worker_class="thread", compression="auto")

## In a file

The command, and nothing else, reads `pounce.toml` in the working directory, or else the table `[tool.pounce]` of
`pyproject.toml` there. The keys are the parameters' names, where dashes count as underscores, and a group is a table;
the file's path is in the first lines of the log. The command line wins over the environment, and that over the file; a
switch that is on there is switched off with its `--no-` form (`--no-http2`), which each has. Under the name `uvicorn`
no file is read.

    [tool.pounce]               # pounce.toml is without this line
    app = "main:app"
    workers = 4
    worker-class = "thread"

    [tool.pounce.http2]         # and [http2] instead of this one
    resets = 100

    [tool.pounce.server-timing]
    enabled = true              # alone: server-timing = true; so with static.dirs and compression.codings
    allow = ["10.0.0.0/8", "unix"]
"""


def row(option: options.Option) -> str:
    """The row of one option."""
    parameter = f"{option.group}.{option.field}" if option.group not in ("", option.parameter) else option.parameter
    cells = [f"`{option.flags}`", f"`{parameter}`", text(option.kind.words), default(option), text(option.help)]
    return f"| {' | '.join(cells)} |"


def default(option: options.Option) -> str:
    """What applies where the option is not given."""
    said = re.search(r"\[default: (.+?)\]", option.help)
    if said:
        return text(said[1])
    if isinstance(option.preset, tuple) and option.preset:
        return f"`{','.join(map(str, option.preset))}`"
    return "" if option.preset in (None, "", False) else f"`{option.preset}`"


def text(words: str) -> str:
    """Help as Markdown in a table cell, without the default that has a column of its own."""
    return re.sub(r"\s*\[default: .+?\]\s*", " ", words).replace("|", "\\|").strip()


def settings() -> str:
    """The whole page."""
    parts = [HEAD]
    for heading in options.HEADINGS:
        rows = [row(option) for option in options.OPTIONS if option.heading == heading]
        parts += [f"\n## {heading}\n", "| Option | Parameter | Value | Default | |", "|---|---|---|---|---|", *rows]
    only_config = [f"- `{name}`: {reason}" for name, reason in options.NOT_ON_CLI.items()]
    parts += ["\n## Only as parameters\n", *only_config]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings(), encoding="utf-8")

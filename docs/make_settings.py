"""Writes docs/settings.md from the table of options: `python docs/make_settings.py`. A test keeps the two together."""

from __future__ import annotations

import re
from pathlib import Path

from pounce import options
from pounce.config.values import KINDS

HEAD = """\
# Settings

Made by `docs/make_settings.py` from the table of options; do not edit.

`pounce APP [OPTIONS]`: APP is `package.module:attribute` (`$POUNCE_APP`, `$UVICORN_APP`). Each option is also a
parameter of `pounce.run()` and `pounce.Config`, and an environment variable: `POUNCE_` and the parameter's name in
capitals, or the same with `UVICORN_`; the first one wins, and the command line wins over both. `--worker-class`,
`--http2-wire` and `--http2-limit` are pounce's own and have no `UVICORN_` form. Times are in seconds, sizes in bytes.

In Python a number or a switch may be given as its string: `pounce.run("main:app", port=os.environ["PORT"])`. A value
that a setting cannot have is an error before anything is started: one line and exit code 2 from the command,
`ValueError` from `run` and `Config`.
"""


def rows(group: str) -> list[str]:
    """The table rows of one group of options."""
    return [
        f"| `{option.flags}` | `{option.parameter}` | {value(option)} | {default(option)} | {text(option.help)} |"
        for option in options.OPTIONS
        if option.group == group
    ]


def value(option: options.Option) -> str:
    """What the setting may be, where there is more to say of it than that it is a text."""
    kind = KINDS.get(option.parameter)
    return text(kind.words) if kind else ""


def default(option: options.Option) -> str:
    """What applies where the option is not given."""
    said = re.search(r"\[default: (.+?)\]", option.help)
    if said:
        return text(said[1])
    return "" if option.default in (None, "", False) else f"`{option.default}`"


def text(words: str) -> str:
    """Help as Markdown in a table cell, without the default that has a column of its own."""
    return re.sub(r"\s*\[default: .+?\]\s*", " ", words).replace("|", "\\|").strip()


def settings() -> str:
    """The whole page."""
    parts = [HEAD]
    for group in options.GROUPS:
        parts += [
            f"\n## {group}\n",
            "| Option | Parameter | Value | Default | |",
            "|---|---|---|---|---|",
            *rows(group),
        ]
    only_config = [f"- `{name}`: {reason}" for name, reason in options.NOT_ON_CLI.items()]
    parts += ["\n## Only as parameters\n", *only_config]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("settings.md").write_text(settings(), encoding="utf-8")

"""Prefixes and directories: what is read, and one line for what makes no sense."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import CliRunner

from pounce.cli import main
from pounce.errors import explanation
from pounce.settings import Settings, Static
from pounce.settings.static import Mount


@pytest.mark.parametrize(
    "prefix,expected", [("/files", "/files"), ("/files/", "/files"), ("/", ""), ("/a/b.c", "/a/b.c")]
)
def test_a_prefix_has_a_directory(prefix: str, expected: str, tmp_path: Path) -> None:
    """As one string, several, a pair, or read before."""
    mount = Mount(expected, str(tmp_path))
    given = f"{prefix}={tmp_path}"
    for value in (given, [given], (given,), [(prefix, tmp_path)], [mount]):
        assert Static.of(value).dirs == Static.of({"dirs": value}).dirs == (mount,)


def test_a_directory_is_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process goes; its name may have the sign."""
    (tmp_path / "a=b").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Static.of("/files=a=b").dirs == (Mount("/files", str(tmp_path / "a=b")),)


def test_a_copy_does_not_look_again(tmp_path: Path) -> None:
    """That a directory is gone by then is no reason for a worker not to start."""
    (tmp_path / "d").mkdir()
    settings = Settings.of({"static": f"/files={tmp_path / 'd'}"})
    (tmp_path / "d").rmdir()
    assert settings.copy() == settings


@pytest.mark.parametrize(
    "given,line",
    [
        ("/files", "'/files' is not of the form PREFIX=DIR"),
        ("/files=", "'/files=' is not of the form PREFIX=DIR"),
        ("=.", "'=.' is not of the form PREFIX=DIR"),
        ("", "'' is not of the form PREFIX=DIR"),
        ([("/a",)], "('/a',) is not of the form PREFIX=DIR"),
        ([("/a", ".", "b")], "('/a', '.', 'b') is not of the form PREFIX=DIR"),
        ("files=.", "The prefix 'files' does not begin with a slash"),
        ("/a//b=.", "The prefix '/a//b' is not a plain path"),
        ("/a/../b=.", "The prefix '/a/../b' is not a plain path"),
        ("/a/.=.", "The prefix '/a/.' is not a plain path"),
        ("/a%20b=.", "The prefix '/a%20b' is not a plain path"),
        ("/a?b=.", "The prefix '/a?b' is not a plain path"),
        ("/files=no-such-directory", "There is no directory 'no-such-directory' to serve files from"),
        (f"/files={__file__}", f"There is no directory '{__file__}' to serve files from"),
        (["/a=.", "/a/=."], "static has two directories for the prefix '/a'"),
        (["/=.", "/=."], "static has two directories for the prefix '/'"),
        (5, "static must be a list of PREFIX=DIR, not 5"),
        ([5], "static must be a list of PREFIX=DIR, not [5]"),
    ],
)
def test_what_makes_no_sense_is_one_line(given: Any, line: str) -> None:
    """It says what is wrong."""
    with pytest.raises(ValueError) as caught:
        Static.of(given)
    assert str(caught.value) == line
    assert explanation(caught.value) is not None


def test_a_system_that_cannot_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than serve what may be elsewhere."""
    monkeypatch.setattr(os, "supports_dir_fd", set())
    with pytest.raises(ValueError, match="cannot be served on this system"):
        Static.of("/files=.")


@pytest.mark.parametrize(
    "arguments,environ,file,expected",
    [
        (["--static", "/a=.", "--static", "/b/=."], {}, "", ["/a", "/b"]),
        ([], {"POUNCE_STATIC": "/a=. /b=."}, "", ["/a", "/b"]),
        ([], {}, 'static = ["/a=.", "/b=."]', ["/a", "/b"]),
        ([], {}, '[static]\ndirs = "/a=."\nmax-age = 60\nindex = true', ["/a"]),
        (["--static", "/a=.", "--static-max-age", "60", "--static-index"], {}, "", ["/a"]),
        ([], {"POUNCE_STATIC": "/a=.", "POUNCE_STATIC_MAX_AGE": "60", "POUNCE_STATIC_INDEX": "1"}, "", ["/a"]),
    ],
)
def test_the_command_takes_several(
    arguments: list[str],
    environ: dict[str, str],
    file: str,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flags, a variable with blanks between, a settings file."""
    monkeypatch.chdir(tmp_path)
    Path("pounce.toml").write_text(file)
    with mock.patch.object(importlib.import_module("pounce.cli"), "run") as run:
        result = CliRunner().invoke(main, ["examples.hello:app", *arguments], env=environ)
    assert (result.exit_code, result.output) == (0, "")
    static = Static.of(run.call_args.kwargs["static"])
    assert static.dirs == tuple(Mount(prefix, str(tmp_path)) for prefix in expected)
    assert (static.max_age, static.index) == ((60, True) if len(expected) == 1 else (None, False))


@pytest.mark.parametrize(
    "arguments,environ,said",
    [
        (["--static", "files=."], {}, "'--static': The prefix 'files' does not begin with a slash."),
        ([], {"POUNCE_STATIC": "/a=nowhere"}, "($POUNCE_STATIC): There is no directory 'nowhere' to serve files from."),
        (["--static-max-age", "-1"], {}, "must be a number of seconds, at least 0"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], environ: dict[str, str], said: str) -> None:
    """In one line, with exit code 2."""
    result = CliRunner().invoke(main, ["examples.hello:app", *arguments], env=environ)
    assert result.exit_code == 2
    (line,) = (line for line in result.output.splitlines() if line.startswith("Error: "))
    assert said in line

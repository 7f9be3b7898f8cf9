"""Prefixes and directories: what is read, and one line for what makes no sense."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

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
        ("files=.", "The prefix 'files' does not begin with a slash"),
        ("/a//b=.", "The prefix '/a//b' is not a plain path"),
        ("/a/../b=.", "The prefix '/a/../b' is not a plain path"),
        ("/a/.=.", "The prefix '/a/.' is not a plain path"),
        ("/a%20b=.", "The prefix '/a%20b' is not a plain path"),
        ("/a?b=.", "The prefix '/a?b' is not a plain path"),
        ("/files=no-such-directory", "There is no directory 'no-such-directory' to serve files from"),
        (f"/files={__file__}", f"There is no directory '{__file__}' to serve files from"),
        (["/a=.", "/a/=."], "The prefix '/a' has two directories"),
        (["/=.", "/=."], "The prefix '/' has two directories"),
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

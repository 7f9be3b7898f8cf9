"""Which directories and patterns the reloader gets."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from pounce.config.config import Config
from pounce.config.reload_paths import is_dir, resolve_reload_patterns


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with two apps, each with a `src`, and a hidden directory."""
    root = tmp_path.resolve()
    for directory in ("app/src", "app_two/src", "ext", ".hidden"):
        (root / directory).mkdir(parents=True)
    (root / "main.py").touch()
    monkeypatch.chdir(root)
    return root


def reloading(**settings: Any) -> Config:
    """A config that reloads."""
    return Config("main:app", reload=True, log_config=None, **settings)


@pytest.mark.parametrize(
    "patterns,directories,expected",
    [
        ([], ["app", "app", "ext"], ["app", "ext"]),
        ([], ["app", "app/src", "nowhere", "main.py"], ["app"]),
        ([], [".", "app"], ["."]),
        (["ext"], [], ["ext"]),
        (["*/src"], [], ["app/src", "app_two/src"]),
        (["*.py"], [], []),
        ([".*"], [], []),
        ([".hidden"], [], [".hidden"]),
        (["/nowhere/*.py"], [], []),
    ],
)
def test_directories_are_the_outermost_that_exist(
    tree: Path, patterns: list[str], directories: list[str], expected: list[str]
) -> None:
    """Named directly or matched by a pattern; ".*" does not mean every hidden directory."""
    assert resolve_reload_patterns(patterns, directories)[1] == [(tree / path).resolve() for path in expected]


def test_patterns_keep_their_order_without_duplicates(tree: Path) -> None:
    """Also those that were taken for directories."""
    assert resolve_reload_patterns(["*.js", "ext", "*.js", ".*"], [])[0] == ["*.js", "ext", ".*"]


def test_what_cannot_be_looked_at_is_no_directory() -> None:
    """A name that the file system refuses is not an error."""
    assert not is_dir(Path("x" * 5000))


def test_the_default_is_the_working_directory(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And the log says so."""
    with caplog.at_level(logging.INFO, "uvicorn.error"):
        assert reloading().reload_dirs == [tree]
    assert caplog.messages == [f"Will watch for changes in these directories: {[str(tree)]}"]


def test_directories_that_do_not_exist_are_warned_about(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The working directory stands in for them."""
    assert reloading(reload_dirs="nowhere").reload_dirs == [tree]
    assert caplog.messages == [
        "Provided reload directories ['nowhere'] did not contain valid directories, watching current working directory."
    ]


@pytest.mark.parametrize("missing", ["nowhere", "main.py"])
def test_each_directory_that_does_not_exist_is_named(
    tree: Path, missing: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where others are watched, nobody would notice."""
    assert reloading(reload_dirs=[missing, "ext"]).reload_dirs == [tree / "ext"]
    assert caplog.messages == [f"There is no directory '{missing}' to watch."]


def test_excluded_directories_and_what_is_below_are_not_watched(tree: Path) -> None:
    """Excluded patterns disappear from the included ones."""
    config = reloading(
        reload_dirs=["app/src", "ext", "app_two/src"], reload_includes=["*.js"], reload_excludes=["app", "ext", "*.js"]
    )
    assert config.reload_dirs == [tree / "app_two/src"]
    assert config.reload_dirs_excludes == [tree / "app", tree / "ext"]
    assert config.reload_includes == []
    assert config.reload_excludes == ["app", "ext", "*.js"]


@pytest.mark.parametrize("setting", ["reload_dirs", "reload_includes", "reload_excludes"])
def test_reload_settings_without_reloading_are_warned_about(
    tree: Path, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They would do nothing."""
    config = Config("main:app", log_config=None, **{setting: ["ext"]})  # type: ignore[arg-type]
    assert config.reload_dirs == []
    assert caplog.messages == [
        "Current configuration will not reload as not all conditions are met, please refer to documentation."
    ]

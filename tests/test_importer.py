"""Import strings."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pounce.importer import ImportFromStringError, import_from_string


@pytest.mark.parametrize(
    "text,message",
    [
        ("example", 'Import string "example" must be in format "<module>:<attribute>".'),
        ("example:", 'Import string "example:" must be in format "<module>:<attribute>".'),
        (":app", 'Import string ":app" must be in format "<module>:<attribute>".'),
        ("module_does_not_exist:app", 'Could not import module "module_does_not_exist".'),
        ("tempfile:no.such", 'Attribute "no.such" not found in module "tempfile".'),
    ],
)
def test_a_string_that_names_nothing_is_refused_in_one_sentence(text: str, message: str) -> None:
    """The error says which part is wrong."""
    with pytest.raises(ImportFromStringError) as caught:
        import_from_string(text)
    assert str(caught.value) == message


def test_attributes_are_followed_through_dots() -> None:
    """What stands after the colon may be a path of attributes."""
    assert import_from_string("tempfile:TemporaryDirectory.cleanup") is tempfile.TemporaryDirectory.cleanup


@pytest.mark.parametrize("value", [None, tempfile.TemporaryFile])
def test_what_is_not_a_string_comes_back_as_it_is(value: object) -> None:
    """Classes, apps and None need no import."""
    assert import_from_string(value) is value


def test_a_missing_parent_package_is_an_import_error() -> None:
    """Only the named module itself counts as misspelt."""
    with pytest.raises(ModuleNotFoundError) as caught:
        import_from_string("no.such:app")
    assert caught.value.name == "no"


def test_an_import_that_fails_inside_the_module_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The author of the module needs to see which of its imports failed."""
    (tmp_path / "importing_nothing.py").write_text("import a_dependency_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_that_is_missing"):
        import_from_string("importing_nothing:app")

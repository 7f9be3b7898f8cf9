"""The windows of the shim (`pounce_compat.shim._window`), on modules made up for the purpose."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from unittest import mock

import pytest

from pounce_compat.shim._window import Window, open_onto

SOURCES = {
    "behind_first": """
text = "first"
_private = 1
__dunder__ = 1
def read():
    return text
""",
    "behind_second": """
text = "second"
only = 2
def load(path):
    return open(path)
def read_second():
    return text
""",
    "behind_lazy": """
def __getattr__(name):
    if name == "lazy":
        return "made on demand"
    raise AttributeError(name)
""",
}


def make(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    sys.modules[name] = module
    exec(source, module.__dict__)
    return module


@pytest.fixture
def window() -> Iterator[ModuleType]:
    """A module `window` that is open onto the three above, and defines `own` itself."""
    with mock.patch.dict(sys.modules):
        for name, source in SOURCES.items():
            make(name, source)
        module = make("window", "")
        open_onto("window", *SOURCES)
        exec("own = 'of the file'", module.__dict__)
        yield module


def test_names_come_from_the_first_module_that_has_them(window: ModuleType) -> None:
    """Public and private names are visible, the first module behind wins, and dunders stay the window's own."""
    assert (window.text, window.only, window._private) == ("first", 2, 1)
    assert isinstance(window, Window)
    assert window.__name__ == "window"
    assert not hasattr(window, "__dunder__")


def test_names_are_listed_for_import_star(window: ModuleType) -> None:
    """`import *` and `dir` see the names behind."""
    scope: dict[str, object] = {}
    exec("from window import *", scope)
    assert scope["only"] == 2
    assert {"text", "only", "own"} <= set(dir(window))


def test_a_read_is_live(window: ModuleType) -> None:
    """A name that a module behind binds anew, or late, is seen through the window."""
    sys.modules["behind_first"].text = "changed"  # type: ignore[attr-defined]
    sys.modules["behind_second"].late = 3  # type: ignore[attr-defined]
    assert window.text == "changed"
    assert window.late == 3
    assert window.lazy == "made on demand"


def test_an_assignment_reaches_every_module_that_has_the_name(window: ModuleType) -> None:
    """Functions of all modules behind see the new value; modules without the name do not get it."""
    window.text = "new"  # type: ignore[attr-defined]
    assert window.read() == window.read_second() == "new"
    window.only = 4  # type: ignore[attr-defined]
    assert not hasattr(sys.modules["behind_first"], "only")


def test_patching_a_builtin_reaches_every_module(window: ModuleType) -> None:
    """`mock.patch("uvicorn.config.open")` is seen by whichever module calls `open`, and undone afterwards."""
    with mock.patch("window.open", return_value="patched"):
        assert window.load("nowhere") == "patched"
    with pytest.raises(FileNotFoundError):
        window.load("/nowhere/at/all")
    assert "open" not in vars(sys.modules["behind_second"])


def test_patches_are_undone(window: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """After mock's and pytest's patches every module has its old value back."""
    with mock.patch("window.text", "patched"):
        assert window.read_second() == "patched"
    # The window tells one old value; where modules behind disagreed, that is what all of them get back.
    assert window.read() == "first"
    with mock.patch("window.lazy", "patched"):
        assert window.lazy == "patched"
    assert window.lazy == "made on demand"
    with monkeypatch.context() as patch:
        patch.setattr(window, "only", 5)
        assert sys.modules["behind_second"].only == 5  # type: ignore[attr-defined]
    assert sys.modules["behind_second"].only == 2  # type: ignore[attr-defined]


def test_what_the_file_defines_is_its_own(window: ModuleType) -> None:
    """A name of the shim's file, a submodule or a name nobody knows is set on the window only."""
    window.own = "set"  # type: ignore[attr-defined]
    window.unknown = 1  # type: ignore[attr-defined]
    assert (window.own, window.unknown) == ("set", 1)
    assert not any(hasattr(sys.modules[name], attribute) for name in SOURCES for attribute in ("own", "unknown"))
    del window.unknown
    with pytest.raises(AttributeError, match="unknown"):
        window.unknown  # noqa: B018


def test_a_module_of_the_window_is_its_own(window: ModuleType) -> None:
    """`window.part` is the window's module of that name, whatever the package behind has under it."""
    package, part = sys.modules["behind_first"], make("behind_first.part", "")
    package.part = part  # type: ignore[attr-defined]
    assert not hasattr(window, "part")
    window.part = own = make("window.part", "")  # type: ignore[attr-defined]
    assert window.part is own
    assert package.part is part  # type: ignore[attr-defined]


def test_deleting_what_is_not_there_is_an_error(window: ModuleType) -> None:
    """`del` of an unknown name raises AttributeError, of a known one removes it everywhere."""
    with pytest.raises(AttributeError):
        del window.nothing
    del window.only
    assert not hasattr(sys.modules["behind_second"], "only")


def test_a_module_that_is_missing_is_reported(window: ModuleType) -> None:
    """Importing a window onto something that is not installed raises ModuleNotFoundError."""
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        open_onto("window", "not_installed_at_all")


def test_a_window_can_be_opened_again(window: ModuleType) -> None:
    """`importlib.reload` of a shim module works: opening twice is the same as once."""
    open_onto("window", *SOURCES)
    assert importlib.import_module("window").text == "first"

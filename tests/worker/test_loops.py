"""pounce/worker/loops.py: event loops by name."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
from typing import Any

import pytest

from pounce.worker import loops


def loop_module(factory: loops.LoopFactory) -> str:
    with contextlib.closing(factory()) as loop:
        return type(loop).__module__.partition(".")[0]


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Make `import package` fail as if it were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)

    class Hidden:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Hidden, *sys.meta_path])


def test_asyncio_is_the_standard_librarys_loop() -> None:
    """`--loop asyncio` never takes anything else, whatever is installed."""
    assert loop_module(loops.asyncio_loop_factory()) == "asyncio"
    assert loop_module(loops.asyncio_loop_factory(use_subprocess=True)) == "asyncio"


@pytest.mark.parametrize("package", ["uvloop", "zuvloop"])
def test_a_named_loop_is_that_loop(package: str) -> None:
    """`--loop uvloop` and `--loop zuvloop` give the package's own loop."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    assert loop_module(getattr(loops, f"{package}_loop_factory")()) == package


@pytest.mark.parametrize("package", ["uvloop", "zuvloop"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is not installed is one line with what to install."""
    hide(monkeypatch, package)
    with pytest.raises(ModuleNotFoundError) as caught:
        getattr(loops, f"{package}_loop_factory")()
    assert str(caught.value) == f"--loop {package} needs the {package} package: pip install {package}"
    assert caught.value.name == package


def test_auto_is_uvloop_where_it_can_be() -> None:
    """`--loop auto` prefers uvloop."""
    expected = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    assert loop_module(loops.auto_loop_factory()) == expected


def test_auto_is_asyncio_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--loop auto` works with nothing installed."""
    hide(monkeypatch, "uvloop")
    assert loop_module(loops.auto_loop_factory()) == "asyncio"


class OwnLoop(asyncio.SelectorEventLoop):
    pass


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_asyncio_run_uses_the_factory() -> None:
    """The coroutine runs on the loop that the factory made, and the loop is closed afterwards."""
    loop = loops.asyncio_run(running_loop(), loop_factory=OwnLoop)
    assert isinstance(loop, OwnLoop)
    assert loop.is_closed()


def test_asyncio_run_has_a_default_loop() -> None:
    """Without a factory the loop is asyncio's default one."""
    assert not isinstance(loops.asyncio_run(running_loop()), OwnLoop)


def test_asyncio_run_sets_debug_mode() -> None:
    """Debug mode is switched on the loop."""

    async def debug() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert loops.asyncio_run(debug(), debug=True, loop_factory=OwnLoop)
    assert not loops.asyncio_run(debug(), debug=False, loop_factory=OwnLoop)


def test_asyncio_run_takes_coroutines_only() -> None:
    """Anything else is refused (the exception differs between Python versions)."""
    with pytest.raises((ValueError, TypeError)):
        loops.asyncio_run("no coroutine", loop_factory=OwnLoop)


def nest(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace `asyncio.run` by one that runs inside the running loop, and knows no loop factory (nest_asyncio)."""
    calls: list[str] = []

    def run(main: Any, *, debug: bool = False) -> Any:
        calls.append("nested")
        try:
            main.send(None)
        except StopIteration as done:
            return done.value

    monkeypatch.setattr(asyncio, "run", run)
    return calls


async def one() -> int:
    return 1


def test_a_replaced_asyncio_run_need_not_know_loop_factories(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debuggers and nest_asyncio replace `asyncio.run` by an older one; the loop that was asked for runs."""
    calls = nest(monkeypatch)
    made: list[str] = []

    def factory() -> asyncio.AbstractEventLoop:
        made.append("loop")
        return asyncio.SelectorEventLoop()

    assert loops.asyncio_run(one(), loop_factory=factory) == 1
    assert (calls, made) == ([], ["loop"])


def test_inside_a_loop_whoever_made_that_possible_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a notebook nest_asyncio's `asyncio.run` runs `main` on the notebook's loop."""

    async def notebook() -> int:
        return loops.asyncio_run(one(), loop_factory=asyncio.SelectorEventLoop)

    runner = asyncio.Runner()
    calls = nest(monkeypatch)
    with runner:
        assert runner.run(notebook()) == 1
    assert calls == ["nested"]

"""Short names of implementations, and uvicorn's import strings."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from pounce import names
from pounce.config import registry
from pounce.errors import explanation
from pounce.worker import loops


@pytest.mark.parametrize("name", ["asyncio", "auto", "uvicorn.loops.asyncio:asyncio_loop_factory"])
def test_a_built_in_name_may_be_short_or_uvicorns(name: str) -> None:
    """Settings written for uvicorn go on working where no uvicorn is installed."""
    found = registry.resolve("--loop", name)
    assert found is (loops.auto_loop_factory if name == "auto" else loops.asyncio_loop_factory)
    assert registry.is_built_in("--loop", name)


@pytest.mark.parametrize("name", ["tests.config.apps:make_loop", object(), None])
def test_anything_else_is_not_built_in(name: Any) -> None:
    """Users' own classes and factories are used as they are."""
    assert not registry.is_built_in("--loop", name)


def test_none_is_a_name() -> None:
    """`--ws none` and `--loop none` stand for nothing at all."""
    assert registry.resolve("--ws", "none") is None


def test_users_may_extend_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables are looked up when a name is resolved."""
    monkeypatch.setitem(registry.HTTP_PROTOCOLS, "mine", "tests.config.apps:Server")
    assert registry.resolve("--http", "mine").__name__ == "Server"


def test_under_the_shim_uvicorns_strings_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """There they can be imported, and may have been patched."""
    monkeypatch.setenv(names.ENV_PRESENT_AS, "uvicorn")
    assert not registry.is_built_in("--loop", "uvicorn.loops.asyncio:asyncio_loop_factory")


@pytest.mark.parametrize(
    "flag,name,package",
    [
        ("--http", "httptools", "httptools"),
        ("--http", "zttp", "zttp"),
        ("--ws", "wsproto", "wsproto"),
        ("--ws", "websockets", "websockets"),
        ("--ws", "websockets-sansio", "websockets"),
        ("--loop", "uvloop", "uvloop"),
        ("--loop", "zuvloop", "zuvloop"),
    ],
)
def test_a_missing_package_is_named(flag: str, name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        registry.require_package(flag, name)
    line = f"{flag} {name} needs the {package} package: pip install {package}"
    assert explanation(caught.value) == (line, 3)


def test_every_name_of_a_type_is_in_its_table() -> None:
    """The short names that `--help` lists all stand for something."""
    for literal, table in [
        (registry.HTTPProtocolType, registry.HTTP_PROTOCOLS),
        (registry.WSProtocolType, registry.WS_PROTOCOLS),
        (registry.LifespanType, registry.LIFESPAN),
        (registry.LoopFactoryType, registry.LOOP_FACTORIES),
    ]:
        assert set(literal.__args__) == set(table)  # type: ignore[attr-defined]


TABLES = (registry.HTTP_PROTOCOLS, registry.WS_PROTOCOLS, registry.LIFESPAN, registry.LOOP_FACTORIES)


@pytest.mark.parametrize("target", sorted({target for table in TABLES for target in table.values() if target}))
def test_every_implementation_exists(target: str) -> None:
    """No entry points to a module that is not there."""
    assert importlib.util.find_spec(target.partition(":")[0]) is not None


@pytest.mark.parametrize(
    "name,short",
    [
        ("protocols.http.auto:AutoHTTPProtocol", "auto"),
        ("protocols.http.h11_impl:H11Protocol", "h11"),
        ("protocols.http.httptools_impl:HttpToolsProtocol", "httptools"),
        ("protocols.http.zttp_impl:ZttpProtocol", "zttp"),
        ("protocols.http.auto_zttp_impl:AutoZttpProtocol", "pounce.protocols.http.auto_zttp_impl:AutoZttpProtocol"),
        ("protocols.http.zttp_h2_impl:ZttpH2Protocol", "pounce.connection.http2:HTTP2Protocol"),
        ("protocols.websockets.auto:AutoWebSocketsProtocol", "auto"),
        ("protocols.websockets.websockets_impl:WebSocketProtocol", "websockets"),
        ("protocols.websockets.websockets_sansio_impl:WebSocketsSansIOProtocol", "websockets-sansio"),
        ("protocols.websockets.wsproto_impl:WSProtocol", "wsproto"),
        ("loops.auto:auto_loop_factory", "auto"),
        ("loops.asyncio:asyncio_loop_factory", "asyncio"),
        ("loops.uvloop:uvloop_loop_factory", "uvloop"),
        ("loops.zuvloop:zuvloop_loop_factory", "zuvloop"),
    ],
)
@pytest.mark.parametrize("package", ["uvicorn", "pounce"])
@pytest.mark.filterwarnings("ignore")
def test_uvicorns_import_strings_stand_for_ours(package: str, name: str, short: str) -> None:
    """And so do the same of who replaced the word everywhere."""
    folder = name.partition(":")[0].rpartition(".")[0]
    flag = {"protocols.http": "--http", "protocols.websockets": "--ws", "loops": "--loop"}[folder]
    spelled = f"{package}.{name}"
    if short.endswith("zuvloop"):
        pytest.importorskip("zuvloop")
    assert registry.is_built_in(flag, spelled)
    assert registry.resolve(flag, spelled) is registry.resolve(flag, short)

"""Which coding a client takes, and what coders make: decoded by other means, in one piece or in parts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from pounce.errors import explanation
from pounce.exchange import content_codings
from pounce.exchange.content_codings import MODULES, Choice, Codings, Use, require, sibling_of, weights
from pounce.settings.compression import Compression

LEVELS = Compression().levels()
OFFERED = ("zstd", "br", "gzip")

#: Accept-Encoding, and the codings that are taken rather than none, the best one first (RFC 9110 section 12.5.3).
CHOICES: list[tuple[list[str], list[str]]] = [
    ([], []),
    ([""], []),
    (["gzip"], ["gzip"]),
    (["GZip"], ["gzip"]),
    (["x-gzip"], ["gzip"]),
    (["gzip, br, zstd"], ["zstd", "br", "gzip"]),
    (["gzip", "br"], ["br", "gzip"]),
    (["gzip;q=1.0, br;q=0.9"], ["gzip", "br"]),
    (["gzip;q=0.001, br;q=0.002"], ["br", "gzip"]),
    (["gzip ; q = 0.5 , br\t;\tq=1"], ["br", "gzip"]),
    (["gzip;Q=0.5, br;q=0.6"], ["br", "gzip"]),
    (["*"], ["zstd", "br", "gzip"]),
    (["*;q=0.5, gzip"], ["gzip", "zstd", "br"]),
    (["gzip;q=0, *"], ["zstd", "br"]),
    (["*;q=0"], []),
    (["*;q=0, gzip"], ["gzip"]),
    (["gzip;q=0"], []),
    (["gzip;q=0.0, br;q=0.000"], []),
    (["identity"], []),
    (["identity, gzip"], ["gzip"]),
    (["identity;q=0.5, gzip;q=1"], ["gzip"]),
    (["identity;q=1, gzip;q=0.5"], []),
    (["identity;q=0.5, gzip;q=0.4, br;q=0.6"], ["br"]),
    (["identity;q=0"], []),
    (["identity;q=0, gzip;q=0.1"], ["gzip"]),
    (["gzip;q=0.5, *"], ["zstd", "br", "gzip"]),
    (["deflate, compress, sdch"], []),
    (["gzip;q=0, gzip"], []),
    (["gzip, x-gzip;q=0"], []),
    (["gzip;q=2"], []),
    (["gzip;q=1.001"], []),
    (["gzip;q=0.1234"], []),
    (["gzip;q=-1, br;q=nan, zstd;q="], []),
    (["gzip;q=0., br;q=1."], ["br"]),
    (["gzip;q=\u0661".encode().decode("latin-1")], []),
    (["gzip;level=9;q=0.5, br;q=0.6"], ["br", "gzip"]),
    ([",, gzip ,;q=1,"], ["gzip"]),
    (["gzip;q=0.5;q=0"], []),
]


@pytest.mark.parametrize("fields,expected", CHOICES, ids=[" + ".join(fields) or "none" for fields, _ in CHOICES])
def test_what_a_client_takes(fields: list[str], expected: list[str]) -> None:
    """By its weights, and among equals by the server's order."""
    assert Choice([field.encode("latin-1") for field in fields], OFFERED).codings == expected


def test_the_order_of_the_server_counts_among_equals() -> None:
    """Only there."""
    assert Choice([b"zstd, gzip, br"], ("gzip", "br", "zstd")).codings == ["gzip", "br", "zstd"]
    assert Choice([b"zstd, gzip;q=0.9"], ("gzip", "zstd")).codings == ["zstd", "gzip"]


@pytest.mark.parametrize(
    "field,refused",
    [("gzip", False), ("identity;q=0", True), ("*;q=0", True), ("*;q=0, identity", False), ("identity;q=0.1", False)],
)
def test_who_refuses_a_body_as_it_is(field: str, refused: bool) -> None:
    """By name, or by `*` without a name."""
    assert Choice([field.encode()], OFFERED).refuses_identity is refused


def test_weights_that_make_no_sense_are_as_good_as_not_there() -> None:
    """The others count."""
    assert weights([b"gzip;q=x, br;q=0.5, ;q=1, zstd;q=0.25"]) == {"br": 0.5, "zstd": 0.25}


def test_choices_are_kept_and_bounded() -> None:
    """An Accept-Encoding that comes again is not read again; ever new ones do not fill the memory."""
    codings = Codings(("gzip",), LEVELS)
    assert codings.choice([b"gzip"]) is codings.choice([b"gzip"])
    for number in range(1000):
        assert codings.choice([b"gzip, x%d" % number]).codings == ["gzip"]
    assert codings.choice([b"gzip", b"br"]).codings == ["gzip"]
    assert len(codings._known) <= 256


@pytest.mark.parametrize("fields", [[b"gzip" + b",a" * 30_000], [b"gzip"] * 10_000], ids=["one", "many"])
def test_endless_fields_are_not_read(fields: list[bytes]) -> None:
    """They count as none, and are not kept either."""
    codings = Codings(("gzip",), LEVELS)
    assert codings.choice(fields) is codings.choice([]) is codings.choice(fields)
    assert list(codings._known) == [()]


def decode(name: str, data: bytes) -> bytes:
    """By the library's own decoder, strictly: exactly one body, and all of it."""
    if name == "gzip":
        decoder = zlib.decompressobj(31)
        whole = decoder.decompress(data)
        assert decoder.eof
        assert not decoder.unused_data
        return whole
    library: Any = content_codings._library(name)
    if name == "br":
        return library.decompress(data)  # type: ignore[no-any-return]
    unzstd = library.ZstdDecompressor()
    whole = unzstd.decompress(data)
    assert unzstd.eof
    assert not unzstd.unused_data
    return whole  # type: ignore[no-any-return]


def decode_so_far(name: str) -> Any:
    """What takes parts and returns what can be read of them."""
    if name == "gzip":
        return zlib.decompressobj(31).decompress
    library: Any = content_codings._library(name)
    if name == "zstd":
        return library.ZstdDecompressor().decompress
    decoder = library.Decompressor()

    def read(data: bytes) -> bytes:
        found = decoder.process(data)
        while more := decoder.process(b""):  # it hands out so much at a time
            found += more
        return found  # type: ignore[no-any-return]

    return read


@pytest.fixture(params=OFFERED)
def coding(request: pytest.FixtureRequest) -> str:
    """Each that can be made on this interpreter."""
    if content_codings._library(request.param) is None:
        pytest.skip(f"no library for {request.param} here")
    return str(request.param)


def text(size: int) -> bytes:
    """Compressible, and different everywhere."""
    dice = random.Random(size)
    words = [b"alpha", b"beta", b"gamma", b"delta", b"%d" % dice.randrange(10**9)]
    return b" ".join(dice.choice(words) for _ in range(size // 4 + 1))[:size]


SIZES = [0, 1, 2, 100, 1023, 1024, 65535, 65536, 65537, 1 << 20, 3_000_001]


@pytest.mark.parametrize("size", SIZES)
def test_whole_bodies(coding: str, size: int) -> None:
    """Come back as they were; twice, since contexts are used again."""
    codings = Codings((coding,), LEVELS)
    body = text(size)
    for _ in range(2):
        assert decode(coding, codings.whole(coding, body)) == body


@pytest.mark.parametrize("use", list(Use))
@pytest.mark.parametrize("part,size", [(1, 300), (1000, 100_000), (65536, 1 << 20), (1 << 20, 3_000_001)])
def test_bodies_in_parts(coding: str, use: Use, part: int, size: int) -> None:
    """With each part all of it can be read so far."""
    codings = Codings((coding,), LEVELS)
    body = text(size)
    for _ in range(2):
        coder = codings.coder(coding, use)
        read = decode_so_far(coding)
        coded = b""
        for at in range(0, size, part):
            piece = body[at : at + part]
            flushed = coder.flush(piece)
            assert read(flushed) == piece
            coded += flushed
        coded += coder.finish(b"")
        assert decode(coding, coded) == body


def test_parts_that_need_not_be_read_at_once(coding: str) -> None:
    """`add` sends when it is worth it; then, all is there at the end."""
    codings = Codings((coding,), LEVELS)
    body = text(500_000)
    coder = codings.coder(coding, Use.BODY, len(body))
    coded = b"".join([coder.add(body[at : at + 1000]) for at in range(0, 499_000, 1000)]) + coder.finish(body[499_000:])
    assert decode(coding, coded) == body
    assert len(coded) < len(body) / 4


@pytest.mark.skipif(content_codings._library("zstd") is None, reason="no zstd here")
def test_zstd_contexts_are_used_again_unless_broken_off() -> None:
    """What a client left in the middle says nothing in the next body; and no more are kept than a few."""
    codings = Codings(("zstd",), LEVELS)
    codings.coder("zstd", Use.BODY).flush(b"secret" * 100)
    coders: list[Any] = [codings.coder("zstd", Use.BODY) for _ in range(10)]
    contexts = {id(coder._context) for coder in coders}
    assert len(contexts) == 10
    for coder in coders:
        assert decode("zstd", coder.finish(b"x")) == b"x"
    again: list[Any] = [codings.coder("zstd", Use.BODY) for _ in range(10)]
    kept = {id(coder._context) for coder in again} & contexts
    assert len(kept) >= 1
    assert len(codings._idle) <= 4


@pytest.mark.skipif(content_codings._library("zstd") is None, reason="no zstd here")
def test_the_last_idle_context_may_be_taken_by_another_thread() -> None:
    """Between the look and the grip: then there is a new one."""

    class Emptied(list[Any]):
        def __bool__(self) -> bool:
            return True

    codings = Codings(("zstd",), LEVELS)
    codings._idle = Emptied()
    assert decode("zstd", codings.whole("zstd", b"x")) == b"x"
    codings._idle = Emptied()
    assert decode("zstd", codings.coder("zstd", Use.BODY, 1).finish(b"x")) == b"x"


@pytest.mark.skipif(content_codings._library("zstd") is None, reason="no zstd here")
@pytest.mark.parametrize("level", [1, 3, 19])
@pytest.mark.parametrize("size", [1000, None])
def test_zstd_windows_are_of_eight_mebibytes_at_most(level: int, size: int | None) -> None:
    """RFC 9659: a client need not accept more."""
    codings = Codings(("zstd",), {"zstd": level})
    library: Any = content_codings._library("zstd")
    options = {library.DecompressionParameter.window_log_max: 23}
    body = text(9_000_000) if level < 10 else text(100_000)
    coder = codings.coder("zstd", Use.BODY)
    coded = coder.flush(body[:1000]) + coder.finish(body[1000:])
    assert library.ZstdDecompressor(options=options).decompress(coded) == body
    events = codings.coder("zstd", Use.EVENTS)
    coded = events.flush(b"data: x\n\n") + events.finish(b"")
    assert library.ZstdDecompressor(options={library.DecompressionParameter.window_log_max: 17}).decompress(coded)


@pytest.mark.skipif(content_codings._library("br") is None, reason="no brotli here")
@pytest.mark.parametrize("level", [4, 5])
def test_brotli_of_what_hardly_compresses(level: int) -> None:
    """In pieces, as files are: the library has no room for what it held back of earlier ones."""
    source = random.Random(level)
    body = bytes(source.choices(b"abcdefghijklmnop", k=3_000_000))
    coder = Codings(("br",), {"br": level}).coder("br", Use.BODY)
    coded = b"".join(coder.add(body[at : at + 262_144]) for at in range(0, len(body), 262_144))
    assert decode("br", coded + coder.finish(b"")) == body


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these were not installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_auto_is_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """zstd first; files beside others need no library."""
    without(monkeypatch, *MODULES["zstd"], *MODULES["br"])
    codings = Codings(("auto",), LEVELS)
    assert (codings.names, codings.of_files) == (["gzip"], ["zstd", "br", "gzip"])


@pytest.mark.parametrize("name,words", [("br", "pip install brotli"), ("zstd", "zstd")])
def test_a_named_coding_has_to_be_there(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it is one line, and exit code 2."""
    without(monkeypatch, *MODULES[name])
    for attempt in (lambda: require((name, "gzip")), lambda: Codings((name, "gzip"), LEVELS)):
        with pytest.raises(ModuleNotFoundError) as caught:
            attempt()
        line, code = explanation(caught.value)  # type: ignore[misc]
        assert line.startswith(f"--compression {name} needs ")
        assert words in line
        assert (code, "\n" in line) == (2, False)


@pytest.mark.skipif(getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is a GIL here")
def test_no_import_brings_the_gil_back(tmp_path: Path) -> None:
    """`auto` where nothing forbids the switch: what would do it is passed over, and taken where it cannot."""
    (tmp_path / "brotli.py").write_text("print('imported')")
    (tmp_path / "brotlicffi.py").write_text("raise ImportError")
    code = (
        "import sys; from pounce.exchange.content_codings import Codings; "
        "print('br' in Codings(('auto',), {}).names, sys._is_gil_enabled())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    environment["PYTHONPATH"] = str(tmp_path)
    for changes, said in (({}, "False False\n"), ({"PYTHON_GIL": "0"}, "imported\nTrue False\n")):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment | changes, capture_output=True, text=True, timeout=30)
        assert done.stdout == said, done


def test_files_beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first coding with a file that is regular, not older, and can be read."""
    path = tmp_path / "page.html"
    path.write_text("x")
    os.utime(path, ns=(10**18, 10**18))
    assert sibling_of(str(path), OFFERED) is None
    for suffix, age in ((".zst", -1), (".br", 0), (".gz", 1)):
        beside = tmp_path / f"page.html{suffix}"
        beside.write_text("y")
        os.utime(beside, ns=(10**18 + age, 10**18 + age))
    assert sibling_of(str(path), OFFERED) == (f"{path}.br", "br")
    assert sibling_of(path, OFFERED) == sibling_of(os.fsencode(path), OFFERED) == (f"{path}.br", "br")
    assert sibling_of(str(path), ("zstd", "gzip")) == (f"{path}.gz", "gzip")
    with monkeypatch.context() as patch:  # the mode of a file is nothing to root
        patch.setattr(content_codings, "_is_readable", lambda path: not path.endswith(".br"))
        assert sibling_of(str(path), OFFERED) == (f"{path}.gz", "gzip")
    (tmp_path / "page.html.gz").unlink()
    (tmp_path / "page.html.gz").mkdir()
    assert sibling_of(str(path), ("zstd", "gzip")) is None
    assert sibling_of(str(tmp_path / "nothing"), OFFERED) is None
    assert sibling_of("a\0b", OFFERED) is None


def test_a_directory_has_no_sibling(tmp_path: Path) -> None:
    """Whoever opens it is to hear that it is none."""
    (tmp_path / "page").mkdir()
    (tmp_path / "page.gz").write_bytes(b"x")
    os.utime(tmp_path / "page", ns=(1, 1))
    assert sibling_of(str(tmp_path / "page"), OFFERED) is None

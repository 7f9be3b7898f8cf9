"""Which paths lead to a file below a directory, and that none leads anywhere else, whatever is swapped meanwhile."""

from __future__ import annotations

import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from pounce.exchange.static_paths import MAX_LINKS, IsDirectory, NotServed, open_file, segments_of


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory to serve, beside what must not be."""
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    for secret in (outside / "secret", outside / "sub" / "a.txt"):
        secret.write_bytes(b"SECRET")
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a")
    (root / "sub" / "b.txt").write_bytes(b"b")
    (root / "sub" / "deep" / "c.txt").write_bytes(b"c")
    return root


def read(root: Path, path: str) -> bytes:
    """The bytes at a path. Raises NotServed."""
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    try:
        descriptor, found = open_file(str(root), segments_of(path))
        try:
            assert not os.get_inheritable(descriptor)
            data = os.read(descriptor, 100)
            assert len(data) == found.st_size
            return data
        finally:
            os.close(descriptor)
    finally:
        if before:
            assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("path,data", [("a.txt", b"a"), ("sub/b.txt", b"b"), ("sub/deep/c.txt", b"c")])
def test_files_are_found(tree: Path, path: str, data: bytes) -> None:
    """At any depth, and no descriptor is left."""
    assert read(tree, path) == data


@pytest.mark.parametrize(
    "path",
    [
        "..", "../outside/secret", "../root/a.txt", "sub/../a.txt", "sub/../../outside/secret", "sub/..", "sub/../",
        "./a.txt", ".", "sub/./b.txt", "sub/.", "/a.txt", "//a.txt", "/etc/passwd", "sub//b.txt", "//", "/",
        "a.txt\0", "\0a.txt", "a.txt\0.html", "sub/\0", ".hidden", "sub/.hidden", ".git/config", ".well-known/x",
        "...", "..a", ".../a.txt",
    ],
)  # fmt: skip
def test_paths_that_are_refused_as_such(path: str) -> None:
    """Without a look at the file system: dots, NUL, empty components."""
    with pytest.raises(NotServed):
        segments_of(path)


@pytest.mark.parametrize(
    "path", ["a.txt", "a..b", "a.", "sub/b.txt", "sub/", "", "a\\..\\b", "C:", "~", "%2e%2e", "a b"]
)
def test_paths_that_may_name_a_file(path: str) -> None:
    """A dot inside a name is nothing special, and neither is what only other systems know."""
    assert "/".join(segments_of(path)) == path


@pytest.mark.parametrize(
    "path",
    [
        "b.txt", "sub/a.txt", "a.txt/", "a.txt/b", "sub/b.txt/", "sub/b.txt/x", "%2e%2e/outside/secret",
        "..\\outside\\secret".lstrip("."), "C:\\a.txt", "x" * 256, "x" * 5000, "x/" * 3000 + "x", "\udcff", "\u202e",
        "A.TXT/", "~root", "sub/deep/../c.txt".replace("..", "\uff0e\uff0e"),
    ],
)  # fmt: skip
def test_there_is_no_such_file(tree: Path, path: str) -> None:
    """However long or strange the name is."""
    with pytest.raises(NotServed):
        read(tree, path)


@pytest.mark.parametrize("path", ["", "sub", "sub/", "sub/deep"])
def test_a_directory_is_told_apart(tree: Path, path: str) -> None:
    """An index may be in it."""
    with pytest.raises(IsDirectory):
        read(tree, path)


@pytest.mark.parametrize(
    "target,path",
    [
        ("a.txt", "link"),
        ("./a.txt", "link"),
        ("sub/b.txt", "link"),
        ("sub//./b.txt", "link"),
        ("../root-is-not-left/../a.txt", None),
        ("sub", "link/b.txt"),
        ("sub/", "link/deep/c.txt"),
        ("sub/deep/..", "link/b.txt"),
        ("sub/../a.txt", "link"),
        ("sub/deep/../../a.txt", "link"),
        (".", "link/link/link/a.txt"),
        (".hidden", "link"),
    ],
)
def test_links_that_stay_below(tree: Path, target: str, path: str | None) -> None:
    """They count; so do those to a hidden file, whose owner has made a name for it."""
    (tree / ".hidden").write_bytes(b"h")
    (tree / "link").symlink_to(target)
    if path is None:
        with pytest.raises(NotServed):
            read(tree, "link")
    else:
        assert len(read(tree, path)) == 1


@pytest.mark.parametrize(
    "target,path",
    [
        ("../outside/secret", "link"),
        ("../root/a.txt", "link"),
        ("..", "link/outside/secret"),
        ("../outside", "link/secret"),
        ("sub/../../outside/secret", "link"),
        ("sub/deep/../../../outside/secret", "link"),
        ("/etc/passwd", "link"),
        ("/", "link/etc/passwd"),
        ("//etc/passwd", "link"),
        ("missing", "link"),
        ("a.txt/", "link"),
        ("a.txt/..", "link/a.txt"),
        ("link", "link"),
        ("link/a.txt", "link"),
    ],
)
def test_links_that_lead_out_or_nowhere(tree: Path, target: str, path: str) -> None:
    """Also by a way that would come back, and in circles."""
    (tree / "link").symlink_to(target)
    with pytest.raises(NotServed):
        read(tree, path)


def test_an_absolute_link_is_refused_even_to_below(tree: Path) -> None:
    """Where it leads is a matter of the whole system."""
    (tree / "link").symlink_to(tree / "a.txt")
    with pytest.raises(NotServed):
        read(tree, "link")


def test_a_mounted_config_map_is_served(tree: Path) -> None:
    """Kubernetes: each file is a link through `..data` to a directory that changes."""
    (tree / "..2026_11_26").mkdir()
    (tree / "..2026_11_26" / "app.js").write_bytes(b"1")
    (tree / "..data").symlink_to("..2026_11_26")
    (tree / "app.js").symlink_to("..data/app.js")
    assert read(tree, "app.js") == b"1"


@pytest.mark.parametrize("links", [MAX_LINKS, MAX_LINKS + 1])
def test_the_number_of_links_is_bounded(tree: Path, links: int) -> None:
    """Each leads to the next."""
    for number in range(links - 1):
        (tree / f"l{number}").symlink_to(f"l{number + 1}")
    (tree / f"l{links - 1}").symlink_to("a.txt")
    if links <= MAX_LINKS:
        assert read(tree, "l0") == b"a"
    else:
        with pytest.raises(NotServed):
            read(tree, "l0")


def test_the_directory_itself_may_be_a_link(tree: Path) -> None:
    """It is the user's word, and followed anew: so releases are switched."""
    current = tree.parent / "current"
    current.symlink_to("root")
    assert read(current, "a.txt") == b"a"
    (tree.parent / "next").mkdir()
    (tree.parent / "next" / "a.txt").write_bytes(b"2")
    (tree.parent / "new").symlink_to("next")
    (tree.parent / "new").rename(current)
    assert read(current, "a.txt") == b"2"


def test_a_directory_that_is_gone_is_empty(tree: Path) -> None:
    """And it may come back."""
    tree.rename(tree.parent / "away")
    with pytest.raises(NotServed):
        read(tree, "a.txt")
    (tree.parent / "away").rename(tree)
    assert read(tree, "a.txt") == b"a"


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "link to a device", "unreadable"])
def test_anything_but_a_regular_file_is_refused(tree: Path, kind: str) -> None:
    """Without waiting: a FIFO has nobody who writes."""
    path = tree / "odd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            where = os.getcwd()
            os.chdir(tree)  # its name has room for 100 bytes
            try:
                bound.bind("odd")
            finally:
                os.chdir(where)
    elif kind == "device":
        try:
            os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            pytest.skip("needs the right to make devices")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        path.write_bytes(b"x")
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read anything")
    with pytest.raises(NotServed):
        read(tree, "odd")


def test_the_systems_trouble_is_not_the_files(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor left, say: that is no 404."""

    def refuse(*args: object, **keywords: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        open_file(str(tree), ["a.txt"])


@pytest.mark.parametrize("path", ["swap", "swap/b.txt"])
@pytest.mark.parametrize("stays", [True, False])
def test_a_link_that_is_replaced_meanwhile(tree: Path, path: str, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a file or a directory, once or again and again: the name was never without one."""
    is_file = path == "swap"
    swapped, link = tree / "swap", tree / "link"
    link.symlink_to("a.txt" if is_file else "sub")
    link.rename(swapped)
    real = os.readlink
    looks = 0

    def readlink(name: str, *, dir_fd: int | None = None) -> str:
        nonlocal looks
        looks += 1
        if not swapped.is_symlink():
            return real(name, dir_fd=dir_fd)
        swapped.rename(link)
        (tree / ("a.txt" if is_file else "sub")).rename(swapped)
        try:
            return real(name, dir_fd=dir_fd)
        finally:
            if not stays:
                swapped.rename(tree / ("a.txt" if is_file else "sub"))
                link.rename(swapped)

    monkeypatch.setattr(os, "readlink", readlink)
    if stays:
        assert read(tree, path) == (b"a" if is_file else b"b")
        assert looks == 1
    else:
        with pytest.raises(NotServed):
            read(tree, path)
        assert looks == MAX_LINKS


@pytest.mark.parametrize("place", ["file", "directory"])
def test_a_link_that_is_swapped_meanwhile_leads_nowhere_else(tree: Path, place: str) -> None:
    """While a file, or the directory that it is in, turns into a link to the outside and back, again and again."""
    (tree / "sub" / "a.txt").write_bytes(b"a")
    target = tree / "sub" / "a.txt" if place == "file" else tree / "sub"
    out = "../../outside/secret" if place == "file" else "../outside/sub"
    kept, link = tree / "kept", tree / "swap"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            target.rename(kept)
            link.symlink_to(out)
            link.rename(target)
            target.unlink()
            kept.rename(target)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        seen: dict[bytes, int] = {}
        for _ in range(4000):
            try:
                data = read(tree, "sub/a.txt")
            except NotServed:
                data = b"404"
            seen[data] = seen.get(data, 0) + 1
    finally:
        stop.set()
        thread.join()
    assert set(seen) <= {b"a", b"404"}
    assert b"404" in seen
    assert read(tree, "sub/a.txt") == b"a"

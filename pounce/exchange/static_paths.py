"""Opens a regular file below a directory, by a path from a client, and nothing that is elsewhere.

The path is walked component by component, each opened below the descriptor of the one before and never through a
symbolic link: what is swapped meanwhile cannot lead out. A link's target is walked in the same way, so that a link
counts where it stays below the directory. Needs `openat` (not Windows). Blocks no longer than the file system does: a
FIFO or a device is opened without waiting, looked at, and closed.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence

#: Links that one path may go through.
MAX_LINKS = 8

# O_PATH: neither the right to list a directory is needed, nor anything read.
_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_BELOW = _DIRECTORY | getattr(os, "O_NOFOLLOW", 0)
_FILE = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)

#: What opening a symbolic link with O_NOFOLLOW fails with: as a file (the BSDs have others), and as a directory.
_MAY_BE_LINK = (errno.ELOOP, errno.ENOTDIR, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP))

_REFUSED = re.compile(r"\0|(?:^|/)[./]").search

#: The system's own trouble, which says nothing of the file.
TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EINTR, errno.ESTALE)


class NotServed(Exception):
    """There is no regular file of this name below the directory, or none that may be served."""


class IsDirectory(NotServed):
    """It is a directory."""


def segments_of(path: str) -> list[str]:
    """The components of a decoded path below a prefix. Raises NotServed for one that names nothing that is served.

    That is one with a NUL, an empty component, or one that begins with a dot: `.`, `..`, and hidden files. An empty
    last component, of a path that ends with a slash, stays.
    """
    if _REFUSED(path):
        raise NotServed(path)
    return path.split("/")


def open_file(root: str, segments: Sequence[str]) -> tuple[int, os.stat_result]:
    """A descriptor of the regular file, and what `fstat` says of it.

    Raises NotServed where there is none, IsDirectory where it is a directory, and OSError for what is the system's.
    """
    opened: list[int] = []
    try:
        opened.append(os.open(root, _DIRECTORY))
        return _walk(opened, list(segments))
    except ValueError as exc:  # a name that the file system's encoding has no bytes for
        raise NotServed(*segments) from exc
    except OSError as exc:
        if exc.errno in TROUBLE:
            raise
        raise NotServed(*segments) from exc
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _walk(opened: list[int], names: list[str]) -> tuple[int, os.stat_result]:
    """`opened`: the directories from the root down to where the walk is. None of them is a link."""
    names.reverse()
    links = 0
    while True:
        name = names.pop()
        if not name or name == ".":
            if not names:
                raise IsDirectory(name)
        elif name == "..":  # of a link: no path from a client has it
            if len(opened) == 1:
                raise NotServed(name)
            os.close(opened.pop())
            if not names:
                raise IsDirectory(name)
        else:
            try:
                if names:
                    opened.append(os.open(name, _BELOW, dir_fd=opened[-1]))
                    continue
                descriptor = os.open(name, _FILE, dir_fd=opened[-1])
            except OSError as exc:
                if exc.errno not in _MAY_BE_LINK:
                    raise
                links += 1
                names += _target(name, opened[-1], links)
                continue
            return _regular(descriptor)


def _target(name: str, directory: int, links: int) -> list[str]:
    """The components of a link's target, the last one first; of what is no link, or none any more, its own name."""
    if links > MAX_LINKS:
        raise NotServed(name)
    try:
        target = os.readlink(name, dir_fd=directory)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return [name]  # a link that was replaced since: a deployment does that. A file that is no directory stays one
    if target.startswith("/"):
        raise NotServed(name)
    return target.split("/")[::-1]


def _regular(descriptor: int) -> tuple[int, os.stat_result]:
    """The descriptor of a file that was just opened, if it is a regular one; else it is closed."""
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsDirectory
        if not stat.S_ISREG(found.st_mode):
            raise NotServed
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, found

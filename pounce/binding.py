"""`Bind`: where to listen, the sockets for that, and the line that says so.

Where a socket cannot be had, the error is a single line that says which. Nothing is ever removed that this run did not
make: a path where a server listens, or where something else than a socket is, is refused. Runs wherever a socket is
bound, in a supervisor or in the process that serves; knows no asyncio, so that a supervisor stays small. Implements
unix(7) and socket(7); compatible with uvicorn's messages, file modes and `Config.bind_socket`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from pounce.contracts import ConfigView
from pounce.errors import StartupFailed
from pounce.logs import log_styled
from pounce.names import LOGGER_ERROR, banner

#: Everybody may connect to a unix socket; who may reach it is up to its directory.
UDS_MODE = 0o666

#: What `listen()` takes. The system cuts it down to its own limit.
_MAX_BACKLOG = 2**31 - 1

#: Seconds that a server whose queue is full gets to take the connection that asks whether it is there.
_TIMEOUT_PROBE = 1.0

#: The state of a socket without a peer in `/proc/net/unix`.
_UNCONNECTED = b"01"

_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

#: (address family, socket type, protocol)
Kind = tuple[int, int, int]


logger = logging.getLogger(LOGGER_ERROR)


@dataclass(frozen=True)
class Bind:
    """Where to listen: on an open descriptor, at the path of a unix socket, or else at an address."""

    host: str | None
    port: int
    uds: str | None
    fd: int | None
    backlog: int
    scheme: str

    @classmethod
    def of(cls, config: ConfigView) -> Bind:
        """What a config says."""
        scheme = "https" if config.is_ssl else "http"
        return cls(config.host, config.port, config.uds, config.fd, config.backlog, scheme)

    @property
    def is_address(self) -> bool:
        """Whether a host is to be resolved, perhaps to several addresses."""
        return self.fd is None and self.uds is None

    def check(self) -> None:
        """Raise OSError for what is known to be wrong before anything is bound, so that no app is started in vain."""
        if self.backlog > _MAX_BACKLOG:
            raise OSError(f"The backlog must not exceed {_MAX_BACKLOG}: {self.backlog}.")
        if self.fd is not None:
            inherited(self.fd).close()
        elif self.uds is not None:
            path = os.fspath(self.uds)
            _look_at(path)
            folder = os.path.dirname(path) or "."
            if not os.access(folder, os.W_OK | os.X_OK):
                number = errno.EACCES if os.path.isdir(folder) else errno.ENOENT
                raise OSError(number, os.strerror(number), path)
        elif not 0 <= self.port <= 65535:
            raise OSError(f"The port must be 0-65535, not {self.port}.")

    def open(self) -> socket.socket:
        """One bound socket that does not listen yet. Raises OSError."""
        if self.fd is not None:
            return inherited(self.fd)
        if self.uds is not None:
            return bind_unix(self.uds)
        return bind_tcp(self.host, self.port)

    def announce(self, sock: socket.socket) -> None:
        """Log where the server listens: the line that people, editors and scripts wait for."""
        if self.fd is not None:
            where, arguments = "socket %s", [sock.getsockname()]
        elif self.uds is not None:
            where, arguments = "unix socket %s", [self.uds]
        else:
            host = "0.0.0.0" if self.host is None else self.host
            where = "%s://[%s]:%d" if ":" in host else "%s://%s:%d"
            arguments = [self.scheme, host, sock.getsockname()[1]]
        log_styled(f"{banner()} running on {where} (Press CTRL+C to quit)", *arguments, bold=True)


@contextlib.contextmanager
def failing_start() -> Iterator[None]:
    """Log the OSError of what is done meanwhile as one line, and raise StartupFailed for it."""
    try:
        yield
    except OSError as exc:
        logger.error(exc)
        raise StartupFailed from None


def bind_socket(config: ConfigView) -> socket.socket:
    """A bound, inheritable socket for server processes, which does not listen yet. Logs where; raises StartupFailed."""
    bind = Bind.of(config)
    with failing_start():
        bind.check()
        sock = bind.open()
    bind.announce(sock)
    sock.set_inheritable(True)
    return sock


def bind_tcp(host: str | None, port: int) -> socket.socket:
    """A bound TCP socket; IPv6 where the host is an IPv6 address. Raises OSError."""
    family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
    # By its protocol asyncio knows a connection that must not wait for more to send (TCP_NODELAY).
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host or "", port))
    except (OSError, UnicodeError) as exc:
        sock.close()
        if isinstance(exc, (socket.gaierror, UnicodeError)):
            raise unresolved(host, exc) from None
        raise OSError(exc.errno, f"{exc.strerror}: {host}:{port}") from None
    return sock


def unresolved(host: str | None, exc: Exception) -> OSError:
    """The error for a host name that has no address."""
    return OSError(f"Cannot resolve the host {host!r}: {getattr(exc, 'strerror', None) or exc}")


def bind_unix(path: str) -> socket.socket:
    """A unix socket at this path, in the place of one that a killed server left behind, and with its mode.

    Raises OSError where the path is taken or cannot be made.
    """
    path = os.fspath(path)
    mode = _vacate(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _naming(path), contextlib.ExitStack() as undo:
        undo.callback(sock.close)
        sock.bind(path)
        undo.callback(SocketFile(path).remove)
        os.chmod(path, mode)  # nobody can connect before it listens, whatever the umask made of it
        undo.pop_all()
    return sock


class SocketFile:
    """What is at a path right after a socket was bound there."""

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)  # the app may change the working directory
        self._identity = _identity(self._path)

    def remove(self) -> None:
        """Remove it, unless it is gone or something else has taken its place."""
        with contextlib.suppress(OSError):  # what is left can be taken over: nobody listens
            if self._identity is not None and _identity(self._path) == self._identity:
                os.unlink(self._path)


def inherited(fd: int) -> socket.socket:
    """A socket object for a descriptor that stays open: family, type and protocol are the descriptor's own.

    Raises OSError where nothing can be accepted on it.
    """
    try:
        given = socket.socket(fileno=fd)
    except (OSError, OverflowError) as exc:
        raise _unfit(fd, getattr(exc, "strerror", None) or str(exc)) from None
    try:
        if given.type != socket.SOCK_STREAM:
            raise _unfit(fd, "it is not a stream socket")
        try:
            peer = given.getpeername()
        except OSError:
            return given.dup()
        raise _unfit(fd, f"it is a connection (to {peer})" if peer else "it is a connection")
    finally:
        given.detach()


def kind_of(listener: socket.socket) -> Kind:
    """What a listening socket is, whatever its object says, and with TCP as the protocol of all that behaves so.

    Objects that process managers and users make often know no protocol, or another family. asyncio switches
    TCP_NODELAY on by it.
    """
    probe = socket.socket(fileno=listener.fileno())  # asks the system
    try:
        family, type_, proto = int(probe.family), int(probe.type), probe.proto
    finally:
        probe.detach()
    is_stream = family in (socket.AF_INET, socket.AF_INET6) and type_ == socket.SOCK_STREAM
    if is_stream and proto in (0, getattr(socket, "IPPROTO_MPTCP", 0)):
        proto = socket.IPPROTO_TCP
    return family, type_, proto


def duplicate(listener: socket.socket) -> socket.socket:
    """The same listening socket once more, as an object that knows its family: libuv takes one that says AF_UNIX for a
    pipe."""
    family, type_, proto = kind_of(listener)
    return socket.socket(family, type_, proto, fileno=os.dup(listener.fileno()))


def _vacate(path: str) -> int:
    """Remove a socket on which nobody listens. Returns the mode that a new one should have."""
    left = _look_at(path)
    if left is None:
        return UDS_MODE
    with _naming(path), contextlib.suppress(FileNotFoundError):
        if _identity(path) == _identity_of(left):
            os.unlink(path)
    return stat.S_IMODE(left.st_mode)


def _look_at(path: str) -> os.stat_result | None:
    """What a killed server has left at this path, if anything. Raises OSError where it is taken."""
    if not path:
        raise OSError("The path of the unix socket is empty.")
    with _naming(path):
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
    if not stat.S_ISSOCK(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise OSError(f"Cannot make a unix socket at {path!r}: {kind} is there.")
    with _naming(path), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_TIMEOUT_PROBE)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            if not _will_listen(path):
                return found
        except PermissionError:
            raise
        except OSError:
            pass  # a full queue, or a socket of another type: somebody is there
    raise OSError(errno.EADDRINUSE, f"{os.strerror(errno.EADDRINUSE)}: the unix socket {path!r} is in use")


def _will_listen(path: str) -> bool:
    """Whether a process has bound this path and does not listen yet, as a supervisor whose children are starting.

    Only Linux tells (proc(5), `/proc/net/unix`); a relative path may be one of another directory there.
    """
    name = os.fsencode(path)
    if not os.path.isabs(name):
        return False
    try:
        with open("/proc/net/unix", "rb") as table:
            rows = [line.rstrip(b"\n").split(None, 7) for line in table]
    except OSError:
        return False
    return any(row[5:6] == [_UNCONNECTED] and row[7:] == [name] for row in rows)


def _identity(path: str) -> tuple[int, int, int] | None:
    try:
        return _identity_of(os.lstat(path))
    except OSError:
        return None


def _identity_of(found: os.stat_result) -> tuple[int, int, int]:
    """Device and inode; the time too, since the number of an inode that is gone is given to the next one."""
    return found.st_dev, found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Put the path into the error of what is done meanwhile: `bind()` and others do not say."""
    try:
        yield
    except (OSError, ValueError) as exc:
        if isinstance(exc, ValueError) or exc.errno is None:
            raise OSError(f"{exc}: {path!r}") from None
        raise OSError(exc.errno, exc.strerror, path) from None


def _unfit(fd: int, reason: str) -> OSError:
    return OSError(f"Cannot listen on file descriptor {fd}: {reason}.")

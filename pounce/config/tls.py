"""The TLS context of a server, from its `ssl_*` settings. Built once per worker; knows nothing of sockets."""

from __future__ import annotations

import os
import ssl
from typing import Any

from pounce.errors import explain

SSL_PROTOCOL_VERSION: int = ssl.PROTOCOL_TLS_SERVER


def create_ssl_context(
    certfile: str | os.PathLike[str],
    keyfile: str | os.PathLike[str] | None,
    password: str | None,
    ssl_version: int,
    cert_reqs: int,
    ca_certs: str | os.PathLike[str] | None,
    ciphers: str | None,
    alpn_protocols: list[str] | None = None,
) -> ssl.SSLContext:
    """A server-side context that shows `certfile` and, by `cert_reqs`, asks clients for certificates of `ca_certs`.

    Raises `OSError` for a file that cannot be read and `ssl.SSLError` for one, or a cipher list, that makes no sense.
    """
    context = ssl.SSLContext(ssl_version)
    try:
        context.load_cert_chain(certfile, keyfile, (lambda: password) if password else None)
        context.verify_mode = ssl.VerifyMode(cert_reqs)
        if ca_certs:
            context.load_verify_locations(ca_certs)
        if ciphers:
            context.set_ciphers(ciphers)
    except OSError as exc:
        raise explain(exc, _reason(exc, certfile, keyfile, ca_certs))
    if alpn_protocols:
        context.set_alpn_protocols(alpn_protocols)
    return context


def context_from(config: Any, alpn_protocols: list[str] | None) -> ssl.SSLContext | None:
    """The context a config asks for, or None without TLS. Calls the user's `ssl_context_factory` if there is one."""

    def default_factory() -> ssl.SSLContext:
        if not config.ssl_certfile:
            raise RuntimeError(
                "The default context that was handed to `ssl_context_factory` requires `ssl_certfile` in the config. "
                "Set it (and `ssl_keyfile` if the key is in a file of its own), or build the context from scratch."
            )
        return create_ssl_context(
            certfile=config.ssl_certfile,
            keyfile=config.ssl_keyfile,
            password=config.ssl_keyfile_password,
            ssl_version=config.ssl_version,
            cert_reqs=config.ssl_cert_reqs,
            ca_certs=config.ssl_ca_certs,
            ciphers=config.ssl_ciphers,
            alpn_protocols=alpn_protocols,
        )

    if config.ssl_context_factory is not None:
        context = config.ssl_context_factory(config, default_factory)
        if not isinstance(context, ssl.SSLContext):
            raise TypeError(f"`ssl_context_factory` must return an `ssl.SSLContext`, not {type(context).__name__}")
        return context
    if not config.is_ssl:
        return None
    if not config.ssl_certfile:
        raise explain(ValueError("`ssl_keyfile` requires `ssl_certfile`"), "--ssl-keyfile needs --ssl-certfile as well")
    return default_factory()


def check(config: Any) -> None:
    """Raise, as `context_from` would, for TLS files that do not work; without running or asking the user."""
    if config.ssl_context_factory is None and not _would_ask_for_password(config):
        context_from(config, None)


def _would_ask_for_password(config: Any) -> bool:
    """Whether OpenSSL would stop and ask at the terminal: a server process has to, its parent need not."""
    if config.ssl_keyfile_password:
        return False
    try:
        with open(config.ssl_keyfile or config.ssl_certfile or "", "rb") as file:
            return b"ENCRYPTED" in file.read()
    except OSError:
        return False


def _reason(exc: OSError, *files: str | os.PathLike[str] | None) -> str:
    # OpenSSL's errors name no file.
    for file in files:
        if not file:
            continue
        try:
            with open(file, "rb"):
                pass
        except OSError as unreadable:
            return f"Cannot read the TLS file '{os.fspath(file)}': {unreadable.strerror}"
    listed = ", ".join(f"'{os.fspath(file)}'" for file in files if file)
    return f"Cannot set up TLS with {listed}: {exc}"

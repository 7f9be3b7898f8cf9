"""The TLS context of a server, from its `ssl_*` settings. Built once per worker; knows nothing of sockets."""

from __future__ import annotations

import os
import ssl
from typing import Any

from pounce.connection.tls import note_certificate
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
        context.load_cert_chain(certfile, keyfile or None, (lambda: password) if password else None)
    except (OSError, ValueError) as exc:
        raise explain(exc, _what_is_wrong_with(certfile, keyfile, password, exc))
    note_certificate(context, _content(certfile).decode("latin-1"))
    context.verify_mode = ssl.VerifyMode(cert_reqs)
    if ca_certs:
        try:
            context.load_verify_locations(ca_certs)
        except OSError as exc:
            raise explain(exc, _unreadable("--ssl-ca-certs", ca_certs) or _no_certificate("--ssl-ca-certs", ca_certs))
    if ciphers:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError as exc:
            raise explain(exc, f"--ssl-ciphers '{ciphers}' selects no cipher")
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
    key = config.ssl_keyfile or config.ssl_certfile
    if config.use_subprocess and not config.ssl_keyfile_password and b"ENCRYPTED" in _content(key):
        # OpenSSL would ask at the terminal: each process and thread, all at once, and again when one is replaced.
        raise explain(ValueError(_encrypted(key)))
    return default_factory()


def _content(path: str | os.PathLike[str]) -> bytes:
    """What is in a file; nothing where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _what_is_wrong_with(
    certfile: str | os.PathLike[str], keyfile: str | os.PathLike[str] | None, password: str | None, exc: Exception
) -> str:
    """The option and the file at fault: OpenSSL names neither, and calls most of it "PEM lib"."""
    holder = keyfile or certfile
    for option, path in (("--ssl-certfile", certfile), ("--ssl-keyfile", holder)):
        if unreadable := _unreadable(option, path):
            return unreadable
    key = _content(holder)
    if b"ENCRYPTED" in key and not password:
        return _encrypted(holder)
    if isinstance(exc, ssl.SSLError) and exc.reason == "KEY_VALUES_MISMATCH":
        return f"--ssl-keyfile '{os.fspath(holder)}' is not the key of the certificate '{os.fspath(certfile)}'"
    if not isinstance(exc, ssl.SSLError) or exc.reason:
        return f"Cannot set up TLS with '{os.fspath(certfile)}' and '{os.fspath(holder)}': {exc}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certfile)
    except OSError:
        return _no_certificate("--ssl-certfile", certfile)
    if b"ENCRYPTED" in key:
        return f"--ssl-keyfile-password is not the password of the key '{os.fspath(holder)}'"
    if not keyfile and b"PRIVATE KEY" not in key:
        return f"--ssl-certfile '{os.fspath(certfile)}' has no private key in it: --ssl-keyfile is needed as well"
    return f"--ssl-keyfile '{os.fspath(holder)}' is not a private key in PEM form"


def _unreadable(option: str, path: str | os.PathLike[str]) -> str | None:
    try:
        with open(path, "rb"):
            return None
    except OSError as exc:
        return f"{option} '{os.fspath(path)}': {exc.strerror}"


def _no_certificate(option: str, path: str | os.PathLike[str]) -> str:
    return f"{option} '{os.fspath(path)}' is not a certificate in PEM form"


def _encrypted(path: str | os.PathLike[str]) -> str:
    return f"The private key '{os.fspath(path)}' is encrypted: its password goes into --ssl-keyfile-password"

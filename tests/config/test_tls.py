"""TLS contexts from settings."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from pounce.config import tls
from pounce.config.config import Config
from pounce.errors import explanation
from tests.config import apps


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A certificate of a new authority, its key, both in one file, the authority's certificate; and what fits less."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    named = ("cert", "key", "both", "ca", "encrypted", "other", "text", "broken_cert", "broken_key", "nowhere")
    found = SimpleNamespace(folder=folder, **{name: folder / f"{name}.pem" for name in named})
    leaf.cert_chain_pems[0].write_to_path(os.fspath(found.cert))
    leaf.private_key_pem.write_to_path(os.fspath(found.key))
    leaf.private_key_and_cert_chain_pem.write_to_path(os.fspath(found.both))
    authority.cert_pem.write_to_path(os.fspath(found.ca))
    key = serialization.load_pem_private_key(leaf.private_key_pem.bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    found.encrypted.write_bytes(key.private_bytes(pem, pkcs8, encryption))
    authority.issue_cert("localhost").private_key_pem.write_to_path(os.fspath(found.other))
    found.text.write_text("nothing in here")
    for kind, path in (("CERTIFICATE", found.broken_cert), ("PRIVATE KEY", found.broken_key)):
        path.write_text(f"-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")
    return found


def loaded(**settings: Any) -> Config:
    """A loaded config of which only the TLS settings matter."""
    config = Config(apps.asgi3, log_config=None, http=apps.Server, ws="none", **settings)  # type: ignore[arg-type]
    config.load()
    return config


def test_there_is_no_context_without_tls() -> None:
    """Plain HTTP is the default."""
    config = loaded()
    assert config.ssl is None
    assert not config.is_ssl


@pytest.mark.parametrize("separate", [True, False])
def test_certificate_and_key_may_share_a_file(files: SimpleNamespace, separate: bool) -> None:
    """Either way the server has a context."""
    settings = {"ssl_certfile": files.cert, "ssl_keyfile": files.key} if separate else {"ssl_certfile": files.both}
    config = loaded(**settings)
    assert config.is_ssl
    assert isinstance(config.ssl, ssl.SSLContext)


def test_the_settings_reach_the_context(files: SimpleNamespace) -> None:
    """Client certificates, authorities and ciphers."""
    config = loaded(
        ssl_certfile=files.both,
        ssl_ca_certs=files.ca,
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        ssl_ciphers="ECDHE-RSA-AES128-GCM-SHA256",
    )
    assert config.ssl is not None
    assert config.ssl.verify_mode is ssl.CERT_REQUIRED
    assert len(config.ssl.get_ca_certs()) == 1
    assert "ECDHE-RSA-AES128-GCM-SHA256" in {cipher["name"] for cipher in config.ssl.get_ciphers()}


def test_alpn_is_what_the_protocol_class_speaks(files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The class's `alpn_protocols` is offered to clients."""
    offered: list[list[str]] = []
    monkeypatch.setattr(ssl.SSLContext, "set_alpn_protocols", lambda _, protocols: offered.append(protocols))
    loaded(ssl_certfile=files.both)
    assert offered == [["http/1.1"]]


def test_each_worker_has_a_context_of_its_own(files: SimpleNamespace) -> None:
    """A context is touched by every handshake."""
    config = loaded(ssl_certfile=files.both)
    assert config.for_worker().ssl is not config.ssl


def test_a_context_factory_may_change_the_default(files: SimpleNamespace) -> None:
    """It is handed the config and what makes the default context."""

    def tls13(config: Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        assert config.ssl_certfile == files.both
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    config = loaded(ssl_certfile=files.both, ssl_context_factory=tls13)
    assert config.ssl is not None
    assert config.ssl.minimum_version is ssl.TLSVersion.TLSv1_3


def test_the_default_context_needs_a_certificate() -> None:
    """A factory that asks for it without one is told so."""
    with pytest.raises(RuntimeError, match="requires `ssl_certfile`"):
        loaded(ssl_context_factory=lambda _, default: default())


def test_a_context_factory_returns_a_context() -> None:
    """Anything else is a TypeError at the start."""
    with pytest.raises(TypeError, match=r"must return an `ssl.SSLContext`, not str"):
        loaded(ssl_context_factory=lambda *_: "context")


@pytest.mark.parametrize("settings", [{"workers": 2}, {"reload": True}])
@pytest.mark.parametrize("by_child", [False, True])
def test_no_process_among_others_asks_for_the_password(
    files: SimpleNamespace, settings: Any, by_child: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several would ask at the same terminal, and again when one is replaced: the parent says where it goes."""
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda *_: pytest.fail("asked"))
    config = Config("nowhere:app", log_config=None, ssl_certfile=files.cert, ssl_keyfile=files.encrypted, **settings)
    with pytest.raises(ValueError) as caught:
        tls.context_from(config, None) if by_child else config.check()
    line = f"The private key '{files.encrypted}' is encrypted: its password goes into --ssl-keyfile-password"
    assert explanation(caught.value) == (line, 3)


def test_one_server_alone_may_ask_for_the_password(files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL does, at the terminal, where it is given no password."""
    given: list[Any] = []
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda _, *arguments: given.append(arguments))
    loaded(ssl_certfile=files.cert, ssl_keyfile=files.encrypted)
    assert given == [(files.cert, files.encrypted, None)]


def test_the_password_opens_the_key(files: SimpleNamespace) -> None:
    """Under several processes as well."""
    for workers in (1, 2):
        config = Config(
            "tests.config.apps:asgi3",
            log_config=None,
            workers=workers,
            ssl_certfile=files.cert,
            ssl_keyfile=files.encrypted,
            ssl_keyfile_password="secret",
        )
        config.check()
        assert isinstance(tls.context_from(config, None), ssl.SSLContext)


#: What goes wrong: what is changed of settings that work, and what the line says; in braces the names of `files`.
MISTAKES: list[tuple[dict[str, str], str]] = [
    ({"ssl_certfile": "nowhere"}, "--ssl-certfile '{nowhere}': No such file or directory"),
    ({"ssl_keyfile": "nowhere"}, "--ssl-keyfile '{nowhere}': No such file or directory"),
    ({"ssl_ca_certs": "nowhere"}, "--ssl-ca-certs '{nowhere}': No such file or directory"),
    ({"ssl_certfile": "folder"}, "--ssl-certfile '{folder}': Is a directory"),
    ({"ssl_certfile": "text"}, "--ssl-certfile '{text}' is not a certificate in PEM form"),
    ({"ssl_certfile": "broken_cert"}, "--ssl-certfile '{broken_cert}' is not a certificate in PEM form"),
    ({"ssl_certfile": "key", "ssl_keyfile": "cert"}, "--ssl-certfile '{key}' is not a certificate in PEM form"),
    ({"ssl_keyfile": "text"}, "--ssl-keyfile '{text}' is not a private key in PEM form"),
    ({"ssl_keyfile": "broken_key"}, "--ssl-keyfile '{broken_key}' is not a private key in PEM form"),
    ({"ssl_keyfile": ""}, "--ssl-certfile '{cert}' has no private key in it: --ssl-keyfile is needed as well"),
    ({"ssl_keyfile": "other"}, "--ssl-keyfile '{other}' is not the key of the certificate '{cert}'"),
    (
        {"ssl_keyfile": "encrypted", "ssl_keyfile_password": "wrong"},
        "--ssl-keyfile-password is not the password of the key '{encrypted}'",
    ),
    (
        {"ssl_keyfile": "encrypted", "ssl_keyfile_password": "x" * 2000},
        "Cannot set up TLS with '{cert}' and '{encrypted}': password cannot be longer than 1024 bytes",
    ),
    ({"ssl_ca_certs": "text"}, "--ssl-ca-certs '{text}' is not a certificate in PEM form"),
    ({"ssl_ca_certs": "broken_cert"}, "--ssl-ca-certs '{broken_cert}' is not a certificate in PEM form"),
    ({"ssl_ciphers": "NONE-SUCH"}, "--ssl-ciphers 'NONE-SUCH' selects no cipher"),
]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("changes,said", MISTAKES, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_what_does_not_fit_is_named(files: SimpleNamespace, changes: dict[str, str], said: str, workers: int) -> None:
    """One line with the option and the file, where OpenSSL says "PEM lib"; under a supervisor its `check` finds it."""
    settings: dict[str, Any] = {"ssl_certfile": files.cert, "ssl_keyfile": files.key}
    settings |= {name: getattr(files, value, value) for name, value in changes.items()}
    config = Config(apps.asgi3, log_config=None, http=apps.Server, ws="none", workers=workers, **settings)  # type: ignore[arg-type]
    with pytest.raises((OSError, ValueError)) as caught:
        config.check() if workers > 1 else config.load()
    assert explanation(caught.value) == (said.format(**vars(files)), 3)


def test_a_prompt_that_nobody_answers_is_explained(files: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal OpenSSL gives up with errors of various names."""
    for error in (OSError(22, "Invalid argument"), ssl.SSLError(1, "[SSL] PEM lib")):
        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", mock.Mock(side_effect=error))
        with pytest.raises(OSError) as caught:
            loaded(ssl_certfile=files.cert, ssl_keyfile=files.encrypted)
        line = f"The private key '{files.encrypted}' is encrypted: its password goes into --ssl-keyfile-password"
        assert explanation(caught.value) == (line, 3)

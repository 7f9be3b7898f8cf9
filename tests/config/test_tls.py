"""TLS contexts from settings."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from pounce.config import tls
from pounce.config.config import Config
from pounce.config.tls import create_ssl_context
from pounce.errors import explanation
from tests.config import apps


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A certificate of a new authority, its key, both in one file, and the authority's certificate."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    found = SimpleNamespace(
        cert=folder / "cert.pem", key=folder / "key.pem", both=folder / "both.pem", ca=folder / "ca.pem"
    )
    leaf.cert_chain_pems[0].write_to_path(os.fspath(found.cert))
    leaf.private_key_pem.write_to_path(os.fspath(found.key))
    leaf.private_key_and_cert_chain_pem.write_to_path(os.fspath(found.both))
    authority.cert_pem.write_to_path(os.fspath(found.ca))
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


def test_a_parent_does_not_ask_for_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each server process will; the check only looks at keys that need none."""
    path = tmp_path / "key.pem"
    path.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", lambda *_: pytest.fail("asked"))
    config = Config("nowhere:app", log_config=None, ssl_certfile=path)
    tls.check(config)


@pytest.mark.parametrize("missing", ["cert", "key", "ca"])
def test_a_missing_file_is_named(files: SimpleNamespace, missing: str, tmp_path: Path) -> None:
    """OpenSSL's own error does not say which it is."""
    paths = {"cert": files.cert, "key": files.key, "ca": files.ca} | {missing: tmp_path / "nowhere.pem"}
    with pytest.raises(FileNotFoundError) as caught:
        create_ssl_context(paths["cert"], paths["key"], None, 17, 0, paths["ca"], None)
    line = f"Cannot read the TLS file '{tmp_path / 'nowhere.pem'}': No such file or directory"
    assert explanation(caught.value) == (line, 3)


def test_a_file_without_a_certificate_is_explained(tmp_path: Path) -> None:
    """OpenSSL's reason is part of the line."""
    path = tmp_path / "empty.pem"
    path.write_text("nothing in here")
    with pytest.raises(ssl.SSLError) as caught:
        create_ssl_context(path, None, None, 17, 0, None, None)
    line, code = explanation(caught.value) or ("", 0)
    assert line.startswith(f"Cannot set up TLS with '{path}': ")
    assert code == 3

"""What an app is told of a TLS connection: the ASGI `tls` extension, version 0.2. Imported where there is TLS.

The names of certificates follow RFC 4514.
"""

from __future__ import annotations

import re
import ssl
from typing import Any
from weakref import WeakKeyDictionary

#: By what OpenSSL calls them (RFC 8446 section 4.2.1, RFC 8996).
_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

#: Types whose short name RFC 4514 section 3 asks for. The others go by OpenSSL's name, or their number.
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

_SPECIAL = re.compile(r'[,+"\\<>;]|^[ #]| $')

_FIRST_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

#: The certificate that servers with this context show, where it is known: Python's context does not tell.
_certificates: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()

#: The numbers of its cipher suites, by name: made once, as listing them takes a while.
_suites: WeakKeyDictionary[ssl.SSLContext, dict[str, int]] = WeakKeyDictionary()


def note_certificate(context: ssl.SSLContext, file_content: str) -> None:
    """Remember the certificate that was loaded into this context: the first one of its file."""
    found = _FIRST_CERTIFICATE.search(file_content)
    if found is not None:
        _certificates[context] = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(found[0]))


def tls_extension(ssl_object: object) -> dict[str, Any] | None:
    """The extension's content for a connection whose handshake is done; None for an object that is not Python's.

    Nothing in it but the dict can be changed.
    """
    if not isinstance(ssl_object, ssl.SSLObject):
        return None
    context = ssl_object.context
    cipher = ssl_object.cipher()
    suites = _suites.get(context)
    if suites is None:
        suites = _suites[context] = {suite["name"]: suite["id"] & 0xFFFF for suite in context.get_ciphers()}
    chain = _client_chain(ssl_object)
    return {
        "server_cert": _certificates.get(context),
        "client_cert_chain": chain,
        "client_cert_name": _client_name(ssl_object) if chain else None,
        "client_cert_error": None,  # a certificate that does not stand up to the check ends the handshake
        "tls_version": _VERSIONS.get(ssl_object.version() or ""),
        "cipher_suite": suites.get(cipher[0]) if cipher else None,
    }


def _client_chain(ssl_object: Any) -> tuple[str, ...]:
    """What the client has sent, its own certificate first. Before Python 3.13 only that one can be asked for."""
    leaf = ssl_object.getpeercert(True)
    if leaf is None:
        return ()
    chain = ssl_object.get_unverified_chain() if hasattr(ssl_object, "get_unverified_chain") else []
    # A session that is resumed may know the client's own certificate only.
    return tuple([ssl.DER_cert_to_PEM_cert(certificate) for certificate in chain or [leaf]])


def _client_name(ssl_object: Any) -> str:
    return distinguished_name(ssl_object.getpeercert().get("subject", ()))


def distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """A name as Python's `ssl` has it, as a string (RFC 4514 section 2): its last part comes first."""
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(kind, kind)}={_escaped(value)}" for kind, value in part)
        for part in reversed(subject)
    )


def _escaped(value: str) -> str:
    """RFC 4514 section 2.4."""
    return _SPECIAL.sub(lambda found: "\\" + found[0], value).replace("\0", "\\00")

"""What the gateway trusts and shows when it connects to a target: an OpenSSL context out of files.

`mgate.tls.client.TargetConnections` asks for one for each target, at the start and at each reload.
"""

from __future__ import annotations

import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from OpenSSL.crypto import X509

from mgate.errors import ConfigError
from mgate.tls.settings import TargetTls

__all__ = ["target_context"]

CIPHERS = b":".join((
    b"ECDHE-ECDSA-AES128-GCM-SHA256", b"ECDHE-RSA-AES128-GCM-SHA256",
    b"ECDHE-ECDSA-AES256-GCM-SHA384", b"ECDHE-RSA-AES256-GCM-SHA384",
    b"ECDHE-ECDSA-CHACHA20-POLY1305", b"ECDHE-RSA-CHACHA20-POLY1305",
))  # fmt: skip
"""For TLS 1.2; those of 1.3 are all good."""


class _Unreadable(Exception):
    """The text is one line of a ConfigError."""


def target_context(settings: TargetTls) -> SSL.Context:
    """Read the files that `settings` names.

    Raises:
        ConfigError: one line for each file that cannot be used, as ``file: cause``.
    """
    problems: list[str] = []
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    for load in (_trust, _show):
        try:
            load(context, settings)
        except _Unreadable as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return context


def _trust(context: SSL.Context, settings: TargetTls) -> None:
    """The authorities of `ca_file`, or those of the machine."""
    if not settings.ca_file:
        context.set_default_verify_paths()
        return
    store: Any = context.get_cert_store()
    for certificate in _certificates(settings.ca_file):
        store.add_cert(X509.from_cryptography(certificate))


def _show(context: SSL.Context, settings: TargetTls) -> None:
    """The gateway's own certificate, with the chain that leads to it: who knows only the root could not verify it
    otherwise."""
    if not settings.cert_file and not settings.key_file:
        return
    if not settings.cert_file or not settings.key_file:
        there, missing = ("cert_file", "key_file") if settings.cert_file else ("key_file", "cert_file")
        raise _Unreadable(f"{settings.cert_file or settings.key_file}: {there} is of no use without {missing}")
    first, *chain = _certificates(settings.cert_file)
    if first.not_valid_after_utc < datetime.now(UTC):
        raise _Unreadable(f"{settings.cert_file}: the certificate has expired ({first.not_valid_after_utc:%Y-%m-%d})")
    key = _key(settings.key_file)
    if key.public_key() != first.public_key():
        raise _Unreadable(f"{settings.key_file}: not the key of the certificate in {settings.cert_file}")
    try:
        context.use_certificate(first)
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)
        context.check_privatekey()
    except SSL.Error as error:
        raise _Unreadable(f"{settings.cert_file}: OpenSSL does not take it: {error}") from None


def _certificates(file: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_content(file))
    except ValueError:
        raise _Unreadable(f"{file}: no certificate in PEM form") from None


def _key(file: str) -> Any:
    try:
        return load_pem_private_key(_content(file, secret=True), None)
    except TypeError:
        raise _Unreadable(f"{file}: the key is encrypted, and nobody is there to type a password") from None
    except ValueError:
        raise _Unreadable(f"{file}: no private key in PEM form") from None


def _content(file: str, secret: bool = False) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            if secret and os.fstat(opened.fileno()).st_mode & stat.S_IROTH:
                raise _Unreadable(f"{file}: everybody may read the key (chmod o= {file})")
            return opened.read()
    except OSError as error:
        raise _Unreadable(f"{file}: {error.strerror or error}") from None

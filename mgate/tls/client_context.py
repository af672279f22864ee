"""What the gateway trusts and shows when it connects to a target: an OpenSSL context out of files.

`mgate.tls.client.TargetConnections` asks for one for each target, at the start and at each reload.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto

from mgate.errors import ConfigError
from mgate.tls.contexts import CIPHERS, LONGEST_CHAIN, OPTIONS, TLS13_CIPHERS
from mgate.tls.credentials import Files
from mgate.tls.settings import TargetTls

__all__ = ["reason_of", "target_context"]


def target_context(settings: TargetTls) -> SSL.Context:
    """Read the files that `settings` names.

    Raises:
        ConfigError: one line for each problem, ``file: cause``.
    """
    files = Files()
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_cipher_list(CIPHERS)
    context.set_tls13_ciphersuites(TLS13_CIPHERS)
    context.set_verify_depth(LONGEST_CHAIN)
    _trust(context, settings, files)
    _show(context, settings, files)
    if files.problems:
        raise ConfigError(list(dict.fromkeys(files.problems)))
    return context


def _trust(context: SSL.Context, settings: TargetTls, files: Files) -> None:
    """The authorities of `ca_file`, or those of the machine."""
    if not settings.ca_file:
        context.set_default_verify_paths()
        return
    store: Any = context.get_cert_store()
    authorities = files.authorities(settings.ca_file)
    for each in authorities:
        store.add_cert(crypto.X509.from_cryptography(each))
    if authorities and not any(each.issuer == each.subject for each in authorities):
        # Somebody trusts a lower authority alone.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


def _show(context: SSL.Context, settings: TargetTls, files: Files) -> None:
    """The gateway's own certificate, with the chain that leads to it: who knows only the root could not verify it
    otherwise."""
    if not settings.cert_file and not settings.key_file:
        return
    own = files.credentials(settings.cert_file, settings.key_file, allow_insecure_key=False)
    if own is None:
        return
    try:
        context.use_certificate(own.chain[0])
        for certificate in own.chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(own.key)
    except (SSL.Error, crypto.Error) as error:
        files.problems.append(f"{settings.cert_file}: OpenSSL refuses it: {reason_of(error)}")


def reason_of(error: BaseException | None) -> str:
    """The last of the reasons that OpenSSL gives: ``tlsv1 alert unknown ca``, say."""
    reasons = error.args[0] if error is not None and error.args else []
    texts = [str(each[2]) for each in reasons if len(each) > 2 and each[2]] if isinstance(reasons, list) else []
    return texts[-1] if texts else type(error).__name__

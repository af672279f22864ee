"""What a listener needs to know of TLS, as values: the tables of the configuration, and what the seeds' variables set.

`mgate.config` fills them in, `mgate.tls.contexts`, `mgate.tls.revocation` and `mgate.tls.client` read them. Files are
PEM; paths are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Revocation", "ServerName", "ServerTls", "TargetTls"]


@dataclass(frozen=True)
class Revocation:
    """``[listener.tls.revocation]``: whether client certificates are asked for their status, and how.

    Attributes:
        methods: ``ocsp``, ``crl`` or both; all must agree. Empty: certificates are verified, but not asked about.
        ocsp_depth, crl_depth: how many certificates of the chain are asked about, from the device's own on; 0 for all
            but the trust anchor.
        ocsp_responder_url: asked instead of the responder that a certificate names.
        ocsp_method: ``get`` lets HTTP caches answer, without a nonce.
        require_nonce: refuse OCSP responses without the nonce of the request.
        crl_distribution_points: URLs that are read instead of those that a certificate names.
        crl_distribution_points_issuer_cert_file: who signed those, if not the issuer of the certificate.
        offline_crl_file: a CRL (PEM or DER) for where no distribution point is known.
        offline_crl_issuer_cert_file: who signed it, if not the issuer of the certificate.
        on_failure: what becomes of a device whose certificate nobody can be asked about: ``hard`` refuses it.
        on_miss: ``hold`` the handshake until the status is known, or ``refuse`` and know it at the next attempt.
        deadline: seconds until a status that nobody has told counts as unavailable.
        max_pending: handshakes that are held at a time; more are treated as `on_failure` says.
        allowed_networks: addresses, beside public ones, that URLs named by certificates may lead to.
        allowed_ports: the ports that such URLs may name.
    """

    methods: tuple[Literal["ocsp", "crl"], ...] = ()
    ocsp_depth: int = 0
    ocsp_responder_url: str = ""
    ocsp_method: Literal["post", "get"] = "post"
    require_nonce: bool = False
    crl_depth: int = 1
    crl_distribution_points: tuple[str, ...] = ()
    crl_distribution_points_issuer_cert_file: str = ""
    offline_crl_file: str = ""
    offline_crl_issuer_cert_file: str = ""
    on_failure: Literal["hard", "soft"] = "hard"
    on_miss: Literal["hold", "refuse"] = "hold"
    deadline: float = 3.0
    max_pending: int = 1000
    allowed_networks: tuple[str, ...] = ()
    allowed_ports: tuple[int, ...] = (80, 443)


@dataclass(frozen=True)
class ServerName:
    """``[[listener.tls.server_name]]``: another certificate, for devices that ask for one of `names` (SNI).

    Attributes:
        names: host names; ``*.example.com`` stands for one label. Empty: the names in the certificate.
        cert_file, key_file: the certificate with its chain, and its key.
        client_ca_file: who signs the certificates of devices that ask for these names; empty: as the listener says.
    """

    cert_file: str
    key_file: str
    names: tuple[str, ...] = ()
    client_ca_file: str = ""


@dataclass(frozen=True)
class ServerTls:
    """``[listener.tls]``: TLS towards devices.

    Attributes:
        cert_file, key_file: the certificate with its chain, and its key.
        client_ca_file: who signs the certificates of devices; if set, devices must have one.
        allow_insecure_key: start although others may read a key file.
        strict_sni: refuse devices that ask for a name which no certificate has (alert unrecognized_name).
        server_name: more certificates, by the name that the device asks for.
        revocation: see `Revocation`.
    """

    cert_file: str
    key_file: str
    client_ca_file: str = ""
    allow_insecure_key: bool = False
    strict_sni: bool = False
    server_name: tuple[ServerName, ...] = ()
    revocation: Revocation = field(default_factory=Revocation)


@dataclass(frozen=True)
class TargetTls:
    """``[listener.target_tls]``: TLS towards the target, where its address says mqtts.

    Attributes:
        ca_file: who signs the target's certificate; empty: the certificate authorities of the machine.
        cert_file, key_file: the gateway's own certificate with its chain, and its key; empty: it has none.
        server_name: the name that the target's certificate must have, and that SNI asks for; empty: the host of its
            address.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    server_name: str = ""

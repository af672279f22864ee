"""A whole public key infrastructure for tests and demonstrations, made in a fraction of a second.

`Pki.make` makes it; the script in certs/, `mgate demo` and tests call it::

    pki = Pki.make("http://127.0.0.1:8080")
    pki.write(folder)                       # server.pem, server.key, client-good.pem, ...
    pki.intermediate.revoke(pki.clients["good"])

`mgate.testing.authority` says how to make other certificates, CRLs and OCSP responses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags
from cryptography.x509.oid import ExtendedKeyUsageOID

from mgate.testing.authority import Authority
from mgate.testing.credential import DAY, HOUR, YEAR, Credential, replace_file

__all__ = ["NO_CHECK", "OCSP_SIGNING", "OTHER_NAME", "SERVER", "SERVER_NAMES", "SLOW", "UNTRUSTED", "Pki", "revoke"]

SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
OTHER_NAME = "other.example"
"""What the second certificate of the server is for."""

SLOW, UNTRUSTED = "slow", "untrusted"
"""First parts of the paths that certificates name: a responder may be slow there; nobody must ask there."""

SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
OCSP_SIGNING = (ExtendedKeyUsageOID.OCSP_SIGNING,)
NO_CHECK = ((x509.OCSPNoCheck(), False),)


@dataclass(frozen=True)
class Pki:
    """Authorities, and what they issued.

    Attributes:
        url: where the responder is that the certificates name, without a slash at the end.
        root: the trust anchor.
        intermediate: issued all that is not said to be of another authority.
        revoked_intermediate: revoked by the root.
        foreign: a root that nobody trusts.
        server, other_server: certificates of a server, for `SERVER_NAMES` and more, and for `OTHER_NAME`.
        clients: certificates of devices, by what is the matter with them: ``good``, ``revoked``, ``on-hold`` (revoked
            for a while), ``unknown`` (to the responder), ``expired``, ``not-yet-valid``, ``no-urls`` (names neither
            responder nor CRL), ``slow`` (names them below `SLOW`), ``of-revoked-ca``, ``of-unknown-ca`` (names
            a responder below `UNTRUSTED`), ``server-only`` (extended key usage is serverAuth).
        delegates: may sign OCSP responses for the intermediate, if ``good``; the others must not: ``no-eku``,
            ``expired``, ``no-nocheck``, ``of-root`` (issued by the root), ``foreign``.
    """

    url: str
    root: Authority
    intermediate: Authority
    revoked_intermediate: Authority
    foreign: Authority
    server: Credential
    other_server: Credential
    clients: Mapping[str, Credential]
    delegates: Mapping[str, Credential]

    @classmethod
    def make(cls, url: str = "http://127.0.0.1:8080", *, names: Iterable[str] = ()) -> Pki:
        """Make everything anew.

        Args:
            url: where a responder answers: OCSP below ``/ocsp``, CRLs at ``/<name of the authority>.crl``.
            names: more names for the certificate of the server.
        """
        url = url.rstrip("/")
        root = Authority.root("root", ocsp_url=f"{url}/ocsp", crl_urls=[f"{url}/root.crl"])
        intermediate, revoked_intermediate = (
            root.intermediate(name, ocsp_url=f"{url}/ocsp", crl_urls=[f"{url}/{name}.crl"])
            for name in ("intermediate", "revoked-intermediate")
        )
        root.revoke(revoked_intermediate.credential, ReasonFlags.ca_compromise)
        foreign = Authority.root(
            "foreign", ocsp_url=f"{url}/{UNTRUSTED}/ocsp", crl_urls=[f"{url}/{UNTRUSTED}/foreign.crl"]
        )
        clients = _clients(url, intermediate)
        clients["of-revoked-ca"] = revoked_intermediate.issue("of-revoked-ca")
        clients["of-unknown-ca"] = foreign.issue("of-unknown-ca")
        delegates = {
            "good": _delegate(intermediate),
            "no-eku": intermediate.issue("delegate-no-eku", usage=(), extensions=NO_CHECK),
            "expired": intermediate.issue(
                "delegate-expired", usage=OCSP_SIGNING, not_before=-2 * DAY, not_after=-DAY, extensions=NO_CHECK
            ),
            "no-nocheck": intermediate.issue("delegate-no-nocheck", usage=OCSP_SIGNING),
            "of-root": _delegate(root),
            "foreign": _delegate(foreign),
        }
        return cls(
            url,
            root,
            intermediate,
            revoked_intermediate,
            foreign,
            server=intermediate.issue("server", names=[*SERVER_NAMES, *names], usage=SERVER),
            other_server=intermediate.issue("other-server", names=[OTHER_NAME], usage=SERVER),
            clients=clients,
            delegates=delegates,
        )

    @property
    def authorities(self) -> tuple[Authority, ...]:
        """Those that lead to the root, and the root: for whom a responder answers."""
        return self.root, self.intermediate, self.revoked_intermediate

    @property
    def trust_bundle(self) -> bytes:
        """The root and both intermediates, for a server whose devices send their own certificate only (PEM)."""
        return b"".join(each.credential.certificate.public_bytes(Encoding.PEM) for each in self.authorities)

    def rsa_server(self) -> Credential:
        """A certificate of the server with a key of RSA 2048, as `server` otherwise."""
        key = rsa.generate_private_key(65537, 2048)
        return self.intermediate.issue("server", names=SERVER_NAMES, usage=SERVER, key=key)

    def crls(self) -> dict[str, x509.CertificateRevocationList]:
        """CRLs, signed anew: ``crl`` is what the intermediate has revoked, ``root`` and ``revoked-intermediate`` are
        of these, and of the intermediate again are ``empty``, ``delta`` (to ``crl``: ``good`` is revoked too),
        ``expired`` and ``wrong-signer``."""
        issuer = self.intermediate
        current = issuer.crl()
        base = issuer.crl_number
        revoked = Authority(issuer.name, issuer.credential)
        revoked.revoke(self.clients["good"])
        return {
            "crl": current,
            "root": self.root.crl(),
            "revoked-intermediate": self.revoked_intermediate.crl(),
            "empty": issuer.crl(entries=()),
            "delta": issuer.crl(entries=revoked.index.values(), delta_of=base),
            "expired": issuer.crl(this_update=-2 * DAY, next_update=-DAY),
            "wrong-signer": issuer.crl(key=self.foreign.credential.key),
        }

    def write(self, folder: Path) -> list[Path]:
        """Write everything into a folder, which is made if it is missing, and return the paths of the files.

        Only the owner may read keys, and a folder that is made here. Files of an earlier run are replaced.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = {"ca.pem": self.trust_bundle}
        credentials = {"server": self.server, "other-server": self.other_server}
        credentials |= {f"client-{name}": each for name, each in self.clients.items()}
        credentials |= {f"delegate-{name}": each for name, each in self.delegates.items()}
        for authority in (*self.authorities, self.foreign):
            credentials[authority.name] = authority.credential
            files[f"{authority.name}-index.txt"] = authority.index_text().encode()
        for name, crl in self.crls().items():
            files |= _crl_files(name if name == "crl" else f"crl-{name}", crl)
        written = [path for name, credential in credentials.items() for path in credential.write(folder, name)]
        return written + [replace_file(folder / name, content) for name, content in files.items()]


def revoke(folder: Path, name: str) -> list[Path]:
    """Revoke the certificate in ``name.pem`` below a folder that `Pki.write` filled; returns what was written anew: the
    index of its issuer, from which responders answer, and the issuer's CRL.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: one holds something else, or the certificate was not issued there.
    """
    credential = Credential.load(folder / f"{name}.pem", folder / f"{name}.key")
    issuer = Authority.load(folder, credential.issuer_name)
    if credential.serial not in issuer.index:
        raise ValueError(f"{issuer.name} does not know {name}")
    issuer.revoke(credential)
    stem = "crl" if issuer.name == "intermediate" else f"crl-{issuer.name}"
    files = {f"{issuer.name}-index.txt": issuer.index_text().encode(), **_crl_files(stem, issuer.crl())}
    return [replace_file(folder / name, content) for name, content in files.items()]


def _clients(url: str, issuer: Authority) -> dict[str, Credential]:
    slow_url = f"{url}/{SLOW}"
    clients = {
        "good": issuer.issue("good", names=["good.example", "urn:mgate:device:good"]),
        "revoked": issuer.issue("revoked"),
        "on-hold": issuer.issue("on-hold"),
        "unknown": issuer.issue("unknown", known=False),
        "expired": issuer.issue("expired", not_before=-2 * DAY, not_after=-DAY),
        "not-yet-valid": issuer.issue("not-yet-valid", not_before=DAY, not_after=YEAR),
        "no-urls": issuer.issue("no-urls", ocsp_url="", crl_urls=()),
        "slow": issuer.issue("slow", ocsp_url=f"{slow_url}/ocsp", crl_urls=[f"{slow_url}/{issuer.name}.crl"]),
        "server-only": issuer.issue("server-only", usage=SERVER),
    }
    issuer.revoke(clients["revoked"], since=-HOUR)
    issuer.revoke(clients["on-hold"], ReasonFlags.certificate_hold, since=-HOUR)
    return clients


def _delegate(issuer: Authority) -> Credential:
    """Who may answer for an authority (RFC 6960 section 4.2.2.2)."""
    return issuer.issue("delegate", usage=OCSP_SIGNING, extensions=NO_CHECK)


def _crl_files(stem: str, crl: x509.CertificateRevocationList) -> dict[str, bytes]:
    return {f"{stem}.pem": crl.public_bytes(Encoding.PEM), f"{stem}.der": crl.public_bytes(Encoding.DER)}

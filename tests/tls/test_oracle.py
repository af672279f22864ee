"""What others make of the same OCSP responses and CRLs: pyhanko-certvalidator judges ours, OpenSSL writes them.

The law: what another validator refuses, we refuse as well, and where both believe, both say the same. Where we are
stricter on purpose, the case says so.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
import unittest
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from mgate.tls.crl import load_crl, revoked_serials, verify_crl
from mgate.tls.ocsp import read_response, request
from mgate.tls.status import Finding, Status, Unusable
from tests.tls.authority import (
    CA,
    DAY,
    DELEGATE,
    HOUR,
    NO_CHECK,
    NOW,
    OCSP_SIGNING,
    STRANGE,
    Answer,
    Party,
    Response,
    critical_extension,
    entry,
    points,
    rsa_key,
    scope,
    uris,
    usage,
)

try:
    from asn1crypto import x509 as asn1
    from pyhanko_certvalidator.authority import CertTrustAnchor
    from pyhanko_certvalidator.context import ValidationContext
    from pyhanko_certvalidator.errors import CRLValidationError, OCSPValidationError, RevokedError
    from pyhanko_certvalidator.path import ValidationPath
    from pyhanko_certvalidator.revinfo.validate_crl import verify_crl as their_crl
    from pyhanko_certvalidator.revinfo.validate_ocsp import verify_ocsp_response as their_ocsp
except ImportError:
    oracle = False
else:
    oracle = True

ROOT = Party("root", None, [CA, usage("key_cert_sign", "crl_sign")])
ISSUER = Party("issuer", ROOT, [CA, usage("key_cert_sign", "crl_sign", "digital_signature")])
MUTE = Party("issuer", ROOT, [CA, usage("key_cert_sign")], key=ISSUER.key)
OTHER = Party("other issuer", ROOT, [CA])
HERE = x509.CRLDistributionPoints([points("http://a/1.crl")]), False
DEVICE = Party("device", ISSUER, [HERE, (x509.BasicConstraints(False, None), True)])
TWIN = Party("device", OTHER, serial=DEVICE.certificate.serial_number)
NEIGHBOUR = Party("neighbour", ISSUER)

SIGNERS = {
    "issuer": ISSUER,
    "delegate": Party("delegate", ISSUER, DELEGATE),
    "delegate for nothing": Party("delegate", ISSUER, [NO_CHECK]),
    "delegate of yesterday": Party("delegate", ISSUER, DELEGATE, ends=-HOUR),
    "delegate of tomorrow": Party("delegate", ISSUER, DELEGATE, begins=HOUR),
    "delegate to be checked": Party("delegate", ISSUER, [OCSP_SIGNING]),
    "delegate with unknown extension": Party("delegate", ISSUER, [*DELEGATE, (STRANGE, True)]),
    "delegate of the root": Party("delegate", ROOT, DELEGATE),
    "delegate of another": Party("delegate", OTHER, DELEGATE),
    "self-signed": Party("delegate", None, DELEGATE),
    "named like the issuer": Party("issuer", None, [CA]),
}
ABOUT = {
    "the device": (DEVICE, ISSUER),
    "a neighbour": (NEIGHBOUR, ISSUER),
    "its twin": (TWIN, OTHER),
}

answers = st.builds(
    lambda about, **fields: Answer(*(party.certificate for party in ABOUT[about]), **fields),
    st.sampled_from(sorted(ABOUT) + ["the device"] * 6),
    status=st.sampled_from(["good", "revoked", "unknown"]),
    reason=st.sampled_from([None, 0, 1, 6]),
    this=st.sampled_from([-DAY, -HOUR, -60.0, -60.0, -60.0, 299.0, 301.0]),
    until=st.sampled_from([None, -301.0, -299.0, 302.0, HOUR, HOUR, 30 * DAY]),
    digest=st.sampled_from(["sha1", "sha256"]),  # they know no more
)
responses = st.builds(
    lambda signer, answer, **fields: Response(
        SIGNERS[signer], [answer], certificates=[SIGNERS[signer].certificate], **fields
    ),
    st.sampled_from(sorted(SIGNERS) + ["issuer"] * 8 + ["delegate"] * 5),
    answers,
    by_key=st.booleans(),
    broken=st.sampled_from([False] * 7 + [True]),
    nonce=st.sampled_from([None, b"n" * 32]),
)


def anything(finding: Any) -> str:
    """What a call finds, in a word."""
    try:
        return str(finding().status.value)
    except Unusable:
        return "unusable"


def theirs(judge: Any, raised: type[Exception], party: Party, **given: Any) -> str:
    """What pyhanko-certvalidator says of `party` from such ``ocsps=`` or ``crls=``."""
    root, issuer, leaf = (
        asn1.Certificate.load(each.certificate.public_bytes(Encoding.DER)) for each in (ROOT, ISSUER, party)
    )
    context = ValidationContext(
        trust_roots=[root],
        other_certs=[issuer],
        moment=datetime.fromtimestamp(NOW, UTC),
        # A delegate must be checked itself unless it says otherwise; the issuer of a CRL has been.
        revocation_mode="require" if "ocsps" in given else "hard-fail",
        time_tolerance=timedelta(seconds=300),
        **given,
    )
    try:
        asyncio.run(judge(leaf, ValidationPath(CertTrustAnchor(root), [issuer], leaf), context))
    except RevokedError:
        return "revoked"
    except raised:
        return "unusable"
    return "good"


@unittest.skipUnless(oracle, "THE ORACLE IS MISSING: pip install pyhanko-certvalidator")
class CertValidatorTests(unittest.TestCase):
    @settings(max_examples=400, deadline=None)
    @given(responses)
    def test_ocsp(self, response: Response) -> None:
        body = response.der()
        ours = anything(
            lambda: read_response(body, DEVICE.certificate, ISSUER.certificate, None, now=NOW, max_age=1800.0)
        )
        other = theirs(their_ocsp, OCSPValidationError, DEVICE, ocsps=[body])
        answer = response.answers[0]
        if answer.until is not None and answer.until < answer.this:
            self.assertEqual(ours, "unusable")  # they do not look
        else:
            # They say nothing where the responder knows nothing.
            self.assertEqual("unusable" if ours == "unknown" else ours, other)

    def test_ocsp_where_we_are_stricter(self) -> None:
        device, issuer = DEVICE.certificate, ISSUER.certificate
        good = Response(ISSUER, [Answer(device, issuer)])
        critical = critical_extension("1.2.3", b"\5\0")
        for response in (
            replace(good, digest=hashes.SHA1()),
            replace(good, extensions=[critical]),
            replace(good, answers=[replace(good.answers[0], extensions=[critical])]),
        ):
            body = response.der()
            ours = anything(lambda body=body: read_response(body, device, issuer, None, now=NOW))
            self.assertEqual(ours, "unusable")
            self.assertEqual(theirs(their_ocsp, OCSPValidationError, DEVICE, ocsps=[body]), "good")

    @settings(max_examples=300, deadline=None)
    @given(
        listed=st.sampled_from([None, None, 0, *x509.ReasonFlags]),
        other=st.booleans(),
        this=st.sampled_from([-HOUR] * 4 + [299.0, 301.0]),
        until=st.sampled_from([HOUR] * 4 + [302.0]),
        stale=st.sampled_from([False] * 5 + [True]),
        extensions=st.sampled_from(
            [[]] * 6
            + [
                [(STRANGE, True)],
                [(STRANGE, False)],
                [scope(only_contains_ca_certs=True)],
                [scope(only_contains_user_certs=True)],
                [scope(only_contains_attribute_certs=True)],
                [scope(full_name=uris("http://a/1.crl"))],
                [scope(full_name=uris("http://a/2.crl"))],
            ]
        ),
        number=st.sampled_from([None, 1, 2**100]),
        key=st.sampled_from([None] * 5 + [OTHER.key]),
        party=st.sampled_from([DEVICE] * 4 + [TWIN]),
    )
    def test_crl(
        self, listed: Any, other: bool, this: float, until: float, stale: bool, extensions: Any, number: Any, key: Any,
        party: Party,
    ) -> None:  # fmt: skip
        revoked: list[Any] = [NEIGHBOUR.certificate.serial_number] if other else []
        if listed is not None:
            revoked.append(entry(DEVICE.certificate.serial_number, listed or None))
        if stale:
            this, until = -DAY, -301.0
        crl = ISSUER.crl(revoked, extensions, number=number, this=this, until=until, key=key)
        ours = anything(lambda: self.ours(crl, party))
        said = theirs(their_crl, CRLValidationError, party, crls=[crl.public_bytes(Encoding.DER)])
        if listed is x509.ReasonFlags.remove_from_crl and ours == "revoked":
            return  # only a delta may say so; they heed it in whole CRLs, too
        self.assertEqual(ours, said)

    def test_crl_where_we_are_stricter(self) -> None:
        """A CRL for some reasons may prove that a certificate is revoked, never that it is not: of no use alone."""
        some = scope(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]))
        for revoked, said in (([], "unusable"), ([DEVICE.certificate.serial_number], "revoked")):
            crl = ISSUER.crl(revoked, [some])
            self.assertEqual(anything(lambda crl=crl: self.ours(crl, DEVICE)), "unusable")
            self.assertEqual(theirs(their_crl, CRLValidationError, DEVICE, crls=[crl.public_bytes(Encoding.DER)]), said)

    def ours(self, crl: x509.CertificateRevocationList, party: Party) -> Finding:
        verify_crl(crl, ISSUER.certificate, now=NOW)
        return revoked_serials(crl).finding(party.certificate, NOW)


def openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr)


@unittest.skipUnless(shutil.which("openssl"), "OPENSSL IS MISSING: nobody else writes OCSP responses and CRLs")
class OpensslTests(unittest.TestCase):
    """OpenSSL knows no time but that of the clock; so here we live today."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.today = time.time()
        begins, ends = self.today - NOW - DAY, self.today - NOW + DAY
        self.issuer = Party("issuer", None, [CA], begins=begins, ends=ends, key=rsa_key())
        self.delegate = Party("delegate", self.issuer, DELEGATE, begins=begins, ends=ends)
        self.devices = {
            status: Party(status, self.issuer, serial=serial, begins=begins, ends=ends)
            for status, serial in (("good", 0x1001), ("revoked", 0x1002), ("unknown", 0x1003), ("on hold", 0x1004))
        }
        yesterday = f"{datetime.fromtimestamp(self.today - DAY, UTC):%y%m%d%H%M%SZ}"
        later = f"{datetime.fromtimestamp(self.today + DAY, UTC):%y%m%d%H%M%SZ}"
        (self.folder / "index.txt").write_text(
            f"V\t{later}\t\t1001\tunknown\t/CN=good\n"
            f"R\t{later}\t{yesterday},keyCompromise\t1002\tunknown\t/CN=revoked\n"
            f"R\t{later}\t{yesterday},certificateHold\t1004\tunknown\t/CN=on hold\n"
        )
        for name, party in (("issuer", self.issuer), ("delegate", self.delegate)):
            self.write(f"{name}.pem", party.certificate.public_bytes(Encoding.PEM))
            self.write(f"{name}.key", party.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def write(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.touch(0o600)
        path.write_bytes(data)
        return path

    def test_ocsp(self) -> None:
        for signer in ("issuer", "delegate"):
            for status, device in self.devices.items():
                for options in ((), ("-resp_key_id", "-nmin", "5")):
                    with self.subTest(signer=signer, status=status, options=options):
                        finding = self.ask(device, signer, *options)
                        self.assertEqual(finding.on_hold, status == "on hold")
                        self.assertEqual(finding.status.value, "revoked" if finding.on_hold else status)
                        if finding.status is Status.GOOD:
                            self.assertEqual(finding.expires > self.today, bool(options))

    def ask(self, device: Party, signer: str, *options: str) -> Finding:
        nonce = bytes(range(32))
        asked = self.write("request.der", request(device.certificate, self.issuer.certificate, nonce))
        answered = self.folder / "response.der"
        index, ca, mine = self.folder / "index.txt", self.folder / "issuer.pem", self.folder / f"{signer}.pem"
        openssl(
            "ocsp", "-index", index, "-CA", ca, "-rsigner", mine, "-rkey", self.folder / f"{signer}.key",
            "-reqin", asked, "-respout", answered, *options,
        )  # fmt: skip
        return read_response(
            answered.read_bytes(),
            device.certificate,
            self.issuer.certificate,
            nonce,
            now=time.time(),
            require_nonce=True,
        )

    def test_crl(self) -> None:
        for extended in ("", "crl_extensions = extended\n"):
            config = (
                f"[ca]\ndefault_ca = here\n[here]\ndatabase = {self.folder}/index.txt\ndefault_md = sha256\n"
                f"default_crl_days = 1\ncrlnumber = {self.folder}/number\n{extended}"
                "[extended]\nauthorityKeyIdentifier = keyid\nissuingDistributionPoint = critical, @part\n"
                "[part]\nonlyuser = TRUE\n"
            )
            self.write("ca.cnf", config.encode())
            self.write("number", b"1000\n")
            issuer = self.folder / "issuer.pem"
            if extended:  # keyid needs one
                key_id = x509.SubjectKeyIdentifier.from_public_key(self.issuer.key.public_key()), False
                named = Party("issuer", None, [CA, key_id], key=self.issuer.key)
                issuer.write_bytes(named.certificate.public_bytes(Encoding.PEM))
            openssl(
                "ca", "-gencrl", "-config", self.folder / "ca.cnf", "-cert", issuer,
                "-keyfile", self.folder / "issuer.key", "-out", self.folder / "crl.pem",
            )  # fmt: skip
            crl = load_crl((self.folder / "crl.pem").read_bytes())
            verify_crl(crl, self.issuer.certificate, now=time.time())
            serials = revoked_serials(crl)
            self.assertEqual((serials.revoked, serials.on_hold), ({0x1002}, {0x1004}))
            self.assertEqual(serials.number, 0x1000)
            for status, device in self.devices.items():
                found = serials.finding(device.certificate, time.time())
                listed = status in ("revoked", "on hold")
                self.assertIs(found.status, Status.REVOKED if listed else Status.GOOD)

"""OCSP requests are what RFC 6960 says; a response is believed only if it breaks none of its rules."""

from __future__ import annotations

import contextlib
from base64 import b64decode
from dataclasses import replace
from typing import Any
from unittest import TestCase
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x25519
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, OCSPExtensionOID
from hypothesis import given, settings
from hypothesis import strategies as st

from mgate.tls.ocsp import MAX_RESPONSE, get_path, read_response, request, responder_urls
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
    der,
    responders,
    rsa_key,
    successful,
    uris,
    usage,
)

ROOT = Party("root", None, [CA])
ISSUER = Party("issuer", ROOT, [CA])
DEVICE = Party("device", ISSUER, [responders("http://ocsp.example/")])
NONCE = bytes(range(32))

GOOD = Response(ISSUER, [Answer(DEVICE.certificate, ISSUER.certificate)])


def about_device(**fields: Any) -> Response:
    """A response signed by the issuer, whose only answer has these fields."""
    return replace(GOOD, answers=[replace(GOOD.answers[0], **fields)])


def read(response: Response | bytes, nonce: bytes | None = None, **options: Any) -> Finding:
    body = response if isinstance(response, bytes) else response.der()
    party, issuer = options.pop("party", DEVICE), options.pop("issuer", ISSUER)
    return read_response(body, party.certificate, issuer.certificate, nonce, **{"now": NOW} | options)


class RequestTests(TestCase):
    def test_is_about_the_certificate_by_sha_256(self) -> None:
        parsed = ocsp.load_der_ocsp_request(request(DEVICE.certificate, ISSUER.certificate, None))
        self.assertEqual(parsed.serial_number, DEVICE.certificate.serial_number)
        self.assertEqual(parsed.hash_algorithm.name, "sha256")
        self.assertEqual(list(parsed.extensions), [])

    def test_carries_the_nonce(self) -> None:
        parsed = ocsp.load_der_ocsp_request(request(DEVICE.certificate, ISSUER.certificate, NONCE))
        self.assertEqual(parsed.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce, NONCE)

    def test_a_path_has_nothing_that_urls_give_a_meaning(self) -> None:
        path = get_path(b"\xfb\xff\xfe>>>???")
        self.assertEqual(path, "%2B%2F%2F%2BPj4%2BPz8%2F")
        self.assertEqual(b64decode(unquote(path)), b"\xfb\xff\xfe>>>???")

    def test_a_path_is_short_enough_for_get(self) -> None:
        """RFC 6960 appendix A.1: 255 bytes with the URL."""
        self.assertLess(len(get_path(request(DEVICE.certificate, ISSUER.certificate, None))), 200)


class ResponderTests(TestCase):
    def urls(self, *extensions: Any) -> list[str]:
        return responder_urls(Party("device", ISSUER, extensions).certificate)

    def test_are_those_of_the_web_in_order(self) -> None:
        long = "http://a/" + "a" * 2048
        named = ("ldap://a", "http://b/x", "HTTPS://a/", "file:///etc", "http://b/x", "http://c d", "http://\n", long)
        self.assertEqual(self.urls(responders(*named)), ["http://b/x", "HTTPS://a/"])

    def test_are_not_too_many(self) -> None:
        self.assertEqual(len(self.urls(responders(*(f"http://{each}/" for each in range(100))))), 8)

    def test_are_no_other_access(self) -> None:
        methods = (
            (x509.AuthorityInformationAccessOID.CA_ISSUERS, uris("http://a/")[0]),
            (
                x509.AuthorityInformationAccessOID.OCSP,
                x509.DNSName("a"),
            ),
        )
        ways = [x509.AccessDescription(method, name) for method, name in methods]
        self.assertEqual(self.urls((x509.AuthorityInformationAccess(ways), False)), [])

    def test_there_are_none(self) -> None:
        self.assertEqual(self.urls(), [])
        broken = x509.UnrecognizedExtension(x509.AuthorityInformationAccess.oid, b"\x30\x03abc")
        self.assertEqual(self.urls((broken, False)), [])


class FindingTests(TestCase):
    def test_good_until_the_next_update(self) -> None:
        self.assertEqual(read(GOOD, source="ocsp a"), Finding(Status.GOOD, NOW + HOUR, "ocsp a"))

    def test_good_for_a_week_at_most(self) -> None:
        response = about_device(until=30 * DAY)
        self.assertEqual(read(response).expires, NOW + 7 * DAY)
        self.assertEqual(read(response, max_age=60).expires, NOW + 60)

    def test_good_for_once(self) -> None:
        for until in (0, -1, -299, None):
            with self.subTest(until):
                self.assertEqual(read(about_device(this=-HOUR, until=until)), Finding(Status.GOOD, 0.0, "ocsp"))

    def test_revoked_is_kept_for_an_hour(self) -> None:
        for until, kept in ((60.0, HOUR), (2 * HOUR, 2 * HOUR), (None, HOUR), (0.0, HOUR)):
            for reason, text in ((None, ""), (1, ", keyCompromise"), (0, ", unspecified")):
                with self.subTest(until=until, reason=reason):
                    finding = read(about_device(status="revoked", reason=reason, until=until))
                    detail = f"revoked at 2025-12-31T00:00:00Z{text}"
                    self.assertEqual(finding, Finding(Status.REVOKED, NOW + kept, "ocsp", detail))

    def test_on_hold_may_be_released(self) -> None:
        for until, expires in ((60.0, NOW + 60), (None, 0.0)):
            finding = read(about_device(status="revoked", reason=6, until=until))
            self.assertEqual((finding.status, finding.expires), (Status.REVOKED, expires))
            self.assertTrue(finding.on_hold)

    def test_unknown_is_forgotten_soon(self) -> None:
        for until, expires in ((HOUR, NOW + 300), (60.0, NOW + 60), (None, 0.0)):
            finding = read(about_device(status="unknown", until=until))
            self.assertEqual((finding.status, finding.expires), (Status.UNKNOWN, expires))


class Refusing(TestCase):
    def refused(self, reason: str, response: Response | bytes, nonce: bytes | None = None, **options: Any) -> None:
        with self.subTest(reason), self.assertRaisesRegex(Unusable, reason):
            read(response, nonce, **options)


class TimeTests(Refusing):
    def test_stale(self) -> None:
        self.refused("ended at 2025-12-31T23:54:59Z", about_device(this=-HOUR, until=-301))
        self.refused("ended at", about_device(this=-HOUR, until=-1), skew=0)
        self.assertIs(read(about_device(this=-HOUR, until=-300)).status, Status.GOOD)
        self.assertIs(read(about_device(this=-10, until=-10)).status, Status.GOOD)

    def test_from_the_future(self) -> None:
        self.refused("from the future", about_device(this=301))
        self.assertIs(read(about_device(this=300)).status, Status.GOOD)

    def test_ends_before_it_begins(self) -> None:
        self.refused("ends before it begins", about_device(this=-10, until=-20))

    def test_without_next_update_it_is_stale_after_a_time(self) -> None:
        self.refused("too old", about_device(this=-7 * DAY - 301, until=None))
        self.refused("too old", about_device(this=-361, until=None), max_age=60)
        self.assertIs(read(about_device(this=-7 * DAY - 300, until=None)).status, Status.GOOD)
        self.assertIs(read(about_device(this=-30 * DAY)).status, Status.GOOD)


class CertificateIdTests(Refusing):
    def test_by_any_hash(self) -> None:
        for digest in ("sha1", "sha256", "sha512"):
            with self.subTest(digest):
                self.assertIs(read(about_device(digest=digest)).status, Status.GOOD)

    def test_of_another_certificate(self) -> None:
        other = Party("other", ISSUER).certificate
        self.refused("about another certificate", about_device(certificate=other))

    def test_of_the_same_serial_from_another_issuer(self) -> None:
        other = Party("other issuer", ROOT, [CA])
        twin = Party("device", other, serial=DEVICE.certificate.serial_number)
        self.refused("about another certificate", about_device(certificate=twin.certificate, issuer=other.certificate))

    def test_of_an_issuer_of_the_same_name(self) -> None:
        namesake = Party("issuer", ROOT, [CA]).certificate
        self.refused("about another certificate", about_device(issuer=namesake))

    def test_by_a_hash_that_nobody_knows(self) -> None:
        self.refused("about another certificate", about_device(digest="md5"))

    def test_among_others(self) -> None:
        others = [Answer(Party(f"other {n}", ISSUER).certificate, ISSUER.certificate, "revoked") for n in range(3)]
        mine = Answer(DEVICE.certificate, ISSUER.certificate, "unknown")
        self.assertIs(read(replace(GOOD, answers=[*others, mine])).status, Status.UNKNOWN)
        self.refused("about another certificate", replace(GOOD, answers=others))

    def test_the_worst_of_several(self) -> None:
        mine = GOOD.answers[0]
        good, unknown, revoked = (replace(mine, status=status) for status in ("good", "unknown", "revoked"))
        sha1 = replace(revoked, digest="sha1")
        for answers, status in (
            ([good, unknown], Status.UNKNOWN),
            ([revoked, good], Status.REVOKED),
            ([unknown, good, sha1], Status.REVOKED),
        ):
            with self.subTest(status):
                self.assertIs(read(replace(GOOD, answers=answers)).status, status)
        self.refused("ended at", replace(GOOD, answers=[good, replace(good, this=-DAY, until=-HOUR)]))

    def test_about_nobody(self) -> None:
        self.refused("about another certificate", replace(GOOD, answers=[]))

    def test_about_too_many(self) -> None:
        self.assertIs(read(replace(GOOD, answers=[*GOOD.answers] * 100)).status, Status.GOOD)
        self.refused("too many certificates", replace(GOOD, answers=[*GOOD.answers] * 101))


class ResponderIdTests(Refusing):
    def test_by_name_and_by_key(self) -> None:
        for by_key in (False, True):
            self.assertIs(read(replace(GOOD, by_key=by_key)).status, Status.GOOD)

    def test_of_somebody_else(self) -> None:
        for by_key in (False, True):
            self.refused("neither by the issuer nor", replace(GOOD, by_key=by_key, responder=ROOT.certificate))

    def test_the_certificate_of_the_issuer_may_come_along(self) -> None:
        copies = [ISSUER.certificate, Party("issuer", ROOT, [CA], key=ISSUER.key).certificate]
        self.assertIs(read(replace(GOOD, certificates=copies)).status, Status.GOOD)

    def test_of_a_delegate_named_like_the_issuer(self) -> None:
        """As after a change of keys: the name fits the issuer, the signature fits the delegate."""
        delegate = Party("issuer", ISSUER, DELEGATE)
        response = replace(GOOD, signer=delegate, certificates=[delegate.certificate])
        self.assertIs(read(response).status, Status.GOOD)


class SignatureTests(Refusing):
    def test_wrong(self) -> None:
        self.refused("signature of the OCSP response is wrong", replace(GOOD, broken=True))
        forged = replace(GOOD, signer=Party("mallory"), responder=ISSUER.certificate)
        self.refused("signature of the OCSP response is wrong", forged)

    def test_by_each_kind_of_key(self) -> None:
        for key, digest in (
            (rsa_key(), hashes.SHA256()),
            (rsa_key(), hashes.SHA384()),
            (rsa_key(), hashes.SHA512()),
            (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
            (ec.generate_private_key(ec.SECP256R1()), hashes.SHA512()),
            (ed25519.Ed25519PrivateKey.generate(), hashes.SHA256()),
            (ed448.Ed448PrivateKey.generate(), hashes.SHA256()),
        ):
            with self.subTest(type(key).__name__, digest=digest.name):
                issuer = Party("issuer", ROOT, [CA], key=key)
                device = Party("device", issuer)
                answers = [Answer(device.certificate, issuer.certificate)]
                response = replace(GOOD, signer=issuer, answers=answers, digest=digest)
                self.assertIs(read(response, issuer=issuer, party=device).status, Status.GOOD)
                self.refused(
                    "signature of the OCSP response is wrong",
                    replace(response, broken=True),
                    issuer=issuer,
                    party=device,
                )

    def test_of_weak_digests(self) -> None:
        self.refused("signed with sha1", replace(GOOD, digest=hashes.SHA1()))
        self.refused("signed with md5", replace(GOOD, algorithm="1.2.840.113549.1.1.4"))

    def test_pss(self) -> None:
        issuer = Party("issuer", ROOT, [CA], key=rsa_key())
        device = Party("device", issuer)
        response = Response(issuer, [Answer(device.certificate, issuer.certificate)], pss=True)
        self.refused("RSASSA-PSS", response, issuer=issuer, party=device)

    def test_that_does_not_fit_the_key(self) -> None:
        for algorithm in ("1.2.840.113549.1.1.11", "1.3.101.112", "1.3.101.113", "2.16.840.1.101.3.4.3.2"):
            self.refused("does not fit", replace(GOOD, algorithm=algorithm))
        for key in (rsa_key(), ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()):
            issuer = Party("issuer", ROOT, [CA], key=key)
            claim = replace(GOOD, signer=issuer, algorithm="1.2.840.10045.4.3.2")
            self.refused("does not fit", claim, issuer=issuer)

    def test_that_nobody_knows(self) -> None:
        self.refused("signed with 1.2.3|cannot be read", replace(GOOD, algorithm="1.2.3"))


class DelegateTests(Refusing):
    def by(self, delegate: Party, *along: Party) -> Response:
        return replace(GOOD, signer=delegate, certificates=[each.certificate for each in (delegate, *along)])

    def test_signs_for_the_issuer(self) -> None:
        for extensions in (
            DELEGATE,
            [*DELEGATE, usage("digital_signature"), (x509.BasicConstraints(False, None), True)],
        ):
            for by_key in (False, True):
                response = replace(self.by(Party("delegate", ISSUER, extensions), ROOT), by_key=by_key)
                self.assertIs(read(response).status, Status.GOOD)

    def test_for_other_purposes(self) -> None:
        for purpose in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE):
            delegate = Party("delegate", ISSUER, [NO_CHECK, (x509.ExtendedKeyUsage([purpose]), False)])
            self.refused("not for OCSP signing", self.by(delegate))
        self.refused("not for OCSP signing", self.by(Party("delegate", ISSUER, [NO_CHECK])))

    def test_with_a_key_that_does_not_sign(self) -> None:
        delegate = Party("delegate", ISSUER, [*DELEGATE, usage("key_encipherment")])
        self.refused("key of the OCSP responder's certificate is not for signing", self.by(delegate))

    def test_that_would_have_to_be_checked(self) -> None:
        self.refused("no ocsp-nocheck", self.by(Party("delegate", ISSUER, [OCSP_SIGNING])))

    def test_out_of_date(self) -> None:
        self.refused("responder ended at", self.by(Party("delegate", ISSUER, DELEGATE, ends=-301)))
        self.refused("responder is from the future", self.by(Party("delegate", ISSUER, DELEGATE, begins=301)))
        self.assertIs(read(self.by(Party("delegate", ISSUER, DELEGATE, ends=-299))).status, Status.GOOD)

    def test_of_another_issuer(self) -> None:
        for issuer in (ROOT, Party("foreign", None, [CA]), Party("issuer", ROOT, [CA]), DEVICE):
            delegate = Party("delegate", issuer, DELEGATE)
            self.refused("from another issuer", self.by(delegate, issuer))

    def test_that_signed_itself(self) -> None:
        self.refused("from another issuer", self.by(Party("delegate", None, DELEGATE)))

    def test_the_device_itself(self) -> None:
        self.refused("not for OCSP signing", self.by(DEVICE))

    def test_with_unknown_critical_extensions(self) -> None:
        delegate = Party("delegate", ISSUER, [*DELEGATE, (STRANGE, True)])
        self.refused("unknown critical extension 1.3.6.1.4.1.99999.1", self.by(delegate))

    def test_whose_certificate_has_a_weak_signature(self) -> None:
        issuer = Party("issuer", ROOT, [CA], key=rsa_key())
        body = self.by(Party("delegate", issuer, DELEGATE)).der()
        # The certificate claims sha1WithRSAEncryption: no library signs such a thing any more.
        sha256, sha1 = (bytes.fromhex("06092a864886f70d0101" + last) for last in ("0b", "05"))
        self.assertEqual(body.count(sha256), 2)
        self.refused("responder is signed with sha1", body.replace(sha256, sha1), issuer=issuer)

    def test_of_an_issuer_whose_key_signs_nothing(self) -> None:
        key = x25519.X25519PrivateKey.generate()
        certificate = (
            x509.CertificateBuilder(
                ISSUER.certificate.issuer,
                ISSUER.certificate.subject,
                key.public_key(),
                1,
                ISSUER.certificate.not_valid_before_utc,
                ISSUER.certificate.not_valid_after_utc,
            )
        ).sign(ROOT.key, hashes.SHA256())
        odd = Party("issuer", ROOT)
        odd.certificate = certificate
        self.refused("cannot be read", self.by(Party("delegate", ISSUER, DELEGATE)), issuer=odd)
        self.refused("does not fit", GOOD, issuer=odd)

    def test_that_does_not_come_along(self) -> None:
        response = replace(self.by(Party("delegate", ISSUER, DELEGATE)), certificates=[])
        self.refused("neither by the issuer nor", response)

    def test_too_many_certificates(self) -> None:
        delegate = Party("delegate", ISSUER, DELEGATE)
        self.assertIs(read(self.by(delegate, *[ROOT] * 7)).status, Status.GOOD)
        self.refused("too many certificates", self.by(delegate, *[ROOT] * 8))

    def test_twice_under_one_name(self) -> None:
        old, new = Party("delegate", ISSUER, DELEGATE, ends=-HOUR), Party("delegate", ISSUER, DELEGATE)
        response = replace(GOOD, signer=new, certificates=[old.certificate, new.certificate])
        self.assertIs(read(response).status, Status.GOOD)


class NonceTests(Refusing):
    def test_the_same(self) -> None:
        self.assertIs(read(replace(GOOD, nonce=NONCE), NONCE, require_nonce=True).status, Status.GOOD)

    def test_another(self) -> None:
        self.refused("not that of the request", replace(GOOD, nonce=NONCE[::-1]), NONCE)

    def test_missing(self) -> None:
        self.assertIs(read(GOOD, NONCE).status, Status.GOOD)
        self.refused("has no nonce", GOOD, NONCE, require_nonce=True)

    def test_nobody_asked_for_one(self) -> None:
        """A cache may answer with what somebody else asked for."""
        self.assertIs(read(replace(GOOD, nonce=NONCE)).status, Status.GOOD)
        self.refused("has no nonce", replace(GOOD, nonce=NONCE), require_nonce=True)


class ExtensionTests(Refusing):
    def test_critical(self) -> None:
        extension = critical_extension("1.2.3", b"\5\0")
        self.refused("critical extension 1.2.3", replace(GOOD, extensions=[extension]))
        self.refused("critical extension 1.2.3", about_device(extensions=[extension]))
        other = Answer(Party("other", ISSUER).certificate, ISSUER.certificate, extensions=[extension])
        self.refused("critical extensions about several", replace(GOOD, answers=[*GOOD.answers, other]))

    def test_not_critical(self) -> None:
        extension = critical_extension("1.2.3", b"\5\0", False)
        for response in (replace(GOOD, extensions=[extension]), about_device(extensions=[extension])):
            self.assertIs(read(response).status, Status.GOOD)

    def test_a_critical_nonce(self) -> None:
        nonce = critical_extension(OCSPExtensionOID.NONCE.dotted_string, der(4, NONCE))
        self.assertIs(read(replace(GOOD, extensions=[nonce]), NONCE, require_nonce=True).status, Status.GOOD)

    def test_twice(self) -> None:
        nonce = critical_extension(OCSPExtensionOID.NONCE.dotted_string, der(4, NONCE), False)
        self.refused("cannot be read", replace(GOOD, extensions=[nonce], nonce=NONCE), NONCE)


class GarbageTests(Refusing):
    body = replace(GOOD, nonce=NONCE, certificates=[Party("delegate", ISSUER, DELEGATE).certificate]).der()

    def test_no_answer(self) -> None:
        for status, name in ((1, "MALFORMED_REQUEST"), (2, "INTERNAL_ERROR"), (3, "TRY_LATER"), (6, "UNAUTHORIZED")):
            self.refused(f"the responder answers {name}", der(0x30, der(10, bytes([status]))))
        self.refused("cannot be read", der(0x30, der(10, b"\x04")))

    def test_no_response(self) -> None:
        for body in (
            b"",
            b"<html>",
            b"\x30",
            b"\0" * 100,
            der(0x30, der(10, b"\0")),
            successful(b""),
            self.body + b"\0",
        ):
            self.refused("cannot be read", body)

    def test_of_another_kind(self) -> None:
        body = self.body.replace(bytes.fromhex("06092b0601050507300101"), bytes.fromhex("06092b0601050507300102"))
        self.refused("cannot be read", body)

    def test_too_large(self) -> None:
        self.refused("cannot be read", b"\x30" * MAX_RESPONSE)
        self.refused("too large", b"\x30" * (MAX_RESPONSE + 1))

    def test_every_prefix(self) -> None:
        for stop in range(len(self.body)):
            with self.assertRaises(Unusable):
                read(self.body[:stop])

    @given(st.binary(max_size=200))
    def test_any_bytes(self, body: bytes) -> None:
        with self.assertRaises(Unusable):
            read(body)

    @settings(max_examples=300)
    @given(st.integers(0, len(body) - 1), st.integers(1, 255))
    def test_one_byte_changed(self, place: int, by: int) -> None:
        """What is signed cannot be changed; of the rest nothing can turn the answer."""
        changed = bytearray(self.body)
        changed[place] ^= by
        try:
            finding = read(bytes(changed), NONCE)
        except Unusable:
            return
        self.assertEqual(finding, Finding(Status.GOOD, NOW + HOUR, "ocsp"))

    @given(st.binary(max_size=60), st.integers(0, 255))
    def test_a_responder_out_of_its_mind(self, junk: bytes, reason: int) -> None:
        """What the issuer signed may still be junk where parsing happens late."""
        for response in (
            replace(GOOD, extensions=[critical_extension("1.3.6.1.5.5.7.48.1.2", junk, False)]),
            about_device(extensions=[critical_extension("2.5.29.21", junk, False)]),
        ):
            with contextlib.suppress(Unusable):
                self.assertIs(read(response, NONCE).status, Status.GOOD)
        with contextlib.suppress(Unusable):
            self.assertIs(read(about_device(status="revoked", reason=reason)).status, Status.REVOKED)

    @settings(max_examples=50)
    @given(st.binary(max_size=60))
    def test_a_delegate_out_of_its_mind(self, junk: bytes) -> None:
        for kind in (x509.ExtendedKeyUsage, x509.KeyUsage, x509.OCSPNoCheck):
            bent = x509.UnrecognizedExtension(kind.oid, junk)
            extensions = [(bent, False), *(each for each in DELEGATE if not isinstance(each[0], kind))]
            delegate = Party("delegate", ISSUER, extensions, key=ISSUER.key)
            with contextlib.suppress(Unusable):
                read(replace(GOOD, signer=delegate, certificates=[delegate.certificate]))

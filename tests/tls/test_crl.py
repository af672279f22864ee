"""Where certificates say that CRLs are, which CRLs are believed, and what they say of a certificate."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any
from unittest import TestCase, mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from mgate.tls import crl as module
from mgate.tls.crl import (
    RevokedSerials,
    check_whole,
    delta_distribution_points,
    distribution_points,
    load_crl,
    revoked_serials,
    verify_crl,
)
from mgate.tls.status import Finding, Status, Unusable
from tests.tls.authority import (
    CA,
    DAY,
    HOUR,
    NOW,
    STRANGE,
    Party,
    at,
    entry,
    named,
    points,
    rsa_key,
    scope,
    uris,
    usage,
)

ISSUER = Party("issuer", None, [CA, usage("crl_sign", "key_cert_sign")])
DEVICE = Party("device", ISSUER, serial=1000)
HOLD, KEY, REMOVED = (
    x509.ReasonFlags.certificate_hold,
    x509.ReasonFlags.key_compromise,
    x509.ReasonFlags.remove_from_crl,
)


def delta(base: int, *revoked: Any, number: int | None = 2, extensions: Any = (), **fields: Any) -> Any:
    return ISSUER.crl(revoked, [(x509.DeltaCRLIndicator(base), True), *extensions], number=number, **fields)


class DistributionPointTests(TestCase):
    def urls(self, *found: x509.DistributionPoint) -> list[str]:
        return distribution_points(Party("device", ISSUER, [(x509.CRLDistributionPoints(found), False)]).certificate)

    def test_are_those_of_the_web_in_order(self) -> None:
        found = points("ldap://a", "http://a/1", "http://a/2"), points("HTTPS://b/"), points("http://a/1"), points("x")
        self.assertEqual(self.urls(*found), ["http://a/1", "http://a/2", "HTTPS://b/"])

    def test_are_not_too_many(self) -> None:
        self.assertEqual(len(self.urls(*(points(f"http://{each}/") for each in range(50)))), 8)

    def test_are_about_every_reason_and_from_the_issuer(self) -> None:
        someone = [x509.DirectoryName(named("someone"))]
        found = (
            points("http://a/", reasons=frozenset([KEY])),
            points("http://b/", crl_issuer=someone),
            points(crl_issuer=someone),
            points(relative_name=x509.RelativeDistinguishedName(named("part"))),
            points("http://c/"),
        )
        self.assertEqual(self.urls(*found), ["http://c/"])

    def test_there_are_none(self) -> None:
        self.assertEqual(distribution_points(DEVICE.certificate), [])
        broken = x509.UnrecognizedExtension(x509.CRLDistributionPoints.oid, b"\x30\x03abc")
        self.assertEqual(distribution_points(Party("device", ISSUER, [(broken, False)]).certificate), [])

    def test_of_deltas(self) -> None:
        freshest = x509.FreshestCRL([points("http://a/delta")]), False
        self.assertEqual(delta_distribution_points(Party("device", ISSUER, [freshest]).certificate), ["http://a/delta"])
        self.assertEqual(delta_distribution_points(ISSUER.crl([], [freshest])), ["http://a/delta"])
        self.assertEqual(delta_distribution_points(ISSUER.crl()), [])


class Refusing(TestCase):
    def refused(self, reason: str, call: Callable[..., object], *arguments: Any, **options: Any) -> None:
        with self.subTest(reason), self.assertRaisesRegex(Unusable, reason):
            call(*arguments, **options)


class LoadTests(Refusing):
    crl = ISSUER.crl([1, 2])
    pem, der = crl.public_bytes(Encoding.PEM), crl.public_bytes(Encoding.DER)

    def test_der_and_pem(self) -> None:
        for data in (self.der, self.pem, b"issuer: a\n" + self.pem, self.pem.replace(b"\n", b"\r\n") + b"\r\n\r\n"):
            self.assertEqual(load_crl(data), self.crl)

    def test_neither(self) -> None:
        certificate = ISSUER.certificate.public_bytes(Encoding.PEM)
        for data in (b"", b"<html>not found</html>", certificate, b"\xff\xfe" + self.der):
            self.refused("is none", load_crl, data)

    def test_broken(self) -> None:
        certificate = ISSUER.certificate.public_bytes(Encoding.DER)
        for data in (self.der + b"\0", certificate, self.pem[:-40], self.pem[:60], b"0", self.pem.replace(b"\n", b"!")):
            self.refused("cannot be read", load_crl, data)

    def test_several(self) -> None:
        self.refused("several", load_crl, self.pem + self.pem)

    def test_too_large(self) -> None:
        with mock.patch.object(module, "MAX_CRL", len(self.der)):
            self.assertEqual(load_crl(self.der), self.crl)
            self.refused("too large", load_crl, self.der + b"\0")

    def test_truncated(self) -> None:
        for stop in range(len(self.der)):
            with self.assertRaises(Unusable):
                load_crl(self.der[:stop])

    @given(st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(lambda some: LoadTests.pem[:25] + some)))
    def test_any_bytes(self, data: bytes) -> None:
        with self.assertRaises(Unusable):
            load_crl(data)

    @settings(max_examples=300)
    @given(st.integers(0, len(der) - 1), st.integers(1, 255))
    def test_one_byte_changed(self, place: int, by: int) -> None:
        changed = bytearray(self.der)
        changed[place] ^= by
        with self.assertRaises(Unusable):
            crl = load_crl(bytes(changed))
            revoked_serials(crl)  # nobody should, before it is verified
            verify_crl(crl, ISSUER.certificate, now=NOW)

    @given(st.sampled_from([x509.CRLReason, x509.InvalidityDate, x509.CertificateIssuer]), st.binary(max_size=40))
    def test_entries_of_an_authority_out_of_its_mind(self, kind: Any, junk: bytes) -> None:
        odd = entry(1, None, (x509.UnrecognizedExtension(kind.oid, junk), False))
        with contextlib.suppress(Unusable):
            self.assertIn(1, revoked_serials(ISSUER.crl([odd])).revoked | {1})

    @given(
        st.sampled_from([x509.CRLNumber, x509.IssuingDistributionPoint, x509.DeltaCRLIndicator, x509.FreshestCRL]),
        st.binary(max_size=40),
    )
    def test_lists_of_an_authority_out_of_its_mind(self, kind: Any, junk: bytes) -> None:
        crl = ISSUER.crl([1], [(x509.UnrecognizedExtension(kind.oid, junk), False)], number=None)
        self.assertLessEqual(len(delta_distribution_points(crl)), 8)
        with contextlib.suppress(Unusable):
            verify_crl(crl, ISSUER.certificate, now=NOW)
            self.assertEqual(revoked_serials(crl).revoked, {1})
        with contextlib.suppress(Unusable):
            revoked_serials(ISSUER.crl()).with_delta(crl)


class VerifyTests(Refusing):
    def verify(self, crl: x509.CertificateRevocationList, issuer: Party = ISSUER, **options: Any) -> None:
        verify_crl(crl, issuer.certificate, **{"now": NOW} | options)

    def test_good(self) -> None:
        for crl in (
            ISSUER.crl(),
            ISSUER.crl(number=None),
            ISSUER.crl([1], [scope(only_contains_ca_certs=True)]),
            delta(1),
        ):
            self.verify(crl)

    def test_by_other_keys(self) -> None:
        for key, options in (
            (rsa_key(), {}),
            (rsa_key(), {"padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)}),
            (ed25519.Ed25519PrivateKey.generate(), {"digest": None}),
        ):
            issuer = Party("issuer", None, [CA], key=key)
            self.verify(issuer.crl([1], **options), issuer)

    def test_expired(self) -> None:
        self.refused("the CRL ended at 2025-12-31T23:54:59Z", self.verify, ISSUER.crl(until=-301))
        self.refused("the CRL ended at", self.verify, ISSUER.crl(until=-1), skew=0)
        self.verify(ISSUER.crl(until=-299))

    def test_before_its_issuer_is_known(self) -> None:
        check_whole(ISSUER.crl(), now=NOW)
        self.refused("delta", check_whole, delta(1), now=NOW)
        for now in (0.0, 1e11):
            with self.assertRaises(Unusable):
                check_whole(ISSUER.crl(), now=now)

    def test_from_the_future(self) -> None:
        self.refused("from the future", self.verify, ISSUER.crl(this=301))
        self.verify(ISSUER.crl(this=299))

    def test_without_an_end(self) -> None:
        """Written by hand: cryptography makes no such CRL."""
        whole = ISSUER.crl(number=None)
        end = at(HOUR).strftime("%y%m%d%H%M%SZ").encode()
        short = whole.public_bytes(Encoding.DER).replace(b"\x17\x0d" + end, b"")
        size = len(whole.tbs_certlist_bytes)
        self.assertLess(size, 128)
        outer, inner = short.index(b"\x30"), short.index(b"\x30", 2)
        fixed = bytearray(short)
        fixed[outer + (2 if fixed[1] & 0x80 else 1)] -= 15
        fixed[inner + 1] -= 15
        crl = load_crl(bytes(fixed))
        self.assertIsNone(crl.next_update_utc)
        self.refused("how long it holds", self.verify, crl)
        self.refused("how long it holds", revoked_serials, crl)

    def test_wrong_signer(self) -> None:
        self.refused("signature of the CRL is wrong", self.verify, ISSUER.crl(key=DEVICE.key))
        self.refused("signature of the CRL is wrong", self.verify, ISSUER.crl(), Party("issuer", None, [CA]))

    def test_foreign_issuer(self) -> None:
        self.refused("from another issuer", self.verify, Party("foreign").crl())

    def test_issuer_that_signs_no_crls(self) -> None:
        issuer = Party("issuer", None, [CA, usage("key_cert_sign")], key=ISSUER.key)
        self.refused("not for signing CRLs", self.verify, ISSUER.crl(), issuer)
        self.verify(ISSUER.crl(), Party("issuer", None, [CA], key=ISSUER.key))

    def test_issuer_whose_key_signs_nothing(self) -> None:
        certificate = x509.CertificateBuilder(
            named("issuer"), named("issuer"), x25519.X25519PrivateKey.generate().public_key(), 1, at(-DAY), at(DAY)
        ).sign(ISSUER.key, hashes.SHA256())
        self.refused("cannot be read", verify_crl, ISSUER.crl(), certificate, now=NOW)

    def test_weak_signature(self) -> None:
        issuer = Party("issuer", None, [CA], key=rsa_key())
        sha256, sha1 = (bytes.fromhex("06092a864886f70d0101" + last) for last in ("0b", "05"))
        body = issuer.crl().public_bytes(Encoding.DER).replace(sha256, sha1)
        self.refused("the CRL is signed with sha1", self.verify, load_crl(body), issuer)

    def test_unknown_critical_extension(self) -> None:
        self.refused("unknown critical extension 1.3.6.1.4", self.verify, ISSUER.crl([], [(STRANGE, True)]))
        self.verify(ISSUER.crl([], [(STRANGE, False)]))


class SerialsTests(Refusing):
    def test_what_is_listed(self) -> None:
        crl = ISSUER.crl([1, 2, entry(3, HOLD), entry(4, KEY), entry(5, REMOVED), entry(6), entry(6, HOLD)], number=7)
        serials = revoked_serials(crl, source="crl http://a/")
        self.assertEqual(serials.revoked, {1, 2, 4, 5, 6})
        self.assertEqual(serials.on_hold, {3})
        self.assertEqual((serials.number, serials.this_update, serials.next_update), (7, NOW - HOUR, NOW + HOUR))
        self.assertEqual((serials.issuer, serials.source), (named("issuer"), "crl http://a/"))
        self.assertIsNone(revoked_serials(ISSUER.crl(number=None)).number)

    def test_critical_extensions_of_entries(self) -> None:
        indirect = x509.CertificateIssuer([x509.DirectoryName(named("other"))]), True
        self.refused("an entry of the CRL has the unknown", revoked_serials, ISSUER.crl([entry(1, None, indirect)]))
        self.refused(
            "an entry of the CRL has the unknown", revoked_serials, ISSUER.crl([entry(1, KEY, (STRANGE, True))])
        )
        fine = entry(1, None, (x509.CRLReason(HOLD), True), (STRANGE, False))
        self.assertEqual(revoked_serials(ISSUER.crl([fine])).on_hold, {1})

    def test_a_delta_alone(self) -> None:
        self.refused("only a delta", revoked_serials, delta(1))

    def test_a_hundred_thousand_entries(self) -> None:
        many = [entry(each) for each in range(2000, 3000)] * 100
        builder = x509.CertificateRevocationListBuilder(named("issuer"), at(-HOUR), at(HOUR), [], many)
        large = load_crl(builder.sign(ISSUER.key, hashes.SHA256()).public_bytes(Encoding.DER))
        verify_crl(large, ISSUER.certificate, now=NOW)
        self.assertEqual(len(large), 100_000)
        self.assertEqual(revoked_serials(large).revoked, frozenset(range(2000, 3000)))


class FindingTests(Refusing):
    def find(self, crl: x509.CertificateRevocationList, party: Party = DEVICE, now: float = NOW) -> Finding:
        verify_crl(crl, ISSUER.certificate, now=NOW)
        return revoked_serials(crl).finding(party.certificate, now)

    def test_good(self) -> None:
        self.assertEqual(self.find(ISSUER.crl([1])), Finding(Status.GOOD, NOW + HOUR, "crl"))
        self.assertEqual(self.find(ISSUER.crl(until=0)), Finding(Status.GOOD, 0.0, "crl"))

    def test_revoked_is_kept_for_an_hour(self) -> None:
        for until, kept in ((60, HOUR), (2 * HOUR, 2 * HOUR), (-10, HOUR)):
            finding = self.find(ISSUER.crl([1000], until=until))
            self.assertEqual(finding, Finding(Status.REVOKED, NOW + kept, "crl", "is on the CRL"))

    def test_on_hold_may_be_released(self) -> None:
        for until, expires in ((60, NOW + 60), (-10, 0.0)):
            finding = self.find(ISSUER.crl([entry(1000, HOLD)], until=until))
            self.assertEqual(finding, Finding(Status.REVOKED, expires, "crl", "is on hold on the CRL", True))

    def test_out_of_date_by_now(self) -> None:
        self.refused("out of date", self.find, ISSUER.crl(), now=NOW + HOUR + 301)
        self.assertIs(self.find(ISSUER.crl(), now=NOW + HOUR + 299).status, Status.GOOD)
        with self.assertRaises(Unusable):
            revoked_serials(ISSUER.crl()).finding(DEVICE.certificate, NOW + HOUR + 1, skew=0)

    def test_of_another_issuer(self) -> None:
        self.refused("another issuer than the certificate", self.find, ISSUER.crl(), Party("device"))


class ScopeTests(Refusing):
    authority = Party("authority", ISSUER, [CA])
    user = Party("user", ISSUER, [(x509.BasicConstraints(False, None), True)])

    def find(self, party: Party, **fields: Any) -> Finding:
        crl = ISSUER.crl([], [scope(**fields)])
        verify_crl(crl, ISSUER.certificate, now=NOW)
        return revoked_serials(crl).finding(party.certificate, NOW)

    def test_users_or_authorities(self) -> None:
        for party in (self.user, DEVICE):
            self.assertIs(self.find(party, only_contains_user_certs=True).status, Status.GOOD)
            self.refused("only about certificates of authorities", self.find, party, only_contains_ca_certs=True)
        self.assertIs(self.find(self.authority, only_contains_ca_certs=True).status, Status.GOOD)
        self.refused("only about certificates of users", self.find, self.authority, only_contains_user_certs=True)

    def test_never_supported(self) -> None:
        part = x509.RelativeDistinguishedName(named("part"))
        for reason, fields in (
            ("indirect", {"indirect_crl": True}),
            ("some reasons", {"only_some_reasons": frozenset([KEY])}),
            ("attribute certificates", {"only_contains_attribute_certs": True}),
            ("relative", {"relative_name": part}),
        ):
            self.refused(reason, self.find, self.user, **fields)

    def test_one_distribution_point(self) -> None:
        """Nobody may pass the CRL of one part of an issuer's certificates for that of another part."""

        def device(*found: x509.DistributionPoint) -> Party:
            return Party("device", ISSUER, [(x509.CRLDistributionPoints(found), False)])

        here = {"full_name": uris("http://a/1.crl", "ldap://a")}
        for party in (device(points("http://b/"), points("http://a/1.crl")), device(points("ldap://a"))):
            self.assertIs(self.find(party, **here).status, Status.GOOD)
        part = x509.RelativeDistinguishedName(named("part"))
        for party in (device(points("http://a/2.crl")), device(points(relative_name=part)), DEVICE):
            self.refused("another distribution point", self.find, party, **here)

    def test_a_certificate_that_cannot_be_read(self) -> None:
        broken = x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"junk")
        self.refused("cannot be read", self.find, Party("a", ISSUER, [(broken, False)]), only_contains_user_certs=True)


class FollowTests(Refusing):
    def follow(self, new: Any, old: Any) -> None:
        revoked_serials(new).check_follows(revoked_serials(old))

    def test_forward(self) -> None:
        first = ISSUER.crl(number=5)
        for new in (first, ISSUER.crl(number=6), ISSUER.crl(number=6, this=-DAY), ISSUER.crl(number=5, this=0)):
            self.follow(new, first)
        self.follow(ISSUER.crl(number=None, this=0), ISSUER.crl(number=None))
        self.follow(ISSUER.crl(number=1), ISSUER.crl(number=None))

    def test_backward(self) -> None:
        first = ISSUER.crl(number=5)
        for new in (ISSUER.crl(number=4, this=0), ISSUER.crl(number=5, this=-DAY), ISSUER.crl(number=None, this=0)):
            self.refused("older than the one before", self.follow, new, first)
        old = ISSUER.crl(number=None, this=-DAY)
        self.refused("older than the one before", self.follow, old, ISSUER.crl(number=None))

    def test_another_issuer(self) -> None:
        self.refused("another issuer", self.follow, Party("foreign").crl(), ISSUER.crl())


class DeltaTests(Refusing):
    base = revoked_serials(ISSUER.crl([1, 2, entry(3, HOLD), entry(4, HOLD)], number=5), source="crl a")

    def after(self, change: Any, **options: Any) -> RevokedSerials:
        verify_crl(change, ISSUER.certificate, now=NOW)
        return self.base.with_delta(change, **options)

    def test_changes(self) -> None:
        change = delta(5, 7, entry(3, REMOVED), entry(4, KEY), entry(8, HOLD), number=6, this=-60)
        after = self.after(change)
        self.assertEqual((after.revoked, after.on_hold), ({1, 2, 4, 7}, {8}))
        self.assertEqual((after.number, after.this_update), (6, NOW - 60))
        self.assertEqual((self.base.revoked, self.base.on_hold), ({1, 2}, {3, 4}))
        self.assertEqual((after.source, self.after(change, source="delta").source), ("crl a", "delta"))

    def test_removed_and_revoked_is_revoked(self) -> None:
        after = self.after(delta(5, entry(3, REMOVED), entry(3, KEY), number=6))
        self.assertIn(3, after.revoked)

    def test_revoked_is_not_put_on_hold(self) -> None:
        after = self.after(delta(5, entry(1, HOLD), entry(3, HOLD), number=6))
        self.assertEqual((after.revoked, after.on_hold), ({1, 2}, {3, 4}))

    def test_issued_with_its_base(self) -> None:
        self.assertEqual(self.after(delta(4, number=5)).revoked, {1, 2})

    def test_holds_until_the_first_of_both_ends(self) -> None:
        for until, end in ((60, NOW + 60), (2 * HOUR, NOW + HOUR)):
            self.assertEqual(self.after(delta(5, number=6, until=until)).next_update, end)

    def test_on_an_older_base(self) -> None:
        self.assertEqual(self.after(delta(3, 9, number=6)).revoked, {1, 2, 9})

    def test_one_after_another(self) -> None:
        after = self.after(delta(5, 7, number=6)).with_delta(delta(5, 7, 8, number=7))
        self.assertEqual((after.revoked, after.number), ({1, 2, 7, 8}, 7))
        self.refused("has number 6, there is 7", after.with_delta, delta(5, number=6))

    def test_on_a_newer_base(self) -> None:
        self.refused("changes number 6, there is 5", self.after, delta(6, number=7))

    def test_backward(self) -> None:
        self.refused("has number 4, there is 5", self.after, delta(4, number=4))
        self.refused("has number None, there is 5", self.after, delta(4, number=None))
        self.refused("has number 5, there is 5", self.after, delta(4, number=5, this=-DAY))

    def test_to_a_crl_without_number(self) -> None:
        old = revoked_serials(ISSUER.crl(number=None))
        self.refused("changes number 0, there is None", old.with_delta, delta(0))

    def test_no_delta(self) -> None:
        self.refused("no delta", self.after, ISSUER.crl(number=6))

    def test_foreign(self) -> None:
        foreign = Party("foreign").crl([], [(x509.DeltaCRLIndicator(5), True)], number=6)
        self.refused("another issuer or", self.base.with_delta, foreign)

    def test_of_another_scope(self) -> None:
        users = scope(only_contains_user_certs=True)
        self.refused("about other certificates", self.after, delta(5, number=6, extensions=[users]))

    def test_indirect(self) -> None:
        self.refused("indirect", self.after, delta(5, number=6, extensions=[scope(indirect_crl=True)]))

    def test_with_unknown_critical_extension_in_an_entry(self) -> None:
        self.refused("an entry of", self.after, delta(5, entry(9, None, (STRANGE, True)), number=6))

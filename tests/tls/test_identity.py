"""Who a device is, by certificates of every make."""

from __future__ import annotations

import unittest
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from mgate.tls.identity import Identity, described, identify

KEY = ec.generate_private_key(ec.SECP256R1())
UNTIL = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)


def certificate(*names: Any, sans: list[x509.GeneralName] | None = None, serial: int = 10) -> x509.Certificate:
    """A certificate whose subject has these names: text is a common name."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, each) if isinstance(each, str) else each for each in names]
    builder = x509.CertificateBuilder(
        x509.Name([]), x509.Name(attributes), KEY.public_key(), serial, datetime(2020, 1, 1, tzinfo=UTC), UNTIL
    )
    if sans is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), False)
    return builder.sign(KEY, hashes.SHA256())


def patched(made: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    """A certificate with other bytes in it; nobody looks at its signature here."""
    der = made.public_bytes(_der())
    assert len(old) == len(new) and der.count(old) == 1, der.count(old)
    return x509.load_der_x509_certificate(der.replace(old, new))


def _der() -> Any:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER


class Identities(unittest.TestCase):
    def test_everything(self) -> None:
        leaf = certificate(
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Pumps, Inc."), "pump-7",
            sans=[
                x509.DNSName("pump-7.example"), x509.IPAddress(ip_address("10.0.0.7")),
                x509.IPAddress(ip_address("2001:db8::7")), x509.UniformResourceIdentifier("urn:pump:7"),
                x509.RFC822Name("pump@example.com"), x509.DNSName("*.pumps.example"),
                x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
            ],
        )  # fmt: skip
        issuer = certificate("issuer")
        who = identify(leaf, [leaf, issuer])
        self.assertEqual(who.subject, r"CN=pump-7,O=Pumps\, Inc.")
        self.assertEqual(who.common_name, "pump-7")
        self.assertEqual(who.dns, ("pump-7.example", "*.pumps.example"))
        self.assertEqual(who.ip, ("10.0.0.7", "2001:db8::7"))
        self.assertEqual((who.uri, who.email), (("urn:pump:7",), ("pump@example.com",)))
        self.assertEqual((who.serial, who.not_after), ("0A", UNTIL))
        self.assertEqual(who.fingerprint, leaf.fingerprint(hashes.SHA256()).hex())
        self.assertEqual((who.certificate, who.chain), (leaf, (leaf, issuer)))
        self.assertEqual(described(leaf), who.subject)

    def test_nothing(self) -> None:
        who = identify(certificate())
        self.assertEqual((who.subject, who.common_name, who.chain), ("", "", ()))
        self.assertEqual((who.dns, who.ip, who.uri, who.email), ((), (), (), ()))
        self.assertEqual(described(certificate()), "serial 0A")

    def test_it_cannot_be_changed(self) -> None:
        who = identify(certificate("pump"))
        with self.assertRaises(AttributeError):
            who.common_name = "admin"  # type: ignore[misc]

    def test_it_does_not_show_whole_certificates(self) -> None:
        self.assertNotIn("certificate=", repr(identify(certificate("pump"))))

    def test_two_common_names_are_none(self) -> None:
        self.assertEqual(identify(certificate("pump", "admin")).common_name, "")
        self.assertIn("CN=admin", identify(certificate("pump", "admin")).subject)

    def test_a_common_name_with_what_cannot_be_printed_is_none(self) -> None:
        for name in ("admin\0.example", "admin\nx", "admin\x1b[2J", "\u202enimda", "\x7f"):
            who = identify(certificate(name))
            self.assertEqual(who.common_name, "", repr(name))
        self.assertEqual(identify(certificate("Größe 7")).common_name, "Größe 7")

    def test_a_nul_in_an_alternative_name_leaves_that_name_out(self) -> None:
        names = [x509.DNSName("admin_.example"), x509.DNSName("pump.example")]
        made = patched(certificate("pump", sans=names), b"admin_.example", b"admin\0.example")
        self.assertEqual(identify(made).dns, ("pump.example",))

    def test_other_encodings(self) -> None:
        for kind in (_ASN1Type.BMPString, _ASN1Type.PrintableString, _ASN1Type.T61String):
            attribute = x509.NameAttribute(NameOID.COMMON_NAME, "pump", kind)
            self.assertEqual(identify(certificate(attribute)).common_name, "pump", kind)

    def test_a_name_of_bits(self) -> None:
        bits = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0\1", _ASN1Type.BitString)
        self.assertEqual(identify(certificate(bits, "pump")).common_name, "pump")

    def test_encodings_that_are_none(self) -> None:
        made = certificate("pump", sans=[x509.DNSName("pump.example")])
        der = b"\x0c\x04pump"
        broken = patched(made, der, b"\x0c\x04\xff\xfemp")
        who = identify(broken)
        self.assertEqual((who.subject, who.common_name, who.dns), ("", "", ("pump.example",)))
        self.assertEqual(described(broken), "serial 0A")

    def test_extensions_that_cannot_be_read(self) -> None:
        sans = [x509.DNSName("pump.example"), x509.IPAddress(ip_address("10.0.0.7"))]
        made = certificate("pump", sans=sans)
        broken = [
            patched(made, b"\x82\x0cpump.example", b"\x82\x0cpump.ex\xffmple"),  # no ASCII
            patched(made, b"\x87\x04\x0a\0\0\7", b"\x87\x05\x0a\0\0\7"),  # longer than the whole
            patched(made, b"\x87\x04\x0a\0\0\7", b"\xa3\x04\x0a\0\0\7"),  # an X.400 address
        ]
        for each in broken:
            who = identify(each)
            self.assertEqual((who.common_name, who.dns, who.ip), ("pump", (), ()))

    def test_an_extension_that_comes_twice(self) -> None:
        one = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), b"\x04\x00")
        builder = x509.CertificateBuilder(
            x509.Name([]), x509.Name([]), KEY.public_key(), 10, datetime(2020, 1, 1, tzinfo=UTC), UNTIL,
            [x509.Extension(x509.SubjectAlternativeName.oid, False, x509.SubjectAlternativeName([x509.DNSName("a.b")])),
             x509.Extension(one.oid, False, one)],
        )  # fmt: skip
        made = patched(builder.sign(KEY, hashes.SHA256()), b"\x06\x03\x55\x1d\x63", b"\x06\x03\x55\x1d\x11")
        self.assertEqual(identify(made).dns, ())

    def test_serial_numbers(self) -> None:
        for number, text in ((1, "01"), (255, "FF"), (256, "0100"), (2**159, "80" + "00" * 19)):
            self.assertEqual(identify(certificate(serial=number)).serial, text)

    def test_equal_certificates_are_the_same_identity(self) -> None:
        made = certificate("pump")
        again = x509.load_der_x509_certificate(made.public_bytes(_der()))
        self.assertEqual(identify(made), identify(again))
        self.assertIsInstance(identify(made), Identity)

    def test_a_network_is_no_address(self) -> None:
        made = certificate("pump", sans=[x509.IPAddress(ip_network("10.0.0.0/8"))])
        self.assertEqual(identify(made).ip, ())


if __name__ == "__main__":
    unittest.main()

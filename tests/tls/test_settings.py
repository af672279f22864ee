"""What a listener does about TLS where nothing is said: the safe thing."""

from __future__ import annotations

from unittest import TestCase

from mgate.tls.settings import Revocation, ServerName, ServerTls, TargetTls


class DefaultTests(TestCase):
    def test_a_certificate_that_nobody_can_be_asked_about_is_refused(self) -> None:
        revocation = Revocation(("ocsp", "crl"))
        self.assertEqual((revocation.on_failure, revocation.on_miss), ("hard", "hold"))
        self.assertEqual((revocation.allowed_networks, revocation.allowed_ports), ((), (80, 443)))

    def test_depths_are_those_of_the_seeds(self) -> None:
        """OCSP asks about the whole chain, a CRL about the certificate of the device."""
        self.assertEqual((Revocation().ocsp_depth, Revocation().crl_depth), (0, 1))

    def test_a_key_that_others_read_is_refused(self) -> None:
        self.assertFalse(ServerTls("a.pem", "a.key").allow_insecure_key)

    def test_equal_settings_are_one(self) -> None:
        """Listeners that ask alike share what they learn."""
        one, other = (ServerTls("a", "b", server_name=(ServerName("c", "d"),)) for _ in range(2))
        self.assertEqual(len({one.revocation, other.revocation}), 1)
        self.assertEqual(one, other)

    def test_a_target_is_verified_by_what_its_address_says(self) -> None:
        self.assertEqual(TargetTls().server_name, "")

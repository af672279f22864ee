"""The test PKI: OpenSSL and pyOpenSSL agree with what its files are said to show."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import TestCase, skipUnless

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags, ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL.crypto import X509, X509Store, X509StoreContext, X509StoreContextError

from mgate.testing.authority import Authority
from mgate.testing.credential import DAY, Credential, new_key
from mgate.testing.index import read_index
from mgate.testing.pki import OTHER_NAME, Pki
from mgate.tls.status import Status
from tests.processes import run

ROOT = Path(__file__).resolve().parent.parent
CERTS = ROOT / "certs"
OURS = ("make_pki", "README", ".gitignore")


def openssl(*arguments: str, folder: Path) -> str:
    """What OpenSSL says to both outputs."""
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


class FolderTestCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)


class FilesTests(FolderTestCase):
    pki: Pki

    @classmethod
    def setUpClass(cls) -> None:
        cls.pki = Pki.make("http://127.0.0.1:1/")

    def setUp(self) -> None:
        super().setUp()
        self.paths = self.pki.write(self.folder)

    def verify(self, name: str, *more: str) -> str:
        """``openssl verify`` of a file, with the intermediates that are in it."""
        return openssl(
            "verify", "-CAfile", "root.pem", "-untrusted", f"{name}.pem", *more, f"{name}.pem", folder=self.folder
        )

    def test_chains_that_verify(self) -> None:
        for name in ("good", "revoked", "on-hold", "unknown", "no-urls", "slow", "of-revoked-ca"):
            with self.subTest(name):
                self.assertIn(": OK", self.verify(f"client-{name}", "-purpose", "sslclient", "-x509_strict"))
        for name, host in (("server", "localhost"), ("other-server", OTHER_NAME)):
            with self.subTest(name):
                strict = ("-purpose", "sslserver", "-x509_strict", "-verify_hostname", host)
                self.assertIn(": OK", self.verify(name, *strict))
        for address in ("127.0.0.1", "::1"):
            self.assertIn(": OK", self.verify("server", "-verify_ip", address))
        self.assertIn("hostname mismatch", self.verify("server", "-verify_hostname", OTHER_NAME))

    def test_chains_that_do_not(self) -> None:
        for name, why in {
            "client-expired": "certificate has expired",
            "client-not-yet-valid": "certificate is not yet valid",
            "client-of-unknown-ca": "unable to get local issuer certificate",
            "client-server-only": "unsuitable certificate purpose",
            "delegate-no-eku": ": OK",
            "delegate-expired": "certificate has expired",
            "delegate-foreign": "unable to get local issuer certificate",
        }.items():
            with self.subTest(name):
                purpose = ("-purpose", "sslclient") if name.startswith("client") else ()
                self.assertIn(why, self.verify(name, *purpose))

    def test_chains_by_crl(self) -> None:
        crls = [self.folder / f"{name}.pem" for name in ("crl", "crl-root", "crl-revoked-intermediate")]
        (self.folder / "all.pem").write_bytes(b"".join(path.read_bytes() for path in crls))
        checked = ("-crl_check_all", "-CRLfile", "all.pem")
        self.assertIn(": OK", self.verify("client-good", *checked))
        for name, depth in (("revoked", 0), ("on-hold", 0), ("of-revoked-ca", 1)):
            said = self.verify(f"client-{name}", *checked)
            self.assertIn(f"error 23 at {depth} depth lookup: certificate revoked", said)
        for name, why in (("expired", "CRL has expired"), ("wrong-signer", "CRL signature failure")):
            said = self.verify("client-good", "-crl_check", "-CRLfile", f"crl-{name}.pem")
            self.assertIn(why, said)
        for name in ("good", "revoked"):
            self.assertIn(": OK", self.verify(f"client-{name}", "-crl_check", "-CRLfile", "crl-empty.pem"))

    def test_chain_by_delta_crl(self) -> None:
        crls = self.pki.crls()
        base = crls["crl"].extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        # OpenSSL looks for deltas only where a CRL says that there are some (RFC 5280 section 5.2.6).
        point = x509.DistributionPoint([x509.UniformResourceIdentifier("http://192.0.2.1/")], None, None, None)
        complete = self.pki.intermediate.crl(number=base, extensions=[(x509.FreshestCRL([point]), False)])
        checked = ("-crl_check", "-extended_crl", "-use_deltas", "-CRLfile", "crls.pem")
        for crls_used, said in (([complete], ": OK"), ([complete, crls["delta"]], "certificate revoked")):
            (self.folder / "crls.pem").write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in crls_used))
            self.assertIn(said, self.verify("client-good", *checked))

    def test_crls_parse_in_both_forms(self) -> None:
        names = [path.stem for path in self.paths if path.suffix == ".der"]
        self.assertEqual(len(names), 7)
        for name in names:
            texts = [
                openssl("crl", "-in", f"{name}.{form}", "-inform", form, "-noout", "-text", folder=self.folder)
                for form in ("pem", "der")
            ]
            self.assertIn("X509v3 CRL Number", texts[0])
            self.assertEqual(*texts)

    def test_pyopenssl_agrees(self) -> None:
        store = X509Store()
        store.add_cert(X509.from_cryptography(self.pki.root.credential.certificate))

        def verify(credential: Credential) -> None:
            chain = [X509.from_cryptography(each) for each in credential.chain]
            X509StoreContext(store, X509.from_cryptography(credential.certificate), chain).verify_certificate()

        verify(self.pki.clients["good"])
        verify(self.pki.clients["of-revoked-ca"])
        for name in ("expired", "not-yet-valid", "of-unknown-ca"):
            with self.subTest(name), self.assertRaises(X509StoreContextError):
                verify(self.pki.clients[name])

    def test_trust_bundle_suffices_for_a_lone_certificate(self) -> None:
        leaf = self.pki.clients["of-revoked-ca"].certificate.public_bytes(Encoding.PEM)
        (self.folder / "leaf.pem").write_bytes(leaf)
        self.assertIn(": OK", openssl("verify", "-CAfile", "ca.pem", "leaf.pem", folder=self.folder))
        self.assertIn("error", openssl("verify", "-CAfile", "root.pem", "leaf.pem", folder=self.folder))

    def test_who_may_read(self) -> None:
        keys = [path for path in self.paths if path.suffix == ".key"]
        self.assertEqual(len(keys), 23)
        for path in self.paths:
            mode = stat.S_IMODE(path.stat().st_mode)
            self.assertEqual(mode, 0o600 if b"PRIVATE KEY" in path.read_bytes() else 0o644, path.name)
        made = self.folder / "below" / "new"
        self.pki.write(made)
        self.assertEqual(stat.S_IMODE(made.stat().st_mode), 0o700)

    def test_nothing_else_is_left_behind(self) -> None:
        self.assertEqual(set(self.folder.iterdir()), set(self.paths))

    def test_credentials_come_back(self) -> None:
        found = Credential.load(self.folder / "client-good.pem", self.folder / "client-good.key")
        self.assertEqual((found.certificate, found.chain), (self.pki.clients["good"].certificate, found.chain))
        self.assertEqual(found.key_pem, self.pki.clients["good"].key_pem)
        self.assertEqual(found.chain, (self.pki.intermediate.credential.certificate,))
        with self.assertRaises(ValueError):
            Credential.load(self.folder / "client-good.key", self.folder / "client-good.pem")

    def test_one_more_credential(self) -> None:
        certificate, key = self.pki.rsa_server().write(self.folder, "server-rsa")
        self.assertEqual((certificate.name, key.name), ("server-rsa.pem", "server-rsa.key"))
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        self.assertIn(": OK", self.verify("server-rsa", "-purpose", "sslserver", "-verify_hostname", "localhost"))
        self.assertIsInstance(Credential.load(certificate, key).key, rsa.RSAPrivateKey)

    def test_index_is_what_openssl_answers_from(self) -> None:
        issuer = ("-CA", "intermediate.pem", "-CAfile", "ca.pem", "-issuer", "intermediate.pem")
        signer = ("-rsigner", "delegate-good.pem", "-rkey", "delegate-good.key", "-ndays", "1")
        names = ("good", "revoked", "on-hold", "unknown")
        for name, status in zip(names, ("good", "revoked", "revoked", "unknown"), strict=True):
            request = ("-cert", f"client-{name}.pem", "-reqout", "request.der")
            openssl("ocsp", "-issuer", "intermediate.pem", *request, folder=self.folder)
            index = ("-index", "intermediate-index.txt", "-reqin", "request.der")
            said = openssl("ocsp", *index, *issuer[:2], *signer, "-resp_text", folder=self.folder)
            self.assertIn(f"Cert Status: {status}", said)


class WhatCertificatesSayTests(TestCase):
    def setUp(self) -> None:
        self.pki = Pki.make("http://127.0.0.1:8080", names=["gateway.example"])

    def test_addresses(self) -> None:
        for name, below in (("good", ""), ("slow", "/slow")):
            extensions = self.pki.clients[name].certificate.extensions
            (access,) = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
            (point,) = extensions.get_extension_for_class(x509.CRLDistributionPoints).value
            assert point.full_name is not None
            self.assertEqual(access.access_location.value, f"http://127.0.0.1:8080{below}/ocsp")
            self.assertEqual(point.full_name[0].value, f"http://127.0.0.1:8080{below}/intermediate.crl")
        extensions = self.pki.clients["no-urls"].certificate.extensions
        for kind in (x509.AuthorityInformationAccess, x509.CRLDistributionPoints):
            with self.assertRaises(x509.ExtensionNotFound):
                extensions.get_extension_for_class(kind)

    def test_names(self) -> None:
        names = self.pki.server.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost", "gateway.example"])
        self.assertEqual([str(each) for each in names.get_values_for_type(x509.IPAddress)], ["127.0.0.1", "::1"])
        mail = self.pki.root.issue("mail", names=["pump@plant.example", "urn:plant:pump"]).certificate
        names = mail.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.RFC822Name), ["pump@plant.example"])
        self.assertEqual(names.get_values_for_type(x509.UniformResourceIdentifier), ["urn:plant:pump"])

    def test_rsa_is_made_when_asked(self) -> None:
        key = self.pki.rsa_server().certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        self.assertEqual(key.key_size, 2048)

    def test_chosen_serial_and_extensions(self) -> None:
        odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
        issued = self.pki.root.issue("x", serial=7, key=new_key(), usage=(), extensions=[(odd, True)])
        self.assertEqual(issued.serial, 7)
        self.assertTrue(issued.certificate.extensions.get_extension_for_oid(odd.oid).critical)
        self.assertEqual(issued.chain, ())

    def test_authority_that_must_not_sign_crls(self) -> None:
        for allowed in (True, False):
            made = self.pki.root.intermediate("x", crl_sign=allowed).credential.certificate
            self.assertEqual(made.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign, allowed)


class AuthorityTests(TestCase):
    def setUp(self) -> None:
        self.root = Authority.root("root")
        self.pump = self.root.issue("pump")

    def status(self) -> ocsp.OCSPCertStatus:
        return ocsp.load_der_ocsp_response(self.root.ocsp_response(self.pump.serial)).certificate_status

    def test_revokes_and_releases(self) -> None:
        self.assertEqual(self.status(), ocsp.OCSPCertStatus.GOOD)
        self.root.revoke(self.pump, ReasonFlags.certificate_hold)
        self.assertEqual(self.status(), ocsp.OCSPCertStatus.REVOKED)
        (listed,) = self.root.crl()
        self.assertEqual(listed.serial_number, self.pump.serial)
        self.assertEqual(
            listed.extensions.get_extension_for_class(x509.CRLReason).value.reason, ReasonFlags.certificate_hold
        )
        self.root.release(self.pump)
        self.assertEqual(self.status(), ocsp.OCSPCertStatus.GOOD)
        self.assertEqual(list(self.root.crl()), [])

    def test_crl_numbers_rise(self) -> None:
        numbers = [
            crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            for crl in (self.root.crl(), self.root.crl(number=9), self.root.crl())
        ]
        self.assertEqual(numbers[1], 9)
        self.assertGreater(numbers[2], numbers[0])

    def test_forced_status_of_what_it_does_not_know(self) -> None:
        response = self.root.ocsp_response(5, status=Status.REVOKED)
        self.assertEqual(ocsp.load_der_ocsp_response(response).certificate_status, ocsp.OCSPCertStatus.REVOKED)
        self.assertEqual(
            ocsp.load_der_ocsp_response(self.root.ocsp_response(5)).certificate_status, ocsp.OCSPCertStatus.UNKNOWN
        )

    def test_response_as_told(self) -> None:
        said = ocsp.load_der_ocsp_response(
            self.root.ocsp_response(5, this_update=-2 * DAY, next_update=None, nonce=b"0123456789abcdef", by_name=True)
        )
        self.assertIsNone(said.next_update_utc)
        self.assertEqual(said.responder_name, self.root.credential.certificate.subject)
        self.assertEqual(said.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce, b"0123456789abcdef")
        self.assertGreaterEqual(said.produced_at_utc - said.this_update_utc, timedelta(days=2))

    def test_index_comes_back(self) -> None:
        other = self.root.issue("other", serial=0xABC)
        self.root.revoke(self.pump)
        self.root.revoke(other, None)
        index = dict(self.root.index)
        text = self.root.index_text()
        self.assertIn("\t0ABC\tunknown\t/CN=other\n", text)
        self.root.read_index(text)
        self.assertEqual(self.root.index, index)

    def test_index_of_another_format(self) -> None:
        for line in ("", "V\t1\t2", "X\t301231235959Z\t\t01\tunknown\t/CN=x", "V\tnever\t\t01\tunknown\t/CN=x"):
            with self.subTest(line), self.assertRaisesRegex(ValueError, "^line 1: "):
                read_index(line + "\n")


class ResigningTests(FolderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.pki = Pki.make()
        self.pki.write(self.folder)

    def verify(self, signature: str, delegate: Credential | None = None, **more: Any) -> str:
        serial = self.pki.clients["good"].serial
        response = self.pki.intermediate.ocsp_response(serial, signature=signature, delegate=delegate, **more)
        (self.folder / "response.der").write_bytes(response)
        return openssl(
            "ocsp", "-respin", "response.der", "-issuer", "intermediate.pem", "-cert", "client-good.pem",
            "-CAfile", "ca.pem", "-resp_text", folder=self.folder,
        )  # fmt: skip

    def test_signatures_that_are_right_and_weak(self) -> None:
        key = rsa.generate_private_key(65537, 2048)
        delegate = self.pki.intermediate.issue(
            "rsa", key=key, usage=(ExtendedKeyUsageOID.OCSP_SIGNING,), extensions=[(x509.OCSPNoCheck(), False)]
        )
        for signature, signer, named in (
            ("sha256", None, "ecdsa-with-SHA256"),
            ("sha1", None, "ecdsa-with-SHA1"),
            ("sha1", self.pki.delegates["good"], "ecdsa-with-SHA1"),
            ("sha1", delegate, "sha1WithRSAEncryption"),
            ("pss", delegate, "rsassaPss"),
        ):
            with self.subTest(signature=signature, named=named):
                said = self.verify(signature, signer)
                self.assertIn("Response verify OK", said)
                self.assertIn(f"Signature Algorithm: {named}", said)
                self.assertIn("client-good.pem: good", said)

    def test_wrong_signature(self) -> None:
        self.assertIn("Response Verify Failure", self.verify("broken"))

    def test_key_of_somebody_else(self) -> None:
        for key in (new_key(), rsa.generate_private_key(65537, 2048)):
            self.assertIn("Response Verify Failure", self.verify("sha256", key=key))
        own = self.pki.intermediate.credential.key
        self.assertIn("Response verify OK", self.verify("sha256", key=own))
        said = self.verify("sha256", self.pki.delegates["good"], key=own)
        self.assertIn("Response Verify Failure", said)

    def test_no_pss_with_an_ec_key(self) -> None:
        with self.assertRaises(ValueError):
            self.verify("pss")


class ScriptTests(FolderTestCase):
    """certs/make_pki.py, in a copy of certs/."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("make_pki.py", "README.md", ".gitignore"):
            shutil.copy(CERTS / name, self.folder)

    def make(self, *arguments: str) -> dict[str, bytes]:
        """The content of what it says that it wrote."""
        done = run([sys.executable, str(self.folder / "make_pki.py"), *arguments])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return {Path(line).name: Path(line).read_bytes() for line in done.stdout.splitlines()}

    def test_where_it_lies(self) -> None:
        made = self.make()
        self.assertEqual(set(made), {path.name for path in self.folder.iterdir() if path.stem not in OURS})

    def test_second_run_replaces_everything(self) -> None:
        first = self.make()
        second = self.make()
        self.assertEqual(first.keys(), second.keys())
        self.assertEqual([name for name in first if first[name] == second[name]], [])

    def test_another_folder_url_and_name(self) -> None:
        other = self.folder / "other"
        made = self.make(str(other), "--url", "http://192.0.2.1", "--name", "gateway.example")
        self.assertEqual({path.name for path in other.iterdir()}, set(made))
        server = x509.load_pem_x509_certificates(made["server.pem"])[0].extensions
        (access,) = server.get_extension_for_class(x509.AuthorityInformationAccess).value
        self.assertEqual(access.access_location.value, "http://192.0.2.1/ocsp")
        names = server.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertIn("gateway.example", names.get_values_for_type(x509.DNSName))

    def test_revokes_later(self) -> None:
        made = self.make()
        for name, issuer, stem in (
            ("client-good", "intermediate", "crl"),
            ("intermediate.pem", "root", "crl-root"),
            ("client-of-revoked-ca", "revoked-intermediate", "crl-revoked-intermediate"),
        ):
            before = x509.load_pem_x509_crl(made[f"{stem}.pem"])
            changed = self.make(str(self.folder), "--revoke", name)
            self.assertEqual(set(changed), {f"{issuer}-index.txt", f"{stem}.pem", f"{stem}.der"})
            serial = x509.load_pem_x509_certificate(made[f"{name.removesuffix('.pem')}.pem"]).serial_number
            after = x509.load_der_x509_crl(changed[f"{stem}.der"])
            self.assertEqual({each.serial_number for each in after}, {each.serial_number for each in before} | {serial})
            self.assertEqual(Authority.load(self.folder, issuer).index[serial].status, Status.REVOKED)

    def test_revokes_only_what_it_knows(self) -> None:
        self.make()
        for name, why in (("client-unknown", "does not know"), ("nobody", "No such file"), ("crl", "")):
            done = run([sys.executable, str(self.folder / "make_pki.py"), "--revoke", name])
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
            self.assertIn(why, done.stderr)

    def test_folder_that_is_none(self) -> None:
        done = run([sys.executable, str(self.folder / "make_pki.py"), str(self.folder / "README.md")])
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("make_pki: ", done.stderr)

    def test_readme_names_every_file(self) -> None:
        said = (CERTS / "README.md").read_text()
        for name in self.make():
            if name.endswith(".pem"):
                self.assertIn(f"`{name}`", said)

    @skipUnless(shutil.which("git"), "there is no git")
    def test_git_sees_nothing_of_it(self) -> None:
        self.make()
        git = ["git", "-C", str(self.folder)]
        self.assertEqual(run([*git, "init", "--quiet"]).returncode, 0)
        seen = run([*git, "status", "--porcelain", "--untracked-files=all"]).stdout.split()[1::2]
        self.assertEqual(sorted(seen), [".gitignore", "README.md", "make_pki.py"])

    @skipUnless((ROOT / ".git").exists() and shutil.which("git"), "this is no checkout")
    def test_no_key_is_in_git(self) -> None:
        listed = run(["git", "-C", str(ROOT), "ls-files", "*.key", "*.pem", "*.p12", "*.der"])
        self.assertEqual((listed.returncode, listed.stdout), (0, ""))
        holding = run(["git", "-C", str(ROOT), "grep", "--cached", "-lE", "^-+BEGIN [A-Z ]*PRIVATE KEY-+$"])
        self.assertEqual((holding.returncode, holding.stdout), (1, ""))

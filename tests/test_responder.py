"""The OCSP responder and CRL distribution point: it answers as it should, and misbehaves as it is told.

Also examples/ocsp_responder.py, which runs it.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import tempfile
from base64 import b64encode
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import TestCase as PlainTestCase
from urllib.parse import quote
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus
from treq import content
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Protocol
from twisted.internet.utils import getProcessOutput
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, FileBodyProducer, ResponseFailed
from twisted.web.http_headers import Headers

from mgate.testing.credential import DAY, Credential
from mgate.testing.pki import Pki, revoke
from mgate.testing.responder import Behaviour, Responder
from mgate.tls.status import Status
from tests.processes import Running, free_port, run

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = str(ROOT / "examples" / "ocsp_responder.py")
NONCE = b"0123456789abcdef"
TYPE = {"content-type": ["application/ocsp-request"]}


class First(Protocol):
    """Collects the first octets of an answer, and then leaves."""

    def __init__(self, enough: int) -> None:
        self.seen = b""
        self.enough = enough
        self.done: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.seen += data
        if len(self.seen) >= self.enough:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: object = None) -> None:
        self.done.callback(self.seen)


class ResponderTestCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.responder = Responder(reactor)
        self.url = await self.responder.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.responder.stop()))
        self.pki = Pki.make(self.url)
        self.responder.authorities = self.pki.authorities
        self.agent: Any = Agent(reactor)

    def request(self, name: str = "good", nonce: bytes | None = None, algorithm: Any = None) -> bytes:
        client, issuer = self.pki.clients[name], self.pki.intermediate
        builder = ocsp.OCSPRequestBuilder().add_certificate(
            client.certificate, issuer.credential.certificate, algorithm or hashes.SHA256()
        )
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), False)
        return builder.build().public_bytes(Encoding.DER)

    async def post(self, body: bytes, path: str = "ocsp", headers: Any = TYPE) -> Any:
        producer = FileBodyProducer(BytesIO(body))
        return await self.agent.request(b"POST", f"{self.url}/{path}".encode(), Headers(headers), producer)

    async def get(self, path: str) -> Any:
        return await self.agent.request(b"GET", f"{self.url}/{path}".encode())

    async def ask(self, name: str = "good", **options: Any) -> ocsp.OCSPResponse:
        response = await self.post(self.request(name, **options))
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/ocsp-response"])
        return ocsp.load_der_ocsp_response(await content(response))


class AnswersTests(ResponderTestCase):
    async def test_post_and_get(self) -> None:
        for name, status in {
            "good": OCSPCertStatus.GOOD,
            "revoked": OCSPCertStatus.REVOKED,
            "on-hold": OCSPCertStatus.REVOKED,
            "unknown": OCSPCertStatus.UNKNOWN,
        }.items():
            for algorithm in (hashes.SHA1(), hashes.SHA256()):
                self.assertEqual((await self.ask(name, algorithm=algorithm)).certificate_status, status)
                encoded = b64encode(self.request(name, algorithm=algorithm)).decode()
                for written in (quote(encoded, safe=""), quote(encoded)):
                    got = ocsp.load_der_ocsp_response(await content(await self.get(f"ocsp/{written}")))
                    self.assertEqual(got.certificate_status, status)
                    self.assertEqual(got.serial_number, self.pki.clients[name].serial)
        self.assertEqual(self.responder.requests, {"ocsp": 24})
        self.assertEqual(self.responder.serials[self.pki.clients["good"].serial], 6)
        self.assertEqual(self.responder.serials[self.pki.clients["unknown"].serial], 0)

    async def test_openssl_agrees(self) -> None:
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        self.pki.write(folder)
        for name, issuer, status in (
            ("client-good", "intermediate", "good"),
            ("client-revoked", "intermediate", "revoked"),
            ("client-unknown", "intermediate", "unknown"),
            ("client-of-revoked-ca", "revoked-intermediate", "good"),
            ("intermediate", "root", "good"),
            ("revoked-intermediate", "root", "revoked"),
        ):
            for digest in ("-sha1", "-sha256"):
                arguments = ["ocsp", "-issuer", f"{issuer}.pem", digest, "-cert", f"{name}.pem"]
                arguments += ["-CAfile", "ca.pem", "-url", f"{self.url}/ocsp", "-nonce"]
                said = (await getProcessOutput("openssl", arguments, path=str(folder), errortoo=True)).decode()
                self.assertIn("Response verify OK", said)
                self.assertIn(f"{name}.pem: {status}", said)
                self.assertNotIn("WARNING", said)  # of a nonce that is missing

    async def test_what_is_revoked_later(self) -> None:
        self.pki.intermediate.revoke(self.pki.clients["good"])
        self.assertEqual((await self.ask()).certificate_status, OCSPCertStatus.REVOKED)
        crl = x509.load_der_x509_crl(await content(await self.get("intermediate.crl")))
        self.assertIsNotNone(crl.get_revoked_certificate_by_serial_number(self.pki.clients["good"].serial))

    async def test_crls(self) -> None:
        for authority in self.pki.authorities:
            der = await self.get(f"{authority.name}.crl")
            pem = await self.get(f"{authority.name}.pem")
            self.assertEqual(der.headers.getRawHeaders("content-type"), ["application/pkix-crl"])
            for crl in (
                x509.load_der_x509_crl(await content(der)), x509.load_pem_x509_crl(await content(pem))
            ):  # fmt: skip
                self.assertTrue(crl.is_signature_valid(authority.credential.key.public_key()))
                self.assertEqual(
                    {each.serial_number for each in crl},
                    {each.serial for each in authority.index.values() if each.revoked},
                )

    async def test_paths(self) -> None:
        for path, code in {
            "": 404,
            "nowhere": 404,
            "ocspx": 404,
            "foreign.crl": 404,
            "intermediate.crl/x": 404,
            "elsewhere/ocsp": 404,
            "/ocsp": 404,
            "slow": 404,
            "untrusted/intermediate.crl": 200,
            "ocsp": 200,
        }.items():
            response = await self.get(path)
            await content(response)
            self.assertEqual(response.code, code, path)
        self.assertEqual(self.responder.requests, {"": 8, "untrusted/intermediate.crl": 1, "ocsp": 1})

    async def test_no_requests(self) -> None:
        malformed = OCSPResponseStatus.MALFORMED_REQUEST
        for body, headers in ((b"", TYPE), (b"\x30\x00", TYPE), (b"x" * 100_000, TYPE), (self.request(), {})):
            response = await self.post(body, headers=headers)
            self.assertEqual(ocsp.load_der_ocsp_response(await content(response)).response_status, malformed)
        for path in ("ocsp", "ocsp/!", "ocsp/" + b64encode(b"junk").decode()):
            response = await self.get(path)
            self.assertEqual(ocsp.load_der_ocsp_response(await content(response)).response_status, malformed)

    async def test_authority_of_somebody_else(self) -> None:
        self.responder.authorities = [self.pki.root]
        self.assertEqual((await self.ask()).response_status, OCSPResponseStatus.UNAUTHORIZED)

    async def test_stops(self) -> None:
        await self.responder.stop()
        await self.assertFailure(Deferred.fromCoroutine(self.get("ocsp")), ConnectionRefusedError)


class MisbehavesTests(ResponderTestCase):
    async def told(self, **behaviour: Any) -> ocsp.OCSPResponse:
        self.responder.behaviours["ocsp"] = Behaviour(**behaviour)
        return await self.ask(nonce=NONCE)

    def nonce_of(self, response: ocsp.OCSPResponse) -> bytes:
        return response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce

    async def test_status(self) -> None:
        for status in (Status.GOOD, Status.REVOKED, Status.UNKNOWN):
            said = await self.told(ocsp={"status": status})
            self.assertEqual(said.certificate_status.name, status.name)

    async def test_nonce(self) -> None:
        self.assertEqual(self.nonce_of(await self.told()), NONCE)
        self.assertEqual(self.nonce_of(await self.told(ocsp={"nonce": b"another, of 16 b"})), b"another, of 16 b")
        self.assertEqual(len((await self.told(ocsp={"nonce": None})).extensions), 0)

    async def test_times(self) -> None:
        stale = await self.told(ocsp={"this_update": -9 * DAY, "next_update": -DAY})
        assert stale.next_update_utc is not None
        self.assertLess(stale.next_update_utc, stale.produced_at_utc)
        future = await self.told(ocsp={"this_update": DAY, "next_update": 2 * DAY})
        self.assertGreater(future.this_update_utc, future.produced_at_utc)
        self.assertIsNone((await self.told(ocsp={"next_update": None})).next_update_utc)
        at_once = await self.told(ocsp={"next_update": timedelta(0)})
        self.assertEqual(at_once.next_update_utc, at_once.this_update_utc)

    async def test_signed_by(self) -> None:
        for name in ("good", "no-eku", "expired", "no-nocheck", "of-root", "foreign"):
            delegate: Credential = self.pki.delegates[name]
            said = await self.told(ocsp={"delegate": delegate})
            self.assertEqual(said.certificates, [delegate.certificate])
        said = await self.told(ocsp={"signature": "sha1"})
        self.assertIsInstance(said.signature_hash_algorithm, hashes.SHA1)

    async def test_wrong_certificate_and_wrong_issuer(self) -> None:
        other = self.pki.clients["revoked"].serial
        self.assertEqual((await self.told(ocsp={"serial": other})).serial_number, other)
        said = await self.told(authority=self.pki.foreign)
        self.assertEqual(said.issuer_name_hash, self.pki.foreign.identifiers(hashes.SHA256())[0])

    async def test_errors(self) -> None:
        self.assertEqual((await self.told(error=OCSPResponseStatus.TRY_LATER)).response_status.name, "TRY_LATER")

    async def test_garbage_and_codes(self) -> None:
        self.responder.behaviours[""] = Behaviour(body=b"<html>", code=503)
        response = await self.get("intermediate.crl")
        self.assertEqual((response.code, await content(response)), (503, b"<html>"))

    async def test_redirect(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(redirect="http://169.254.169.254/")
        response = await self.post(self.request())
        await content(response)
        self.assertEqual(response.code, 302)
        self.assertEqual(response.headers.getRawHeaders("location"), ["http://169.254.169.254/"])

    async def test_crl_as_told(self) -> None:
        self.responder.behaviours["root.crl"] = Behaviour(crl={"number": 77}, authority=self.pki.foreign)
        crl = x509.load_der_x509_crl(await content(await self.get("root.crl")))
        self.assertEqual(crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number, 77)
        self.assertEqual(crl.issuer, self.pki.foreign.credential.certificate.subject)

    async def test_length_that_is_claimed(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(content_length=10**9)
        response = await self.post(self.request())
        self.assertEqual(response.length, 10**9)
        first = First(100)
        response.deliverBody(first)
        await first.done

    async def test_endless(self) -> None:
        for claimed in (None, 10**12):
            self.responder.behaviours["ocsp"] = Behaviour(endless=True, content_length=claimed)
            response = await self.post(self.request())
            first = First(1_000_000)
            response.deliverBody(first)
            self.assertGreaterEqual(len(await first.done), 1_000_000)

    async def test_drip(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(drip=1e-6)
        self.assertEqual((await self.ask()).certificate_status, OCSPCertStatus.GOOD)
        self.responder.behaviours["ocsp"] = Behaviour(drip=3600)
        response = await self.post(self.request())
        first = First(1)
        response.deliverBody(first)
        self.assertEqual(await first.done, b"\x30")

    async def test_delay(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(delay=1e-6)
        self.assertEqual((await self.ask()).certificate_status, OCSPCertStatus.GOOD)

    async def test_held_until_released(self) -> None:
        self.responder.behaviours["ocsp"] = Behaviour(delay=math.inf)
        asking = [Deferred.fromCoroutine(self.ask()) for _ in range(3)]
        await self.responder.asked("ocsp", 3)
        self.assertFalse(any(each.called for each in asking))
        self.responder.release()
        for each in asking:
            self.assertEqual((await each).certificate_status, OCSPCertStatus.GOOD)

    async def test_who_leaves_while_it_is_held(self) -> None:
        """Neither `release` nor a timer writes to them; trial fails if a timer is left."""
        for path, delay in (("ocsp", math.inf), ("slow/ocsp", 3600)):
            self.responder.behaviours[path] = Behaviour(delay=delay)
            asking = Deferred.fromCoroutine(self.post(self.request(), path))
            await self.responder.asked(path)
            asking.cancel()
            await self.assertFailure(asking, ResponseFailed)
        await self.responder.stop()
        self.responder.release()

    async def test_asked_already(self) -> None:
        await self.ask()
        self.successResultOf(self.responder.asked("ocsp", 1))
        self.assertNoResult(self.responder.asked("ocsp", 2))
        self.assertNoResult(self.responder.asked("root.crl"))


class ExampleTests(PlainTestCase):
    """examples/ocsp_responder.py, for a folder that the script could have made."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = free_port()
        self.pki = Pki.make(f"http://127.0.0.1:{self.port}")
        self.pki.write(self.folder)
        self.running = Running(self, [sys.executable, EXAMPLE, str(self.folder), str(self.port)])
        self.running.expect("answering on")

    def status(self, name: str) -> str:
        done = subprocess.run(
            [
                "openssl", "ocsp", "-issuer", "intermediate.pem", "-cert", f"client-{name}.pem", "-CAfile", "ca.pem",
                "-url", f"http://127.0.0.1:{self.port}/ocsp",
            ],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        self.assertIn("Response verify OK", done.stderr)
        return done.stdout.splitlines()[0]

    def test_answers_from_the_folder(self) -> None:
        for name, status in (("good", "good"), ("revoked", "revoked"), ("unknown", "unknown")):
            self.assertEqual(self.status(name), f"client-{name}.pem: {status}")
        self.running.expect("asked for '/ocsp'")

    def test_changed_index_counts_at_once(self) -> None:
        self.assertEqual(self.status("good"), "client-good.pem: good")
        revoke(self.folder, "client-good")
        self.assertEqual(self.status("good"), "client-good.pem: revoked")
        with urlopen(f"http://127.0.0.1:{self.port}/intermediate.crl", timeout=60) as answer:
            crl = x509.load_der_x509_crl(answer.read())
        self.assertIsNotNone(crl.get_revoked_certificate_by_serial_number(self.pki.clients["good"].serial))

    def test_folder_without_a_pki(self) -> None:
        (self.folder / "root.key").unlink()
        done = run([sys.executable, EXAMPLE, str(self.folder), "0"])
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
        self.assertIn("make_pki.py", done.stderr)

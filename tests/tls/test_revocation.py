"""What the checker decides about certificates, with a clock and a network of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, ReasonFlags, ocsp
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from mgate.errors import ConfigError
from mgate.testing.authority import Authority
from mgate.testing.credential import Credential
from mgate.testing.pki import Pki
from mgate.tls import revocation_watch
from mgate.tls.fetch_rules import FetchError
from mgate.tls.finding_cache import FindingCache
from mgate.tls.revocation import NOT_ASKED, RevocationChecker
from mgate.tls.settings import Revocation
from mgate.tls.status import Finding, Status

URL = "http://pki.example"
OCSP = f"{URL}/ocsp"
CRL = f"{URL}/intermediate.crl"
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


class ThreadlessClock(Clock):
    """IReactorTime, whose threads run what they are given at once."""

    def getThreadPool(self) -> Any:
        """IReactorThreads."""
        return self

    def callInThreadWithCallback(self, done: Callable[[bool, Any], None], function: Any) -> None:
        """IThreadPool; what it raises is told as twisted.internet.threads expects it."""
        try:
            result = function()
        except (ValueError, OSError, FetchError):
            done(False, Failure())
        else:
            done(True, result)

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        """IReactorFromThreads."""
        function(*arguments)


class Network:
    """A fetcher that answers as it is told.

    Attributes:
        answers: by URL, a function that makes the body, or what it fails with; what is not here never answers.
        asked: the URLs in order.
        trusted: what was said of each.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[bytes], bytes] | str] = {}
        self.asked: list[str] = []
        self.trusted: list[bool] = []
        self.deadlines: list[float] = []
        self.waiting: list[Deferred[bytes]] = []

    def fetch(self, method: str, url: str, **options: Any) -> Deferred[bytes]:
        """As `mgate.tls.fetch.Fetcher.fetch`."""
        self.asked.append(url)
        self.trusted.append(options.get("trusted", False))
        self.deadlines.append(options["deadline"])
        answer = self.answers.get(url)
        if answer is None:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        if isinstance(answer, str):
            return fail(FetchError(answer))
        return succeed(answer(options.get("data", b"")))


class CheckerTestCase(TestCase):
    """A small public key infrastructure, a clock, and a network."""

    def setUp(self) -> None:
        self.pki = Pki.make(URL)
        self.clock = ThreadlessClock()
        self.clock.advance(time.time())
        self.network = Network()
        self.network.answers = {
            OCSP: self.answer_ocsp,
            CRL: lambda _: self.pki.intermediate.crl().public_bytes(Encoding.DER),
            f"{URL}/root.crl": lambda _: self.pki.root.crl().public_bytes(Encoding.DER),
        }
        self.ocsp: dict[str, Any] = {}
        self.reported: list[tuple[str, str]] = []
        self.checkers: list[RevocationChecker] = []
        self.addCleanup(self.stop)
        middle = mock.patch("mgate.tls.held_crl.uniform", lambda low, high: (low + high) / 2)
        middle.start()
        self.addCleanup(middle.stop)

    def answer_ocsp(self, data: bytes) -> bytes:
        """Answer for whichever authority issued it."""
        asked = ocsp.load_der_ocsp_request(data)
        named = (asked.issuer_name_hash, asked.issuer_key_hash)
        [authority] = [each for each in self.pki.authorities if each.identifiers(asked.hash_algorithm) == named]
        arguments = {"algorithm": asked.hash_algorithm} | self.ocsp
        return authority.ocsp_response(asked.serial_number, **arguments)

    def checker(
        self, *methods: Any, memory: FindingCache | None = None, after: RevocationChecker | None = None, **settings: Any
    ) -> RevocationChecker:
        """A checker that has been started; `after` is the one that a reload replaces."""
        checker = RevocationChecker(
            Revocation(methods=methods or ("ocsp",), **settings),
            self.network,  # type: ignore[arg-type]
            self.clock,
            cache=memory,
            now=self.clock.seconds,
            report=lambda word, text: self.reported.append((word, text)),
        )
        if after is not None:
            checker.inherit(after)
        checker.start()
        self.checkers.append(checker)
        return checker

    def stop(self) -> None:
        """Stop all of them; no timer may be left, but for one turn."""
        for checker in self.checkers:
            checker.stop()
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def chain(self, name: str = "good", authority: Authority | None = None) -> dict[int, Certificate]:
        """The chain of one of the devices."""
        return self.chain_of(self.pki.clients[name], authority)

    def chain_of(self, credential: Credential, authority: Authority | None = None) -> dict[int, Certificate]:
        """The chain of a device."""
        issuer = authority or self.pki.intermediate
        return {
            0: credential.certificate,
            1: issuer.credential.certificate,
            2: self.pki.root.credential.certificate,
        }

    def decisions(self, checker: RevocationChecker, chain: dict[int, Certificate]) -> list[Status | None]:
        """What `decide` says of a chain, from the leaf on; NOT_ASKED is left out."""
        found = [checker.decide(chain, depth) for depth in sorted(chain, reverse=True)]
        return [each.status if each else None for each in reversed(found) if each is not NOT_ASKED]

    def verdict(self, checker: RevocationChecker, chain: dict[int, Certificate]) -> Finding:
        """What a check says at once."""
        return self.successResultOf(checker.check_chain(chain))


class OcspTests(CheckerTestCase):
    """One method, from cold to warm."""

    def test_cold_then_warm(self) -> None:
        checker, chain = self.checker(), self.chain()
        self.assertEqual(self.decisions(checker, chain), [None, None])
        self.assertEqual(self.network.asked, [])
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)
        self.assertEqual(self.network.asked, [OCSP, OCSP])
        self.assertEqual(self.decisions(checker, chain), [Status.GOOD, Status.GOOD])
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)
        self.assertEqual(self.network.asked, [OCSP, OCSP])
        self.assertEqual(self.network.trusted, [False, False])

    def test_revoked(self) -> None:
        checker = self.checker()
        chains = self.chain("revoked"), self.chain("of-revoked-ca", self.pki.revoked_intermediate)
        for chain, expected in zip(chains, ([Status.REVOKED, None], [Status.GOOD, Status.REVOKED]), strict=True):
            finding = self.verdict(checker, chain)
            self.assertEqual(finding.status, Status.REVOKED)
            self.assertFalse(checker.accepts(finding))
            self.assertEqual(self.decisions(checker, chain), expected)
            self.assertEqual(checker.revoked(chain).status, Status.REVOKED)  # type: ignore[union-attr]
        self.assertIsNone(checker.revoked(self.chain()))

    def test_who_may_not_ask_says_nothing_for_others(self) -> None:
        """A listener that cannot reach the responder keeps that to itself; what a responder said is everybody's."""
        memory = FindingCache(self.clock.seconds)
        strict = self.checker(memory=memory, allowed_ports=(80,))
        other = self.checker(memory=memory, allowed_ports=(80, 8889), on_failure="soft")
        self.network.answers[OCSP] = "down"
        self.assertEqual(self.verdict(strict, self.chain("revoked")).status, Status.UNAVAILABLE)
        self.assertEqual(self.decisions(strict, self.chain("revoked"))[0], Status.UNAVAILABLE)
        self.network.answers[OCSP] = self.answer_ocsp
        self.assertEqual(self.decisions(other, self.chain("revoked")), [None, None])
        self.assertEqual(self.verdict(other, self.chain("revoked")).status, Status.REVOKED)
        self.assertEqual(self.decisions(strict, self.chain("revoked"))[0], Status.REVOKED)

    def test_same_serial_of_another_issuer(self) -> None:
        checker = self.checker(ocsp_depth=1)
        revoked = self.pki.clients["revoked"]
        self.assertEqual(self.verdict(checker, self.chain("revoked")).status, Status.REVOKED)
        twin = self.pki.revoked_intermediate.issue("twin", serial=revoked.certificate.serial_number)
        self.assertEqual(self.verdict(checker, self.chain_of(twin, self.pki.revoked_intermediate)).status, Status.GOOD)

    def test_trust_anchor_is_never_asked_about(self) -> None:
        checker, root = self.checker("ocsp", "crl", crl_depth=0), self.pki.root.credential.certificate
        self.assertIs(checker.decide({0: root}, 0), NOT_ASKED)
        self.assertIs(checker.decide(self.chain(), 2), NOT_ASKED)
        self.assertIs(self.verdict(checker, {0: root}), NOT_ASKED)
        self.assertTrue(checker.accepts(NOT_ASKED))

    def test_depths(self) -> None:
        chain = self.chain()
        for settings, expected in (
            ({"methods": ("ocsp",), "ocsp_depth": 1}, [OCSP]),
            ({"methods": ("ocsp",), "ocsp_depth": 2}, [OCSP, OCSP]),
            ({"methods": ("crl",)}, [CRL]),
            ({"methods": ("crl",), "crl_depth": 0}, [CRL, f"{URL}/root.crl"]),
            ({"methods": ("ocsp", "crl")}, [OCSP, CRL, OCSP]),
            ({"methods": ()}, []),
        ):
            with self.subTest(settings=settings):
                self.network.asked.clear()
                checker = RevocationChecker(
                    Revocation(**settings), self.network, self.clock, now=self.clock.seconds  # type: ignore[arg-type]
                )
                self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)
                self.assertEqual(self.network.asked, expected)
                checker.stop()

    def test_one_fetch_for_a_thousand(self) -> None:
        checker, chain = self.checker(ocsp_depth=1, max_pending=1000), self.chain()
        answer = self.network.answers.pop(OCSP)
        asking = [checker.check_chain(chain) for _ in range(1000)]
        self.assertEqual(self.network.asked, [OCSP])
        self.assertEqual(checker.counters.pending, 1000)
        request = ocsp.OCSPRequestBuilder().add_certificate(chain[0], chain[1], SHA256()).build()
        assert callable(answer)
        self.network.waiting[0].callback(answer(request.public_bytes(Encoding.DER)))
        self.assertEqual({self.successResultOf(each).status for each in asking}, {Status.GOOD})
        self.assertEqual((checker.counters.pending, checker.counters.held), (0, 1000))
        self.assertEqual(self.network.asked, [OCSP])

    def test_expires(self) -> None:
        self.ocsp["next_update"] = HOUR
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        self.verdict(checker, chain)
        self.clock.advance(3590)
        self.assertEqual(self.decisions(checker, chain), [Status.GOOD])
        self.clock.advance(11)
        self.assertEqual(self.decisions(checker, chain), [None])

    def test_answer_for_this_once_only(self) -> None:
        self.ocsp["next_update"] = None
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)
        self.assertEqual(self.decisions(checker, chain), [None])

    def test_hold_is_released(self) -> None:
        self.ocsp["next_update"] = MINUTE
        checker, chain = self.checker(ocsp_depth=1), self.chain("on-hold")
        self.assertEqual(self.verdict(checker, chain).status, Status.REVOKED)
        self.pki.intermediate.release(self.pki.clients["on-hold"])
        self.assertEqual(self.decisions(checker, chain), [Status.REVOKED])
        self.clock.advance(61)
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)

    def test_revoked_outlives_its_answer(self) -> None:
        self.ocsp["next_update"] = MINUTE
        checker, chain = self.checker(ocsp_depth=1), self.chain("revoked")
        self.verdict(checker, chain)
        self.clock.advance(3500)
        self.assertEqual(self.decisions(checker, chain), [Status.REVOKED])

    def test_configured_responder_is_trusted_and_the_only_one(self) -> None:
        mine = "http://10.0.0.1:8080/ocsp"
        self.network.answers[mine] = self.answer_ocsp
        checker = self.checker(ocsp_responder_url=mine)
        self.assertEqual(self.verdict(checker, self.chain("no-urls")).status, Status.GOOD)
        self.assertEqual((self.network.asked, self.network.trusted), ([mine, mine], [True, True]))

    def test_get(self) -> None:
        checker = self.checker(ocsp_depth=1, ocsp_method="get")
        self.assertNoResult(verdict := checker.check_chain(self.chain()))
        [url] = self.network.asked
        self.assertTrue(url.startswith(OCSP + "/M"), url)  # DER of a SEQUENCE
        self.network.waiting[0].errback(FetchError("no"))
        self.assertEqual(self.successResultOf(verdict).status, Status.UNAVAILABLE)

    def test_get_has_no_nonce_to_require(self) -> None:
        with self.assertRaises(ConfigError):
            self.checker(ocsp_method="get", require_nonce=True)


class FailureTests(CheckerTestCase):
    """Nobody can be asked, or not in time."""

    def test_down(self) -> None:
        for on_failure, accepted in (("hard", False), ("soft", True)):
            with self.subTest(on_failure=on_failure):
                self.network.answers[OCSP] = "no answer"
                checker, chain = self.checker(on_failure=on_failure, ocsp_depth=1), self.chain()
                finding = self.verdict(checker, chain)
                self.assertEqual(finding.status, Status.UNAVAILABLE)
                self.assertEqual(checker.accepts(finding), accepted)
                self.assertEqual(checker.counters.soft_accepted, int(accepted))
                self.assertEqual("revocation_soft" in dict(self.reported), accepted)
                self.assertEqual(self.decisions(checker, chain), [Status.UNAVAILABLE])

    def test_unknown_is_an_answer(self) -> None:
        for on_failure in ("hard", "soft"):
            with self.subTest(on_failure=on_failure):
                checker, chain = self.checker(on_failure=on_failure), self.chain("unknown")
                finding = self.verdict(checker, chain)
                self.assertEqual(finding.status, Status.UNKNOWN)
                self.assertFalse(checker.accepts(finding))
                self.assertEqual(self.decisions(checker, chain)[0], Status.UNKNOWN)

    def test_asked_again_after_a_while(self) -> None:
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        answer, self.network.answers[OCSP] = self.network.answers[OCSP], "down"
        for seconds in (5, 10, 20, 30, 30):
            self.assertEqual(self.verdict(checker, chain).status, Status.UNAVAILABLE)
            self.network.asked.clear()
            self.clock.advance(seconds - 0.5)
            self.assertEqual(self.decisions(checker, chain), [Status.UNAVAILABLE])
            self.clock.advance(1)
            self.assertEqual(self.decisions(checker, chain), [None])
        self.network.answers[OCSP] = answer
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)

    def test_names_nobody_to_ask(self) -> None:
        for method in ("ocsp", "crl"):
            for on_failure, accepted in (("hard", False), ("soft", True)):
                with self.subTest(method=method, on_failure=on_failure):
                    checker = self.checker(method, ocsp_depth=1, on_failure=on_failure)
                    finding = checker.decide(self.chain("no-urls"), 0)
                    assert finding is not None
                    self.assertEqual(finding.status, Status.UNAVAILABLE)
                    self.assertEqual(checker.accepts(finding), accepted)
        self.assertEqual(self.network.asked, [])

    def test_answers_that_cannot_be_believed(self) -> None:
        for name in ("no-eku", "expired", "no-nocheck", "of-root", "foreign"):
            with self.subTest(name):
                self.ocsp = {"delegate": self.pki.delegates[name]}
                checker = self.checker(ocsp_depth=1, on_failure="soft")
                self.assertEqual(self.verdict(checker, self.chain()).status, Status.UNAVAILABLE)
        self.network.answers[OCSP] = lambda _: b"<html>"
        self.assertEqual(self.verdict(self.checker(ocsp_depth=1), self.chain()).status, Status.UNAVAILABLE)

    def test_nonce(self) -> None:
        checker = self.checker(ocsp_depth=1, require_nonce=True)
        self.assertEqual(self.verdict(checker, self.chain()).status, Status.UNAVAILABLE)
        self.ocsp["nonce"] = b"0" * 32
        self.assertEqual(self.verdict(self.checker(ocsp_depth=1), self.chain()).status, Status.UNAVAILABLE)

    def test_deadline(self) -> None:
        for on_failure, accepted in (("hard", False), ("soft", True)):
            with self.subTest(on_failure=on_failure):
                self.network.answers.pop(OCSP, None)
                checker = self.checker(ocsp_depth=1, deadline=3.0, on_failure=on_failure)
                verdict = checker.check_chain(self.chain())
                self.clock.advance(2.9)
                self.assertNoResult(verdict)
                self.clock.advance(0.2)
                finding = self.successResultOf(verdict)
                self.assertEqual((finding.status, checker.accepts(finding)), (Status.UNAVAILABLE, accepted))
                self.assertEqual((checker.counters.late, checker.counters.pending), (1, 0))

    def test_revoked_does_not_wait_for_the_rest(self) -> None:
        del self.network.answers[CRL]
        checker = self.checker("ocsp", "crl")
        self.assertEqual(self.verdict(checker, self.chain("revoked")).status, Status.REVOKED)
        self.assertEqual(checker.counters.pending, 0)

    def test_all_methods_must_pass(self) -> None:
        for broken in (OCSP, CRL):
            with self.subTest(broken=broken):
                answer, self.network.answers[broken] = self.network.answers[broken], "down"
                hard, soft = (self.checker("ocsp", "crl", on_failure=each) for each in ("hard", "soft"))
                self.assertEqual(self.verdict(hard, self.chain()).status, Status.UNAVAILABLE)
                self.assertEqual(self.verdict(soft, self.chain("revoked")).status, Status.REVOKED)
                self.network.answers[broken] = answer

    def test_too_many_wait(self) -> None:
        del self.network.answers[OCSP]
        checker = self.checker(max_pending=2, ocsp_depth=1)
        waiting = [checker.check_chain(self.chain()) for _ in range(2)]
        self.assertEqual(self.verdict(checker, self.chain("revoked")).status, Status.UNAVAILABLE)
        self.assertEqual((checker.counters.refused_pending, len(self.network.asked)), (1, 1))
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.assertNoResult(checker.check_chain(self.chain()))
        self.assertEqual(checker.counters.pending, 2)
        self.clock.advance(4)
        self.assertEqual(checker.counters.pending, 0)

    def test_refused_at_the_first_attempt(self) -> None:
        for on_failure in ("hard", "soft"):
            with self.subTest(on_failure=on_failure):
                checker, chain = self.checker(on_miss="refuse", on_failure=on_failure), self.chain()
                self.assertEqual(self.decisions(checker, chain), [None, None])
                first = self.verdict(checker, chain)
                self.assertFalse(checker.accepts(first))
                self.assertEqual(self.decisions(checker, chain), [Status.GOOD, Status.GOOD])
                self.assertTrue(checker.accepts(self.verdict(checker, chain)))
                self.assertEqual(checker.counters.pending, 0)

    def test_a_method_that_raises(self) -> None:
        def broken(_: bytes) -> bytes:
            raise RuntimeError("a mistake of ours")

        for method, url in (("ocsp", OCSP), ("crl", CRL)):
            with self.subTest(method):
                self.network.answers[url] = broken
                checker = self.checker(method, ocsp_depth=1)
                finding = self.verdict(checker, self.chain())
                self.assertEqual((finding.status, checker.accepts(finding)), (Status.UNAVAILABLE, False))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("a mistake of ours", dict(self.reported)["crl_failed"])

    def test_stopped_while_asking(self) -> None:
        self.network.answers.clear()
        for method in ("ocsp", "crl"):
            with self.subTest(method):
                checker = self.checker(method)
                verdict = checker.check_chain(self.chain())
                checker.stop()
                self.assertEqual(self.successResultOf(verdict).status, Status.UNAVAILABLE)
        self.assertEqual(self.flushLoggedErrors(), [])


class CrlTests(CheckerTestCase):
    """CRLs are kept, and kept up to date."""

    def crl(self, **arguments: Any) -> Callable[[bytes], bytes]:
        """An answer that never changes."""
        data = self.pki.intermediate.crl(**arguments).public_bytes(Encoding.DER)
        return lambda _: data

    def test_cold_then_warm_for_all_of_the_issuer(self) -> None:
        checker = self.checker("crl")
        self.assertEqual(self.decisions(checker, self.chain()), [None])
        self.assertEqual(self.verdict(checker, self.chain()).status, Status.GOOD)
        self.assertEqual(self.decisions(checker, self.chain("revoked")), [Status.REVOKED])
        self.assertEqual(self.network.asked, [CRL])

    def test_one_fetch_for_many_devices(self) -> None:
        del self.network.answers[CRL]
        checker = self.checker("crl")
        asking = {name: checker.check_chain(self.chain(name)) for name in ("good", "revoked", "unknown")}
        self.network.waiting[0].callback(self.crl()(b""))
        found = {name: self.successResultOf(each).status for name, each in asking.items()}
        self.assertEqual(found, {"good": Status.GOOD, "revoked": Status.REVOKED, "unknown": Status.GOOD})
        self.assertEqual(self.network.asked, [CRL])

    def test_pem(self) -> None:
        self.network.answers[CRL] = lambda _: self.pki.intermediate.crl().public_bytes(Encoding.PEM)
        self.assertEqual(self.verdict(self.checker("crl"), self.chain("revoked")).status, Status.REVOKED)

    def test_crls_that_cannot_be_believed(self) -> None:
        other = self.pki.revoked_intermediate
        for name, data in {
            "expired": self.pki.crls()["expired"].public_bytes(Encoding.DER),
            "wrong signer": self.pki.crls()["wrong-signer"].public_bytes(Encoding.DER),
            "other issuer": other.crl().public_bytes(Encoding.DER),
            "html": b"<html>",
            "truncated": self.crl()(b"")[:-10],
            "empty": b"",
        }.items():
            with self.subTest(name):
                self.network.answers[CRL] = lambda _, data=data: data  # type: ignore[misc]
                self.assertEqual(self.verdict(self.checker("crl"), self.chain()).status, Status.UNAVAILABLE)

    def two_points(self) -> dict[int, Certificate]:
        """The chain of a device with two distribution points, the second of which works."""
        urls = [f"{URL}/first.crl", f"{URL}/second.crl"]
        self.network.answers[urls[1]] = self.crl()
        return self.chain_of(self.pki.intermediate.issue("two", crl_urls=urls))

    def test_first_point_down(self) -> None:
        checker, chain = self.checker("crl", deadline=4.0), self.two_points()
        self.network.answers[f"{URL}/first.crl"] = "down"
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)
        self.assertEqual(self.network.asked, [f"{URL}/first.crl", f"{URL}/second.crl"])
        self.assertEqual(self.network.deadlines[0], 2.0)
        self.clock.advance(60)
        self.assertEqual(self.decisions(checker, chain), [Status.GOOD])
        self.assertEqual(len(self.network.asked), 2)

    def test_configured_points_instead_of_the_certificates_own(self) -> None:
        urls = (f"{URL}/root.crl", "http://10.0.0.1/mine.crl")
        self.network.answers[urls[1]] = self.crl()
        checker = self.checker("crl", crl_distribution_points=urls)
        for name in ("good", "no-urls"):
            self.assertEqual(self.verdict(checker, self.chain(name)).status, Status.GOOD)
        self.assertEqual((self.network.asked, self.network.trusted), ([*urls], [True, True]))

    def test_refreshed_before_it_ends(self) -> None:
        self.network.answers[CRL] = lambda _: self.pki.intermediate.crl(next_update=HOUR).public_bytes(Encoding.DER)
        checker = self.checker("crl")
        self.verdict(checker, self.chain())
        self.clock.advance(3600 * 0.7)
        self.assertEqual(len(self.network.asked), 1)
        self.pki.intermediate.revoke(self.pki.clients["good"])
        self.clock.advance(3600 * 0.2)
        self.assertEqual(len(self.network.asked), 2)
        self.assertEqual(self.decisions(checker, self.chain()), [Status.REVOKED])

    def test_long_lived_is_refreshed_daily(self) -> None:
        checker = self.checker("crl")
        self.verdict(checker, self.chain())
        self.clock.advance(86401)
        self.assertEqual(len(self.network.asked), 2)

    def test_old_one_counts_until_it_ends(self) -> None:
        self.network.answers[CRL] = self.crl(next_update=HOUR)
        checker = self.checker("crl")
        self.verdict(checker, self.chain())
        self.network.answers[CRL] = "down"
        for _ in range(35):
            self.clock.advance(100)
            self.assertEqual(self.decisions(checker, self.chain("revoked")), [Status.REVOKED])
        failures = checker.counters.crl_failures
        self.assertGreater(failures, 1)
        self.assertLess(failures, 20)
        for _ in range(5):
            self.clock.advance(100)
        self.assertEqual(self.decisions(checker, self.chain("revoked")), [None])
        self.assertEqual(self.verdict(checker, self.chain("revoked")).status, Status.UNAVAILABLE)
        self.assertEqual(self.decisions(checker, self.chain("revoked")), [Status.UNAVAILABLE])

    def test_a_reload_forgets_nothing(self) -> None:
        self.network.answers[CRL] = self.crl()
        before = self.checker("crl")
        self.verdict(before, self.chain("revoked"))
        self.network.answers[CRL] = "down"
        for settings in ({"deadline": 2.5}, {"crl_distribution_points": (CRL,)}):
            after = self.checker("crl", after=before, **settings)
            self.assertEqual(self.decisions(after, self.chain("revoked")), [Status.REVOKED])
        elsewhere = self.checker("crl", after=before, crl_distribution_points=(f"{URL}/other.crl",))
        self.assertEqual(self.decisions(elsewhere, self.chain("revoked")), [None], "it is not asked there any more")

    def test_no_way_back(self) -> None:
        old = self.crl(number=4)
        self.network.answers[CRL] = self.crl(number=5, next_update=HOUR)
        self.pki.intermediate.release(self.pki.clients["revoked"])
        self.verdict(checker := self.checker("crl"), self.chain())
        self.network.answers[CRL] = old
        self.clock.advance(3600 * 0.9)
        self.assertGreater(len(self.network.asked), 1)
        self.assertIn("older than the one before", dict(self.reported)["crl_failed"])
        self.assertEqual(self.decisions(checker, self.chain("revoked")), [Status.REVOKED])

    def test_released_from_hold(self) -> None:
        self.network.answers[CRL] = lambda _: self.pki.intermediate.crl(next_update=HOUR).public_bytes(Encoding.DER)
        checker, chain = self.checker("crl"), self.chain("on-hold")
        self.assertEqual(self.verdict(checker, chain).status, Status.REVOKED)
        self.pki.intermediate.release(self.pki.clients["on-hold"])
        self.clock.advance(3600 * 0.9)
        self.assertEqual(self.decisions(checker, chain), [Status.GOOD])

    def test_bounded(self) -> None:
        checker = self.checker("crl")
        for number in range(70):
            url = f"{URL}/{number}.crl"
            self.network.answers[url] = self.crl()
            self.verdict(checker, self.chain_of(self.pki.intermediate.issue(f"{number}", crl_urls=[url])))
        self.clock.advance(0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 64)


class OfflineCrlTests(CheckerTestCase):
    """A CRL in a file."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "offline.crl"

    def write(self, crl: x509.CertificateRevocationList, encoding: Encoding = Encoding.DER) -> None:
        """Replace the file, as a whole."""
        new = self.folder / "new"
        new.write_bytes(crl.public_bytes(encoding))
        new.replace(self.path)

    def test_where_no_point_is_known(self) -> None:
        for encoding in (Encoding.DER, Encoding.PEM):
            with self.subTest(encoding=encoding):
                self.pki.intermediate.revoke(self.pki.clients["no-urls"])
                self.write(self.pki.intermediate.crl(), encoding)
                checker = self.checker("crl", offline_crl_file=str(self.path))
                self.assertEqual(self.verdict(checker, self.chain("no-urls")).status, Status.REVOKED)
                self.assertEqual(self.network.asked, [])
        self.assertEqual(self.verdict(checker, self.chain("good")).status, Status.GOOD)
        self.assertEqual(self.network.asked, [CRL])

    def test_a_reload_does_not_believe_what_the_minute_before_did_not(self) -> None:
        self.pki.intermediate.revoke(self.pki.clients["no-urls"])
        self.write(self.pki.intermediate.crl())
        before = self.checker("crl", offline_crl_file=str(self.path))
        self.verdict(before, self.chain("no-urls"))
        for bad in (self.pki.crls()["wrong-signer"], self.pki.intermediate.crl(entries=[], number=1)):
            self.write(bad)
            after = self.checker("crl", after=before, offline_crl_file=str(self.path))
            self.assertEqual(self.decisions(after, self.chain("no-urls")), [Status.REVOKED])
            self.clock.advance(120)
            self.assertEqual(self.decisions(after, self.chain("no-urls")), [Status.REVOKED])
        self.pki.intermediate.release(self.pki.clients["no-urls"])
        self.write(self.pki.intermediate.crl())
        after = self.checker("crl", after=before, offline_crl_file=str(self.path))
        self.assertEqual(self.decisions(after, self.chain("no-urls")), [Status.GOOD], "a newer one counts at once")

    def test_what_cannot_count_stops_the_start(self) -> None:
        for name, why in (("expired", "expired|ended|out of date|nextUpdate"), ("delta", "delta")):
            self.write(self.pki.crls()[name])
            with self.assertRaises(ConfigError) as caught:
                self.checker("crl", offline_crl_file=str(self.path))
            self.assertRegex(*caught.exception.problems, f"offline.crl:offline_crl_file: .*({why})")
        self.write(self.pki.crls()["wrong-signer"])
        signer = self.folder / "signer.pem"
        signer.write_bytes(self.pki.intermediate.credential.certificate.public_bytes(Encoding.PEM))
        with self.assertRaises(ConfigError) as caught:
            self.checker("crl", offline_crl_file=str(self.path), offline_crl_issuer_cert_file=str(signer))
        self.assertRegex(*caught.exception.problems, "signature")

    def test_signature_is_checked(self) -> None:
        self.write(self.pki.crls()["wrong-signer"])
        checker = self.checker("crl", offline_crl_file=str(self.path))
        finding = self.verdict(checker, self.chain("no-urls"))
        self.assertEqual(finding.status, Status.UNAVAILABLE)
        self.assertIn("signature", finding.detail)

    def test_signed_by_a_key_of_its_own(self) -> None:
        signer = Authority(self.pki.intermediate.name, _with_another_key(self.pki), crl_number=7)
        signer.revoke(self.pki.clients["no-urls"])
        self.write(signer.crl())
        (self.folder / "signer.pem").write_bytes(signer.credential.certificate.public_bytes(Encoding.PEM))
        for setting, expected in (("", Status.UNAVAILABLE), (str(self.folder / "signer.pem"), Status.REVOKED)):
            checker = self.checker("crl", offline_crl_file=str(self.path), offline_crl_issuer_cert_file=setting)
            self.assertEqual(self.verdict(checker, self.chain("no-urls")).status, expected)

    def test_signer_of_another_name_does_not_count(self) -> None:
        self.pki.root.revoke(self.pki.clients["no-urls"])
        self.write(self.pki.root.crl())
        issuer = self.folder / "root.pem"
        issuer.write_bytes(self.pki.root.credential.certificate.public_bytes(Encoding.PEM))
        checker = self.checker(
            "crl", offline_crl_file=str(self.path), offline_crl_issuer_cert_file=str(issuer)
        )
        self.assertEqual(self.verdict(checker, self.chain("no-urls")).status, Status.UNAVAILABLE)

    def test_new_file_is_noticed(self) -> None:
        self.write(self.pki.intermediate.crl())
        checker, chain = self.checker("crl", offline_crl_file=str(self.path)), self.chain("no-urls")
        self.assertEqual(self.verdict(checker, chain).status, Status.GOOD)
        self.clock.advance(61)
        self.pki.intermediate.revoke(self.pki.clients["no-urls"])
        self.write(self.pki.intermediate.crl())
        self.clock.advance(61)
        self.assertEqual(self.decisions(checker, chain), [Status.REVOKED])
        self.path.unlink()
        self.clock.advance(61)
        self.assertIn("No such file", dict(self.reported)["crl_failed"])
        self.assertEqual(self.decisions(checker, chain), [Status.REVOKED])

    def test_files_that_cannot_be_used(self) -> None:
        self.path.write_bytes(b"junk")
        for settings in (
            {"offline_crl_file": str(self.path)},
            {"offline_crl_file": str(self.folder / "missing")},
            {"offline_crl_issuer_cert_file": str(self.path)},
            {"crl_distribution_points_issuer_cert_file": str(self.folder / "missing")},
        ):
            with self.subTest(settings=settings), self.assertRaises(ConfigError) as raised:
                self.checker("crl", **settings)
            [problem] = raised.exception.problems
            self.assertIn(next(iter(settings)), problem)


class LiveSessionTests(CheckerTestCase):
    """A certificate that is revoked while it is in use."""

    def setUp(self) -> None:
        super().setUp()
        self.cut: list[Finding] = []

    def test_cut_when_the_crl_says_so(self) -> None:
        self.network.answers[CRL] = lambda _: self.pki.intermediate.crl(next_update=HOUR).public_bytes(Encoding.DER)
        checker, told = self.checker("crl"), []
        checker.subscribe(lambda: told.append(checker.revoked(self.chain())))
        self.verdict(checker, self.chain())
        checker.watch(self.chain(), self.cut.append)
        checker.watch(self.chain(), self.cut.append)
        ended = checker.watch(self.chain(), self.cut.append)
        checker.watch(self.chain("unknown"), self.cut.append)
        ended()
        self.clock.advance(0)
        self.pki.intermediate.revoke(self.pki.clients["good"])
        told.clear()
        self.clock.advance(3600 * 0.9)
        self.clock.pump([0, 0, 0])
        self.assertEqual([each.status for each in self.cut], [Status.REVOKED] * 2)
        self.assertEqual([each.status for each in told if each], [Status.REVOKED])
        self.assertEqual(checker.counters.cut, 2)
        ended()

    def test_cut_when_the_responder_says_so(self) -> None:
        self.ocsp["next_update"] = HOUR
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        self.verdict(checker, chain)
        checker.watch(chain, self.cut.append)
        self.clock.advance(3600 * 0.75)
        self.assertEqual(len(self.network.asked), 1)
        self.pki.intermediate.revoke(self.pki.clients["good"])
        self.clock.advance(3600 * 0.1)
        self.clock.pump([0, 0])
        self.assertEqual(len(self.network.asked), 2)
        self.assertEqual([each.status for each in self.cut], [Status.REVOKED])

    def test_on_hold_is_cut_too(self) -> None:
        self.ocsp["next_update"] = HOUR
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        self.verdict(checker, chain)
        checker.watch(chain, self.cut.append)
        self.pki.intermediate.revoke(self.pki.clients["good"], ReasonFlags.certificate_hold)
        self.clock.advance(3600 * 0.85)
        self.clock.pump([0, 0])
        self.assertTrue(self.cut[0].on_hold)

    def test_lives_on_while_nobody_can_be_asked(self) -> None:
        self.ocsp["next_update"] = HOUR
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        self.verdict(checker, chain)
        checker.watch(chain, self.cut.append)
        answer, self.network.answers[OCSP] = self.network.answers[OCSP], "down"
        self.clock.advance(3600 * 0.85)
        self.assertEqual(self.decisions(checker, chain), [Status.GOOD])
        for _ in range(40):
            self.clock.advance(30)
        self.assertEqual(self.cut, [])
        self.pki.intermediate.revoke(self.pki.clients["good"])
        self.network.answers[OCSP] = answer
        self.ocsp["next_update"] = 5 * HOUR
        for _ in range(11):
            self.clock.advance(30)
        self.assertEqual(len(self.cut), 1)

    def test_nobody_is_asked_when_nobody_watches(self) -> None:
        self.ocsp["next_update"] = HOUR
        checker, chain = self.checker(ocsp_depth=1), self.chain()
        self.verdict(checker, chain)
        checker.watch(chain, self.cut.append)()
        self.clock.advance(7200)
        self.assertEqual(len(self.network.asked), 1)

    def test_known_before_it_is_watched(self) -> None:
        checker, chain = self.checker(ocsp_depth=1), self.chain("revoked")
        self.verdict(checker, chain)
        checker.watch(chain, self.cut.append)
        self.clock.pump([0, 0])
        self.assertEqual(len(self.cut), 1)

    def test_in_slices(self) -> None:
        self.patch(revocation_watch, "SLICE", 2)
        checker = self.checker("crl")
        names = ("good", "unknown", "slow", "no-urls", "on-hold")
        chains = [self.chain_of(self.pki.intermediate.issue(name)) for name in names]
        self.verdict(checker, chains[0])
        for chain in chains:
            checker.watch(chain, self.cut.append)
            self.pki.intermediate.revoke(Credential(chain[0], self.pki.clients["good"].key))
        self.clock.advance(86400)
        self.assertEqual(len(self.cut), 5)

    def test_renewals_are_bounded_and_make_room(self) -> None:
        self.patch(revocation_watch, "RENEWED", 4)
        self.ocsp["next_update"] = HOUR
        checker = self.checker(ocsp_depth=1)
        chains = [self.chain_of(self.pki.intermediate.issue(f"{number}")) for number in range(9)]
        for chain in chains:
            self.verdict(checker, chain)
        asked = len(self.network.asked)
        ends = [checker.watch(chain, self.cut.append) for chain in chains[:5]]
        for end in ends[:3]:
            end()
        checker.watch(chains[8], self.cut.append)
        self.clock.advance(3600 * 0.85)
        self.assertEqual(len(self.network.asked) - asked, 2)  # of chains[3] and chains[8]; chains[4] came too late

    def test_unsubscribed(self) -> None:
        told: list[None] = []
        checker = self.checker(ocsp_depth=1)
        end = checker.subscribe(lambda: told.append(None))
        self.verdict(checker, self.chain("revoked"))
        self.clock.pump([0, 0])
        self.assertEqual(len(told), 1)
        end()
        end()
        self.verdict(self.checker(ocsp_depth=1), self.chain("revoked"))
        self.clock.pump([0, 0])
        self.assertEqual(len(told), 1)


def _with_another_key(pki: Pki) -> Credential:
    """A certificate with the name of the intermediate and a key of its own, for CRLs."""
    return pki.root.intermediate(pki.intermediate.name).credential

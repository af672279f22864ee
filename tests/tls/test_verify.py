"""The private use of pyOpenSSL: what it does, that it is noticed when it stops doing it, and what then serves."""

from __future__ import annotations

from typing import Any
from unittest import mock

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mgate.tls import verify
from tests.tls.handshakes import REVOKED, TLS12, TLS13, FakeChecker, Handshake, TlsCase, client_connection, file, pki


class Broken:
    """A binding in which some names are missing, or do something else."""

    def __init__(self, **changed: Any) -> None:
        self._changed = changed

    def __getattr__(self, name: str) -> Any:
        if name not in self._changed:
            return getattr(verify_lib, name)
        if self._changed[name] is None:
            raise AttributeError(name)
        return self._changed[name]


verify_lib = verify.lib


class SelfTest(TestCase):
    def test_the_binding_does_what_it_is_for(self) -> None:
        self.assertEqual(verify.self_test(), "")
        self.assertTrue(verify.works())

    def test_a_binding_that_no_longer_does_it(self) -> None:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"SSL_session_reused": None}, "SSL_session_reused"),
            ({"SSL_session_reused": lambda ssl: 1}, "resumed"),
            ({"SSL_CTX_set_verify": lambda context, mode, callback: None}, "02 50"),  # alert 80
            ({"X509_STORE_CTX_set_error": lambda store, code: None}, "02 50"),
            ({"X509_STORE_CTX_get_current_cert": lambda store: 1 / 0}, "02 2e"),  # alert 46
        ]
        for changed, told in cases:
            with mock.patch.object(verify, "lib", Broken(**changed)):
                self.assertIn(told, verify.self_test(), changed)
            self.flushLoggedErrors(ZeroDivisionError)

    def test_it_is_said_once(self) -> None:
        verify.works.cache_clear()
        self.addCleanup(verify.works.cache_clear)
        with capturedLogs() as events, mock.patch.object(verify, "self_test", lambda: "it has gone"):
            self.assertFalse(verify.works())
            self.assertFalse(verify.works())
        (event,) = events
        self.assertEqual((event["log_level"], event["cause"]), (LogLevel.error, "it has gone"))


class WithoutTheBinding(TlsCase):
    """The public interface refuses as well, with alert 80."""

    def setUp(self) -> None:
        self.patch(verify, "works", lambda: False)
        self.patch(verify, "lib", Broken(SSL_CTX_set_verify=None, SSL_set_verify=None, SSL_session_reused=None))

    def test_good(self) -> None:
        for version in (TLS12, TLS13):
            shake, refusals = self.handshake(FakeChecker(), version)
            shake.run(b"hello\n")
            self.assertEqual((shake.echo.received, refusals), (b"hello\n", []))

    def test_refused(self) -> None:
        for version in (TLS12, TLS13):
            shake, refusals = self.handshake(FakeChecker({"good": REVOKED}), version)
            shake.run(b"hello\n")
            self.assertIn("internal error", shake.alert)
            self.assertEqual((shake.echo.handshakes, refusals.reasons), (0, ["tls_revoked"]))

    def test_what_openssl_refuses(self) -> None:
        shake, _ = self.handshake(FakeChecker(), client="expired")
        shake.run()
        self.assertIn("certificate expired", shake.alert)

    def test_a_checker_that_raises(self) -> None:
        checker = FakeChecker()
        checker.error = ZeroDivisionError()
        shake, refusals = self.handshake(checker)
        shake.run()
        self.assertIn("internal error", shake.alert)
        self.assertEqual((refusals.reasons, self.flushLoggedErrors()), (["tls_fault"], []))

    def test_a_resumed_session_is_recognised_by_its_silence(self) -> None:
        self.assertFalse(verify.session_reused(SSL.Connection(SSL.Context(SSL.TLS_METHOD))))
        shake, refusals = self.handshake(FakeChecker())
        with mock.patch.object(type(shake.connection), "certificate_verified", lambda *_: verify.ACCEPT):
            shake.run(b"hello\n")
        self.assertEqual((shake.echo.handshakes, refusals.reasons), (0, ["tls_resumed"]))


class Raising(SSL.Connection):
    def certificate_verified(self, certificate: X509, depth: int) -> int:
        raise ZeroDivisionError("in the connection")


class Guards(TlsCase):
    """A connection that is not one of ours, or fails, admits nobody."""

    def refusal(self, kind: type[SSL.Connection]) -> Handshake:
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(file("server.pem"))
        context.use_privatekey_file(file("server.key"))
        context.load_verify_locations(file("root.pem"))
        verify.demand(context)

        @implementer(IOpenSSLServerConnectionCreator)
        class Creator:
            def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
                connection = kind(context)
                connection.set_accept_state()
                return connection

        return Handshake(Creator(), client_connection(TLS13, pki().clients["good"])).run(b"hello\n")

    def test_a_connection_that_raises(self) -> None:
        for works, alert in ((True, "certificate unknown"), (False, "internal error")):
            self.patch(verify, "works", lambda works=works: works)
            shake = self.refusal(Raising)
            self.assertIn(alert, shake.alert)
            self.assertEqual(shake.echo.handshakes, 0)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_connection_that_cannot_be_asked(self) -> None:
        shake = self.refusal(SSL.Connection)
        self.assertIn("certificate unknown", shake.alert)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_an_error_without_a_number(self) -> None:
        """OpenSSL says no without saying why: the device must not get in by the code of success."""
        told: list[int] = []
        broken = Broken(
            X509_STORE_CTX_get_error=lambda store: 0, X509_STORE_CTX_set_error=lambda store, code: told.append(code)
        )
        with mock.patch.object(verify, "lib", broken):
            self.assertEqual(verify._answer(0, None), 0)
        self.assertEqual(told, [verify.UNSPECIFIED])

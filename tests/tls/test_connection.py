"""The handshake that waits for the status of a certificate, byte by byte and second by second."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import fail
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from mgate.tls import verify
from mgate.tls.connection import CONNECTION_STATES, HELD_BYTES, RevocationConnection
from mgate.tls.status import Finding
from tests.tls.handshakes import (
    GOOD,
    REVOKED,
    TLS12,
    TLS13,
    UNAVAILABLE,
    UNKNOWN,
    FakeChecker,
    Handshake,
    Refusals,
    TlsCase,
    client_connection,
    common_name,
    each_version,
    file,
    pki,
)

REVOKED_ALERT = bytes.fromhex("15 0303 0002 02 2c")
COLD: dict[str, Finding | None] = {"good": None}


class FromMemory(TlsCase):
    """Every answer is known when OpenSSL asks."""

    @each_version
    def test_good(self, version: int) -> None:
        checker = FakeChecker()
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello\n")
        self.assertEqual((shake.echo.handshakes, shake.echo.received, shake.received), (1, b"hello\n", b"echo hello\n"))
        self.assertEqual(refusals, [])
        self.assertEqual(checker.chains, [], "nothing was left to find out")

    @each_version
    def test_revoked(self, version: int) -> None:
        shake, refusals = self.handshake(FakeChecker({"good": REVOKED}), version)
        shake.run(b"hello\n")
        self.assertIn("certificate revoked", shake.alert)
        self.assertEqual((shake.echo.handshakes, shake.echo.received), (0, b""))
        self.assertTrue(shake.closed)
        (refusal,) = refusals
        self.assertEqual(refusal[0], "tls_revoked")
        self.assertIn("CN=good", refusal[1])
        self.assertIn("keyCompromise", refusal[1])

    @each_version
    def test_records_that_come_together_are_given_together(self, version: int) -> None:
        """What is behind them is told afterwards: that there is no more for now, the end, or what broke."""
        good = FakeChecker()
        for behind in ("more", "end", "broken"):
            shake, _ = self.handshake(good, version)
            shake.run(b"first ")
            chunks: list[bytes] = []
            shake.echo.dataReceived = chunks.append  # type: ignore[method-assign]
            for piece in (b"a", bytes(16384), b"b"):
                shake.client.send(piece)
            if behind == "end":
                shake.client.shutdown()
            flight = shake.flight()
            shake.protocol.dataReceived(flight + (b"\x17\x03\x03\x00\x20" + bytes(32) if behind == "broken" else b""))
            self.assertEqual(chunks, [b"a" + bytes(16384) + b"b"])
            if behind == "more":
                shake.run(b"later")
                self.assertEqual(chunks[1:], [b"later"])
            else:
                self.assertIn(shake.connection.state, ("gone", "established") if behind == "end" else ("gone",))
                self.assertTrue(shake.closed)

    @each_version
    def test_nobody_can_tell(self, version: int) -> None:
        for finding in (UNAVAILABLE, UNKNOWN):
            shake, refusals = self.handshake(FakeChecker({"good": finding}), version)
            shake.run()
            self.assertIn("certificate unknown", shake.alert)
            self.assertEqual(refusals.reasons, ["tls_unavailable"])

    @each_version
    def test_revoked_intermediate(self, version: int) -> None:
        checker = FakeChecker({"revoked-intermediate": REVOKED})
        shake, refusals = self.handshake(checker, version, "of-revoked-ca")
        shake.run()
        self.assertIn("certificate revoked", shake.alert)
        self.assertEqual(refusals.reasons, ["tls_revoked"])
        self.assertIn("CN=revoked-intermediate", refusals[0][1])

    @each_version
    def test_known_revoked_beside_an_unknown_intermediate(self, version: int) -> None:
        checker = FakeChecker({"intermediate": None, "good": REVOKED})
        shake, refusals = self.handshake(checker, version)
        shake.run()
        self.assertIn("certificate revoked", shake.alert)
        self.assertEqual(checker.chains, [], "nothing is fetched for a device that is refused anyway")

    @each_version
    def test_a_checker_that_raises_refuses(self, version: int) -> None:
        checker = FakeChecker()
        checker.error = ZeroDivisionError("in the checker")
        shake, refusals = self.handshake(checker, version)
        shake.run()
        self.assertIn("certificate unknown", shake.alert)
        self.assertEqual(refusals.reasons, ["tls_fault"])
        self.assertIsInstance(refusals.faults[0], ZeroDivisionError)
        self.assertEqual(self.flushLoggedErrors(), [], "the reactor is told nothing")

    @each_version
    def test_what_openssl_refuses_is_told_in_its_words(self, version: int) -> None:
        cases = {
            "expired": "certificate expired", "not-yet-valid": "bad certificate", "of-unknown-ca": "unknown ca",
            "server-only": "unsupported certificate",
        }  # fmt: skip
        for client, alert in cases.items():
            checker = FakeChecker({client: None})
            shake, refusals = self.handshake(checker, version, client)
            shake.run()
            self.assertIn(alert, shake.alert, client)
            self.assertEqual(refusals, [("tls_handshake", "certificate verify failed")])
            self.assertEqual(checker.chains, [], "nothing is fetched for a device that is refused anyway")

    @each_version
    def test_a_device_without_a_certificate(self, version: int) -> None:
        shake, refusals = self.handshake(FakeChecker(), version, None)
        shake.run(b"hello\n")
        self.assertTrue(shake.alert)
        self.assertEqual((shake.echo.handshakes, shake.echo.received), (0, b""))
        self.assertEqual(refusals.reasons, ["tls_handshake"])

    @each_version
    def test_the_key_must_be_proved_before_anything_is_fetched(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version)
        for _ in range(3):  # up to, not including, the last flight of the device
            shake._client(b"")
            last = shake.flight()
            if common_name(pki().clients["good"].certificate).encode() in last or shake._established:
                break
            shake.protocol.dataReceived(last)
            shake._deliver()
        shake.protocol.dataReceived(last[:-1])
        self.assertEqual(checker.chains, [])
        shake.protocol.dataReceived(last[-1:])
        self.assertEqual(len(checker.chains), 1)


class Held(TlsCase):
    """Not everything is known when OpenSSL asks."""

    @each_version
    def test_good(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello\n")
        self.assertEqual((shake.connection.state, shake.echo.handshakes, shake.echo.received), ("held", 0, b""))
        self.assertTrue(shake.paused)
        before = len(shake.wire)
        shake.run()
        self.assertEqual(len(shake.wire), before, "nothing leaves")
        checker.tell(GOOD)
        self.assertEqual((shake.connection.state, shake.echo.handshakes), ("established", 1))
        self.assertFalse(shake.paused)
        shake.run(b"hello\n" if version == TLS12 else b"")
        self.assertEqual((shake.echo.received, shake.received), (b"hello\n", b"echo hello\n"))
        self.assertEqual((shake.echo.handshakes, refusals), (1, []))

    @each_version
    def test_what_is_asked_about(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, _ = self.handshake(checker, version)
        shake.run()
        (chain,) = checker.chains
        self.assertEqual([common_name(chain[depth]) for depth in range(3)], ["good", "intermediate", "root"])

    @each_version
    def test_revoked(self, version: int) -> None:
        for finding, reason, alert in (
            (REVOKED, "tls_revoked", "certificate revoked"),
            (UNAVAILABLE, "tls_unavailable", "certificate unknown"),
        ):
            checker = FakeChecker(COLD)
            shake, refusals = self.handshake(checker, version)
            shake.run(b"hello\n")
            before = len(shake.wire)
            checker.tell(finding)
            shake.run()
            self.assertEqual((shake.echo.handshakes, shake.echo.received), (0, b""))
            self.assertEqual((shake.connection.state, shake.closed), ("refused", True))
            self.assertEqual(refusals.reasons, [reason])
            if version == TLS12:
                self.assertIn(alert, shake.alert)
                self.assertEqual(len(shake.wire) - before, len(REVOKED_ALERT), "nothing but the alert")
            else:
                self.assertEqual((shake.alert, len(shake.wire)), ("", before), "it is closed without a word")

    @each_version
    def test_an_answer_at_once_re_enters_nothing(self, version: int) -> None:
        shake, _ = self.handshake(FakeChecker(COLD, at_once=GOOD), version)
        shake.run(b"hello\n")
        self.assertEqual((shake.echo.handshakes, shake.echo.received), (1, b"hello\n"))
        self.assertEqual(shake.transport.producerState, "producing")

    @each_version
    def test_a_refusal_at_once(self, version: int) -> None:
        shake, refusals = self.handshake(FakeChecker(COLD, at_once=REVOKED), version)
        shake.run(b"hello\n")
        self.assertEqual((shake.echo.handshakes, shake.echo.received), (0, b""))
        self.assertEqual("certificate revoked" in shake.alert, version == TLS12)
        self.assertEqual((refusals.reasons, shake.closed), (["tls_revoked"], True))

    @each_version
    def test_a_check_that_fails_refuses(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version)
        shake.run()
        checker.asked.pop().errback(ZeroDivisionError("in the checker"))
        shake.run()
        self.assertEqual((shake.echo.handshakes, refusals.reasons, shake.closed), (0, ["tls_fault"], True))
        self.assertIsInstance(refusals.faults[0], ZeroDivisionError)
        if version == TLS12:
            self.assertIn("certificate unknown", shake.alert)

    @each_version
    def test_a_check_that_cannot_begin_refuses(self, version: int) -> None:
        checker = FakeChecker(COLD)
        for broken in (lambda chain: 1 / 0, lambda chain: fail(ZeroDivisionError())):
            checker.check_chain = broken  # type: ignore[assignment,method-assign]
            shake, refusals = self.handshake(checker, version)
            shake.run(b"hello\n")
            self.assertEqual((shake.echo.handshakes, refusals.reasons, shake.closed), (0, ["tls_fault"], True))

    @each_version
    def test_a_session_that_cannot_be_watched_is_refused(self, version: int) -> None:
        checker = FakeChecker(COLD)
        checker.watch = lambda chain, cut: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello\n")
        checker.tell(GOOD)
        self.assertEqual((shake.echo.handshakes, refusals.reasons), (0, ["tls_fault"]))

    @each_version
    def test_what_the_protocol_writes_meanwhile_waits(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, _ = self.handshake(checker, version)
        shake.protocol.write(b"early ")
        shake.run()
        shake.protocol.write(b"words")
        shake.run()
        self.assertEqual((shake.connection.state, shake.received), ("held", b""))
        checker.tell(GOOD)
        shake.run()
        self.assertEqual(shake.received, b"early words")

    @each_version
    def test_the_device_leaves(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello\n")
        connection = shake.connection
        shake.leave()
        self.assertEqual((connection.state, checker.cancelled), ("gone", 1), "its place among those who wait is free")
        self.assertEqual((shake.echo.handshakes, shake.echo.received, refusals), (0, b"", []))
        self.assertIsNotNone(shake.echo.lost)
        self.assertEqual(shake.clock.getDelayedCalls(), [])

    @each_version
    def test_the_device_leaves_in_the_moment_of_the_answer(self, version: int) -> None:
        checker = FakeChecker(COLD)
        checker._cancel = lambda asked: asked.callback(GOOD)  # type: ignore[method-assign]
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello\n")
        shake.leave()
        self.assertEqual((shake.echo.handshakes, shake.echo.received, refusals), (0, b"", []))

    @each_version
    def test_the_protocol_gives_up(self, version: int) -> None:
        for give_up in ("loseConnection", "abortConnection"):
            checker = FakeChecker(COLD)
            shake, _ = self.handshake(checker, version)
            shake.run(b"hello\n")
            getattr(shake.protocol, give_up)()
            checker.tell(GOOD)
            self.assertTrue(shake.closed)
            shake.leave()
            self.assertEqual((shake.echo.handshakes, shake.echo.received), (0, b""), give_up)

    @each_version
    def test_a_protocol_that_raises_is_closed(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version)
        shake.echo.error = ZeroDivisionError("in handshakeCompleted")
        shake.run(b"hello\n")
        checker.tell(GOOD)
        self.assertTrue(shake.transport.disconnected)
        self.assertIsInstance(refusals.faults[0], ZeroDivisionError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_protocol_that_raises_when_it_is_gone_already(self) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker)

        def completed() -> None:
            shake.leave()
            raise ZeroDivisionError

        shake.echo.handshakeCompleted = completed  # type: ignore[method-assign]
        shake.run(b"hello\n")
        checker.tell(GOOD)
        self.assertIsInstance(refusals.faults[0], ZeroDivisionError)
        self.assertEqual((shake.transport.disconnected, self.flushLoggedErrors()), (False, []))

    @each_version
    def test_a_transport_that_does_not_pause(self, version: int) -> None:
        """What was read before the pause is kept; more than that ends the connection, with bounded memory."""
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version)
        shake.run()
        chunk = bytes(65536)
        for _ in range(640):
            shake.protocol.dataReceived(chunk)
        self.assertEqual((refusals.reasons, shake.closed, checker.cancelled), (["tls_flood"], True, 1))
        self.assertLessEqual(shake.connection._held_bytes, HELD_BYTES + len(chunk))
        shake.run()
        self.assertEqual(shake.echo.handshakes, 0)
        if version == TLS12:
            self.assertIn("internal error", shake.alert)

    def test_bytes_before_the_answer_are_delivered_after_it(self) -> None:
        checker = FakeChecker(COLD)
        shake, _ = self.handshake(checker, TLS13)
        shake.run(b"before ")
        shake.client.send(b"and while")
        shake.protocol.dataReceived(shake.flight())
        self.assertEqual(shake.echo.received, b"")
        checker.tell(GOOD)
        self.assertEqual(shake.echo.received, b"before and while")

    def test_many_wait_for_one_answer(self) -> None:
        checker = FakeChecker(COLD)
        creator, refusals = self.contexts(checker=checker)
        held = [Handshake(creator, client_connection(TLS13, pki().clients["good"])).run(b"x") for _ in range(20)]
        checker.tell(GOOD)
        self.assertEqual([shake.echo.received for shake in held], [b"x"] * 20)


class Time(TlsCase):
    """No handshake lasts longer than it may."""

    def test_silence(self) -> None:
        shake, refusals = self.handshake(handshake=10)
        shake.clock.advance(9.9)
        self.assertFalse(shake.closed)
        shake.clock.advance(0.2)
        self.assertEqual((shake.transport.disconnected, refusals.reasons), (True, ["tls_timeout"]))

    @each_version
    def test_a_byte_a_second(self, version: int) -> None:
        shake, refusals = self.handshake(version=version, handshake=10)
        shake._client(b"")
        for byte in shake.flight():
            if shake.transport.disconnected:
                break
            shake.protocol.dataReceived(bytes((byte,)))
            shake.clock.advance(1)
        self.assertEqual((shake.transport.disconnected, refusals.reasons), (True, ["tls_timeout"]))
        self.assertEqual(shake.clock.seconds(), 10)

    @each_version
    def test_held(self, version: int) -> None:
        checker = FakeChecker(COLD)
        shake, refusals = self.handshake(checker, version, handshake=10)
        shake.run(b"hello\n")
        shake.clock.advance(10)
        self.assertEqual((shake.transport.disconnected, refusals.reasons), (True, ["tls_timeout"]))
        self.assertEqual(checker.cancelled, 1)
        shake.leave(clean=False)
        self.assertEqual((shake.echo.handshakes, shake.echo.received), (0, b""))

    @each_version
    def test_a_refusal_that_is_not_read_ends_too(self, version: int) -> None:
        shake, refusals = self.handshake(FakeChecker({"good": REVOKED}), version, handshake=10)
        shake.run()
        self.assertEqual((shake.transport.disconnecting, shake.transport.disconnected), (True, False))
        shake.clock.advance(10)
        self.assertEqual((shake.transport.disconnected, refusals.reasons), (True, ["tls_revoked"]))

    @each_version
    def test_a_session_has_no_limit(self, version: int) -> None:
        shake, refusals = self.handshake(FakeChecker(), version, handshake=10)
        shake.run()
        self.assertEqual(shake.clock.getDelayedCalls(), [])

    def test_a_device_that_leaves(self) -> None:
        shake, refusals = self.handshake(handshake=10)
        shake.leave()
        self.assertEqual((shake.clock.getDelayedCalls(), refusals), ([], []))

    def test_the_timer_keeps_nothing_alive(self) -> None:
        shake, _ = self.handshake(handshake=10)
        shake.protocol.dataReceived(b"no hello at all\n")
        self.assertTrue(shake.closed)
        connection = weakref.ref(shake.connection)
        shake.leave()
        self.assertIsNone(connection())
        shake.clock.advance(10)
        self.assertFalse(shake.transport.disconnected)


class Sessions(TlsCase):
    """After the handshake."""

    @each_version
    def test_a_live_session_is_cut_when_its_certificate_is_revoked(self, version: int) -> None:
        checker = FakeChecker()
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello")
        (cut,) = checker.watched
        cut(REVOKED)
        self.assertEqual((shake.transport.disconnected, refusals.reasons), (True, ["tls_revoked"]))

    @each_version
    def test_a_session_that_has_ended_is_watched_no_more(self, version: int) -> None:
        checker = FakeChecker()
        shake, refusals = self.handshake(checker, version)
        shake.run(b"hello")
        (cut,) = checker.watched
        connection = weakref.ref(shake.connection)
        gc.disable()
        self.addCleanup(gc.enable)
        shake.leave()
        self.assertEqual(checker.watched, [])
        self.assertIsNone(connection(), "the last reference goes with the transport")
        cut(REVOKED)
        self.assertEqual(refusals, [])

    @each_version
    def test_a_session_that_breaks_is_watched_no_more(self, version: int) -> None:
        checker = FakeChecker()
        shake, _ = self.handshake(checker, version)
        shake.run(b"hello")
        shake.protocol.dataReceived(b"\x17\x03\x03\x00\x20" + bytes(32))
        self.assertTrue(shake.closed)
        shake.leave(clean=False)
        self.assertEqual(checker.watched, [])

    @each_version
    def test_a_session_that_can_no_longer_send_is_watched_no_more(self, version: int) -> None:
        checker = FakeChecker()
        shake, _ = self.handshake(checker, version)
        shake.run(b"hello")
        shake.connection.shutdown()
        shake.protocol.write(b"too late")
        shake.clock.advance(0)
        self.assertEqual((shake.closed, checker.watched), (True, []))

    def test_a_cut_after_the_end(self) -> None:
        checker = FakeChecker()
        shake, refusals = self.handshake(checker)
        shake.run(b"hello")
        (cut,) = checker.watched
        connection = shake.connection
        shake.leave()
        cut(REVOKED)
        connection.refuse_name()
        self.assertEqual((connection.state, refusals), ("gone", []))

    def test_who_it_was(self) -> None:
        shake, _ = self.handshake()
        self.assertEqual(shake.connection.peer, shake.transport.getPeer())

    @each_version
    def test_a_resumed_session_is_refused(self, version: int) -> None:
        """No context of ours resumes any; this is for the day when one does."""
        context = SSL.Context(SSL.TLS_METHOD)
        context.use_certificate_chain_file(file("server.pem"))
        context.use_privatekey_file(file("server.key"))
        context.load_verify_locations(file("root.pem"))
        context.set_session_id(b"mgate")
        verify.demand(context)
        refusals = Refusals()
        client = client_connection(version, pki().clients["good"])

        @implementer(IOpenSSLServerConnectionCreator)
        class Creator:
            def serverConnectionForTLS(self, protocol: Any) -> RevocationConnection:
                connection = RevocationConnection(context, protocol, refusals, FakeChecker())
                connection.set_accept_state()
                return connection

        creator = Creator()
        first = Handshake(creator, client).run(b"first")
        self.assertEqual((first.echo.handshakes, refusals), (1, []))
        again = SSL.Connection(client.get_context())
        again.set_connect_state()
        session = client.get_session()
        assert session is not None
        again.set_session(session)
        second = Handshake(creator, again).run(b"second\n")
        self.assertEqual((second.echo.handshakes, second.echo.received), (0, b""))
        self.assertEqual((refusals.reasons, second.closed), (["tls_resumed"], True))

    def test_the_table_of_states(self) -> None:
        reached = {"handshaking"}
        for follows in CONNECTION_STATES.values():
            reached |= set(follows.values())
        self.assertEqual(reached, set(CONNECTION_STATES))



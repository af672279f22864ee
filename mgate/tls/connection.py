"""The TLS connection of a device: its handshake ends when the status of its certificate is known, and not before.

Rules:

1. OpenSSL asks about each certificate in the middle of the handshake, where nothing can be waited for. What memory
   does not tell is accepted for the moment. When OpenSSL then reports success, so that the device has proved to have
   the key, the handshake is held: `do_handshake` goes on saying that it waits for bytes until the status is known.
2. While it is held, nothing leaves and nothing is read. In TLS 1.2 the device still waits for the Finished of the
   server, so a refusal is the alert that OpenSSL itself would send (RFC 5246 section 7.2). In TLS 1.3 the device
   believes that the handshake is over (RFC 8446 section 4.4.4), so it sees the connection close; its next attempt is
   answered from memory, with an alert.
3. Application bytes pass, either way, only after `do_handshake` has returned.
4. A resumed session has no certificate that was verified now: it is refused.
5. Every wait has an end, and whatever fails refuses.

`CONNECTION_STATES` says what follows what. `mgate.tls.contexts` makes the connections, Twisted's
TLSMemoryBIOProtocol calls them, and re-enters nothing: a status that is known at once is acted on where it was asked.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from cryptography.x509 import Certificate, load_der_x509_certificate
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from mgate.tls import verify
from mgate.tls.identity import described
from mgate.tls.status import Finding, Status

__all__ = ["CONNECTION_STATES", "Checker", "Owner", "RevocationConnection"]

CONNECTION_STATES = {
    "handshaking": {"verified": "held", "known": "established", "refuse": "refused", "lost": "gone"},
    "held": {"good": "established", "refuse": "refused", "lost": "gone"},
    "established": {"lost": "gone"},
    "refused": {},
    "gone": {},
}
"""What follows, by state and event. ``known`` is ``verified`` where memory had an answer for every certificate."""

HANDSHAKING, HELD, ESTABLISHED, REFUSED, GONE = CONNECTION_STATES

HELD_BYTES = 256 * 1024
"""What a held connection keeps of bytes that come although reading is paused: what a transport has read before."""

CERTIFICATE_REVOKED, CERTIFICATE_UNKNOWN, INTERNAL_ERROR, UNRECOGNIZED_NAME = 44, 46, 80, 112
"""Alerts, RFC 8446 section 6.2."""


class Checker(Protocol):
    """What a connection needs of `mgate.tls.revocation.RevocationChecker`."""

    def decide(self, chain: Mapping[int, Certificate], depth: int) -> Finding | None: ...
    def check_chain(self, chain: Mapping[int, Certificate]) -> Deferred[Finding]: ...
    def accepts(self, finding: Finding) -> bool: ...
    def watch(self, chain: Mapping[int, Certificate], cut: Callable[[Finding], None]) -> Callable[[], None]: ...


class Owner(Protocol):
    """What made the connection. It is kept alive, and with it every context that OpenSSL may still call into."""

    def refused(self, connection: RevocationConnection, reason: str, detail: str) -> None:
        """A device was refused; called once for each. `reason` is from a closed list, see `RevocationConnection`."""

    def failed(self, error: BaseException | Failure) -> None:
        """The gateway's own code has failed; the device is refused."""


class RevocationConnection(SSL.Connection):
    """One connection, with memory BIOs, of one TLSMemoryBIOProtocol.

    Refusals have one of these reasons: ``tls_handshake`` (OpenSSL refused), ``tls_revoked``, ``tls_unavailable`` (the
    status of the certificate is unknown), ``tls_resumed``, ``tls_server_name``, ``tls_timeout``, ``tls_flood`` (bytes
    came although reading was paused), ``tls_fault`` (of the gateway itself).

    Args:
        context: what it begins with; SNI may exchange it.
        protocol: Twisted's side of it.
        owner: is told of refusals.
        checker: asked about certificates; None if verified certificates are good enough.

    Attributes:
        chain: the certificates that were verified, by depth, 0 for the device's own. Empty without a checker.
        state: a key of `CONNECTION_STATES`.
        reason: why it was refused, or "".
    """

    def __init__(self, context: SSL.Context, protocol: Any, owner: Owner, checker: Checker | None = None) -> None:
        super().__init__(context, None)
        self.chain: dict[int, Certificate] = {}
        self.state = HANDSHAKING
        self.reason = ""
        self._protocol = protocol
        self._owner = owner
        self._checker = checker
        self._unknown = False
        self._objection: tuple[str, str] | None = None
        self._alert: bytes | None = None
        self._held_bytes = 0
        self._behind: SSL.Error | None = None
        self._asked: Deferred[None] | None = None
        self._stop_timer: Callable[[], object] = _nothing
        self._unwatch: Callable[[], object] = _nothing

    @property
    def established(self) -> bool:
        """Whether the handshake is over, and nothing was against the device."""
        return self.state == ESTABLISHED

    @property
    def peer(self) -> Any:
        """The address of the device, as its transport tells; for those who are told of refusals."""
        return self._protocol.transport.getPeer()

    # What the creator calls.

    def end_by(self, clock: Any, seconds: float) -> None:
        """Close the connection if the handshake is not over in time.

        Also a refusal that the device does not read ends then. The timer keeps nothing alive.
        """
        deadline = clock.callLater(seconds, _call_if_alive, weakref.WeakMethod(self._late))
        self._stop_timer = self._at_the_end(_cancel, deadline)

    def refuse_name(self) -> None:
        """The device asked for a server that there is not (RFC 6066 section 3); called while its hello is read."""
        self._refuse("tls_server_name", UNRECOGNIZED_NAME, "no certificate has the name that was asked for")

    def refuse_fault(self, error: BaseException) -> None:
        """Something of ours failed while the hello was read."""
        self._owner.failed(error)
        self._refuse("tls_fault", INTERNAL_ERROR, type(error).__name__)

    # What the verify callback calls.

    def certificate_verified(self, certificate: crypto.X509, depth: int) -> int:
        """OpenSSL has verified a certificate; the one above it came before. See `mgate.tls.verify.Verifying`."""
        try:
            finding = self._finding(certificate, depth)
        except Exception as error:  # noqa: BLE001 - called by OpenSSL: nothing that fails may admit
            self._owner.failed(error)
            self._objection = "tls_fault", type(error).__name__
            return verify.UNAVAILABLE
        if finding is None:
            return verify.ACCEPT
        self._objection = _reason(finding), self._described(finding)
        return verify.REVOKED if finding.status is Status.REVOKED else verify.UNAVAILABLE

    def _finding(self, certificate: crypto.X509, depth: int) -> Finding | None:
        """What is against a certificate, from memory."""
        assert self._checker is not None
        der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        self.chain[depth] = _issuer(der) if depth else load_der_x509_certificate(der)
        finding = self._checker.decide(self.chain, depth)
        if finding is None:
            self._unknown = True
            return None
        return None if self._checker.accepts(finding) else finding

    # What Twisted calls.

    def do_handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            WantReadError: it waits, for bytes or for the status of the certificate.
            Error: it has failed; `bio_read` has the alert.
        """
        if self.state == HANDSHAKING:
            self._shake_hands()
        if self.state == HELD:
            self._protocol.transport.pauseProducing()
            raise SSL.WantReadError()
        if self.state in (REFUSED, GONE):
            raise SSL.Error([("mgate", "", self.reason or "connection lost")])

    def bio_write(self, buf: Any) -> int:
        """Take bytes from the network. Nothing is kept of what comes after a refusal."""
        if self.state == HELD:
            self._held_bytes += len(buf)
            if self._held_bytes > HELD_BYTES:
                self._refuse_held("tls_flood", INTERNAL_ERROR, "bytes came while the handshake was held")
                self._give_up()
        if not buf or self.state in (REFUSED, GONE):
            return len(buf)
        if isinstance(self._behind, SSL.WantReadError):
            self._behind = None
        return super().bio_write(buf)

    def bio_read(self, bufsiz: int) -> bytes:
        """Give bytes for the network: none while held, and after a refusal of ours the alert alone."""
        if self.state == HELD:
            raise SSL.WantReadError()
        if self._alert is None:
            return super().bio_read(bufsiz)
        alert, self._alert = self._alert, b""
        if not alert:
            raise SSL.WantReadError()
        return alert

    def send(self, buf: Any, flags: int = 0) -> int:
        """Encrypt, once the handshake is over. Twisted keeps what is written earlier."""
        if self.state != ESTABLISHED:
            raise SSL.WantReadError()
        try:
            return super().send(buf, flags)
        except SSL.Error as error:
            self._ended(error)
            raise

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Decrypt, once the handshake is over: all records that are there, because what is given at once makes its
        way through the gateway once."""
        if self.state != ESTABLISHED:
            raise SSL.WantReadError()
        records: list[bytes] = []
        try:
            if self._behind is not None:
                raise self._behind
            while True:
                records.append(super().recv(bufsiz, flags))
        except SSL.Error as error:
            if not records:
                self._behind = None
                self._ended(error)
                raise
            self._behind = error.with_traceback(None)  # which would keep this connection alive
        return b"".join(records)

    def bio_shutdown(self) -> None:
        """The transport is lost."""
        self._lost()
        super().bio_shutdown()

    # The handshake.

    def _shake_hands(self) -> None:
        try:
            super().do_handshake()
        except SSL.WantReadError:
            if self.state == HANDSHAKING:
                raise
        except SSL.Error as error:
            if self.state == HANDSHAKING:
                reason, detail = self._objection or ("tls_handshake", _cause(error))
                self._refuse(reason, None, detail)
                raise
        if self.state == HANDSHAKING:
            self._verified()

    def _verified(self) -> None:
        """OpenSSL has no objection, and the device has the key of its certificate."""
        asked_for_one = bool(self.get_verify_mode() & SSL.VERIFY_PEER)
        if asked_for_one and (verify.session_reused(self) or (self._checker is not None and 0 not in self.chain)):
            # The ChangeCipherSpec of the server is out already, so an alert could no longer be read.
            self._refuse("tls_resumed", 0, "a resumed session has no certificate that was verified now")
        elif self._unknown:
            self._hold()
        else:
            self._established()

    def _hold(self) -> None:
        assert self._checker is not None
        self.state = HELD
        asked: Deferred[Any] = maybeDeferred(self._checker.check_chain, dict(self.chain))
        asked.addCallback(self._judge).addErrback(self._not_judged)
        if self.state == HELD:
            self._asked = asked
            asked.addCallback(self._release).addErrback(self._not_released)

    def _judge(self, finding: Finding) -> None:
        if self.state != HELD:
            return
        assert self._checker is not None
        if self._checker.accepts(finding):
            self._established()
        else:
            alert = CERTIFICATE_REVOKED if finding.status is Status.REVOKED else CERTIFICATE_UNKNOWN
            self._refuse_held(_reason(finding), alert, self._described(finding))

    def _not_judged(self, failure: Failure) -> None:
        if self.state == HELD:
            self._owner.failed(failure)
            self._refuse_held("tls_fault", CERTIFICATE_UNKNOWN, type(failure.value).__name__)

    def _release(self, _: object) -> None:
        """The status came later than it was asked for: have Twisted look again."""
        asked, self._asked = self._asked, None
        if asked is not None:
            self._protocol.transport.resumeProducing()
            self._protocol.dataReceived(b"")

    def _not_released(self, failure: Failure) -> None:
        """The protocol above has failed; a reactor would close the connection, too."""
        self._owner.failed(failure)
        self._abort()

    def _established(self) -> None:
        if self._checker is not None and self.chain:
            cut = weakref.WeakMethod(self._cut)
            unwatch = self._checker.watch(dict(self.chain), lambda finding: _call_if_alive(cut, finding))
            self._unwatch = self._at_the_end(unwatch)
        self.state = ESTABLISHED
        self._stop_timer()

    def _refuse_held(self, reason: str, alert: int, detail: str) -> None:
        """What OpenSSL has ready in TLS 1.2 is not sent, so that the alert takes its place and stays readable."""
        readable = self.get_protocol_version() <= SSL.TLS1_2_VERSION
        self._refuse(reason, alert if readable else 0, detail)

    def _refuse(self, reason: str, alert: int | None, detail: str) -> None:
        """Refuse.

        Args:
            reason: for logs.
            alert: sent as it is, 0 for none. None leaves the word to OpenSSL.
            detail: for logs.
        """
        if self.state not in (HANDSHAKING, HELD):
            return
        self.state, self.reason = REFUSED, reason
        if alert is not None:
            self._alert = bytes((21, 3, 3, 0, 2, 2, alert)) if alert else b""
        self._owner.refused(self, reason, detail)

    def _cut(self, finding: Finding) -> None:
        """A certificate of a live session has been revoked."""
        if self.state == ESTABLISHED:
            self._owner.refused(self, _reason(finding), self._described(finding))
            self._abort()

    def _late(self) -> None:
        self._refuse("tls_timeout", 0, "no end of the handshake in time")
        self._give_up()
        self._abort()

    def _abort(self) -> None:
        if self._protocol.connected:
            self._protocol.abortConnection()

    def _ended(self, error: SSL.Error) -> None:
        """Twisted may not tell of the end, nor let go of a connection that failed before garbage is collected."""
        if not isinstance(error, SSL.WantReadError):
            self._lost()

    def _lost(self) -> None:
        self._stop_timer()
        if self.state in (HANDSHAKING, HELD, ESTABLISHED):
            self.state = GONE
        self._give_up()
        self._unwatch()

    def _give_up(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def _at_the_end(self, callback: Callable[..., object], *arguments: object) -> Callable[[], object]:
        """Have `callback` called when Twisted lets go of the connection, which it does not always tell.

        Returns:
            what calls it earlier. It is called once.
        """
        ended = weakref.finalize(self, callback, *arguments)
        ended.atexit = False
        return ended

    def _described(self, finding: Finding) -> str:
        source = " ".join(filter(None, (finding.source, finding.detail)))
        certificate = self.chain.get(0) or self.chain[min(self.chain)]
        return f"{described(certificate)}: {finding.status.value} ({source})"


def _reason(finding: Finding) -> str:
    return "tls_revoked" if finding.status is Status.REVOKED else "tls_unavailable"


def _cause(error: SSL.Error) -> str:
    """The words of OpenSSL, which it takes from a list of its own."""
    queue = error.args[0] if error.args else ""
    return "; ".join(str(entry[-1]) for entry in queue) if isinstance(queue, list) else str(queue)


def _call_if_alive(method: weakref.WeakMethod[Callable[..., None]], *arguments: object) -> None:
    bound = method()
    if bound is not None:
        bound(*arguments)


def _cancel(call: Any) -> None:
    if call.active():
        call.cancel()


def _nothing() -> None:
    pass


@lru_cache(maxsize=256)
def _issuer(der: bytes) -> Certificate:
    """Few certificates issue those of all devices; they are parsed once. Only verified ones come here."""
    return load_der_x509_certificate(der)

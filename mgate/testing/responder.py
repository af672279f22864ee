"""An OCSP responder and CRL distribution point over HTTP, which can be told to misbehave.

Tests, `mgate demo` and examples/ocsp_responder.py start it. It answers from the index of its authorities, so that what
is revoked in Python is revoked for whoever asks next::

    responder = Responder(reactor)
    pki = Pki.make(await responder.listen())
    responder.authorities = pki.authorities
    responder.behaviours["ocsp"] = Behaviour(ocsp={"status": Status.UNKNOWN})

Rules:

1. OCSP is below ``/ocsp``, by POST and by GET (RFC 6960 appendix A); CRLs are at ``/<authority>.crl`` in DER
   (RFC 2585) and at ``/<authority>.pem``. All of these are below ``/slow`` and ``/untrusted`` as well.
2. Nothing of a request is kept but how often each path was asked for.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.ocsp import OCSPResponseStatus
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

from mgate.testing.authority import Authority
from mgate.testing.pki import SLOW, UNTRUSTED

__all__ = ["Behaviour", "Responder"]

LARGEST_REQUEST = 65536
OCSP, OCSP_REQUEST, OCSP_RESPONSE = "ocsp", b"application/ocsp-request", b"application/ocsp-response"
CRL_TYPES = {".crl": (Encoding.DER, b"application/pkix-crl"), ".pem": (Encoding.PEM, b"application/x-pem-file")}


@dataclass(frozen=True)
class Behaviour:
    """How a responder answers; by default as it should.

    Attributes:
        ocsp: arguments for `Authority.ocsp_response` that replace what the request led to: ``status``, ``nonce``,
            ``serial``, ``delegate``, ``signature`` and so on.
        crl: arguments for `Authority.crl`.
        authority: answers in the place of the one that the request names.
        error: an OCSP error instead of a response (RFC 6960 section 2.3).
        body: octets instead of the response or the CRL.
        code: the HTTP status code.
        redirect: where to send whoever asks; the code is then 302.
        content_length: what the header of this name claims, whatever follows.
        delay: seconds until the answer; infinite until `Responder.release`.
        drip: seconds between the octets of the answer.
        endless: the answer never ends.
    """

    ocsp: Mapping[str, Any] = field(default_factory=dict)
    crl: Mapping[str, Any] = field(default_factory=dict)
    authority: Authority | None = None
    error: OCSPResponseStatus | None = None
    body: bytes | None = None
    code: int = 200
    redirect: str = ""
    content_length: int | None = None
    delay: float = 0
    drip: float = 0
    endless: bool = False


class Responder(Resource):
    """The resource, and the port that it listens on.

    Attributes:
        authorities: for whom it answers.
        behaviours: how, by path (``"ocsp"``, ``"slow/ocsp"``, ``"intermediate.crl"``), by first part (``"slow"``), or
            else for all (``""``). May change at any time; what is being answered goes on as it began.
        requests: how often each path was asked for; under ``""`` those that it does not know.
        serials: how often the status of each certificate was asked for, by serial number, if it is in an index.
    """

    isLeaf = True

    def __init__(self, reactor: Any, authorities: Sequence[Authority] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.authorities = authorities
        self.behaviours: dict[str, Behaviour] = {SLOW: Behaviour(delay=30)}
        self.requests: Counter[str] = Counter()
        self.serials: Counter[int] = Counter()
        self._reactor = reactor
        self._site = _ClosableFactory(Site(self, reactor=reactor))
        self._ports: list[Any] = []
        self._held: list[Deferred[None]] = []
        self._watched: list[tuple[str, int, Deferred[None]]] = []

    async def listen(self, port: int = 0, interface: str = "127.0.0.1") -> str:
        """Listen, on any free port if `port` is 0, and return the URL for `Pki.make`.

        Raises:
            CannotListenError: the port is taken.
        """
        listening = await TCP4ServerEndpoint(self._reactor, port, interface=interface).listen(self._site)
        self._ports.append(listening)
        return f"http://{interface}:{listening.getHost().port}"

    async def stop(self) -> None:
        """Listen no longer, and end what is being answered."""
        ports, self._ports = self._ports, []
        await gatherResults([port.stopListening() for port in ports])
        await self._site.close()

    def asked(self, path: str = OCSP, count: int = 1) -> Deferred[None]:
        """Fires once `path` has been asked for `count` times in all."""
        watched: Deferred[None] = Deferred()
        self._watched.append((path, count, watched))
        self._tell()
        return watched

    def release(self) -> None:
        """Answer whoever waits for an infinite delay to end."""
        held, self._held = self._held, []
        for waiting in held:
            waiting.callback(None)

    def render(self, request: Request) -> int:
        """Called by twisted.web for each request."""
        parts = [part.decode("latin-1") for part in request.postpath or []]
        path, name = self._known(parts)
        self.requests[path] += 1
        behaviour = self._behaviour(path)
        if not path:
            self._send(request, Behaviour(code=404), b"text/plain", b"nothing is here\n")
        elif name == OCSP:
            rest = "/".join(parts[len(path.split("/")) :])
            self._send(request, behaviour, OCSP_RESPONSE, self._status(request, rest, behaviour))
        else:
            self._send(request, behaviour, CRL_TYPES[name[-4:]][1], self._crl(name, behaviour))
        self._tell()
        return NOT_DONE_YET

    def _known(self, parts: Sequence[str]) -> tuple[str, str]:
        """The path that is asked for and its last part, both empty if it is none of ours."""
        names = [OCSP, *(each.name + suffix for each in self.authorities for suffix in CRL_TYPES)]
        prefixes = {SLOW, UNTRUSTED, *(key.partition("/")[0] for key in self.behaviours)} - {"", *names}
        skipped = 1 if parts and parts[0] in prefixes else 0
        name = parts[skipped] if len(parts) > skipped else ""
        if name not in names or (name != OCSP and len(parts) > skipped + 1):
            return "", ""
        return "/".join(parts[: skipped + 1]), name

    def _behaviour(self, path: str) -> Behaviour:
        for key in (path, path.partition("/")[0], ""):
            if key in self.behaviours:
                return self.behaviours[key]
        return Behaviour()

    def _status(self, request: Request, encoded: str, behaviour: Behaviour) -> bytes:
        """The response to an OCSP request, in DER."""
        error = behaviour.error
        try:
            asked = ocsp.load_der_ocsp_request(_request_octets(request, encoded))
            serial, algorithm = asked.serial_number, asked.hash_algorithm
            named = (asked.issuer_name_hash, asked.issuer_key_hash)
            nonces = [each.value.nonce for each in asked.extensions if isinstance(each.value, x509.OCSPNonce)]
        except (ValueError, NotImplementedError, UnsupportedAlgorithm, x509.DuplicateExtension):
            return _unsuccessful(error or OCSPResponseStatus.MALFORMED_REQUEST)
        authority = next((each for each in self.authorities if each.identifiers(algorithm) == named), None)
        if authority is not None and serial in authority.index:
            self.serials[serial] += 1
        authority = behaviour.authority or authority
        if error is not None or authority is None:
            return _unsuccessful(error or OCSPResponseStatus.UNAUTHORIZED)
        arguments: dict[str, Any] = {"serial": serial, "algorithm": algorithm, "nonce": nonces[0] if nonces else None}
        return authority.ocsp_response(**{**arguments, **behaviour.ocsp})

    def _crl(self, name: str, behaviour: Behaviour) -> bytes:
        authority = next(each for each in self.authorities if each.name == name[:-4])
        return (behaviour.authority or authority).crl(**behaviour.crl).public_bytes(CRL_TYPES[name[-4:]][0])

    def _send(self, request: Request, behaviour: Behaviour, content_type: bytes, body: bytes) -> None:
        request.setResponseCode(302 if behaviour.redirect else behaviour.code)
        request.setHeader(b"content-type", content_type)
        if behaviour.redirect:
            request.setHeader(b"location", behaviour.redirect.encode())
        if behaviour.body is not None:
            body = behaviour.body
        length = behaviour.content_length
        if length is None and not behaviour.endless:
            length = len(body)
        if length is not None:
            request.setHeader(b"content-length", str(length).encode())
        gone: Deferred[None] = request.notifyFinish()

        def begin(_: object = None) -> None:
            if behaviour.endless:
                request.registerProducer(_Endless(request, body or b"\0"), False)
            elif behaviour.drip:
                self._drip(request, body, behaviour.drip, gone)
            else:
                request.write(body)
                request.finish()

        if behaviour.delay == math.inf:
            held: Deferred[None] = Deferred()
            self._held.append(held)
            held.addCallback(begin)
            # Who has left is not answered any more.
            gone.addBoth(lambda _: self._held.remove(held) if held in self._held else None)
        elif behaviour.delay:
            self._later(behaviour.delay, begin, gone)
        else:
            begin()
        gone.addErrback(lambda _: None)

    def _later(self, seconds: float, call: Callable[[], None], gone: Deferred[None]) -> None:
        """Call it, unless who asked has left by then."""
        delayed = self._reactor.callLater(seconds, call)
        gone.addBoth(lambda _: delayed.cancel() if delayed.active() else None)

    def _drip(self, request: Request, body: bytes, seconds: float, gone: Deferred[None]) -> None:
        left = iter(body)
        # One timer for the whole answer: each octet sets it anew.
        pending: list[Any] = []

        def drop() -> None:
            octet = next(left, None)
            if octet is None:
                request.finish()
            else:
                request.write(bytes([octet]))
                pending[:] = [self._reactor.callLater(seconds, drop)]

        gone.addBoth(lambda _: [each.cancel() for each in pending if each.active()])
        drop()

    def _tell(self) -> None:
        due = [each for each in self._watched if self.requests[each[0]] >= each[1]]
        self._watched = [each for each in self._watched if each not in due]
        for _, _, watched in due:
            watched.callback(None)


def _request_octets(request: Request, encoded: str) -> bytes:
    """What POST has in its body, and GET in its path.

    Raises:
        ValueError: it has neither.
    """
    if request.method == b"POST":
        if request.requestHeaders.getRawHeaders(b"content-type") != [OCSP_REQUEST] or request.content is None:
            raise ValueError("no OCSP request")
        return bytes(request.content.read(LARGEST_REQUEST))
    return b64decode(encoded, validate=True)


def _unsuccessful(status: OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


@implementer(IPullProducer)
class _Endless:
    """Writes the same for ever, as fast as it is read."""

    def __init__(self, request: Request, body: bytes) -> None:
        self._request = request
        self._piece = body * (65536 // len(body) + 1)

    def resumeProducing(self) -> None:
        self._request.write(self._piece)

    def stopProducing(self) -> None:
        """Called when the connection is lost: then nobody asks for more."""


class _Connection(ProtocolWrapper):
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.factory.ended()


class _ClosableFactory(WrappingFactory):
    """A factory whose connections can be ended; twisted.web keeps no list of them."""

    protocol = _Connection

    def __init__(self, wrapped: Site) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self._closed: list[Deferred[None]] = []

    async def close(self) -> None:
        """End all connections, and return when whatever waited for their ends knows of it."""
        if self.protocols:
            closed: Deferred[None] = Deferred()
            self._closed.append(closed)
            for protocol in list(self.protocols):
                protocol.abortConnection()
            await closed

    def ended(self) -> None:
        """Called by each connection that has ended."""
        if not self.protocols:
            closed, self._closed = self._closed, []
            for each in closed:
                each.callback(None)

"""TLS handshakes for tests: in memory, where every byte and every second is told, and with ``openssl s_client``.

`Handshake` joins Twisted's TLS protocol, over a transport in memory, to a client of pyOpenSSL. `TlsCase.serve` listens
on the loopback interface, and `TlsCase.s_client` connects there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.x509 import Certificate
from OpenSSL import SSL
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mgate.testing.credential import Credential
from mgate.testing.pki import Pki
from mgate.tls.contexts import ServerContexts
from mgate.tls.settings import ServerTls
from mgate.tls.status import Finding, Status

reactor: Any = installed_reactor

TLS12, TLS13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
VERSIONS = (TLS12, TLS13)
FLAGS = {TLS12: "-tls1_2", TLS13: "-tls1_3"}

GOOD, REVOKED = Finding(Status.GOOD), Finding(Status.REVOKED, source="ocsp", detail="keyCompromise")
UNAVAILABLE, UNKNOWN = Finding(Status.UNAVAILABLE), Finding(Status.UNKNOWN)


@cache
def pki() -> Pki:
    """One for all tests; none of them changes it."""
    return Pki.make()


@cache
def folder() -> Path:
    """Its files, which go when the tests end."""
    directory = tempfile.TemporaryDirectory()
    _kept.append(directory)
    path = Path(directory.name)
    pki().write(path)
    return path


_kept: list[Any] = []


def file(name: str) -> str:
    return str(folder() / name)


def settings(**changes: Any) -> ServerTls:
    """A listener that demands certificates of devices."""
    mutual = ServerTls(file("server.pem"), file("server.key"), client_ca_file=file("root.pem"))
    return replace(mutual, **changes)


class FakeChecker:
    """Has an answer for each certificate of a device, by the name in it; None is told later, with `tell`.

    Args:
        known: what memory has. Certificates that are not named are good.
        at_once: what `check_chain` has without delay.
    """

    def __init__(self, known: Mapping[str, Finding | None] = {}, at_once: Finding | None = None) -> None:  # noqa: B006
        self.known = dict(known)
        self.at_once = at_once
        self.error: Exception | None = None
        self.asked: list[Deferred[Finding]] = []
        self.chains: list[dict[int, Certificate]] = []
        self.watched: list[Callable[[Finding], None]] = []
        self.cancelled = 0

    def decide(self, chain: Mapping[int, Certificate], depth: int) -> Finding | None:
        if self.error is not None:
            raise self.error
        return self.known.get(common_name(chain[depth]), GOOD)

    def check_chain(self, chain: Mapping[int, Certificate]) -> Deferred[Finding]:
        self.chains.append(dict(chain))
        asked: Deferred[Finding] = Deferred(self._cancel)
        self.asked.append(asked)
        if self.at_once is not None:
            asked.callback(self.at_once)
        return asked

    def _cancel(self, asked: Deferred[Finding]) -> None:
        self.cancelled += 1

    def accepts(self, finding: Finding) -> bool:
        return finding.status is Status.GOOD

    def watch(self, chain: Mapping[int, Certificate], cut: Callable[[Finding], None]) -> Callable[[], None]:
        self.watched.append(cut)
        return lambda: self.watched.remove(cut)

    def tell(self, finding: Finding) -> None:
        """Answer everybody who waits."""
        asked, self.asked = self.asked, []
        for each in asked:
            each.callback(finding)


def common_name(certificate: Certificate) -> str:
    return certificate.subject.rfc4514_string().partition("CN=")[2].partition(",")[0]


@implementer(IHandshakeListener)
class Echo(Protocol):
    """Keeps what it is told; a line is answered, and ends the connection."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.handshakes = 0
        self.lost: type[BaseException] | None = None
        self.greeting = b""
        self.error: Exception | None = None
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        if self.greeting:
            self.transport.write(self.greeting)

    def handshakeCompleted(self) -> None:
        self.handshakes += 1
        if self.error is not None:
            raise self.error

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        if data.endswith(b"\n"):
            self.transport.write(b"echo " + data)
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason.type  # a Failure would keep the connection alive through its frames
        self.done.callback(None)


class Refusals(list[tuple[str, str]]):
    """What a listener wrote down: refusals, and in `faults` what failed."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: list[BaseException] = []

    def refused(self, connection: SSL.Connection, reason: str, detail: str) -> None:
        self.append((reason, detail))

    def failed(self, error: BaseException | Failure) -> None:
        self.faults.append(error.value if isinstance(error, Failure) else error)

    @property
    def reasons(self) -> list[str]:
        return [reason for reason, _ in self]


def client_connection(
    version: int, credential: Credential | None, name: bytes | None = None, ciphers: bytes = b"DEFAULT"
) -> SSL.Connection:
    """A client, in memory."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(ciphers)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if credential is not None:
        context.use_certificate(credential.certificate)
        context.use_privatekey(credential.key)
        for each in credential.chain:
            context.add_extra_chain_cert(each)
    connection = SSL.Connection(context)
    if name is not None:
        connection.set_tlsext_host_name(name)
    connection.set_connect_state()
    return connection


class Handshake:
    """A device and a listener, joined in memory. `run` moves bytes until both wait for something else.

    Args:
        creator: of the listener.
        client: of the device.
    """

    def __init__(self, creator: Any, client: SSL.Connection, clock: Clock | None = None) -> None:
        self.echo = Echo()
        self.client = client
        self.clock = clock or Clock()
        self.transport = StringTransport()
        factory = Factory()
        factory.buildProtocol = lambda address: self.echo  # type: ignore[method-assign]
        self.protocol: Any = TLSMemoryBIOFactory(creator, False, factory, self.clock).buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.error: SSL.Error | None = None
        self.received = b""
        self.wire = b""
        """All that the listener sent."""

    @property
    def connection(self) -> Any:
        return self.protocol.getHandle()

    @property
    def paused(self) -> bool:
        return self.transport.producerState == "paused"

    @property
    def closed(self) -> bool:
        return self.transport.disconnecting or self.transport.disconnected

    def run(self, data: bytes = b"") -> Handshake:
        """Have the device write `data` once its handshake is done, and everybody say what there is to say."""
        for _ in range(8):
            self.clock.advance(0)
            self._client(data)
            if self.error is None and self.client.get_finished():
                data = b"" if self._established else data
            flight = self.flight()
            if flight and not self.closed and not self.paused:
                self.protocol.dataReceived(flight)
            elif flight:
                self.unread += flight
            self.clock.advance(0)
            self._deliver()
        return self

    unread = b""
    _established = False

    def flight(self) -> bytes:
        """What the device has to send."""
        try:
            return self.client.bio_read(1 << 20)
        except SSL.WantReadError:
            return b""

    def _deliver(self) -> None:
        sent = self.transport.value()
        self.transport.clear()
        self.wire += sent
        if sent:
            self.client.bio_write(sent)

    def _client(self, data: bytes) -> None:
        if self.error is not None:
            return
        try:
            if not self._established:
                self.client.do_handshake()
                self._established = True
            if data:
                self.client.send(data)
            self.received += self.client.recv(65536)
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.error = error

    @property
    def alert(self) -> str:
        """What the device was told, in the words of OpenSSL, or ""."""
        if self.error is None or not self.error.args or isinstance(self.error, SSL.ZeroReturnError):
            return ""
        queue = self.error.args[0]
        return "; ".join(entry[-1] for entry in queue) if isinstance(queue, list) else str(queue)

    def leave(self, clean: bool = True) -> None:
        """End the TCP connection."""
        self.protocol.connectionLost(Failure(ConnectionDone() if clean else ConnectionLost()))


class Spoken(NamedTuple):
    """What ``openssl s_client`` printed, and how it ended."""

    text: str
    code: int


class _Process(ProcessProtocol):
    def __init__(self, stdin: bytes) -> None:
        self.stdin = stdin
        self.said = b""
        self.ended: Deferred[int] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.stdin)

    def outReceived(self, data: bytes) -> None:
        self.said += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(reason.value.exitCode or 0)


class Server(NamedTuple):
    """A listener on the loopback interface."""

    port: int
    echoes: list[Echo]
    refusals: Refusals
    creator: Any


class TlsCase(TestCase):
    """Serves, and connects."""

    def mktemp(self) -> str:
        """A path that goes with the test: keys are written there."""
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        return str(Path(directory.name, "file"))

    def contexts(
        self, tls: ServerTls | None = None, checker: Any = None, clock: Any = None, **options: Any
    ) -> tuple[ServerContexts, Refusals]:
        refusals = Refusals()
        made = ServerContexts(
            tls or settings(), checker, options.pop("alpn", [b"mqtt"]), clock or Clock(),
            refused=refusals.refused, failed=refusals.failed, **options,
        )  # fmt: skip
        return made, refusals

    def handshake(
        self,
        checker: Any = None,
        version: int = TLS13,
        client: str | None = "good",
        name: bytes | None = None,
        tls: ServerTls | None = None,
        **options: Any,
    ) -> tuple[Handshake, Refusals]:
        """A listener and a device with the certificate of that name, before the first byte."""
        clock = Clock()
        creator, refusals = self.contexts(tls, checker, clock, **options)
        credential = pki().clients[client] if client else None
        return Handshake(creator, client_connection(version, credential, name), clock), refusals

    async def serve(self, tls: ServerTls | None = None, checker: Any = None, **options: Any) -> Server:
        creator, refusals = self.contexts(tls, checker, reactor, **options)
        return await self.serve_with(creator, refusals)

    async def serve_with(self, creator: Any, refusals: Refusals) -> Server:
        echoes: list[Echo] = []

        class Echoes(Factory):
            noisy = False

            def buildProtocol(self, address: object) -> Echo:
                echoes.append(Echo())
                return echoes[-1]

        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(TLSMemoryBIOFactory(creator, False, Echoes(), reactor))
        self.addCleanup(port.stopListening)
        return Server(port.getHost().port, echoes, refusals, creator)

    async def s_client(
        self, server: Server, *flags: str, client: str | None = "good", stdin: bytes = b"hello\n"
    ) -> Spoken:
        """What s_client prints; it stays until the listener closes."""
        arguments = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}"]
        if client:
            arguments += ["-cert", file(f"client-{client}.pem"), "-key", file(f"client-{client}.key")]
            arguments += ["-cert_chain", file(f"client-{client}.pem")]
        process = _Process(stdin)
        running = reactor.spawnProcess(process, "/usr/bin/openssl", [*arguments, *flags], env=None)
        process.ended.addTimeout(20, reactor, lambda result, seconds: self._kill(running, process))
        code = await process.ended
        for echo in server.echoes:
            await echo.done
            echo.done = Deferred()
            echo.done.callback(None)
        return Spoken(process.said.decode("utf-8", "replace"), code)

    def _kill(self, running: Any, process: _Process) -> Failure:
        running.signalProcess("KILL")
        return Failure(AssertionError(f"s_client did not end: {process.said.decode('utf-8', 'replace')}"))


def each_version(test: Callable[..., None]) -> Callable[[Any], None]:
    """Run a test with TLS 1.2 and with TLS 1.3."""

    def both(self: Any) -> None:
        for version in VERSIONS:
            with self.subTest(version=version):
                test(self, version)

    both.__doc__ = test.__doc__
    return both


def leaf_first(credential: Credential) -> Sequence[Certificate]:
    return [credential.certificate, *credential.chain]

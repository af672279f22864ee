"""A gateway with client certificates, from its configuration file to its port, between real devices and a target.

::

    class Case(TlsGatewayTest):
        async def test_revoked(self):
            await self.assert_refused("revoked", 44, "tls_revoked", methods=("ocsp",))

`TlsGatewayTest` has a PKI and the responder that its certificates name. `TlsGatewayTest.gateway` writes a file as
users do, loads it, and opens the listener that a `Generation` has prepared. `openssl s_client` is the device where the
alert counts, a `RawDevice` over TLS where the connection is to stay.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from OpenSSL import SSL
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mgate.config import Configuration, load
from mgate.generation import Generation
from mgate.handler import Handler
from mgate.listeners import StreamListener
from mgate.policy import Policy
from mgate.session import Session
from mgate.testing.credential import Credential
from mgate.testing.pki import Pki
from mgate.testing.responder import Behaviour, Responder
from mgate.tls.checkers import Checkers
from mgate.tls.revocation import RevocationChecker
from tests import wire
from tests.gateway import RawDevice, RecordingJournal, RecordingTarget, eventually
from tests.tls.handshakes import FLAGS, TLS13, VERSIONS, Spoken, _Process, client_connection

__all__ = ["HELLO", "Hooks", "TlsGateway", "TlsGatewayTest", "alert"]

reactor: Any = installed_reactor

HELLO = wire.connect("device") + wire.publish("a/b", b"hello") + wire.DISCONNECT
"""What a device says at once, so that it would be delivered if anything were."""


class Hooks(Handler):
    """Writes down every hook that is called, with who the device is by its certificate."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[tuple[str, Any]] = []

    def auth_connect(self, session: Session) -> Any:
        self.called.append(("auth_connect", session.certificate))

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        self.called.append(("auth_publish", session.certificate))

    def auth_subscribe(self, session: Session, filters: Any) -> Any:
        self.called.append(("auth_subscribe", session.certificate))

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> Any:
        self.called.append(("auth_deliver", session.certificate))

    def connect(self, session: Session) -> None:
        self.called.append(("connect", session.certificate))

    def publish(self, session: Session, topic: str, payload: bytes) -> None:
        self.called.append(("publish", session.certificate))

    def subscribe(self, session: Session, granted: Any) -> None:
        self.called.append(("subscribe", session.certificate))

    def unsubscribe(self, session: Session, filters: Any) -> None:
        self.called.append(("unsubscribe", session.certificate))

    def disconnect(self, session: Session, reason: str) -> None:
        self.called.append((f"disconnect {reason}", session.certificate))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.called]


class Journal(RecordingJournal):
    """Takes what checkers report, too."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[tuple[str, str]] = []

    def revocation(self, reason: str, text: str) -> None:
        self.reports.append((reason, text))

    @property
    def reasons(self) -> list[str]:
        return [reason for reason, _, _ in self.rejects]


class TlsGateway:
    """One listener, as a configuration file describes it. Made by `TlsGatewayTest.gateway`."""

    def __init__(self, configuration: Configuration, handler: Handler, target: RecordingTarget, now: Any) -> None:
        self.journal = Journal()
        self.handler: Any = handler
        self.target = target
        self.devices: list[RawDevice] = []
        self.staying = 0
        options = {} if now is None else {"now": now}
        self.checkers = Checkers(reactor, self.journal.revocation, **options)
        self.listener: StreamListener = self.generation(configuration).listener()
        self.counters = self.listener.counters
        self.listener.bind()
        self.checkers.start()

    def generation(self, configuration: Configuration, **options: Any) -> Any:
        """What `mgate.service` makes of a configuration. Handlers are those of the test."""
        policies = {"devices": Policy([("hooks", self.handler)], self.journal.fault)}
        with mock.patch("mgate.generation.load_policies", return_value=policies):
            journal: Any = self.journal
            return Generation(configuration, reactor, journal, self.checkers, **options).prepared["devices"]

    def reload(self, configuration: Configuration) -> None:
        """As `mgate.service` does it."""
        self.generation(configuration, counters={"devices": self.counters}).renew(self.listener)

    @property
    def port(self) -> int:
        (port,) = self.listener.binding.ports
        return int(port.getHost().port)  # type: ignore[attr-defined]

    @property
    def checker(self) -> RevocationChecker:
        """Of the listener, before any reload."""
        return next(iter(self.checkers.all.values()))

    @property
    def delivered(self) -> list[Any]:
        """Whatever got past the handshake; nothing, if devices were refused."""
        counters = self.counters
        seen = [counters.bytes_uplink, sum(counters.packets_uplink), counters.target_dials, counters.sessions_total]
        return [each for each in (*seen, *self.target.sides, *self.handler.called) if each]

    async def device(self, credential: Credential | None, version: int = TLS13) -> RawDevice:
        """A device that has its side of the handshake behind it or before it, and has said nothing."""
        device = RawDevice()
        self.devices.append(device)
        below = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        await connectProtocol(wrapClientTLS(_Creator(credential, version), below), device)
        return device

    async def raw(self) -> RawDevice:
        """A device that has connected with TCP and says whatever it is told to."""
        device = RawDevice()
        self.devices.append(device)
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), device)
        return device

    async def connected(self, credential: Credential, version: int = TLS13, **fields: Any) -> RawDevice:
        """A device that has its CONNACK 0."""
        device = await self.device(credential, version)
        device.send(wire.connect(**fields))
        device.uplink = await self.target.accepted()
        assert await device.read_packet() == wire.connack(version=fields.get("version", 4))
        return device

    async def known(self, client: str, pki: Pki) -> None:
        """Wait until the checker has the status of a certificate in memory."""
        chain = dict(enumerate([pki.clients[client].certificate, *pki.clients[client].chain]))
        chain[len(chain)] = pki.root.credential.certificate
        await eventually(lambda: self.checker.decide(chain, 0) is not None, lambda: f"nothing known of {client}")

    async def quiet(self) -> None:
        """Wait until nobody is connected but those who are `staying`."""
        own = self.counters
        await eventually(lambda: own.connections == self.staying, lambda: f"{own.connections} connections", 10)

    async def stop(self) -> None:
        """End everything. Of those who are held it is not noticed that they leave, so they are told first."""
        self.checkers.stop()
        self.staying = 0
        for device in self.devices:
            if not device.closed:
                device.reset()
        await self.quiet()
        await self.listener.close()
        await self.target.stop()
        for side in self.target.sides:
            await side.until(lambda side=side: side.closed, "close")  # type: ignore[misc]


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    def __init__(self, credential: Credential | None, version: int) -> None:
        self._credential, self._version = credential, version

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return client_connection(self._version, self._credential)


class TlsGatewayTest(TestCase):
    """Base of the tests; test methods may be coroutines."""

    timeout = 60

    async def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.folder = Path(directory.name)
        self.responder = Responder(reactor)
        self.addCleanup(self.responder.stop)
        self.pki = Pki.make(await self.responder.listen())
        self.responder.authorities = self.pki.authorities
        self.pki.write(self.folder)

    @property
    def responder_port(self) -> int:
        return int(self.pki.url.rpartition(":")[2])

    def configuration(
        self,
        target: RecordingTarget,
        limits: Mapping[str, Any] = {},  # noqa: B006
        tls: Mapping[str, Any] = {},  # noqa: B006
        **revocation: Any,
    ) -> Configuration:
        """What is read of a file with these tables; `revocation` may be asked of the responder."""
        if revocation:
            revocation = {"allowed_networks": ["127.0.0.1/32"], "allowed_ports": [self.responder_port], **revocation}
        listener = {"name": "devices", "listen": "tcp:0:interface=127.0.0.1", "target": f"127.0.0.1:{target.port}"}
        files = {"cert_file": "server.pem", "key_file": "server.key", "client_ca_file": "root.pem", **tls}
        text = _toml("[[listener]]", listener) + _toml("[listener.limits]", limits) + _toml("[listener.tls]", files)
        if revocation:
            text += _toml("[listener.tls.revocation]", revocation)
        file = self.folder / "mgate.toml"
        file.write_text(text)
        return load(str(file), {})

    async def gateway(
        self, handler: Handler | None = None, now: Callable[[], float] | None = None, **tables: Any
    ) -> TlsGateway:
        """Start a gateway, with a memory of its own.

        Args:
            handler: its handler, instead of `Hooks`.
            now: POSIX time for whatever revocation has to do with.
            tables: see `configuration`.
        """
        target = RecordingTarget()
        target.listen()
        gateway = TlsGateway(self.configuration(target, **tables), handler or Hooks(), target, now)
        self.addCleanup(gateway.stop)
        await gateway.listener.start()
        return gateway

    async def s_client(
        self, gateway: TlsGateway, client: str | Credential | None, *flags: str, stdin: bytes = HELLO
    ) -> Spoken:
        """What s_client prints; it stays until the gateway closes, and the gateway has forgotten it then."""
        arguments = ["openssl", "s_client", "-connect", f"127.0.0.1:{gateway.port}"]
        if isinstance(client, Credential):
            client.write(self.folder, "client-made")
            client = "made"
        if client:
            pem = str(self.folder / f"client-{client}.pem")
            arguments += ["-cert", pem, "-key", str(self.folder / f"client-{client}.key"), "-cert_chain", pem]
        process = _Process(stdin)
        running = reactor.spawnProcess(process, "/usr/bin/openssl", [*arguments, *flags], env=None)
        try:
            await eventually(lambda: process.ended.called, lambda: f"s_client stays: {process.said[-500:]!r}", 20)
        except AssertionError:
            running.signalProcess("KILL")
            raise
        code = await process.ended
        await gateway.quiet()
        return Spoken(process.said.decode("utf-8", "replace"), code)

    async def assert_served(self, gateway: TlsGateway, client: str | Credential, version: int) -> None:
        """What the device says arrives, and it sees the CONNACK."""
        gateway.target.forget()
        spoken = await self.s_client(gateway, client, FLAGS[version], "-nocommands")
        self.assertIn("\x20\x02\x00\x00", spoken.text)
        self.assertIsNone(alert(spoken), spoken.text)
        side = await gateway.target.accepted()
        await side.expect(wire.publish("a/b", b"hello"))

    async def assert_refused(
        self,
        client: str | Credential,
        number: int,
        reason: str,
        *,
        known: bool = False,
        versions: Iterable[int] = VERSIONS,
        gateway: TlsGateway | None = None,
        **revocation: Any,
    ) -> None:
        """A device is refused at its first attempt, when nothing is known of its certificate, and at the second.

        In TLS 1.3 the first connection is closed without a word, unless what there is against it is `known` without
        asking; all others get the alert.

        Args:
            client: who.
            number: of the alert.
            reason: for which the refusals are counted and logged.
            known: nobody need be asked.
            versions: of TLS.
            gateway: one that has a memory; by default a new one for each version.
            revocation: the settings of the listener.
        """
        for version in versions:
            serving = gateway or await self.gateway(**revocation)
            counted, delivered = serving.counters.rejects.get(reason, 0), serving.delivered
            for attempt in ("first", "second"):
                with self.subTest(version=FLAGS[version], attempt=attempt):
                    spoken = await self.s_client(serving, client, FLAGS[version], "-nocommands")
                    silent = version == TLS13 and attempt == "first" and not known
                    self.assertEqual(alert(spoken), None if silent else number, spoken.text)
                    self.assertNotIn("\x20\x02\x00\x00", spoken.text)
                    self.assertEqual(serving.delivered, delivered)
            self.assertEqual(serving.counters.rejects.get(reason, 0), counted + 2, serving.counters.rejects)
            self.assertEqual(serving.journal.reasons[-2:], [reason] * 2)
            self.assertEqual(serving.journal.faults, [])

    def misbehave(self, **behaviour: Any) -> None:
        """Have the responder answer all requests so."""
        self.responder.behaviours[""] = Behaviour(**behaviour)


def alert(spoken: Spoken) -> int | None:
    """The number of the alert that s_client was told, None if there was none."""
    found = re.search(r"SSL alert number (\d+)", spoken.text)
    return int(found[1]) if found else None


def _toml(header: str, values: Mapping[str, Any]) -> str:
    return "\n".join([header, *(f"{key} = {json.dumps(value)}" for key, value in values.items()), "", ""])



"""MQTT on Twisted: the device's and the target's protocols, and the factory that a listener serves with.

The protocols hold no MQTT: they hand chunks to the link and keep the device's time (MQTT 5.0 section 3.1.2.10).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate import limits as limits_module
from mgate.counters import Counters
from mgate.errors import TargetLost, TimedOut
from mgate.journal import Journal
from mgate.limits import Limits
from mgate.link import Link
from mgate.mqtt import choices as choices_module
from mgate.mqtt.choices import Choices
from mgate.mqtt.connecting import NEW, OPEN
from mgate.mqtt.relay import MqttRelay
from mgate.mqtt.topics import Topics
from mgate.outcome import Direction
from mgate.policy import Policy
from mgate.proxyprotocol.outgoing import Device, device_of
from mgate.session import Peer, Session

__all__ = ["MqttDeviceFactory", "MqttDeviceProtocol", "MqttTargetProtocol"]

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK


class MqttTargetProtocol(Protocol):
    """The connection to the target, mirrored: it belongs to one device."""

    __slots__ = ("_link", "connected", "transport")

    def __init__(self, link: Link) -> None:
        self._link = link

    def connectionMade(self) -> None:
        self._link.joined(self.transport)

    def dataReceived(self, data: bytes) -> None:
        self._link.pump(DOWNLINK, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._link.target_lost(clean=reason.check(ConnectionDone) is not None)


@implementer(IHandshakeListener)
class MqttDeviceProtocol(Protocol):
    """The connection of one device. Made by `MqttDeviceFactory`."""

    # Without a dict, an idle connection is smaller.
    __slots__ = ("_due", "_heard", "_started", "_timer", "connected", "factory", "link", "relay", "transport")

    def __init__(self, factory: MqttDeviceFactory, session: Session) -> None:
        self.factory: MqttDeviceFactory = factory
        self.relay = MqttRelay(
            session, factory.policy, factory.limits, factory.choices, factory.counters, factory.journal, factory.topics
        )
        self.link = Link(
            self.relay,
            factory.targets,
            MqttTargetProtocol,
            factory.limits,
            factory.counters,
            factory.clock,
            self,
        )
        self._heard = factory.now()
        self._started = 0.0
        self._timer: Any = None
        self._due = 0.0

    def connectionMade(self) -> None:
        self.link.device.attach(self.transport)
        self._schedule()

    def handshakeCompleted(self) -> None:
        """IHandshakeListener: TLS stands, and the device is who its certificate says."""
        from mgate.tls.contexts import identity_of

        transport: Any = self.transport
        self.relay.session.certificate = identity_of(transport.getHandle())

    def introduced(self) -> Device:
        """IntroducesDevice."""
        return device_of(self.relay.session, self.link.device.transport)

    def dataReceived(self, data: bytes) -> None:
        relay = self.relay
        self.link.pump(UPLINK, data)
        if relay.heard:
            relay.heard = False
            self._heard = self.factory.now()
            self._started = 0.0
        if relay.up.unfinished and not self._started:
            self._started = self.factory.now()
            if self._timer is None or self._due > self._started + self.relay.limits.packet_timeout:
                self._schedule()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_timer()
        self.link.device_lost(clean=reason.check(ConnectionDone) is not None)

    # Time.

    def _deadline(self) -> float | None:
        """When this device has been silent for too long, or None for never."""
        limits = self.relay.limits
        if self.relay.state == NEW:
            return self._heard + limits.connect_timeout
        if self.relay.state != OPEN:
            # Before the target is joined, handlers and dialling have times of their own.
            return self._heard + limits.connack_timeout if self.link.state == "relaying" else None
        due = None
        if self.relay.keep_alive:
            due = self._heard + 1.5 * self.relay.keep_alive
        if self._started:
            packet_due = self._started + limits.packet_timeout
            due = packet_due if due is None else min(due, packet_due)
        return due

    def _schedule(self) -> None:
        """Look again when the next deadline may have passed. Bytes that come meanwhile only move the deadline, not the
        timer: resetting it for each chunk would cost more than the chunk."""
        self._stop_timer()
        due = self._deadline()
        if due is not None:
            self._due = due
            self._timer = self.factory.clock.callLater(max(0.0, due - self.factory.now()), self._look)

    def _look(self) -> None:
        self._timer = None
        now = self.factory.now()
        if self.relay.state == OPEN and (self.relay.up.blocked or not self.link.device.reading):
            # It may have spoken; nobody listened.
            self._heard = now
            if self._started:
                self._started = now
        due = self._deadline()
        if due is None or now < due:
            self._schedule()
        elif self.relay.state == NEW:
            self.link.fail(TimedOut("no CONNECT in time", "connect_timeout"))
        elif self.relay.state != OPEN:
            self.link.fail(TargetLost("no CONNACK in time", "target_slow"))
        elif self._started and now >= self._started + self.relay.limits.packet_timeout:
            self.link.fail(TimedOut("a packet was not finished in time", "packet_timeout"))
        else:
            self.link.fail(TimedOut("silent for longer than its keep alive", "keep_alive"))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def joined(self) -> None:
        """The target is connected: from now on CONNACK is awaited."""
        self._heard = self.factory.now()
        self._schedule()

    def opened(self) -> None:
        """The link is open: from now on the keep alive counts."""
        self._heard = self.factory.now()
        self._schedule()

    def broken(self, error: BaseException) -> None:
        """The relay has failed on this connection."""
        self.factory.journal.fault("", "", error)

    def closed(self, reason: str) -> None:
        """Both sides are gone."""
        self._stop_timer()
        self.factory.gone(self, reason)


class MqttDeviceFactory(ServerFactory):
    """Serves one MQTT listener: every accepted connection becomes a link to the target.

    Listen with it on any stream endpoint::

        endpoint.listen(MqttDeviceFactory(reactor, [target_endpoint], Policy([Rules()])))

    Args:
        reactor: IReactorTime; and what the endpoints need.
        targets: where the broker is; several are tried in turn for each device.
        policy: the handlers.
        limits: sizes and times; `mgate.limits.DEFAULT` if left out.
        choices: `mgate.mqtt.choices.DEFAULT` if left out.
        counters: what is counted; read them at any time.
        listener: its name, for logs and `Session.listener`.
        journal: where events and refusals are written.
        now: seconds that only grow.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        targets: Sequence[IStreamClientEndpoint],
        policy: Policy,
        *,
        limits: Limits = limits_module.DEFAULT,
        choices: Choices = choices_module.DEFAULT,
        counters: Counters | None = None,
        listener: str = "mqtt",
        journal: Journal | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        if not targets:
            raise ValueError("a gateway needs at least one target")
        self.clock = reactor
        self.counters = counters if counters is not None else Counters()
        self.listener = listener
        self.journal = journal if journal is not None else Journal()
        self.now = now
        self.open: set[MqttDeviceProtocol] = set()
        self._numbers = itertools.count(1)
        self._by_host: dict[str, int] = {}
        self._second = 0.0
        self._accepted = 0
        self._drained: Deferred[None] | None = None
        self.adopt(targets, policy, limits, choices)

    def adopt(
        self, targets: Sequence[IStreamClientEndpoint], policy: Policy, limits: Limits, choices: Choices
    ) -> None:
        """Serve who connects from now on with these; the connections that exist keep what they began with."""
        self.targets = targets
        self.policy = policy
        self.limits = limits
        self.choices = choices
        self.topics = Topics(limits.max_topic_levels)
        policy.report = self._report

    def buildProtocol(self, addr: IAddress | None) -> MqttDeviceProtocol | None:  # type: ignore[override]
        """Accept a connection, unless a limit closes it at once."""
        peer = Peer.of(addr)
        reason = self._over_limit(peer)
        if reason:
            self.counters.connections_refused += 1
            self.counters.reject(reason)
            self.journal.reject(reason, peer=peer, listener=self.listener)
            return None
        session = Session(connection_id=f"{self.listener}-{next(self._numbers)}", listener=self.listener, peer=peer)
        protocol = MqttDeviceProtocol(self, session)
        self.open.add(protocol)
        self._by_host[peer.host] = self._by_host.get(peer.host, 0) + 1
        self.counters.connections += 1
        self.counters.connections_total += 1
        return protocol

    def _over_limit(self, peer: Peer) -> str:
        """The word for the limit that a new connection would break, or ""."""
        if self._drained is not None:
            return "shutdown"
        if len(self.open) >= self.limits.max_connections:
            return "max_connections"
        if self._by_host.get(peer.host, 0) >= self.limits.max_connections_per_address:
            return "max_connections_per_address"
        now = self.now()
        if now - self._second >= 1.0:
            self._second = now
            self._accepted = 0
        self._accepted += 1
        return "connection_rate" if self._accepted > self.limits.max_connection_rate else ""

    def gone(self, protocol: MqttDeviceProtocol, reason: str) -> None:
        """A connection has ended, both sides."""
        session = protocol.relay.session
        self.open.discard(protocol)
        self.counters.connections -= 1
        left = self._by_host.get(session.peer.host, 0) - 1
        if left > 0:
            self._by_host[session.peer.host] = left
        else:
            self._by_host.pop(session.peer.host, None)
        if session.version:  # a CONNECT was read: without one there was nobody, only a connection
            self.journal.event(
                "disconnect",
                reason=reason,
                peer=session.peer,
                client_id=session.id,
                connection_id=session.connection_id,
                listener=self.listener,
            )
        if self._drained is not None and not self.open:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def drain(self) -> Deferred[None]:
        """End all connections: no new ones, packets in hand go out, MQTT 5 devices get DISCONNECT 0x8B.

        Returns: fires when the last one is gone, after `Limits.drain_timeout` at the latest.
        """
        done: Deferred[None] = Deferred()
        if not self.open:
            done.callback(None)
            return done
        self._drained = done
        for protocol in list(self.open):
            protocol.link.stop(TargetLost("the gateway is shutting down", "shutdown"))
        return done

    def _report(self, handler: str, hook: str, error: BaseException) -> None:
        self.counters.handler_faults += 1
        self.journal.fault(handler, hook, error)

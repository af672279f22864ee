"""The demo broker, not for production: MQTT 3.1, 3.1.1 and 5.0 in memory, for `mgate demo` and for tests.

It keeps everything in memory and asks nobody for credentials, so it belongs on the loopback interface, behind the
gateway. Every table of it is bounded.

Rules:

1. `Broker` knows sessions and messages but no wire; `mgate.demo.connection.BrokerConnection` is one device's wire.
2. A message is handed on before it is acknowledged, so an acknowledgement means that it is in the queue of everybody
   who gets it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger

from mgate.demo.connection import BrokerConnection
from mgate.demo.faults import NO_FAULTS, Faults
from mgate.demo.sessions import HOP_PROPERTIES, Budget, ClientSession, Stored, without
from mgate.demo.subscriptions import Grant, Subscriptions, matches
from mgate.mqtt.packets import Publish, Subscription, Will
from mgate.mqtt.properties import Properties, PropertyId

__all__ = ["Broker", "BrokerFactory", "Faults"]

NAME = "demo broker, not for production"

SUCCESS, NO_MATCHING_SUBSCRIBERS, QUOTA_EXCEEDED, TAKEN_OVER = 0x00, 0x10, 0x97, 0x8E


class Broker:
    """Sessions, subscriptions and retained messages.

    Args:
        reactor: a clock: `callLater` and `seconds`.
        max_sessions: how many sessions are kept; above it the oldest one whose device is away is forgotten.
        max_queued: how many messages may wait for one device.
        max_retained: how many topics may have a retained message.
        max_filters: how many filters one session may subscribe to.
        max_bytes: how much all waiting, unacknowledged and retained messages may be together.
    """

    def __init__(
        self, reactor: Any, max_sessions: int = 1000, max_queued: int = 20_000, max_retained: int = 1000,
        max_filters: int = 1000, max_bytes: int = 64 * 1024 * 1024,
    ) -> None:  # fmt: skip
        self.sessions: dict[str, ClientSession] = {}
        self.retained: dict[str, Stored] = {}
        self.subscriptions: Subscriptions[ClientSession] = Subscriptions()
        self.budget = Budget(max_bytes)
        self._reactor = reactor
        self._max_sessions = max_sessions
        self._max_queued = max_queued
        self._max_retained = max_retained
        self._max_filters = max_filters
        self._expiries: dict[ClientSession, Any] = {}
        self._wills: dict[ClientSession, tuple[Any, Will]] = {}
        self._assigned = 0

    def assign_client_id(self) -> str:
        """A client identifier that nobody uses, for a device that sent none [MQTT-3.1.3-6]."""
        while True:
            self._assigned += 1
            client_id = f"demo-{self._assigned}"
            if client_id not in self.sessions:
                return client_id

    def open(self, client_id: str, clean_start: bool, expiry: float) -> tuple[ClientSession, bool]:
        """A device connects: end its other connection, then find or make its session.

        Args:
            expiry: seconds for which the session outlives the connection, `inf` for ever.

        Returns:
            The session, and whether it was there before (Session Present).
        """
        session = self.sessions.get(client_id)
        if session is not None and session.outlet is not None:
            session.outlet.end(TAKEN_OVER)  # [MQTT-3.1.4-3]
            session = self.sessions.get(client_id)
        if session is not None and clean_start:
            self._forget(session)
            session = None
        present = session is not None
        if session is None:
            self._make_room()
            session = ClientSession(client_id, self._reactor.seconds, self._max_queued, self.budget)
            self.sessions[client_id] = session
        session.expiry = expiry
        _cancel(self._expiries.pop(session, None))
        _cancel(self._wills.pop(session, (None,))[0])  # [MQTT-3.1.3-9]
        return session, present

    def leave(self, session: ClientSession, will: Will | None) -> None:
        """The connection of a session ended. `will` is to be published now or after its delay, if there is one."""
        session.detach()
        if will is not None:
            delay = (will.properties or Properties()).get(PropertyId.WILL_DELAY_INTERVAL, 0)
            if min(delay, session.expiry):
                self._wills[session] = self._reactor.callLater(delay, self._publish_will, session), will
            else:
                self._publish(will)
        if session.expiry == 0:
            self._forget(session)
        elif session.expiry != float("inf"):
            self._expiries[session] = self._reactor.callLater(session.expiry, self._forget, session)

    def publish(self, publish: Publish, publisher: ClientSession | None = None) -> int:
        """Hand a message to everybody who subscribed, and retain it if it asks for that.

        Returns:
            The reason code of its acknowledgement: 0x00, 0x10 or 0x97.
        """
        message = Stored(publish)
        seconds = (publish.properties or Properties()).get(PropertyId.MESSAGE_EXPIRY_INTERVAL)
        if seconds is not None:
            message.expires = self._reactor.seconds() + seconds
        if publish.retain and not self._retain(message):
            return QUOTA_EXCEEDED
        receivers = self.subscriptions.receivers(publish.topic, publisher)
        for session, grant in receivers.items():
            session.deliver(message.outgoing(grant, publish.retain and grant.retain_as_published))
        return SUCCESS if receivers else NO_MATCHING_SUBSCRIBERS

    def subscribe(self, session: ClientSession, subscription: Subscription, identifier: int) -> tuple[int, bool]:
        """Subscribe to one filter.

        Returns:
            The reason code, and whether the filter is new to the session.
        """
        if self.subscriptions.count(session) >= self._max_filters:
            return QUOTA_EXCEEDED, False
        return subscription.qos, self.subscriptions.add(session, subscription, identifier)

    def deliver_retained(
        self, session: ClientSession, subscription: Subscription, identifier: int, new: bool
    ) -> None:
        """Deliver the retained messages that a new subscription asks for (Retain Handling, 3.8.3.1)."""
        if subscription.filter.startswith("$share/") or subscription.retain_handling == 2:
            return
        if subscription.retain_handling == 1 and not new:
            return
        levels = subscription.filter.split("/")
        grant = Grant(subscription.qos, True, [identifier] if identifier else [])
        for topic, message in list(self.retained.items()):
            if message.expires is not None and message.expires <= self._reactor.seconds():
                self._unretain(topic)
            elif matches(levels, topic.split("/")):
                session.deliver(message.outgoing(grant, True))

    def stop(self) -> None:
        """Cancel all timers; nothing is published any more because of them."""
        for call in self._expiries.values():
            _cancel(call)
        for call, _ in self._wills.values():
            _cancel(call)
        self._expiries.clear()
        self._wills.clear()

    def _retain(self, message: Stored) -> bool:
        topic = message.publish.topic
        self._unretain(topic)
        if not message.publish.payload:
            return True  # [MQTT-3.3.1-6]
        if len(self.retained) >= self._max_retained or not self.budget.take(message.publish):
            return False
        self.retained[topic] = message
        return True

    def _unretain(self, topic: str) -> None:
        message = self.retained.pop(topic, None)
        if message is not None:
            self.budget.give_back(message.publish)

    def _publish_will(self, session: ClientSession) -> None:
        self._publish(self._wills.pop(session)[1])

    def _publish(self, will: Will) -> None:
        dropped = HOP_PROPERTIES - {PropertyId.MESSAGE_EXPIRY_INTERVAL} | {PropertyId.WILL_DELAY_INTERVAL}
        properties = Properties(without(will.properties, dropped))
        self.publish(Publish(will.topic, will.payload, will.qos, will.retain, properties=properties))

    def _forget(self, session: ClientSession) -> None:
        """The session ends: a will that waited is published now [MQTT-3.1.2-8]."""
        _cancel(self._expiries.pop(session, None))
        waiting, will = self._wills.pop(session, (None, None))
        _cancel(waiting)
        self.subscriptions.remove_all(session)
        session.discard()
        del self.sessions[session.client_id]
        if will is not None:
            self._publish(will)

    def _make_room(self) -> None:
        if len(self.sessions) >= self._max_sessions:
            oldest = next((session for session in self.sessions.values() if not session.connected), None)
            if oldest is not None:
                self._forget(oldest)


def _cancel(call: Any) -> None:
    if call is not None and call.active():
        call.cancel()


class BrokerFactory(ServerFactory):
    """Listens for devices of one demo broker; pass it to ``endpoint.listen()``, on a loopback address only.

    Args:
        reactor: for timers.
        faults: how it misbehaves, for tests.
        broker: the broker, if the caller wants other limits than the defaults or shares one between listeners.
        connect_timeout: seconds from accept to CONNECT.

    Attributes:
        connections: those that are open.
    """

    noisy = False
    log = Logger()

    def __init__(
        self, reactor: Any, faults: Faults = NO_FAULTS, broker: Broker | None = None, connect_timeout: float = 10.0
    ) -> None:
        self.reactor = reactor
        self.faults = faults
        self.broker = broker or Broker(reactor)
        self.connect_timeout = connect_timeout
        self.connections: set[BrokerConnection] = set()
        self._gone: list[Deferred[None]] = []

    def startFactory(self) -> None:
        self.log.info("{name} started", name=NAME)

    def stopFactory(self) -> None:
        self.broker.stop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        connection = BrokerConnection(self.broker, self.reactor, self.faults, self.connect_timeout)
        connection.factory = self
        return connection

    def opened(self, connection: BrokerConnection) -> None:
        """A connection was made; it calls this itself."""
        self.connections.add(connection)

    def closed(self, connection: BrokerConnection) -> None:
        """A connection was lost; it calls this itself."""
        self.connections.discard(connection)
        if not self.connections:
            gone, self._gone = self._gone, []
            for deferred in gone:
                deferred.callback(None)

    def reset_all(self) -> Deferred[None]:
        """Reset every connection, as a broker that crashed would. Fires when they are gone."""
        if not self.connections:
            return succeed(None)
        self._gone.append(Deferred())
        gone = self._gone[-1]
        for connection in list(self.connections):
            connection.reset()
        return gone

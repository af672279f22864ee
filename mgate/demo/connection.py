"""One device at the demo broker: its packets, its timers, its answers.

Rules:

1. `session` is None before CONNECT and after the end; nothing is handled then.
2. While the device does not read, it is not read either, and messages wait in the bounded queue of its session.
3. What breaks the protocol ends the connection: with a CONNACK or a DISCONNECT in version 5, silently below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mgate.demo.faults import Tap
from mgate.demo.stream import PacketStream
from mgate.errors import Malformed
from mgate.mqtt import packets
from mgate.mqtt.encode import encode
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction

if TYPE_CHECKING:
    from mgate.demo.broker import Broker, BrokerFactory
    from mgate.demo.faults import Faults
    from mgate.demo.sessions import ClientSession

__all__ = ["BrokerConnection"]

FOR_EVER = 0xFFFFFFFF
TOPIC_ALIAS_MAXIMUM = 10
MAX_UNACKNOWLEDGED = 100
"""Messages of QoS 1 and 2 on their way to one device, however many more it would take."""


@implementer(IPushProducer)
class BrokerConnection(Protocol):
    """Made by `BrokerFactory` for each device."""

    log = Logger()
    factory: BrokerFactory
    transport: Any

    def __init__(self, broker: Broker, reactor: Any, faults: Faults, connect_timeout: float) -> None:
        self.receive_maximum = MAX_UNACKNOWLEDGED
        self.full = False
        self.session: ClientSession | None = None
        self._broker = broker
        self._reactor = reactor
        self._faults = faults
        self._timeout = connect_timeout
        self._stream = PacketStream(Direction.UPLINK)
        self._will: packets.Will | None = None
        self._aliases: dict[int, str] = {}
        self._largest = FOR_EVER
        self._ended = False
        self._count = 0

    # What Twisted calls.

    def connectionMade(self) -> None:
        self._tap = Tap(self.transport, self._reactor, self._faults)
        self._timer = self._reactor.callLater(self._timeout, self._timed_out)
        self.transport.registerProducer(self, True)
        self.factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            for packet in self._stream.receive(data):
                self._count += 1
                self._packet(packet)
                if self._count == self._faults.close_after:
                    self.reset()
                if self._ended:
                    return
        except Malformed as error:
            self._malformed(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._leave()
        self.factory.closed(self)

    def pauseProducing(self) -> None:
        self.full = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.full = False
        self.transport.resumeProducing()
        if self.session is not None:
            self.session.flush()

    def stopProducing(self) -> None:
        """The transport is closing; `connectionLost` follows."""

    # What the broker calls.

    def send(self, packet: packets.Packet) -> bool:
        """Write a packet, unless it is larger than the device allows [MQTT-3.1.2-24]."""
        version = self._stream.version
        if version < 5 and isinstance(packet, packets.Publish):
            packet = replace(packet, properties=None)
        data = encode(version, packet)
        if len(data) > self._largest:
            return False
        self._tap.write(data)
        return True

    def end(self, reason_code: int) -> None:
        """End the connection, with a DISCONNECT in version 5; the will is published."""
        if self.session is not None and self._stream.version == 5:
            self.send(packets.Disconnect(reason_code))
        self._leave()
        self._tap.close()

    def reset(self) -> None:
        """End the connection as if the wire had been cut."""
        self._leave()
        self.transport.abortConnection()

    # Packets.

    def _packet(self, packet: packets.Packet) -> None:
        if self.session is None:
            if not isinstance(packet, packets.Connect):
                raise Malformed("the first packet is not a CONNECT", 0x82)  # [MQTT-3.1.0-1]
            self._connect(packet)
            return
        if self._timeout:
            self._timer.reset(self._timeout)
        handle = HANDLERS.get(packet.type)
        if handle is None:
            raise Malformed("a packet that does not belong here", 0x82)
        handle(self, self.session, packet)

    def _connect(self, packet: packets.Connect) -> None:
        version = self._stream.version = packet.version
        wanted = packet.properties or Properties()
        refusal = self._refusal(packet, wanted)
        if refusal:
            self.send(packets.Connack(refusal))
            self.end(refusal)
            return
        given = Properties([(PropertyId.TOPIC_ALIAS_MAXIMUM, TOPIC_ALIAS_MAXIMUM)])
        client_id = packet.client_id
        if not client_id:
            client_id = self._broker.assign_client_id()
            given.append((PropertyId.ASSIGNED_CLIENT_IDENTIFIER, client_id))
        self.receive_maximum = min(wanted.get(PropertyId.RECEIVE_MAXIMUM, FOR_EVER), MAX_UNACKNOWLEDGED)
        self._largest = wanted.get(PropertyId.MAXIMUM_PACKET_SIZE, FOR_EVER)
        self._will = packet.will
        self._timeout = packet.keep_alive * 1.5  # [MQTT-3.1.2-22]
        self._timer.reset(self._timeout) if self._timeout else self._timer.cancel()
        expiry = wanted.get(PropertyId.SESSION_EXPIRY_INTERVAL, 0)
        if version < 5 and not packet.clean_start:
            expiry = FOR_EVER
        self.session, present = self._broker.open(client_id, packet.clean_start, _seconds(expiry))
        self.send(packets.Connack(0, present, given if version == 5 else None))
        self.session.attach(self)

    def _refusal(self, packet: packets.Connect, wanted: Properties) -> int:
        if self._faults.refuse:
            return self._faults.refuse
        return 0x8C if wanted.get(PropertyId.AUTHENTICATION_METHOD) is not None else 0

    def _publish(self, session: ClientSession, packet: packets.Publish) -> None:
        self._resolve_alias(packet)
        if packet.qos == 2:
            code = 0
            if packet.packet_id not in session.received:
                session.received.add(packet.packet_id)
                code = self._broker.publish(packet, session)
                if code >= 0x80:
                    session.received.discard(packet.packet_id)
            self.send(packets.Pubrec(packet.packet_id, self._code(code)))
        else:
            code = self._broker.publish(packet, session)
            if packet.qos:
                self.send(packets.Puback(packet.packet_id, self._code(code)))

    def _resolve_alias(self, packet: packets.Publish) -> None:
        alias = (packet.properties or Properties()).get(PropertyId.TOPIC_ALIAS)
        if alias is None:
            return
        if alias > TOPIC_ALIAS_MAXIMUM:
            raise Malformed("a topic alias above the maximum", 0x94)  # [MQTT-3.3.2-9]
        if packet.topic:
            self._aliases[alias] = packet.topic
        elif alias in self._aliases:
            packet.topic = self._aliases[alias]
        else:
            raise Malformed("a topic alias that was never set", 0x82)

    def _puback(self, session: ClientSession, packet: packets.Puback | packets.Pubcomp) -> None:
        session.acknowledged(packet.packet_id)

    def _pubrec(self, session: ClientSession, packet: packets.Pubrec) -> None:
        if (packet.reason_code or 0) >= 0x80:
            session.acknowledged(packet.packet_id)
        else:
            known = session.half_acknowledged(packet.packet_id)
            self.send(packets.Pubrel(packet.packet_id, self._code(0 if known else 0x92)))

    def _pubrel(self, session: ClientSession, packet: packets.Pubrel) -> None:
        known = packet.packet_id in session.received
        session.received.discard(packet.packet_id)
        self.send(packets.Pubcomp(packet.packet_id, self._code(0 if known else 0x92)))

    def _subscribe(self, session: ClientSession, packet: packets.Subscribe) -> None:
        identifier = (packet.properties or Properties()).get(PropertyId.SUBSCRIPTION_IDENTIFIER, 0)
        answers = [self._broker.subscribe(session, item, identifier) for item in packet.subscriptions]
        codes = [code if code < 0x80 or self._stream.version == 5 else 0x80 for code, _ in answers]
        self.send(packets.Suback(packet.packet_id, codes))
        for item, (code, new) in zip(packet.subscriptions, answers, strict=True):
            if code < 0x80:
                self._broker.deliver_retained(session, item, identifier, new)

    def _unsubscribe(self, session: ClientSession, packet: packets.Unsubscribe) -> None:
        remove = self._broker.subscriptions.remove
        codes = [0x00 if remove(session, topic_filter) else 0x11 for topic_filter in packet.filters]
        self.send(packets.Unsuback(packet.packet_id, codes if self._stream.version == 5 else []))

    def _pingreq(self, session: ClientSession, packet: packets.Pingreq) -> None:
        self.send(packets.Pingresp())

    def _disconnect(self, session: ClientSession, packet: packets.Disconnect) -> None:
        expiry = (packet.properties or Properties()).get(PropertyId.SESSION_EXPIRY_INTERVAL)
        if expiry is not None:
            if expiry and not session.expiry:
                raise Malformed("a session that was to end with its connection cannot be kept", 0x82)
            session.expiry = _seconds(expiry)
        if packet.reason_code != 0x04:
            self._will = None  # [MQTT-3.14.4-3]
        self._leave()
        self._tap.close()

    def _code(self, code: int) -> int | None:
        """The reason code of an acknowledgement: left out where it is 0, and below version 5 where there is none."""
        return code if code and self._stream.version == 5 else None

    # The end.

    def _malformed(self, error: Malformed) -> None:
        if self.session is None and error.version:
            self._stream.version = min(error.version, 5)
            code = error.code if error.version >= 5 else RETURN_CODES.get(error.code)
            if code:
                self.send(packets.Connack(code))
        self.log.debug("demo broker: {text}", text=error.text)
        self.end(error.code)

    def _timed_out(self) -> None:
        self.end(0x8D)

    def _leave(self) -> None:
        if not self._ended:
            self._ended = True
            self.transport.unregisterProducer()  # a paused producer would keep the transport from closing
        if self._timer.active():
            self._timer.cancel()
        session, self.session = self.session, None
        if session is not None:
            self._broker.leave(session, self._will)


RETURN_CODES = {0x84: 1, 0x85: 2}
"""The mistakes in a CONNECT for which 3.x has a code."""

HANDLERS: dict[packets.PacketType, Any] = {
    packets.PacketType.PUBLISH: BrokerConnection._publish,
    packets.PacketType.PUBACK: BrokerConnection._puback,
    packets.PacketType.PUBREC: BrokerConnection._pubrec,
    packets.PacketType.PUBREL: BrokerConnection._pubrel,
    packets.PacketType.PUBCOMP: BrokerConnection._puback,
    packets.PacketType.SUBSCRIBE: BrokerConnection._subscribe,
    packets.PacketType.UNSUBSCRIBE: BrokerConnection._unsubscribe,
    packets.PacketType.PINGREQ: BrokerConnection._pingreq,
    packets.PacketType.DISCONNECT: BrokerConnection._disconnect,
}


def _seconds(expiry: int) -> float:
    """A Session Expiry Interval; the largest one means for ever (3.1.2.11.2)."""
    return float("inf") if expiry == FOR_EVER else float(expiry)

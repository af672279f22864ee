"""A device on paho-mqtt whose calls wait for what they bring about, so that tests read from top to bottom."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable
from queue import Empty, Queue
from typing import Any, NamedTuple

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

__all__ = ["MARKER", "Connack", "Device", "Received", "Will", "options", "properties"]

PATIENCE = 20.0
"""Seconds after which what a test waits for counts as never coming."""

MARKER = "marker"
"""The last level of topics that say: nothing more will come."""

UNREADABLE = 0x99
"""A reason code that CONNACK may carry (table 3-1), which paho does not know of there: its thread would die."""

KINDS = {
    "connect": PacketTypes.CONNECT,
    "will": PacketTypes.WILLMESSAGE,
    "publish": PacketTypes.PUBLISH,
    "subscribe": PacketTypes.SUBSCRIBE,
    "unsubscribe": PacketTypes.UNSUBSCRIBE,
    "disconnect": PacketTypes.DISCONNECT,
}


class Connack(NamedTuple):
    """What the device was told of its CONNECT, with the code as it stood on the wire."""

    code: int
    session_present: bool
    properties: dict[str, Any]


class Received(NamedTuple):
    """A message as it came."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any]


class Will(NamedTuple):
    """What the broker publishes for a device that is lost."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: Properties | None = None


def properties(kind: str, **values: Any) -> Properties:
    """Properties of one packet, named as paho names them: ``properties("publish", ContentType="text/plain")``."""
    made = Properties(KINDS[kind])  # type: ignore[no-untyped-call]
    for name, value in values.items():
        if isinstance(value, list):
            for item in value:
                setattr(made, name, item)
        else:
            setattr(made, name, value)
    return made


def options(qos: int, **values: Any) -> SubscribeOptions:
    """The options of one filter of MQTT 5."""
    return SubscribeOptions(qos, **values)


def _plain(made: Properties | None) -> dict[str, Any]:
    """Properties as a dict, in which they compare."""
    names = () if made is None else (name.replace(" ", "") for name in made.names)
    return {name: getattr(made, name) for name in names if hasattr(made, name)}


class _Client(Client):
    """paho tells CONNACK return codes of 3.x as reason codes of 5.0, and the reason code of PUBREC not at all. This
    keeps what stood on the wire."""

    code = 0
    refused: dict[int, int]

    def _handle_connack(self) -> Any:
        self.code = self._in_packet["packet"][1]
        if self.code == UNREADABLE:
            assert self.on_connect is not None
            reason = ReasonCode(PacketTypes.CONNACK, identifier=0x80)
            made = Properties(PacketTypes.CONNACK)  # type: ignore[no-untyped-call]
            made.unpack(self._in_packet["packet"][2:])  # type: ignore[no-untyped-call]
            self.on_connect(self, None, ConnectFlags(False), reason, made)  # type: ignore[call-arg, arg-type]
            return MQTTErrorCode.MQTT_ERR_CONN_REFUSED
        return super()._handle_connack()

    def _handle_pubrec(self) -> Any:
        body = self._in_packet["packet"]
        if len(body) > 2:
            self.refused[struct.unpack_from("!H", body)[0]] = body[2]
        return super()._handle_pubrec()


class Device:
    """Connects when it is made; see `connack` for what became of it.

    Args:
        test: the device is dropped when it ends.
        version: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0.
        clean: Clean Session of 3.x, Clean Start of 5.
        connect: properties of the CONNECT.
        tls: what to connect with over TLS.
        source: the address to connect from.
    """

    def __init__(
        self,
        test: Any,
        port: int,
        client_id: str = "",
        *,
        version: int = 4,
        clean: bool = True,
        username: str | None = None,
        password: str | None = None,
        will: Will | None = None,
        keep_alive: int = 60,
        connect: Properties | None = None,
        tls: ssl.SSLContext | None = None,
        source: str = "",
    ) -> None:
        self.version = version
        self.port = port
        self.clean = clean
        self.keep_alive = keep_alive
        self.source = source
        self.connect_properties = connect
        self.messages: Queue[Received] = Queue()
        self.left: Queue[int] = Queue()
        self._connacks: Queue[Connack] = Queue()
        self._published: Queue[tuple[int, int]] = Queue()
        self._subscribed: Queue[list[int]] = Queue()
        self._unsubscribed: Queue[list[int]] = Queue()
        self.client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            protocol=MQTTProtocolVersion(version),
            clean_session=clean if version < 5 else None,
            reconnect_on_failure=False,
        )
        self.client.refused = {}
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_publish = lambda client, data, mid, code, made: self._published.put((mid, code.value))
        self.client.on_subscribe = lambda client, data, mid, codes, made: self._subscribed.put(_values(codes))
        self.client.on_unsubscribe = lambda client, data, mid, codes, made: self._unsubscribed.put(_values(codes))
        self.client.on_disconnect = self._on_disconnect
        if username is not None or password is not None:
            self.client.username_pw_set(username, password)
        if will is not None:
            self.client.will_set(*will)
        if tls is not None:
            self.client.tls_set_context(tls)
        test.addCleanup(self.drop)
        self.connack = self.connect()

    def connect(self, clean: bool | None = None) -> Connack:
        """Connect, or connect again, and wait for the answer. Only in MQTT 5 may `clean` be another than before."""
        if clean is not None:
            self.clean = clean
        arguments = {"clean_start": self.clean, "properties": self.connect_properties} if self.version == 5 else {}
        self.client.connect("127.0.0.1", self.port, self.keep_alive, self.source, **arguments)  # type: ignore[arg-type]
        self.client.loop_start()
        self.connack = self._connacks.get(timeout=PATIENCE)
        return self.connack

    def publish(
        self,
        topic: str,
        payload: bytes | str = b"",
        qos: int = 0,
        retain: bool = False,
        made: Properties | None = None,
    ) -> int:
        """Publish and wait for the end of the handshake. Returns the reason code; of QoS 2, that of PUBREC."""
        info = self.client.publish(topic, payload, qos, retain, made)
        mid, code = self._published.get(timeout=PATIENCE)
        assert mid == info.mid, f"{mid} was answered before {info.mid}"
        return self.client.refused.pop(mid, code)

    def subscribe(
        self, *filters: str | tuple[str, int] | tuple[str, SubscribeOptions], made: Properties | None = None
    ) -> list[int]:
        """Subscribe, with QoS 2 where nothing else is said. Returns the codes."""
        asked: list[Any] = [(item, 2) if isinstance(item, str) else item for item in filters]
        if self.version == 5:
            asked = [(name, item if isinstance(item, SubscribeOptions) else options(item)) for name, item in asked]
        self.client.subscribe(asked, properties=made)
        return self._subscribed.get(timeout=PATIENCE)

    def unsubscribe(self, *filters: str) -> list[int]:
        """Unsubscribe. Returns the codes, which there are in MQTT 5 only."""
        self.client.unsubscribe(list(filters))
        return self._unsubscribed.get(timeout=PATIENCE)

    def receive(self) -> Received:
        """The next message."""
        try:
            return self.messages.get(timeout=PATIENCE)
        except Empty:
            raise AssertionError("no message came") from None

    def take(self, count: int) -> list[Received]:
        """The next messages."""
        return [self.receive() for _ in range(count)]

    def until_marker(self) -> list[Received]:
        """All messages before the next one whose topic ends with `MARKER`."""
        return list(iter(self._next, None))

    def _next(self) -> Received | None:
        message = self.receive()
        return None if message.topic.rpartition("/")[2] == MARKER else message

    def payloads(self) -> list[bytes]:
        """As `until_marker`, but the payloads only."""
        return [message.payload for message in self.until_marker()]

    def lost(self) -> int:
        """Wait until the other side has ended the connection. Returns the reason code of its DISCONNECT, or 0x80."""
        return self.left.get(timeout=PATIENCE)

    def disconnect(self, code: int = 0, made: Properties | None = None) -> None:
        """Say goodbye, and wait until the connection is over."""
        if self.version == 5:
            reason = ReasonCode(PacketTypes.DISCONNECT, identifier=code)
            self.client.disconnect(reason, made)
        else:
            self.client.disconnect()
        self.left.get(timeout=PATIENCE)
        self.client.loop_stop()

    def drop(self) -> None:
        """End the connection as a device that is switched off does."""
        held: Any = self.client.socket()
        if held is not None:
            with contextlib.suppress(OSError):  # it ended by itself
                held.shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def _on_connect(
        self, client: Client, data: Any, flags: ConnectFlags, code: ReasonCode, made: Properties | None
    ) -> None:
        self._connacks.put(Connack(self.client.code, flags.session_present, _plain(made)))

    def _on_message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self.messages.put(
            Received(message.topic, bytes(message.payload), message.qos, message.retain, _plain(message.properties))
        )

    def _on_disconnect(
        self, client: Client, data: Any, flags: DisconnectFlags, code: ReasonCode, made: Properties | None
    ) -> None:
        self.left.put(code.value)


def _values(codes: Iterable[Any]) -> list[int]:
    return [code.value for code in codes]

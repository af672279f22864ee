"""Who is speaking, and what a handler judges: the values that every hook receives, the same for all protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

__all__ = ["Filter", "Message", "Peer", "Session"]


class _Reader(Protocol):
    """What a relay lends its session."""

    def read_judged(self) -> Any: ...


class Peer(NamedTuple):
    """The address of a device: host as text, port as a number."""

    host: str
    port: int

    @classmethod
    def of(cls, address: Any) -> Peer:
        """The same of an IAddress of Twisted; a UNIX socket has neither."""
        return cls(str(getattr(address, "host", "")), int(getattr(address, "port", 0)))


@dataclass(slots=True)
class Message:
    """A topic and its payload.

    A hook returns one to have it passed instead of what came. A field that is None stays as it came, so
    ``Message(topic="tenant/" + topic)`` rewrites the topic and nothing else. As `Session.will` it is the will of the
    device, with every field set.

    Attributes:
        topic: the topic name.
        payload: the payload.
        qos: 0, 1 or 2. A hook may lower it, never raise it: the device would wait for another handshake.
        retain: the retain flag.
        properties: a `mgate.mqtt.properties.Properties` for MQTT 5; ignored elsewhere.
    """

    topic: str | None = None
    payload: bytes | None = None
    qos: int | None = None
    retain: bool | None = None
    properties: Any = None


@dataclass(slots=True)
class Filter:
    """A topic filter with its options, for `auth_subscribe` to return where text alone is not enough.

    None keeps what the device asked for. `qos` may only be lowered. The other options exist in MQTT 5 only.
    """

    filter: str | None = None
    qos: int | None = None
    no_local: bool | None = None
    retain_as_published: bool | None = None
    retain_handling: int | None = None


@dataclass(slots=True, eq=False)
class Session:
    """Who is speaking on one connection. Every hook of every handler gets the same object, from CONNECT to the end.

    `auth_connect` may change `id`, `username`, `password` and `will`: what stands there when all handlers have agreed
    is what the target receives. Afterwards they describe the connection as the target knows it.

    Attributes:
        connection_id: unique in this process; joins log lines.
        listener: the name of the listener.
        protocol: ``"mqtt"``.
        peer: where the device connected from.
        version: the protocol level, 3, 4 or 5 for MQTT.
        id: the client identifier.
        username: None where the device sent none.
        password: None where the device sent none; never written to a log.
        certificate: who the device is by its certificate, which was verified (`mgate.tls.identity.Identity`: subject,
            names, serial, fingerprint); None without TLS, and where no certificates are asked for.
        clean_start: Clean Session of 3.x, Clean Start of 5.
        keep_alive: seconds, 0 for never.
        will: the will as a `Message`, or None. Set while `auth_connect` and `connect` run.
        properties: the properties of the CONNECT (MQTT 5). Set while `auth_connect` and `connect` run.
        attributes: for handlers to keep what they learnt about this device.
    """

    connection_id: str = ""
    listener: str = ""
    protocol: str = "mqtt"
    peer: Peer = Peer("", 0)
    version: int = 0
    id: str = ""
    username: str | None = None
    password: bytes | None = None
    certificate: Any = None
    clean_start: bool = True
    keep_alive: int = 0
    will: Message | None = None
    properties: Any = None
    _attributes: dict[str, Any] | None = None
    _reader: _Reader | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """A dict of the handlers' own; made at first use, because most connections never need one."""
        if self._attributes is None:
            self._attributes = {}
        return self._attributes

    @property
    def packet(self) -> Any:
        """The packet that is being judged, as it came, in the words of its own protocol (`mgate.mqtt.packets`).

        Use it for what not every protocol has: QoS, retain, properties, subscription options. It is decoded at first
        use, and it is there while a hook runs, up to the first ``await`` of a coroutine; later it is None.
        """
        return self._reader.read_judged() if self._reader is not None else None

    def __repr__(self) -> str:
        return f"<Session {self.connection_id} {self.protocol} id={self.id!r} username={self.username!r}>"

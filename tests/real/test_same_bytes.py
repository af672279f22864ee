"""What stands on the wire: unusual but legal bytes get the same answers from the gateway as from mosquitto itself."""

from __future__ import annotations

import socket
import unittest
from collections.abc import Callable, Sequence

from mgate.mqtt.framing import split
from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto

PATIENCE = 10
PING = b"\xc0\x00"
PONG = 0xD0

CONNECT_3 = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01r"
CONNECT_4 = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01r"
CONNECT_5 = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01r"
SUBSCRIBE_4 = b"\x82\x06\x00\x01\x00\x01t\x02"
SUBSCRIBE_5 = b"\x82\x07\x00\x01\x00\x00\x01t\x02"
DISCONNECT = b"\xe0\x00"


def publish(qos: int, packet_id: int, payload: bytes = b"x", dup: bool = False, version: int = 4) -> bytes:
    """A PUBLISH to the topic t."""
    body = b"\x00\x01t" + (packet_id.to_bytes(2) if qos else b"") + (b"\x00" if version == 5 else b"") + payload
    return bytes((0x30 | qos << 1 | dup << 3, len(body))) + body


def pubrel(packet_id: int) -> bytes:
    return b"\x62\x02" + packet_id.to_bytes(2)


Steps = Sequence[bytes]
"""Written one by one; the next when all answers to the one before are there."""

CASES: dict[str, Steps] = {
    "ping": [CONNECT_4, PING, PING + PING + PING],
    "ping of 3.1": [CONNECT_3, PING],
    "ping of 5": [CONNECT_5, PING],
    "all at once": [CONNECT_4 + SUBSCRIBE_4 + publish(0, 0) + publish(1, 2) + publish(2, 3) + pubrel(3)],
    "all at once, 5": [CONNECT_5 + SUBSCRIBE_5 + publish(1, 2, version=5) + publish(2, 3, version=5) + pubrel(3)],
    "all at once, and goodbye": [CONNECT_4 + publish(1, 2) + publish(2, 3) + pubrel(3) + DISCONNECT],
    "goodbye at once": [CONNECT_4 + DISCONNECT],
    "goodbye of 5 at once": [CONNECT_5 + DISCONNECT],
    "goodbye with a reason": [CONNECT_5, b"\xe0\x01\x00"],
    "goodbye with properties": [CONNECT_5, b"\xe0\x02\x04\x00"],
    "QoS 2, repeated": [
        CONNECT_4, SUBSCRIBE_4, publish(2, 9), publish(2, 9, dup=True), pubrel(9), pubrel(9), publish(2, 9),
    ],
    "QoS 2 of 5, repeated": [
        CONNECT_5, SUBSCRIBE_5, publish(2, 9, version=5), publish(2, 9, dup=True, version=5), pubrel(9), pubrel(9),
    ],
    "QoS 2, interleaved": [
        CONNECT_4, SUBSCRIBE_4, publish(2, 1, b"a") + publish(2, 2, b"b") + publish(1, 3, b"c"), pubrel(2) + pubrel(1),
    ],
    "QoS 1, one identifier again and again": [CONNECT_4, *([publish(1, 7)] * 5)],
    "PUBREL of nothing": [CONNECT_4, pubrel(77)],
    "acknowledgements of nothing": [CONNECT_4, b"\x40\x02\x00\x4d", b"\x70\x02\x00\x4d"],
    "the largest identifier": [CONNECT_4, publish(1, 65535), publish(2, 65535), pubrel(65535)],
    "PUBREL with reason": [CONNECT_5, publish(2, 5, version=5), b"\x62\x03\x00\x05\x00"],
    "PUBREL with properties": [CONNECT_5, publish(2, 5, version=5), b"\x62\x04\x00\x05\x00\x00"],
    "an empty topic level": [CONNECT_4, b"\x82\x07\x00\x01\x00\x02//\x00", b"\x30\x04\x00\x02//"],
    "SUBSCRIBE to one filter twice": [CONNECT_4, b"\x82\x0a\x00\x01\x00\x01t\x00\x00\x01t\x01", publish(0, 0)],
    "UNSUBSCRIBE from nothing": [CONNECT_4, b"\xa2\x05\x00\x01\x00\x01t"],
    "UNSUBSCRIBE of 5 from nothing": [CONNECT_5, b"\xa2\x06\x00\x01\x00\x00\x01t"],
    "an empty user name and password": [b"\x10\x11\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01r\x00\x00\x00\x00"],
    "a password without a user name": [b"\x10\x11\x00\x04MQTT\x05\x42\x00\x3c\x00\x00\x01r\x00\x01p"],
    "a binary password": [b"\x10\x13\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01r\x00\x01u\x00\x01\xff"],
    "an empty will": [b"\x10\x12\x00\x04MQTT\x04\x06\x00\x3c\x00\x01r\x00\x01w\x00\x00"],
    "no keep alive": [b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01r", PING],
    "no client identifier": [b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"],
    "no client identifier, but a session": [b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x3c\x00\x00"],
    "$SYS without a handler": [CONNECT_4, b"\x32\x0a\x00\x06$SYS/a\x00\x05", PING],
}

BROKEN: dict[str, Steps] = {
    "CONNECT twice": [CONNECT_4, CONNECT_4],
    "PUBLISH first": [publish(0, 0)],
    "PING first": [PING],
    "QoS 3": [CONNECT_4, b"\x36\x06\x00\x01t\x00\x01x"],
    "a wildcard in a topic name": [CONNECT_4, b"\x30\x04\x00\x01#x"],
    "no topic": [CONNECT_4, b"\x30\x03\x00\x00x"],
    "a bad filter": [CONNECT_4, b"\x82\x07\x00\x01\x00\x02#a\x00"],
    "SUBSCRIBE to nothing": [CONNECT_4, b"\x82\x02\x00\x01"],
    "SUBSCRIBE with QoS 3": [CONNECT_4, b"\x82\x06\x00\x01\x00\x01t\x03"],
    "SUBSCRIBE with flags 0": [CONNECT_4, b"\x80\x06\x00\x01\x00\x01t\x00"],
    "identifier 0": [CONNECT_4, publish(1, 0)],
    "a reserved packet": [CONNECT_4, b"\x00\x00"],
    "AUTH in 3.1.1": [CONNECT_4, b"\xf0\x00"],
    "CONNACK from a device": [CONNECT_4, b"\x20\x02\x00\x00"],
    "five bytes of length": [CONNECT_4, b"\x30\xff\xff\xff\xff\x01"],
    "reserved flag of CONNECT": [b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01r"],
    "a will of QoS 3": [b"\x10\x12\x00\x04MQTT\x04\x1e\x00\x3c\x00\x01r\x00\x01w\x00\x00"],
    "topic alias 0": [CONNECT_5, b"\x30\x08\x00\x01t\x03\x23\x00\x00x"],
    "an unknown property": [CONNECT_5, b"\x30\x06\x00\x01t\x02\x7f\x00"],
    "a property twice": [CONNECT_5, b"\x30\x09\x00\x01t\x04\x01\x00\x01\x00x"],
}


def play(port: int, steps: Steps, cut: Callable[[bytes], Sequence[bytes]]) -> list[str]:
    """What comes back, packet by packet; each step is answered when a ping behind it is. The last word is how it ends.

    Args:
        cut: how a step is cut into writes.
    """
    seen: list[str] = []
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as device:
        device.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        buffer = b""
        for step in steps:
            pings = step.count(PING) if step.strip(PING) == b"" else 0
            try:
                for piece in cut(step + PING):
                    device.sendall(piece)
                answered = 0
                while answered <= pings:
                    data = device.recv(65536)
                    if not data:
                        return [*seen, "closed"]
                    buffer += data
                    runs, end, _, _ = split(buffer, 1 << 20)
                    for head, spans in runs:
                        answered += len(spans) * (head == PONG)
                        seen += [buffer[start:stop].hex() for start, _, stop in spans]
                    buffer = buffer[end:]
            except (ConnectionResetError, BrokenPipeError):
                return [*seen, "closed"]
    return [*seen, "open"]


def whole(step: bytes) -> Sequence[bytes]:
    return (step,)


def in_bytes(step: bytes) -> Sequence[bytes]:
    return [step[index : index + 1] for index in range(len(step))]


class SameBytesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.broker = Mosquitto(self)
        self.gateway = Gateway(
            self,
            self.broker.port,
            plain=Serve(),
            watching=Serve(["watcher"]),
            inspecting=Serve(["copier"]),
            hesitating=Serve(["hesitater:1"]),
        )

    def test_legal(self) -> None:
        for name, steps in CASES.items():
            expected = play(self.broker.port, steps, whole)
            for listener, port in self.gateway.ports.items():
                for cut in (whole, in_bytes):
                    with self.subTest(name, listener=listener, cut=cut.__name__):
                        self.assertEqual(play(port, steps, cut), expected)

    def test_broken(self) -> None:
        """The gateway is at least as strict as the broker."""
        for name, steps in BROKEN.items():
            for listener, port in self.gateway.ports.items():
                with self.subTest(name, listener=listener):
                    self.assertEqual(play(port, steps, whole)[-1], "closed")



"""The first look at a packet decides as the decoder does, and what nobody watches is not decoded."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from mgate.errors import GateError, Malformed, TargetLost
from mgate.mqtt.decode import decode
from mgate.mqtt.framing import split
from mgate.mqtt.packets import PacketType
from mgate.outcome import Direction
from tests import wire
from tests.mqtt.cases import CASES
from tests.mqtt.relays import Connection, RelayTest, handler, interceptor, opened
from tests.mqtt.strategies import damaged_packets

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK


def admits(*arguments: Any) -> None:
    """A hook that has nothing to say."""


HOOKS = ("auth_connect", "auth_publish", "auth_subscribe", "auth_deliver")
NOTICES = ("connect", "publish", "subscribe", "unsubscribe", "disconnect")

METHOD = b"\x15" + wire.text("m")
ALIASES = b"\x22\xff\xff"
"""An authentication method, and a Topic Alias Maximum of 65535."""


def relays(version: int) -> dict[str, Connection]:
    """One connection for each way through the relay; none of them changes anything."""
    fields: dict[str, Any] = {"version": version}
    if version == 5:
        fields |= {"props": METHOD + ALIASES + b"\x11\0\0\0\1", "connack_props": ALIASES}
    return {
        "nobody": opened(**fields),
        "judged": opened(handler(**dict.fromkeys(HOOKS, admits)), **fields),
        "told": opened(handler(**dict.fromkeys(NOTICES, admits)), **fields),
        "intercepted": opened(interceptor(before=admits, after=admits), **fields),
    }


def through(connection: Connection, direction: Direction, data: bytes) -> tuple[bytes, int | None]:
    """What reached the far side, and the code with which the relay ended the connection."""
    sent = connection.up(data) if direction is UPLINK else connection.down(data)
    far = sent.to_target if direction is UPLINK else sent.to_device
    ending: GateError | None = connection.closing
    if isinstance(ending, Malformed):
        return far, ending.code
    if isinstance(ending, TargetLost):
        # Of a target's mistake the device is told with version 5, behind what was delivered.
        told = [one for one in wire.packets(far)[0] if one[0] == 0xE0]
        return far[: len(far) - len(told[-1])] if told else far, 0
    return far, None


class AgreementTests(RelayTest):
    """Nobody, a judge, a listener or an interceptor: the same packets pass, and the same are refused."""

    def check_agreement(self, version: int, direction: Direction, data: bytes) -> tuple[bytes, int | None]:
        seen = {name: through(connection, direction, data) for name, connection in relays(version).items()}
        self.assertEqual(len(set(seen.values())), 1, seen)
        return seen["nobody"]

    def expected(self, version: int, direction: Direction, data: bytes) -> int | None:
        """The code with which the decoder refuses the packet."""
        ((head, ((_, body, stop),)),) = split(data, 1 << 28)[0]
        try:
            decode(version, direction, head, data, body, stop)
        except Malformed as broken:
            return broken.code if direction is UPLINK else 0
        return None

    def test_wire_cases(self) -> None:
        for case in CASES:
            if len(case.data) > 1 << 20 or case.data[0] >> 4 in (PacketType.CONNECT, PacketType.CONNACK):
                continue
            with self.subTest(case.name, version=case.version):
                far, code = self.check_agreement(case.version, case.direction, case.data)
                expected = self.expected(case.version, case.direction, case.data)
                if expected is not None:
                    self.assertEqual((far, code), (b"", expected))
                elif code is None:
                    self.assertEqual(far, case.data)
                else:
                    self.assertEqual(far, b"", "refused by a rule of the connection")

    @given(damaged_packets, st.sampled_from([3, 4, 5]), st.sampled_from(list(Direction)))
    def test_damaged_packets(self, data: bytes, version: int, direction: Direction) -> None:
        far, code = self.check_agreement(version, direction, data)
        expected = self.expected(version, direction, data)
        if expected is not None:
            self.assertEqual(far, b"")
            self.assertIsNotNone(code)
        elif code is None and far:
            self.assertEqual(far, data)


class PlainTests(RelayTest):
    """Packets of the usual form leave as the slice that they came in; nothing of them is decoded."""

    def setUp(self) -> None:
        decoder = mock.patch("mgate.mqtt.relay.decode", side_effect=AssertionError("decoded"))
        self.addCleanup(decoder.stop)
        self.connections = {
            version: [opened(version=version), opened(handler(**dict.fromkeys(NOTICES, admits)), version=version),
                      opened(handler(**dict.fromkeys(HOOKS, admits)), version=version)]
            for version in (3, 4, 5)
        }  # fmt: skip
        decoder.start()

    def test_messages(self) -> None:
        for version, connections in self.connections.items():
            for connection in connections:
                for qos in (0, 1):
                    data = wire.publish(qos=qos, version=version) * 3
                    data += wire.publish("b", b"", retain=True, version=version)
                    self.check(connection.up(data), to_target=data)
                    self.check(connection.down(data), to_device=data)

    def test_qos_2_that_nobody_follows(self) -> None:
        for version, (connection, *_) in self.connections.items():
            data = wire.publish(qos=2, version=version) + wire.pubrel()
            self.check(connection.up(data), to_target=data)
            self.check(connection.down(data), to_device=data)

    def test_acknowledgements_and_pings(self) -> None:
        acks = wire.puback() + wire.pubrec() + wire.pubcomp() + wire.pubrel()
        for connections in self.connections.values():
            for connection in connections:
                self.check(connection.up(acks + wire.PINGREQ), to_target=acks + wire.PINGREQ)
                self.check(connection.down(acks + wire.PINGRESP), to_device=acks + wire.PINGRESP)

    def test_the_packet_is_decoded_if_a_hook_asks_for_it(self) -> None:
        faults: list[BaseException] = []

        def look(session: Any, topic: str, payload: bytes) -> None:
            try:
                faults.append(session.packet)
            except AssertionError as error:
                faults.append(error)

        with mock.patch("mgate.mqtt.relay.decode", decode):
            connection = opened(handler(auth_publish=look), version=5)
        connection.up(wire.publish(version=5))
        self.assertEqual(str(faults[0]), "decoded")


class SecondConnectTests(RelayTest):
    def test_whatever_it_says(self) -> None:
        """Not even its level is read: version 5 has no DISCONNECT for a level that is not served."""
        for version in (3, 4, 5):
            for second in (wire.connect("b", version=version), wire.connect(level=9), wire.connect("", clean=False)):
                for connection in relays(version).values():
                    self.assertEqual(through(connection, UPLINK, second), (b"", 0x82))
                    self.assertEqual(connection.session.id, "device")


class NewTopicTests(RelayTest):
    def test_a_topic_is_checked_once_and_then_found(self) -> None:
        for version in (3, 4, 5):
            connection = opened(version=version)
            message = wire.publish("a/b", version=version)
            self.check(connection.up(message), to_target=message)
            with mock.patch("mgate.mqtt.topics.check_topic_name", side_effect=AssertionError("checked")):
                self.check(connection.up(message, message), to_target=message + message)

    def test_a_bad_topic_is_refused_each_time(self) -> None:
        for topic in ("", "a/#", "+", b"\xff", "a" + "/b" * 200):
            for _ in range(2):
                connection = opened()
                before = wire.publish("good")
                self.check(connection.up(before, wire.publish(topic), before), to_target=before)
                self.assertIsInstance(connection.closing, Malformed)

"""Our codec against two others for version 5, `mqtt5` and `ohmqtt`, so that we and our tests cannot err alike.

Both are laxer than we are, so only one way is compared: what we accept or write, they must read, and read the same.
"""

from __future__ import annotations

import unittest
from typing import Any

import mqtt5
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ohmqtt.packet import decode_packet

from mgate.errors import Malformed
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Auth, Connack, Connect, Packet, Puback, Publish, Pubrec, Subscribe, Unsubscribe
from mgate.mqtt.properties import Properties, PropertyId
from mgate.outcome import Direction
from tests.mqtt.cases import GOOD
from tests.mqtt.strategies import damaged_packets, packets
from tests.mqtt.test_decode import decoded

law = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
any_packet = st.one_of(*(packets(5, direction) for direction in Direction))

MQTT5_NAMES = {
    PropertyId.ASSIGNED_CLIENT_IDENTIFIER: "assigned_client_id",
    PropertyId.MAXIMUM_PACKET_SIZE: "max_packet_size",
    PropertyId.MAXIMUM_QOS: "max_qos",
    PropertyId.REASON_STRING: "reason_str",
    PropertyId.RECEIVE_MAXIMUM: "receive_max",
    PropertyId.REQUEST_PROBLEM_INFORMATION: "request_problem_info",
    PropertyId.REQUEST_RESPONSE_INFORMATION: "request_response_info",
    PropertyId.RESPONSE_INFORMATION: "response_info",
    PropertyId.SUBSCRIPTION_IDENTIFIER_AVAILABLE: "subscription_id_available",
    PropertyId.TOPIC_ALIAS_MAXIMUM: "topic_alias_max",
}
"""Where its name is not just ours in lower case."""


def ohmqtt_name(identifier: int) -> str:
    """`TOPIC_ALIAS` -> `TopicAlias`."""
    return PropertyId(identifier).name.title().replace("_", "").replace("Qos", "QoS")


def ohmqtt_properties(properties: Properties | None) -> dict[str, Any]:
    """Our properties as that package keeps them."""
    found: dict[str, Any] = {}
    for identifier, value in properties or ():
        name = ohmqtt_name(identifier)
        if identifier == PropertyId.USER_PROPERTY:
            found.setdefault(name, []).append(value)
        elif identifier == PropertyId.SUBSCRIPTION_IDENTIFIER:
            found.setdefault(name, set()).add(value)
        else:
            found[name] = value
    return found


def is_out_of_the_book(packet: Packet) -> bool:
    """Brokers send it, MQTT 5 does not know it."""
    return isinstance(packet, (Puback, Pubrec)) and packet.reason_code == 0x95


def is_empty_auth(packet: Packet) -> bool:
    """`mqtt5` does not read an AUTH without a body (3.15.2.1 allows it)."""
    return isinstance(packet, Auth) and packet.reason_code is None and packet.properties is None


class OracleTests(unittest.TestCase):
    @law
    @given(any_packet)
    def test_mqtt5_reads_the_same(self, packet: Packet) -> None:
        if not is_empty_auth(packet):
            self._check_mqtt5(packet)

    @law
    @given(any_packet)
    def test_ohmqtt_reads_the_same(self, packet: Packet) -> None:
        self._check_ohmqtt(packet)

    def test_both_read_the_table_the_same(self) -> None:
        for case in GOOD:
            if case.version == 5 and isinstance(case.expected, Packet) and not is_out_of_the_book(case.expected):
                with self.subTest(case.name):
                    self._check_ohmqtt(case.expected)
                    if not is_empty_auth(case.expected):
                        self._check_mqtt5(case.expected)

    @law
    @given(any_packet)
    def test_we_read_what_mqtt5_writes(self, packet: Packet) -> None:
        if is_empty_auth(packet):
            return
        data = mqtt5.read(memoryview(encode(5, packet)))[0].write()
        read_back: list[Packet] = []
        for direction in Direction:
            try:
                read_back.append(decoded(5, direction, data))
            except Malformed:
                continue
        self.assertTrue(read_back, data)
        for again in read_back:
            self.assertIs(type(again), type(packet))
            self.assertEqual(encode(5, again), data)

    @law
    @given(damaged_packets, st.sampled_from(list(Direction)))
    def test_what_we_accept_they_accept(self, damaged: bytes, direction: Direction) -> None:
        try:
            packet = decoded(5, direction, damaged)
        except Malformed:
            return
        if (isinstance(packet, Connect) and packet.version != 5) or is_out_of_the_book(packet):
            return
        self._check_ohmqtt(packet)
        if not is_empty_auth(packet):
            self._check_mqtt5(packet)

    def _check_mqtt5(self, packet: Packet) -> None:
        data = encode(5, packet)
        theirs: Any
        theirs, size = mqtt5.read(memoryview(data))
        self.assertEqual(size, len(data))
        self._check_mqtt5_properties(getattr(packet, "properties", None), theirs)
        if isinstance(packet, Connect):
            self._check_fields(packet, theirs, "client_id", "clean_start", "keep_alive", "username", "password")
            self.assertEqual(packet.will is None, theirs.will is None)
            if packet.will is not None:
                self._check_fields(packet.will, theirs.will, "topic", "payload", "qos", "retain")
                self._check_mqtt5_properties(packet.will.properties, theirs.will)
        elif isinstance(packet, Connack):
            self._check_fields(packet, theirs, "reason_code", "session_present")
        elif isinstance(packet, Publish):
            self._check_fields(packet, theirs, "topic", "payload", "qos", "retain")
            self.assertEqual((packet.dup, packet.packet_id), (theirs.duplicate, theirs.packet_id or 0))
        elif isinstance(packet, Subscribe):
            self.assertEqual(packet.packet_id, theirs.packet_id)
            self.assertEqual(
                [(one.filter, one.qos, one.retain_handling) for one in packet.subscriptions],
                [(one.pattern, one.max_qos, one.retain_handling) for one in theirs.topic_filters],
            )
            for mine, other in zip(packet.subscriptions, theirs.topic_filters, strict=True):
                self._check_fields(mine, other, "no_local", "retain_as_published")
        elif isinstance(packet, Unsubscribe):
            self.assertEqual((packet.packet_id, packet.filters), (theirs.packet_id, theirs.patterns))
        else:
            self._check_answer(packet, theirs)

    def _check_mqtt5_properties(self, properties: Properties | None, theirs: Any) -> None:
        for identifier, value in properties or ():
            key = PropertyId(identifier)
            if key is PropertyId.USER_PROPERTY:
                assert properties is not None
                self.assertEqual(theirs.user_properties, properties.all(key))
            elif key is PropertyId.SUBSCRIPTION_IDENTIFIER:
                assert properties is not None
                got = getattr(theirs, "subscription_ids", None) or [getattr(theirs, "subscription_id", None)]
                self.assertEqual(got, properties.all(key))
            else:
                self.assertEqual(getattr(theirs, MQTT5_NAMES.get(key, key.name.lower())), value)

    def _check_ohmqtt(self, packet: Packet) -> None:
        theirs: Any = decode_packet(encode(5, packet))
        if hasattr(packet, "properties"):
            self.assertEqual(vars(theirs.properties), ohmqtt_properties(packet.properties))
        if isinstance(packet, Connect):
            self._check_fields(packet, theirs, "client_id", "clean_start", "keep_alive", "username", "password")
            if packet.will is not None:
                will = (packet.will.topic, packet.will.payload, packet.will.qos, packet.will.retain)
                got = (theirs.will_topic, theirs.will_payload, theirs.will_qos, theirs.will_retain)
                self.assertEqual(got, will)
                self.assertEqual(vars(theirs.will_props), ohmqtt_properties(packet.will.properties))
        elif isinstance(packet, Publish):
            self._check_fields(packet, theirs, "topic", "payload", "qos", "retain", "dup", "packet_id")
        elif isinstance(packet, Connack):
            self._check_fields(packet, theirs, "reason_code", "session_present")
        elif isinstance(packet, (Subscribe, Unsubscribe)):
            filters = (
                packet.filters if isinstance(packet, Unsubscribe) else [one.filter for one in packet.subscriptions]
            )
            self.assertEqual([one[0] if isinstance(one, tuple) else one for one in theirs.topics], filters)
            self._check_fields(packet, theirs, "packet_id")
        else:
            self._check_answer(packet, theirs)

    def _check_answer(self, packet: Packet, theirs: Any) -> None:
        """The fields of what answers something, under the same names in all three codecs."""
        for name in ("packet_id", "reason_codes"):
            if hasattr(packet, name):
                self._check_fields(packet, theirs, name)
        if hasattr(packet, "reason_code"):
            self.assertEqual(theirs.reason_code, packet.reason_code or 0)

    def _check_fields(self, mine: Any, theirs: Any, *names: str) -> None:
        for name in names:
            self.assertEqual(getattr(theirs, name), getattr(mine, name), name)

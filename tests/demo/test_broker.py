"""The demo broker packet by packet, in all versions."""

from __future__ import annotations

from mgate.mqtt.encode import encode
from mgate.mqtt.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Subscription,
    Unsuback,
    Unsubscribe,
)
from mgate.mqtt.properties import Properties, PropertyId
from tests.demo.devices import BrokerTest, Device


class ConnectTest(BrokerTest):
    def test_each_version_is_accepted_in_its_own_form(self) -> None:
        for version in (3, 4):
            self.device(version=version)
            self.assertEqual(self.connack, Connack(0))
        self.device()
        self.assertEqual(self.connack, Connack(0, False, Properties([(PropertyId.TOPIC_ALIAS_MAXIMUM, 10)])))

    def test_a_device_without_identifier_gets_one_that_is_free(self) -> None:
        self.device("demo-1")
        device = Device(self.factory)
        (connack,) = device.send(Connect(5, ""))
        self.assertEqual(connack.properties.get(PropertyId.ASSIGNED_CLIENT_IDENTIFIER), "demo-2")

    def test_an_empty_identifier_of_a_persistent_311_session_is_refused(self) -> None:
        device = Device(self.factory, 4)
        device.protocol.dataReceived(b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00")
        self.assertEqual(device.got(), [Connack(2)])
        self.assertTrue(device.closed)

    def test_bytes_may_come_one_by_one(self) -> None:
        device = Device(self.factory)
        for byte in encode(5, Connect(5, "a")) + encode(5, Pingreq()):
            device.protocol.dataReceived(bytes([byte]))
        self.assertEqual([type(packet) for packet in device.got()], [Connack, Pingresp])

    def test_a_packet_that_is_too_large_ends_the_connection_at_its_header(self) -> None:
        device = self.device()
        device.protocol.dataReceived(encode(5, Pingreq()) + b"\x30\xff\xff\xff\x7f")
        self.assertEqual(device.got(), [Pingresp(), Disconnect(0x95)])
        self.assertTrue(device.closed)

    def test_an_unknown_level_is_refused_in_the_nearest_form(self) -> None:
        for level, version, code in ((2, 4, 1), (9, 5, 0x84)):
            device = Device(self.factory, version)
            device.protocol.dataReceived(b"\x10\x0d\x00\x04MQTT" + bytes([level]) + b"\x02\x00\x00\x00\x01a")
            self.assertEqual([packet.reason_code for packet in device.got()], [code])
            self.assertTrue(device.closed)

    def test_an_authentication_method_is_refused(self) -> None:
        device = Device(self.factory)
        properties = Properties([(PropertyId.AUTHENTICATION_METHOD, "x")])
        (connack,) = device.send(Connect(5, "a", properties=properties))
        self.assertEqual(connack.reason_code, 0x8C)
        self.assertTrue(device.closed)

    def test_another_packet_first_closes_without_an_answer(self) -> None:
        device = Device(self.factory)
        self.assertEqual(device.send(Pingreq()), [])
        self.assertTrue(device.closed)

    def test_a_second_connect_ends_the_connection(self) -> None:
        device = self.device("a")
        (end,) = device.send(Connect(5, "a"))
        self.assertEqual(end, Disconnect(0x82))
        self.assertTrue(device.closed)

    def test_a_packet_that_does_not_belong_ends_the_connection(self) -> None:
        properties = Properties([(PropertyId.AUTHENTICATION_METHOD, "x")])
        (end,) = self.device().send(Auth(0x18, properties))
        self.assertEqual(end, Disconnect(0x82))

    def test_silence_before_connect_ends_the_connection(self) -> None:
        device = Device(self.factory)
        self.clock.advance(9.9)
        self.assertFalse(device.closed)
        self.clock.advance(0.2)
        self.assertTrue(device.closed)

    def test_keep_alive_is_one_and_a_half_times_what_was_asked(self) -> None:
        device = self.device(keep_alive=10)
        self.clock.advance(14)
        self.assertEqual(device.send(Pingreq()), [Pingresp()])
        self.clock.advance(14.9)
        self.assertFalse(device.closed)
        self.clock.advance(0.2)
        self.assertEqual(device.got(), [Disconnect(0x8D)])
        self.assertTrue(device.closed)

    def test_without_keep_alive_it_may_be_silent_for_ever(self) -> None:
        device = self.device()
        self.clock.advance(100_000)
        self.assertFalse(device.closed)
        self.assertEqual(device.send(Pingreq()), [Pingresp()])

    def test_a_second_connection_takes_the_first_over(self) -> None:
        first = self.device("a")
        self.device("a")
        self.assertEqual(first.got(), [Disconnect(0x8E)])
        self.assertTrue(first.closed)
        old = self.device("b", version=4)
        self.device("b")
        self.assertEqual(old.got(), [])
        self.assertTrue(old.closed)


class PublishTest(BrokerTest):
    def test_each_qos_of_both_sides_gives_the_lower_one(self) -> None:
        for version in (3, 4, 5):
            for sent in (0, 1, 2):
                for granted in (0, 1, 2):
                    with self.subTest(version=version, sent=sent, granted=granted):
                        subscriber = self.subscriber("t", qos=granted, version=version)
                        self.device(version=version).send(Publish("t", b"x", sent, packet_id=7 if sent else 0))
                        (publish,) = subscriber.got()
                        self.assertEqual((publish.topic, publish.payload), ("t", b"x"))
                        self.assertEqual(publish.qos, min(sent, granted))
                        subscriber.send(Disconnect())

    def test_acknowledgements(self) -> None:
        self.subscriber("t")
        device = self.device()
        self.assertEqual(device.send(Publish("t", qos=1, packet_id=1)), [Puback(1)])
        self.assertEqual(device.send(Publish("nobody", qos=1, packet_id=2)), [Puback(2, 0x10)])
        self.assertEqual(device.send(Publish("t", qos=2, packet_id=3)), [Pubrec(3)])
        self.assertEqual(device.send(Pubrel(3)), [Pubcomp(3)])
        self.assertEqual(device.send(Pubrel(3)), [Pubcomp(3, 0x92)])
        self.assertEqual(device.send(Publish("t")), [])
        old = self.device(version=4)
        self.assertEqual(old.send(Publish("nobody", qos=1, packet_id=2)), [Puback(2)])
        self.assertEqual(old.send(Pubrel(3)), [Pubcomp(3)])

    def test_a_repeated_qos_2_message_is_published_once(self) -> None:
        subscriber = self.subscriber("t")
        device = self.device()
        device.send(Publish("t", b"1", 2, packet_id=3))
        self.assertEqual(device.send(Publish("t", b"1", 2, dup=True, packet_id=3)), [Pubrec(3)])
        self.assertEqual(len(subscriber.got()), 1)
        device.send(Pubrel(3), Publish("t", b"2", 2, packet_id=3))
        self.assertEqual(len(subscriber.got()), 1)

    def test_qos_2_to_a_subscriber_runs_to_its_end(self) -> None:
        subscriber = self.subscriber("t")
        self.device().send(Publish("t", qos=2, packet_id=3))
        (publish,) = subscriber.got()
        self.assertEqual(subscriber.send(Pubrec(publish.packet_id)), [Pubrel(publish.packet_id)])
        self.assertEqual(subscriber.send(Pubcomp(publish.packet_id)), [])
        self.assertEqual(subscriber.send(Pubrec(9)), [Pubrel(9, 0x92)])

    def test_a_refused_qos_2_message_is_over(self) -> None:
        subscriber = self.subscriber("t", properties=Properties([(PropertyId.RECEIVE_MAXIMUM, 1)]))
        self.device().send(Publish("t", b"1", 2, packet_id=3), Publish("t", b"2", 2, packet_id=4))
        (first,) = subscriber.got()
        (second,) = subscriber.send(Pubrec(first.packet_id, 0x83))
        self.assertEqual(second.payload, b"2")

    def test_properties_pass_in_order(self) -> None:
        properties = Properties(
            [
                (PropertyId.USER_PROPERTY, ("a", "1")), (PropertyId.RESPONSE_TOPIC, "r"),
                (PropertyId.CORRELATION_DATA, b"\0c"), (PropertyId.USER_PROPERTY, ("a", "2")),
            ]
        )  # fmt: skip
        subscriber = self.subscriber("t")
        self.device().send(Publish("t", properties=properties))
        self.assertEqual(subscriber.got(), [Publish("t", properties=properties)])

    def test_version_5_properties_do_not_reach_older_devices(self) -> None:
        old = self.subscriber("t", version=4)
        self.device().send(Publish("t", properties=Properties([(PropertyId.CONTENT_TYPE, "x")])))
        self.assertEqual(old.got(), [Publish("t")])

    def test_topic_aliases(self) -> None:
        subscriber = self.subscriber("#")
        device = self.device()
        alias = Properties([(PropertyId.TOPIC_ALIAS, 10)])
        device.send(Publish("t", b"1", properties=alias), Publish("", b"2", properties=alias))
        self.assertEqual(
            subscriber.got(), [Publish("t", b"1", properties=Properties()), Publish("t", b"2", properties=Properties())]
        )
        for number, code in ((9, 0x82), (11, 0x94)):
            device = self.device()
            wrong = Properties([(PropertyId.TOPIC_ALIAS, number)])
            self.assertEqual(device.send(Publish("", properties=wrong)), [Disconnect(code)])

    def test_an_expired_message_is_not_delivered(self) -> None:
        self.subscriber("t", client_id="s", clean=False, properties=self.expiring(1000)).lose()
        for seconds in (5, 50):
            properties = Properties([(PropertyId.MESSAGE_EXPIRY_INTERVAL, seconds)])
            self.device().send(Publish("t", b"x", 1, packet_id=1, properties=properties))
        self.clock.advance(10)
        device = Device(self.factory)
        _, publish = device.send(Connect(5, "s", False))
        self.assertEqual(publish.properties, Properties([(PropertyId.MESSAGE_EXPIRY_INTERVAL, 40)]))

    def test_a_message_too_large_for_the_device_is_left_out(self) -> None:
        subscriber = self.subscriber("t", properties=Properties([(PropertyId.MAXIMUM_PACKET_SIZE, 30)]))
        self.device().send(Publish("t", bytes(40), 1, packet_id=1), Publish("t", b"small", 1, packet_id=2))
        self.assertEqual([packet.payload for packet in subscriber.got()], [b"small"])

    def test_receive_maximum_holds_messages_back(self) -> None:
        subscriber = self.subscriber("t", properties=Properties([(PropertyId.RECEIVE_MAXIMUM, 2)]))
        device = self.device()
        for number in range(1, 5):
            device.send(Publish("t", bytes([number]), 1, packet_id=number))
        first, second = subscriber.got()
        self.assertEqual([first.payload, second.payload], [b"\1", b"\2"])
        (third,) = subscriber.send(Puback(first.packet_id))
        self.assertEqual(third.payload, b"\3")

    def test_a_device_that_does_not_read_is_not_read_and_its_messages_wait_in_a_bounded_queue(self) -> None:
        self.start(max_queued=3)
        subscriber = self.subscriber("t")
        subscriber.protocol.pauseProducing()
        self.assertEqual(subscriber.transport.producerState, "paused")
        device = self.device()
        for number in range(5):
            device.send(Publish("t", bytes([number])))
        self.assertEqual(subscriber.got(), [])
        subscriber.protocol.resumeProducing()
        self.assertEqual([packet.payload for packet in subscriber.got()], [b"\0", b"\1", b"\2"])
        self.assertEqual(subscriber.transport.producerState, "producing")
        self.assertEqual(sum(session.dropped for session in self.broker.sessions.values()), 2)


class SubscribeTest(BrokerTest):
    def test_answers(self) -> None:
        device = self.device()
        filters = [Subscription("a", 2), Subscription("b/+", 1), Subscription("$share/g/c", 0)]
        self.assertEqual(device.send(Subscribe(3, filters)), [Suback(3, [2, 1, 0], Properties())])
        self.assertEqual(device.send(Unsubscribe(4, ["a", "x"])), [Unsuback(4, [0, 0x11], Properties())])
        old = self.device(version=4)
        self.assertEqual(old.send(Subscribe(3, [Subscription("a")])), [Suback(3, [0])])
        self.assertEqual(old.send(Unsubscribe(4, ["a", "x"])), [Unsuback(4)])

    def test_no_more_filters_than_allowed(self) -> None:
        self.start(max_filters=1)
        filters = [Subscription("a"), Subscription("b")]
        self.assertEqual(self.device().send(Subscribe(3, filters))[0].reason_codes, [0, 0x97])
        self.assertEqual(self.device(version=4).send(Subscribe(3, filters)), [Suback(3, [0, 0x80])])

    def test_overlapping_filters_deliver_one_message_with_all_identifiers(self) -> None:
        device = self.device()
        for number, subscription in enumerate((Subscription("a/b", 0), Subscription("a/+", 2)), 1):
            properties = Properties([(PropertyId.SUBSCRIPTION_IDENTIFIER, number)])
            device.send(Subscribe(number, [subscription], properties))
        self.device().send(Publish("a/b", qos=1, packet_id=1))
        (publish,) = device.got()
        self.assertEqual(publish.properties.all(PropertyId.SUBSCRIPTION_IDENTIFIER), [1, 2])
        self.assertEqual(publish.qos, 1)

    def test_no_local(self) -> None:
        device = self.device()
        device.send(Subscribe(1, [Subscription("t", no_local=True)]))
        self.assertEqual(device.send(Publish("t", qos=1, packet_id=1)), [Puback(1, 0x10)])
        self.device().send(Publish("t"))
        self.assertEqual(len(device.got()), 1)

    def test_a_shared_subscription_takes_turns(self) -> None:
        members = [self.subscriber("$share/g/t/+") for _ in range(2)]
        other = self.subscriber("$share/h/t/+")
        device = self.device()
        for number in range(4):
            device.send(Publish("t/1", bytes([number])))
        got = [[packet.payload for packet in member.got()] for member in members]
        self.assertEqual(got, [[b"\0", b"\2"], [b"\1", b"\3"]])
        self.assertEqual(len(other.got()), 4)

    def test_a_shared_message_goes_to_a_member_that_is_here(self) -> None:
        self.subscriber("$share/g/t", client_id="away", properties=self.expiring(100)).lose()
        member = self.subscriber("$share/g/t")
        device = self.device()
        device.send(Publish("t"), Publish("t"))
        self.assertEqual(len(member.got()), 2)


class RetainTest(BrokerTest):
    def test_a_retained_message_waits_for_subscribers(self) -> None:
        live = self.subscriber("t/+")
        self.device().send(Publish("t/1", b"old", retain=True), Publish("t/1", b"new", retain=True))
        self.assertEqual([packet.retain for packet in live.got()], [False, False])
        late = self.device(version=4)
        suback, publish = late.send(Subscribe(1, [Subscription("#")]))
        self.assertEqual(publish, Publish("t/1", b"new", retain=True))

    def test_an_empty_payload_deletes_it(self) -> None:
        self.device().send(Publish("t", b"x", retain=True), Publish("t", b"", retain=True))
        self.assertEqual(len(self.device().send(Subscribe(1, [Subscription("t")]))), 1)

    def test_retain_handling_and_retain_as_published(self) -> None:
        self.device().send(Publish("t", b"x", retain=True))
        device = self.device()
        expected = ((2, False), (1, False), (0, True), (1, False))
        for number, (handling, delivered) in enumerate(expected, 1):
            answers = device.send(Subscribe(number, [Subscription("t", 0, False, True, handling)]))
            self.assertEqual(len(answers) == 2, delivered, handling)
        self.assertEqual(len(self.device().send(Subscribe(1, [Subscription("t", retain_handling=1)]))), 2)
        self.assertEqual(len(self.device().send(Subscribe(1, [Subscription("$share/g/t")]))), 1)
        self.device().send(Publish("t", b"y", retain=True))
        self.assertTrue(device.got()[0].retain)

    def test_an_expired_one_is_forgotten(self) -> None:
        properties = Properties([(PropertyId.MESSAGE_EXPIRY_INTERVAL, 5)])
        self.device().send(Publish("t", b"x", retain=True, properties=properties))
        self.clock.advance(6)
        self.assertEqual(len(self.device().send(Subscribe(1, [Subscription("t")]))), 1)
        self.assertEqual(self.broker.retained, {})

    def test_no_more_than_allowed(self) -> None:
        self.start(max_retained=1)
        device = self.device()
        device.send(Publish("a", b"x", retain=True))
        self.assertEqual(device.send(Publish("b", b"x", 1, True, packet_id=1)), [Puback(1, 0x97)])
        self.assertEqual(device.send(Publish("b", b"x", 2, True, packet_id=1)), [Pubrec(1, 0x97)])
        self.assertEqual(device.send(Publish("a", b"y", 1, True, packet_id=1)), [Puback(1, 0x10)])
        self.assertEqual(self.device(version=4).send(Publish("b", b"x", 1, True, packet_id=1)), [Puback(1)])

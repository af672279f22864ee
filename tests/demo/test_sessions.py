"""What the demo broker keeps for a device that is away: messages, handshakes, its will."""

from __future__ import annotations

from typing import Any

from mgate.demo.sessions import Budget
from mgate.mqtt.packets import Connack, Connect, Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Will
from mgate.mqtt.properties import Properties, PropertyId
from tests.demo.devices import BrokerTest, Device


class SessionTest(BrokerTest):
    def test_messages_wait_for_a_persistent_session(self) -> None:
        self.subscriber("t", client_id="s", version=4, clean=False).lose()
        self.device().send(
            Publish("t", b"0"), Publish("t", b"1", 1, packet_id=1), Publish("t", b"2", 2, packet_id=2)
        )
        again = Device(self.factory, 4)
        connack, first, second = again.send(Connect(4, "s", False))
        self.assertEqual(connack, Connack(0, True))
        self.assertEqual([first.payload, second.payload], [b"1", b"2"])
        self.assertFalse(first.dup)

    def test_what_was_not_acknowledged_is_repeated(self) -> None:
        subscriber = self.subscriber("t", client_id="s", version=4, clean=False)
        self.device().send(*(Publish("t", bytes([qos]), qos, packet_id=qos) for qos in (1, 2)))
        one, two = subscriber.got()
        subscriber.send(Pubrec(two.packet_id))
        subscriber.lose()
        again = Device(self.factory, 4)
        _, first, second = again.send(Connect(4, "s", False))
        one.dup = True
        self.assertEqual([first, second], [one, Pubrel(two.packet_id)])
        again.send(Puback(1), Pubcomp(2))
        again.lose()
        self.assertEqual(len(Device(self.factory, 4).send(Connect(4, "s", False))), 1)

    def test_a_qos_2_message_is_known_again_after_a_reconnect(self) -> None:
        subscriber = self.subscriber("t")
        self.device("p", version=4, clean=False).send(Publish("t", qos=2, packet_id=1))
        again = self.device("p", version=4, clean=False)
        self.assertEqual(again.send(Publish("t", qos=2, dup=True, packet_id=1)), [Pubrec(1)])
        self.assertEqual(len(subscriber.got()), 1)

    def test_clean_start_forgets(self) -> None:
        self.subscriber("t", client_id="s", version=4, clean=False).lose()
        self.device("s", version=4, clean=True)
        self.assertEqual(self.connack, Connack(0, False))
        self.assertEqual(self.device().send(Publish("t", qos=1, packet_id=1)), [Puback(1, 0x10)])

    def test_session_expiry(self) -> None:
        for away, present in ((9, True), (11, False)):
            self.device("s", properties=self.expiring(10)).lose()
            self.clock.advance(away)
            self.device("s", clean=False)
            self.assertIs(self.connack.session_present, present)

    def test_an_interval_of_all_ones_never_ends(self) -> None:
        self.device("s", properties=self.expiring(0xFFFFFFFF)).lose()
        self.clock.advance(0xFFFFFFFF)
        self.device("s", clean=False)
        self.assertTrue(self.connack.session_present)

    def test_disconnect_may_change_the_expiry_but_not_from_zero(self) -> None:
        device = self.device("s", properties=self.expiring(10))
        device.send(Disconnect(0, self.expiring(0)))
        self.assertEqual(self.broker.sessions, {})
        device = self.device("s")
        self.assertEqual(device.send(Disconnect(0, self.expiring(5))), [Disconnect(0x82)])

    def test_the_oldest_session_whose_device_is_away_makes_room(self) -> None:
        self.start(max_sessions=2)
        here = self.device("a", properties=self.expiring(99))
        self.device("b", properties=self.expiring(99)).lose()
        self.device("c")
        self.assertEqual(list(self.broker.sessions), ["a", "c"])
        self.assertFalse(here.closed)

    def test_packet_identifiers_in_use_are_passed_over(self) -> None:
        subscriber = self.subscriber("t", qos=1)
        session = next(iter(self.broker.sessions.values()))
        session.unacknowledged[1] = Pubrel(1)
        self.device().send(Publish("t", qos=1, packet_id=1))
        self.assertEqual(subscriber.got()[0].packet_id, 2)


class BudgetTest(BrokerTest):
    """Whatever becomes of a message, what it cost comes back."""

    LIMIT = 13_000

    def setUp(self) -> None:
        super().setUp()
        self.start(max_bytes=self.LIMIT)

    def spent(self) -> int:
        return self.LIMIT - self.broker.budget.left

    def publish(self, qos: int, size: int = 100, **fields: Any) -> Any:
        return self.device().send(Publish("t", bytes(size), qos, packet_id=1 if qos else 0, **fields))

    def test_what_cannot_be_afforded_is_dropped(self) -> None:
        self.subscriber("t", client_id="s", properties=self.expiring(99)).lose()
        for _ in range(4):
            self.publish(1, 3000)
        self.assertEqual(self.broker.sessions["s"].dropped, 1)
        self.assertEqual(self.publish(1, 3000, retain=True), [Puback(1, 0x97)])

    def test_acknowledged_messages(self) -> None:
        subscriber = self.subscriber("t")
        for qos in (0, 1, 2):
            self.publish(qos)
        self.assertEqual(self.spent(), 2 * (100 + 1 + Budget.OVERHEAD))
        _, one, two = subscriber.got()
        subscriber.send(Puback(one.packet_id))
        self.assertEqual(self.spent(), 100 + 1 + Budget.OVERHEAD)
        subscriber.send(Pubrec(two.packet_id))
        self.assertEqual(self.spent(), 0)
        subscriber.send(Pubcomp(two.packet_id))
        self.assertEqual(self.spent(), 0)

    def test_expired_and_too_large_messages(self) -> None:
        subscriber = self.subscriber("t", properties=Properties([(PropertyId.MAXIMUM_PACKET_SIZE, 50)]))
        self.publish(1)
        self.assertEqual(self.spent(), 0)
        subscriber.protocol.pauseProducing()
        self.publish(1, properties=Properties([(PropertyId.MESSAGE_EXPIRY_INTERVAL, 5)]))
        self.assertGreater(self.spent(), 0)
        self.clock.advance(6)
        subscriber.protocol.resumeProducing()
        self.assertEqual(self.spent(), 0)

    def test_messages_of_a_session_that_ended(self) -> None:
        subscriber = self.subscriber("t", client_id="s", properties=self.expiring(10))
        self.publish(2)
        subscriber.protocol.pauseProducing()
        self.publish(0)
        self.publish(1)
        subscriber.lose()
        self.assertEqual(self.spent(), 2 * (100 + 1 + Budget.OVERHEAD))
        self.clock.advance(11)
        self.assertEqual(self.spent(), 0)

    def test_retained_messages(self) -> None:
        self.publish(0, 100, retain=True)
        self.publish(0, 200, retain=True)
        self.assertEqual(self.spent(), 200 + 1 + Budget.OVERHEAD)
        self.publish(0, 0, retain=True)
        self.assertEqual(self.spent(), 0)


class WillTest(BrokerTest):
    def will(self, delay: int | None = None, **fields: Any) -> Will:
        properties = None if delay is None else Properties([(PropertyId.WILL_DELAY_INTERVAL, delay)])
        return Will("will", b"gone", 1, properties=properties, **fields)

    def setUp(self) -> None:
        super().setUp()
        self.watcher = self.subscriber("will", properties=self.expiring(0xFFFFFFFF))

    def test_a_lost_device_leaves_its_will(self) -> None:
        self.device(will=self.will(retain=True)).lose()
        (publish,) = self.watcher.got()
        self.assertEqual((publish.topic, publish.payload, publish.qos), ("will", b"gone", 1))
        self.assertIn("will", self.broker.retained)

    def test_disconnect_discards_it_unless_it_asks_for_it(self) -> None:
        self.device(will=self.will()).send(Disconnect())
        self.assertEqual(self.watcher.got(), [])
        self.device(will=self.will()).send(Disconnect(0x04))
        self.assertEqual(len(self.watcher.got()), 1)

    def test_a_broken_protocol_and_a_take_over_leave_it(self) -> None:
        self.device("a", will=self.will())
        self.device("a", will=self.will()).send(Connect(5, "a"))
        self.assertEqual(len(self.watcher.got()), 2)

    def test_it_is_delayed_until_the_interval_or_the_session_ends(self) -> None:
        for delay, expiry in ((10, 99), (99, 10)):
            self.device("a", will=self.will(delay), properties=self.expiring(expiry)).lose()
            self.clock.advance(9)
            self.assertEqual(self.watcher.got(), [])
            self.clock.advance(2)
            self.assertEqual(len(self.watcher.got()), 1, (delay, expiry))
        self.clock.advance(100)
        self.assertEqual(self.watcher.got(), [])

    def test_who_comes_back_in_time_lives(self) -> None:
        self.device("a", will=self.will(10), properties=self.expiring(99)).lose()
        self.clock.advance(5)
        self.device("a", clean=False)
        self.clock.advance(50)
        self.assertEqual(self.watcher.got(), [])

    def test_a_stopped_broker_has_no_timers(self) -> None:
        self.device("a", will=self.will(10), properties=self.expiring(99)).lose()
        self.factory.doStart()
        self.factory.doStop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

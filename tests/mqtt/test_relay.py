"""The path of every chunk: what passes as it came, what waits, in which order, and how a connection ends."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from mgate.errors import Denied, GateError, Malformed, TargetLost, TimedOut
from mgate.handler import Message
from mgate.limits import Limits
from mgate.mqtt.choices import Choices
from mgate.mqtt.connecting import ASKING, CLOSED, CONNECTING, NEW, OPEN
from mgate.mqtt.packets import Auth, Connack, Connect, Pingreq, Publish, Subscribe
from mgate.mqtt.properties import Properties, PropertyId
from mgate.mqtt.relay import AWAITED_MOST, HELD_MOST, TURN
from mgate.outcome import Direction, Outcome
from tests import wire
from tests.mqtt.relays import Asking, Connection, RelayTest, handler, interceptor, opened
from tests.wire import DISCONNECT, PINGREQ, PINGRESP, connack, connect, puback, publish, subscribe

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK


def deny(*topics: str) -> Any:
    """An `auth_publish` or `auth_deliver` that refuses these topics."""

    def hook(session: Any, topic: str, payload: bytes) -> None:
        if topic in topics:
            raise Denied("not authorised", "closed")

    return hook


def raising(error: Exception) -> Any:
    def hook(*arguments: Any) -> Any:
        raise error

    return hook


def only(packet_type: type, answer: Any) -> Any:
    """A `before` or `after` that answers for packets of one type: with a value, or what a function gives."""

    def hook(session: Any, packet: Any, direction: Direction) -> Any:
        if not isinstance(packet, packet_type):
            return None
        return answer(session) if callable(answer) else answer

    return hook


class PassingTests(RelayTest):
    def test_the_states_of_a_connection(self) -> None:
        asking = Asking()
        connection = Connection(handler(auth_connect=asking))
        relay = connection.relay
        self.assertEqual(relay.state, NEW)
        self.check(connection.up(connect()))
        self.assertEqual(relay.state, ASKING)
        asking.admit()
        self.check(connection.sent(), to_target=connect())
        self.assertEqual(relay.state, CONNECTING)
        self.check(connection.down(connack()), to_device=connack())
        self.assertEqual(relay.state, OPEN)
        relay.closed("device_lost")
        self.assertEqual(relay.state, CLOSED)

    def test_a_chunk_leaves_in_one_piece(self) -> None:
        for version in (3, 4, 5):
            chunk = publish("a", version=version) + PINGREQ + publish("b", qos=1, version=version) + wire.puback(9)
            outcome = opened(version=version).relay.receive(UPLINK, chunk)
            self.assertEqual(outcome, Outcome([chunk]))

    def test_nothing(self) -> None:
        connection = opened()
        self.check(connection.up(b""))
        self.check(connection.down(b""))

    def test_denied_in_the_middle(self) -> None:
        for version in (3, 4, 5):
            one, two, three = (publish(topic, version=version) for topic in "abc")
            connection = opened(handler(auth_publish=deny("b")), version=version)
            self.check(connection.up(one, two, three), to_target=one + three)
            self.check_refused(connection, "not_authorised", "auth_publish")

    def test_denied_with_the_connection(self) -> None:
        one, two, three = (publish(topic) for topic in "abc")
        connection = opened(handler(auth_publish=deny("b")), choices=Choices(denied_publish="disconnect"))
        self.check(connection.up(one, two, three), to_target=one)
        self.assertIsInstance(connection.closing, Denied)
        self.check(connection.up(three))
        self.check(connection.down(publish()))

    def test_broken_in_the_middle(self) -> None:
        bad = b"\x36\x03\x00\x01a"
        for version, told in ((4, b""), (5, b"\xe0")):
            one = publish("a", version=version)
            connection = opened(version=version)
            sent = connection.up(one, bad, one)
            self.assertEqual((sent.to_target, sent.to_device[:1]), (one, told))
            self.assertEqual(connection.counters.rejects, {"malformed": 1})
            connection = opened(version=version)
            sent = connection.up(one, b"\x30\xff\xff\xff\xff")
            self.assertEqual((sent.to_target, sent.to_device[:1]), (one, told), "also if the header is broken")

    def test_a_broken_packet_of_the_target(self) -> None:
        for version, told in ((4, b""), (5, wire.disconnect(0x83, b"\x1f" + wire.text("QoS 3")))):
            good = publish("a", version=version)
            connection = opened(interceptor(before=lambda *_: None), version=version)
            self.check(connection.down(good, b"\x36\x03\x00\x01a", good), to_device=good + told)
            assert isinstance(connection.closing, TargetLost)
            self.assertEqual(connection.closing.reason, "upstream_malformed")
            self.check_refused(connection, "upstream_malformed")

    def test_counts(self) -> None:
        connection = opened()
        connection.up(publish() * 3, PINGREQ, publish())
        connection.down(publish(), PINGRESP)
        up, down = connection.counters.packets_uplink, connection.counters.packets_downlink
        self.assertEqual((up[1], up[3], up[12]), (1, 4, 1))
        self.assertEqual((down[2], down[3], down[13]), (1, 1, 1))

    def test_a_device_was_heard(self) -> None:
        connection = opened()
        relay = connection.relay
        relay.heard = False
        connection.down(publish())
        self.assertFalse(relay.heard)
        connection.up(publish()[:5])
        self.assertFalse(relay.heard, "not yet a whole packet")
        connection.up(publish()[5:])
        self.assertTrue(relay.heard)

    def test_how_much_of_a_packet_has_begun(self) -> None:
        connection = opened()
        self.assertEqual(connection.relay.begun(UPLINK), 0)
        message = publish("a", bytes(1000))
        connection.up(message[:50])
        self.assertEqual((connection.relay.begun(UPLINK), connection.relay.begun(DOWNLINK)), (len(message), 0))
        self.check(connection.up(message[50:]), to_target=message)
        self.assertEqual(connection.relay.begun(UPLINK), 0)


class CutTests(RelayTest):
    """However the bytes are cut, the same comes out (Hypothesis)."""

    def streams(self, version: int) -> tuple[bytes, bytes]:
        up = [
            connect(version=version), publish("a", version=version), publish("no", qos=1, packet_id=4, version=version),
            publish("b", b"x" * 300, qos=2, packet_id=5, version=version), wire.pubrel(5),
            subscribe("x", "y", packet_id=6, version=version), PINGREQ, publish("c", version=version), DISCONNECT,
            publish("never", version=version),
        ]  # fmt: skip
        down = [
            connack(version=version), publish("no", qos=2, packet_id=9, version=version), wire.pubrel(9),
            publish("d", bytes(9000), version=version), wire.suback(6, b"\0\0", version=version), PINGRESP,
            publish("e", version=version),
        ]  # fmt: skip
        return b"".join(up), b"".join(down)

    def play(self, connection: Connection, version: int, up: list[bytes], down: list[bytes]) -> tuple[bytes, bytes]:
        """All that comes out, if the device speaks first, and the target as soon as it may."""
        to_target = to_device = b""
        for chunk in up:
            sent = connection.up(chunk)
            to_target, to_device = to_target + sent.to_target, to_device + sent.to_device
        for chunk in down:
            sent = connection.down(chunk)
            to_target, to_device = to_target + sent.to_target, to_device + sent.to_device
        return to_target, to_device

    @given(st.data(), st.sampled_from([3, 4, 5]), st.booleans(), st.booleans())
    def test_cuts(self, data: st.DataObject, version: int, judged: bool, intercepted: bool) -> None:
        plugins: list[Any] = []
        if judged:
            plugins.append(handler(auth_publish=deny("no"), auth_deliver=deny("no"), subscribe=lambda *_: None))
        if intercepted:
            plugins.append(interceptor(before=lambda *_: None))
        streams = self.streams(version)
        whole = self.play(Connection(*plugins, version=version), version, [streams[0]], [streams[1]])
        cut = []
        for stream in streams:
            cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
            cut.append([stream[start:stop] for start, stop in itertools.pairwise([0, *cuts, len(stream)])])
        self.check_same(self.play(Connection(*plugins, version=version), version, *cut), whole)

    def check_same(self, one: tuple[bytes, bytes], two: tuple[bytes, bytes]) -> None:
        """The same packets for either side. Only answers of the gateway's own may stand elsewhere."""
        for mine, other in zip(one, two, strict=True):
            mine_packets, other_packets = wire.packets(mine)[0], wire.packets(other)[0]
            self.assertEqual(sorted(mine_packets), sorted(other_packets))
            for packets in (mine_packets, other_packets):
                packets[:] = [packet for packet in packets if packet[0] >> 4 not in (4, 5, 7)]
            self.assertEqual(mine_packets, other_packets)

    def test_byte_by_byte(self) -> None:
        for version in (3, 4, 5):
            up, down = self.streams(version)
            bytewise = [[stream[at : at + 1] for at in range(len(stream))] for stream in (up, down)]
            for plugins in ([], [handler(auth_publish=deny("no"))]):
                whole = self.play(Connection(*plugins, version=version), version, [up], [down])
                self.check_same(self.play(Connection(*plugins, version=version), version, *bytewise), whole)

    def test_a_large_message_with_others_behind_it(self) -> None:
        for version in (3, 4, 5):
            large = publish("a", bytes(100_000), version=version)
            small = publish("b", version=version)
            for hooks in ({}, {"auth_publish": deny("c")}):
                connection = opened(handler(**hooks), version=version)
                self.check(connection.up(large[:50_000]))
                self.check(connection.up(large[50_000:] + small + small[:3]), to_target=large + small)
                self.check(connection.up(small[3:]), to_target=small)

    def test_a_question_about_a_large_message(self) -> None:
        asking = Asking()
        connection = opened(handler(auth_publish=asking))
        large, small = publish("a", bytes(100_000)), publish("b")
        connection.up(large[:50_000])
        self.check(connection.up(large[50_000:] + small))
        asking.admit()
        self.check(connection.sent(), to_target=large)
        self.assertEqual(asking.asked[1][0], "b")
        asking.admit()
        self.check(connection.sent(), to_target=small)

    def test_the_end_in_a_large_message_with_others_behind_it(self) -> None:
        connection = opened(handler(auth_publish=deny("a")), choices=Choices(denied_publish="disconnect"))
        large = publish("a", bytes(100_000))
        connection.up(large[:50_000])
        self.check(connection.up(large[50_000:] + publish("b")))
        self.assertIsNotNone(connection.closing)


class WaitingTests(RelayTest):
    def test_what_is_behind_waits_and_the_other_direction_goes_on(self) -> None:
        for version in (3, 4, 5):
            asking = Asking()
            connection = opened(handler(auth_publish=asking), version=version)
            one, two, down = (publish(topic, version=version) for topic in ("a", "b", "d"))
            self.check(connection.up(PINGREQ, one, PINGREQ), to_target=PINGREQ)
            self.check(connection.up(two))
            self.check(connection.down(down), to_device=down)
            self.assertEqual(asking.asked, [("a", b"payload")], "one at a time")
            asking.admit()
            self.check(connection.sent(), to_target=one + PINGREQ)
            asking.admit(Message("x"))
            self.check(connection.sent(), to_target=publish("x", version=version))
            self.check(connection.up(PINGREQ), to_target=PINGREQ)
            self.assertEqual(connection.counters.questions, 2)

    def test_both_directions_wait_for_themselves(self) -> None:
        up, down = Asking(), Asking()
        connection = opened(handler(auth_publish=up, auth_deliver=down))
        one, two = publish("a"), publish("b")
        connection.up(one)
        connection.down(two)
        down.admit()
        self.check(connection.sent(), to_device=two)
        up.admit()
        self.check(connection.sent(), to_target=one)

    def test_denied_later(self) -> None:
        for version in (4, 5):
            asking = Asking()
            connection = opened(handler(auth_publish=asking), version=version)
            one, two = (publish(topic, qos=1, packet_id=ord(topic), version=version) for topic in "ab")
            self.check(connection.up(one, two))
            asking.refuse(Denied("quota"))
            self.check(connection.sent(), to_device=puback(ord("a"), 0x97 if version == 5 else None))
            asking.admit()
            self.check(connection.sent(), to_target=two)
            self.check_refused(connection, "quota", "auth_publish")

    def test_too_late(self) -> None:
        for version in (4, 5):
            asking = Asking()
            connection = opened(handler(auth_publish=asking), version=version)
            one, two = (publish(topic, qos=1, version=version) for topic in "ab")
            self.check(connection.up(one, two))
            self.check(connection.late(), to_device=puback(1, 0x83 if version == 5 else None))
            self.assertEqual(connection.counters.handler_faults, 1)
            ((name, hook, error),) = connection.notebook.faults
            self.assertEqual((name, hook, type(error)), ("Rules", "auth_publish", TimeoutError))
            asking.open.pop(0).callback(None)
            self.check(connection.sent())
            asking.admit()
            self.check(connection.sent(), to_target=two)

    def test_a_broken_packet_behind_a_question(self) -> None:
        asking = Asking()
        connection = opened(handler(auth_publish=asking))
        good = publish("a")
        self.check(connection.up(good, b"\x36\x03\x00\x01a", good))
        self.assertIsNone(connection.closing)
        asking.admit()
        self.check(connection.sent(), to_target=good)
        self.assertIsInstance(connection.closing, Malformed)

    def test_the_same_deferred_for_each_packet(self) -> None:
        for answer, passed in ((None, 3), (False, 0)):
            shared: Deferred[Any] = Deferred()
            connection = opened(handler(auth_publish=lambda *_, shared=shared: shared))
            connection.up(publish() * 3)
            shared.callback(answer)
            self.check(connection.sent(), to_target=publish() * passed)

    def test_a_hook_that_has_the_other_direction_answered(self) -> None:
        """The packets of the chunk that it is in are still there to be looked at."""
        waiting: Deferred[None] = Deferred()
        seen: list[Any] = []

        def look(session: Any, topic: str, payload: bytes) -> None:
            if payload == b"1":
                waiting.callback(None)
            seen.append(session.packet.payload)

        connection = opened(handler(auth_deliver=lambda *_: waiting, auth_publish=look))
        connection.down(publish("a", b"waits") + publish("a", b"is held"))
        sent = connection.up(publish("t", b"1") + publish("t", b"2") + publish("t", b"3"))
        self.assertEqual(seen, [b"1", b"2", b"3"])
        self.assertEqual(sent.to_device, publish("a", b"waits") + publish("a", b"is held"))

    def test_a_connection_has_turns(self) -> None:
        """Whatever one device sends at once, the others are served in between; nothing overtakes."""
        numbers = range(1, 3 * TURN + 2)
        messages = b"".join(publish("t", b"%d" % number, qos=1, packet_id=number) for number in numbers)
        refusing = opened(handler(auth_publish=lambda *_: False))
        self.check(refusing.up(messages), to_device=b"".join(map(puback, numbers)))
        editing = opened(handler(auth_deliver=lambda *_: Message(payload=b"x")))
        edited = b"".join(publish("t", b"x", qos=1, packet_id=number) for number in numbers)
        self.check(editing.down(messages), to_device=edited)
        for connection, counts in ((refusing, refusing.counters.packets_uplink),
                                   (editing, editing.counters.packets_downlink)):  # fmt: skip
            self.assertEqual((connection.turns, counts[3]), (3, len(numbers)))

    def test_a_turn_that_comes_while_a_handler_thinks(self) -> None:
        """It answers no question, and admits nothing."""
        asking = Asking()
        connection = opened(handler(auth_publish=asking))
        connection.up(publish("t", b"1"), publish("t", b"2"))
        self.assertEqual(connection.relay.go_on(UPLINK), Outcome())
        self.check(connection.sent())
        asking.admit()
        asking.refuse(ValueError())
        self.check(connection.sent(), to_target=publish("t", b"1"))

    def test_crowded(self) -> None:
        for direction, hook in ((UPLINK, "auth_publish"), (DOWNLINK, "auth_deliver")):
            asking = Asking()
            connection = opened(handler(**{hook: asking}))
            feed = connection.up if direction is UPLINK else connection.down
            message = publish("a", bytes(HELD_MOST // 2))
            feed(message)
            feed(message)
            self.assertFalse(connection.relay.crowded(direction))
            self.assertTrue(connection.relay.pending(direction))
            feed(message)
            self.assertTrue(connection.relay.crowded(direction))
            self.assertFalse(connection.relay.crowded(UPLINK if direction is DOWNLINK else DOWNLINK))
            for _ in range(3):
                asking.admit()
            self.assertFalse(connection.relay.crowded(direction))
            self.assertFalse(connection.relay.pending(direction))

    def test_crowded_with_what_the_target_has_not_acknowledged(self) -> None:
        told: list[Any] = []
        connection = opened(handler(publish=lambda session, *message: told.append(message)))
        for packet_id in (1, 2, 3):
            connection.up(publish("a", bytes(AWAITED_MOST // 2 - 1000), qos=1, packet_id=packet_id))
        self.assertTrue(connection.relay.crowded(UPLINK))
        connection.down(puback(2))
        self.assertFalse(connection.relay.crowded(UPLINK))
        self.assertEqual(len(told), 1)

    def test_pending_before_the_connection_is_open(self) -> None:
        asking = Asking()
        connection = Connection(handler(auth_connect=asking))
        connection.up(connect())
        self.assertFalse(connection.relay.pending(UPLINK), "a CONNECT that nobody has agreed to is not owed")
        connection.up(publish())
        self.assertTrue(connection.relay.pending(UPLINK))


class PacketTests(RelayTest):
    """`session.packet` is the packet that is judged, while it is judged."""

    def watched(self, *hooks: str, **fields: Any) -> tuple[Connection, list[Any]]:
        seen: list[Any] = []

        def look(session: Any, *arguments: Any) -> None:
            seen.append(session.packet)

        return opened(handler(**dict.fromkeys(hooks, look)), **fields), seen

    def test_a_message(self) -> None:
        for qos in (0, 1, 2):
            connection, seen = self.watched("auth_publish", "auth_deliver")
            connection.up(publish("a", qos=qos, retain=True), publish("b", qos=qos))
            connection.down(publish("c", qos=qos))
            packet_id = 1 if qos else 0
            self.assertEqual(
                seen,
                [Publish(*message, False, packet_id) for message in (
                    ("a", b"payload", qos, True), ("b", b"payload", qos, False), ("c", b"payload", qos, False))],
            )  # fmt: skip
            self.assertIsNone(connection.session.packet)

    def test_a_connect_with_its_will(self) -> None:
        connection, seen = self.watched("auth_connect", "auth_publish", will=wire.Will("w", b"gone", 1, True))
        self.assertIsInstance(seen[0], Connect)
        self.assertEqual(seen[1:], [Publish("w", b"gone", 1, True)])

    def test_a_subscribe(self) -> None:
        connection, seen = self.watched("auth_subscribe")
        connection.up(subscribe("a", options=1))
        assert isinstance(seen[0], Subscribe)
        self.assertEqual(seen[0].subscriptions[0].qos, 1)

    def test_not_behind_a_question(self) -> None:
        asking = Asking()
        connection = opened(handler(auth_publish=asking), interceptor(after=lambda *_: None))
        connection.up(publish())
        self.assertIsNone(connection.session.packet)
        asking.admit()
        self.assertIsNone(connection.session.packet)


class InterceptorTests(RelayTest):
    def test_sees_every_packet_in_both_directions(self) -> None:
        seen: list[tuple[str, str, str]] = []

        def look(moment: str) -> Any:
            return lambda session, packet, direction: seen.append((moment, direction.value, type(packet).__name__))

        connection = opened(interceptor(before=look("before"), after=look("after")))
        connection.up(publish(), PINGREQ, subscribe("a"))
        connection.down(puback(), PINGRESP)
        for moment in ("before", "after"):
            self.assertEqual([one[1:] for one in seen if one[0] == moment], [
                ("uplink", "Connect"), ("downlink", "Connack"), ("uplink", "Publish"), ("uplink", "Pingreq"),
                ("uplink", "Subscribe"), ("downlink", "Puback"), ("downlink", "Pingresp"),
            ])  # fmt: skip

    def test_before_and_behind_the_judgement(self) -> None:
        order: list[tuple[str, str]] = []

        def replace(name: str) -> Any:
            def hook(session: Any, packet: Any, direction: Any) -> Any:
                if isinstance(packet, Publish):
                    order.append((name, packet.topic))
                    return Publish(packet.topic + name[0], packet.payload, properties=packet.properties)
                return None

            return hook

        def judge(session: Any, topic: str, payload: bytes) -> Message:
            order.append(("judge", topic))
            return Message(topic + "j")

        for version in (4, 5):
            order.clear()
            connection = opened(
                interceptor(before=replace("before"), after=replace("after")),
                handler(auth_publish=judge, auth_deliver=judge), version=version,
            )  # fmt: skip
            self.check(connection.up(publish("u", version=version)), to_target=publish("ubja", version=version))
            self.check(connection.down(publish("d", version=version)), to_device=publish("dbja", version=version))
            self.assertEqual(order, [("before", "u"), ("judge", "ub"), ("after", "ubj"),
                                     ("before", "d"), ("judge", "db"), ("after", "dbj")])  # fmt: skip

    def test_refuses_in_the_words_of_the_packet(self) -> None:
        for moment in ("before", "after"):
            plugin = interceptor("Edits", **{moment: lambda s, packet, d: not isinstance(packet, Publish | Subscribe)})
            connection = opened(plugin, version=5)
            self.check(connection.up(publish(qos=1, version=5)), to_device=puback(1, 0x87))
            self.check(connection.up(subscribe("a", version=5)), to_device=wire.suback(1, b"\x87", version=5))
            self.check(connection.down(publish(qos=1, version=5)), to_target=puback(1))
            self.assertEqual({one[1:3] for one in connection.notebook.refusals}, {("Edits", moment)})

    def test_ends_the_connection_where_a_packet_has_no_refusal(self) -> None:
        for moment in ("before", "after"):
            for version, told in ((4, b""), (5, wire.disconnect(0x87))):
                plugin = interceptor(**{moment: lambda s, packet, d: not isinstance(packet, Pingreq)})
                connection = opened(plugin, version=version)
                self.check(connection.up(PINGREQ, publish(version=version)), to_device=told)
                self.assertIsInstance(connection.closing, Denied)

    def test_a_packet_that_cannot_be_written_ends_the_connection(self) -> None:
        edits: list[Any] = [
            Publish("a/#"), Publish(""), Publish(5), Publish("a", "text"), Publish("a", qos=1), Publish("a", qos=3),  # type: ignore[arg-type]
        ]  # fmt: skip
        for moment in ("before", "after"):
            for edit in edits:
                for version, told in ((4, b""), (5, wire.disconnect(0x83))):
                    plugin = interceptor("Edits", **{moment: only(Publish, edit)})
                    connection = opened(plugin, handler(auth_publish=lambda *_: None), version=version)
                    good = subscribe("a", version=version)
                    self.check(connection.up(good, publish("a", qos=1, version=version), good), good, told)
                    self.assertIsInstance(connection.closing, Denied)
                    self.check_refused(connection, "handler_fault", moment)
                    self.assertEqual([one[:2] for one in connection.notebook.faults], [("Edits", moment)])

    def test_a_fault_ends_the_connection(self) -> None:
        def fail(*arguments: Any) -> Any:
            raise ValueError("broken")

        for moment in ("before", "after"):
            for version, told in ((4, b""), (5, wire.disconnect(0x83))):
                for feed, packet in (("up", publish(qos=1, version=version)), ("up", subscribe("a", version=version)),
                                     ("up", PINGREQ), ("down", publish(qos=2, version=version))):  # fmt: skip
                    plugin = interceptor("Edits", **{moment: lambda s, packet, d: packet.type in (1, 2) or fail()})
                    connection = opened(plugin, version=version)
                    self.check(getattr(connection, feed)(packet, packet), to_device=told)
                    self.check_refused(connection, "handler_fault", moment)

    def test_a_connect_that_waits_behind_its_judgement(self) -> None:
        """Nothing of the device is looked at before CONNACK, wherever the CONNECT waited."""
        for moment in ("before", "after"):
            asking = Asking()
            connection = Connection(interceptor(**{moment: only(Connect, asking)}))
            self.check(connection.up(connect(), publish()))
            asking.admit()
            self.check(connection.sent(), to_target=connect())
            self.check(connection.up(PINGREQ))
            self.check(connection.down(connack()), to_target=publish() + PINGREQ, to_device=connack())

    def test_a_connack_that_waits_behind_its_judgement(self) -> None:
        """What the device sent waits until CONNACK has left; a refusal of it is a CONNACK too."""
        for moment in ("before", "after"):
            for admitted in (True, False):
                asking, told = Asking(), []
                connection = Connection(
                    interceptor(**{moment: only(Connack, asking)}),
                    handler(connect=lambda session, told=told: told.append(session.id)), version=5,
                )  # fmt: skip
                connection.up(connect(version=5), publish(version=5))
                self.check(connection.down(connack(version=5)))
                self.assertEqual((connection.joined, told), (0, []))
                if admitted:
                    asking.admit()
                    self.check(connection.sent(), to_target=publish(version=5), to_device=connack(version=5))
                else:
                    asking.refuse(Denied("not authorised"))
                    self.check(connection.sent(), to_device=connack(0x87, version=5))
                self.assertEqual((connection.joined, told), (1, ["device"]) if admitted else (0, []))

    def test_a_packet_that_turns_out_broken_behind_a_question(self) -> None:
        for admitted in (None, Publish("", properties=Properties([(PropertyId.TOPIC_ALIAS, 9)]))):
            asking = Asking()
            connection = opened(interceptor(before=only(Publish, asking)), version=5)
            self.check(connection.up(publish("", version=5, props=b"\x23\0\1"), PINGREQ))
            asking.admit(admitted)
            self.assertEqual(connection.sent(), (b"", wire.disconnect(0x94)))
            self.assertIsInstance(connection.closing, Malformed)

    def test_connack_answers_no_question_of_the_other_direction(self) -> None:
        """With enhanced authentication the device may speak before CONNACK: what it said is judged all the same."""
        for answer, passed in ((None, True), (False, False)):
            asking = Asking()
            method = b"\x15" + wire.text("m")
            connection = Connection(interceptor(before=only(Auth, asking)), version=5)
            connection.up(connect(version=5, props=method))
            auth = wire.auth(0x18, method)
            self.check(connection.down(auth))
            asking.admit()
            self.check(connection.sent(), to_device=auth)
            self.check(connection.up(auth))
            self.check(connection.down(connack(version=5)), to_device=connack(version=5))
            self.check(connection.up(publish(version=5)))
            asking.admit(answer)
            sent = connection.sent()
            self.assertEqual(sent.to_target, auth + publish(version=5) if passed else b"")


class EndTests(RelayTest):
    def opened(self, *plugins: Any, version: int = 4, **fields: Any) -> Connection:
        """As `opened`, with a handler that writes down who left and why."""
        self.told: list[str] = []
        told = handler("Told", disconnect=lambda session, reason: self.told.append(reason))
        return opened(told, *plugins, version=version, **fields)

    def test_disconnect_of_the_device(self) -> None:
        for version in (3, 4, 5):
            connection = self.opened(version=version)
            self.check(connection.up(publish(version=version), DISCONNECT, publish(version=version)),
                       to_target=publish(version=version) + DISCONNECT)  # fmt: skip
            self.check(connection.up(publish(version=version)))
            self.check(connection.down(publish(version=version)), to_device=publish(version=version))
            self.assertEqual(connection.relay.closed("device_lost"), "disconnect")
            connection.relay.closed("device_lost")
            self.assertEqual(self.told, ["disconnect"])

    def test_lost(self) -> None:
        for reason in ("device_lost", "target_lost", "keep_alive"):
            connection = self.opened()
            self.assertEqual(connection.relay.closed(reason), reason)
            self.assertEqual(self.told, [reason])

    def test_who_was_never_told_of_the_connection_is_not_told_of_its_end(self) -> None:
        told: list[str] = []
        watcher = handler(disconnect=lambda session, reason: told.append(reason))
        for packets in ([], [connect()]):
            connection = Connection(watcher)
            for packet in packets:
                connection.up(packet)
            connection.relay.closed("device_lost")
        connection = Connection(watcher)
        connection.up(connect())
        self.check(connection.down(connack(5)), to_device=connack(5))
        assert connection.closing is not None
        self.assertEqual(connection.closing.reason, "target_refused")
        connection.relay.closed("target_refused")
        self.assertEqual(told, [])

    def test_nobody_listens(self) -> None:
        connection = opened()
        self.assertEqual(connection.relay.closed("device_lost"), "device_lost")

    def test_the_gateway_gives_up(self) -> None:
        for error, told in (
            (TimedOut("silent", "keep_alive"), wire.disconnect(0x8D)),
            (TargetLost("gone"), wire.disconnect(0x8B, b"\x1f" + wire.text("gone"))),
        ):
            for version in (4, 5):
                connection = self.opened(version=version)
                self.assertEqual(connection.relay.fail(error), told if version == 5 else b"")
                self.assertEqual(connection.relay.fail(error), b"", "once")
                self.check(connection.up(publish(version=version)))
                self.check(connection.down(publish(version=version)))
        self.assertEqual(connection.counters.rejects, {}, "a lost target is the plain course of things")

    def test_the_gateway_gives_up_before_connack(self) -> None:
        errors: list[tuple[GateError, tuple[int, int] | None]] = [
            (TargetLost("gone", "target_down"), (3, 0x88)), (TimedOut("slow", "connack_timeout"), None)
        ]  # fmt: skip
        for error, codes in errors:
            for version in (4, 5):
                connection = Connection(version=version)
                connection.up(connect(version=version))
                told = connection.relay.fail(error)
                if codes is None:
                    self.assertEqual(told, b"")
                else:
                    self.assertEqual((told[0], told[3]), (0x20, codes[version == 5]))
                self.assertEqual(connection.counters.rejects, {error.reason: 1})

    def test_nothing_is_told_behind_a_disconnect(self) -> None:
        for end in (lambda c: c.up(DISCONNECT), lambda c: c.down(wire.disconnect(0x8B))):
            connection = self.opened(version=5)
            end(connection)
            self.assertEqual(connection.relay.fail(TargetLost("gone")), b"")

    def test_disconnect_of_the_target(self) -> None:
        connection = self.opened(version=5)
        goodbye = wire.disconnect(0x8B)
        self.check(connection.down(publish(version=5), goodbye), to_device=publish(version=5) + goodbye)

    def test_questions_are_cancelled(self) -> None:
        for direction, hook in ((UPLINK, "auth_publish"), (DOWNLINK, "auth_deliver")):
            asking = Asking()
            connection = self.opened(handler(**{hook: asking}))
            (connection.up if direction is UPLINK else connection.down)(publish())
            connection.relay.closed("device_lost")
            self.assertTrue(asking.open[0].called)
            asking.open[0].callback(None)
            self.check(connection.sent())
            self.assertIsNone(connection.session.packet)

    def test_an_answer_behind_the_end(self) -> None:
        """The gateway has given up while a handler thought: nothing is forwarded, answered or asked any more."""
        for answer in (None, False, Message("x")):
            for version in (4, 5):
                asking, after = Asking(), Asking()
                connection = self.opened(
                    handler(auth_publish=asking), interceptor(after=only(Publish, after)), version=version
                )
                connection.up(publish(qos=1, version=version) * 2)
                connection.relay.fail(TimedOut("", "shutdown"))
                asking.admit(answer)
                self.check(connection.sent())
                self.assertEqual(after.asked, [])
                self.assertEqual(connection.notebook.refusals, [])

    def test_a_chunk_behind_the_end(self) -> None:
        connection = self.opened()
        connection.relay.fail(GateError("over"))
        connection.relay.end(GateError("again"))
        self.assertEqual(str(connection.relay.closing), "over")
        self.check(connection.up(publish()))
        self.check(connection.down(publish()))

    def test_unknown_version(self) -> None:
        for level, told in ((2, connack(1)), (6, connack(0x84, version=5))):
            connection = Connection()
            self.check(connection.up(connect(level=level)), to_device=told)
            self.assertIsInstance(connection.closing, Malformed)

    def test_too_large(self) -> None:
        connection = opened(limits=Limits(max_packet_size=100))
        good = publish("a", bytes(90))
        self.check(connection.up(good, b"\x30" + wire.varint(1 << 20)), to_target=good)
        assert isinstance(connection.closing, Malformed)
        self.assertEqual(connection.closing.code, 0x95)

"""Messages that were refused or changed: every handshake that is begun is finished, in both directions."""

from __future__ import annotations

from typing import Any

from mgate.errors import Denied, Malformed
from mgate.handler import Message
from mgate.limits import Limits
from mgate.mqtt.choices import Choices
from mgate.mqtt.packets import Publish
from mgate.mqtt.properties import Properties, PropertyId
from mgate.mqtt.publishing import MOST_SWALLOWED
from tests import wire
from tests.mqtt.relays import Connection, RelayTest, Sent, handler, interceptor, opened
from tests.wire import puback, pubcomp, publish, pubrec, pubrel, short

NO = b"\x1f" + wire.text("no")
"""``no`` as a Reason String."""
ALIASES = b"\x22\0\x0a"
"""A Topic Alias Maximum of 10."""
UNEXPLAINED = b"\x17\0"
"""Request Problem Information 0."""


def alias(number: int) -> bytes:
    return b"\x23" + short(number)


def largest(size: int) -> bytes:
    """A Maximum Packet Size."""
    return b"\x27" + wire.integer(size)


def refuse(*arguments: Any) -> Any:
    raise Denied("not authorised", "no")


def only(refused: str) -> Any:
    """An `auth_` hook that refuses this topic."""

    def hook(session: Any, topic: str, payload: bytes) -> None:
        if topic == refused:
            refuse()

    return hook


def edit(**fields: Any) -> Any:
    return lambda *arguments: Message(**fields)


class Side:
    """A direction under test: who sends a message (near), who gets it (far)."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.uplink = hook == "auth_publish"

    def near(self, connection: Connection, *data: bytes) -> Sent:
        return connection.up(*data) if self.uplink else connection.down(*data)

    def far(self, connection: Connection, *data: bytes) -> Sent:
        return connection.down(*data) if self.uplink else connection.up(*data)

    def sent(self, far: bytes = b"", near: bytes = b"") -> Sent:
        return Sent(far, near) if self.uplink else Sent(near, far)


UP, DOWN = Side("auth_publish"), Side("auth_deliver")


class RefusedTests(RelayTest):
    """A message that a handler refuses, by version and QoS."""

    def test_below_version_5_it_is_acknowledged_and_goes_nowhere(self) -> None:
        for version in (3, 4):
            connection = opened(handler(auth_publish=refuse), version=version)
            self.check(connection.up(publish(qos=0)))
            self.check(connection.up(publish(qos=1, packet_id=7)), to_device=puback(7))
            self.check(connection.up(publish(qos=2, packet_id=8)), to_device=pubrec(8))
            self.check(connection.up(pubrel(8)), to_device=pubcomp(8))
            self.assertEqual(connection.counters.rejects, {"not_authorised": 3})

    def test_version_5_is_told(self) -> None:
        for props, reason in ((b"", NO), (UNEXPLAINED, None), (largest(11), NO), (largest(10), None)):
            connection = opened(handler(auth_publish=refuse), version=5, props=props)
            self.check(connection.up(publish(qos=0, version=5)))
            self.check(connection.up(publish(qos=1, packet_id=7, version=5)), to_device=puback(7, 0x87, reason))
            self.check(connection.up(publish(qos=2, packet_id=8, version=5)), to_device=pubrec(8, 0x87, reason))

    def test_a_delivery_is_acknowledged_and_goes_nowhere(self) -> None:
        for version in (3, 4, 5):
            connection = opened(handler(auth_deliver=refuse), version=version)
            self.check(connection.down(publish(qos=0, version=version)))
            self.check(connection.down(publish(qos=1, packet_id=7, version=version)), to_target=puback(7))
            self.check(connection.down(publish(qos=2, packet_id=8, version=version)), to_target=pubrec(8))
            self.check(connection.down(pubrel(8)), to_target=pubcomp(8))

    def test_sent_again_it_gets_the_same_answer_and_nobody_is_asked(self) -> None:
        for side in (UP, DOWN):
            for version in (3, 4) if side is UP else (3, 4, 5):
                asked: list[Any] = []

                def ask(*arguments: Any, asked: list[Any] = asked) -> Any:
                    asked.append(arguments)
                    return len(asked) > 1

                connection = opened(handler(**{side.hook: ask}), version=version)
                self.assertEqual(side.near(connection, publish(qos=2, version=version)), side.sent(near=pubrec()))
                again = publish(qos=2, dup=True, version=version)
                self.assertEqual(side.near(connection, again, again), side.sent(near=pubrec() * 2))
                self.assertEqual(side.near(connection, pubrel()), side.sent(near=pubcomp()))
                self.assertEqual(len(asked), 1)
                message = publish(qos=2, version=version)
                self.assertEqual(side.near(connection, message), side.sent(far=message), "the identifier is free again")
                self.assertEqual(side.near(connection, pubrel()), side.sent(far=pubrel()))

    def test_the_identifier_of_a_pubrec_that_failed_is_free(self) -> None:
        """Version 5 ends the exchange with the reason code: what comes next under this number is a new message."""
        connection = opened(handler(auth_publish=only("a")), version=5)
        self.check(connection.up(publish("a", qos=2, version=5)), to_device=pubrec(1, 0x87, NO))
        message = publish("b", qos=2, version=5)
        self.check(connection.up(message, pubrel()), to_target=message + pubrel())

    def test_exchanges_of_the_target_go_on_between(self) -> None:
        connection = opened(handler(auth_publish=only("a")))
        one, two = publish("a", qos=2, packet_id=1), publish("b", qos=2, packet_id=2)
        self.check(connection.up(one, two), to_target=two, to_device=pubrec(1))
        self.check(connection.down(pubrec(2)), to_device=pubrec(2))
        self.check(connection.up(pubrel(1), pubrel(2)), to_target=pubrel(2), to_device=pubcomp(1))
        self.check(connection.down(pubcomp(2)), to_device=pubcomp(2))

    def test_with_the_connection(self) -> None:
        up, down = Choices(denied_publish="disconnect"), Choices(denied_delivery="disconnect")
        for side, choices in ((UP, up), (DOWN, down)):
            for qos in (0, 1, 2):
                for version, told in ((3, b""), (4, b""), (5, wire.disconnect(0x87, NO))):
                    connection = opened(handler(**{side.hook: refuse}), version=version, choices=choices)
                    side.near(connection, publish(qos=qos, version=version) * 2)
                    self.assertIsInstance(connection.closing, Denied)
                    self.check_refused(connection, "not_authorised", side.hook)
                    connection = opened(handler(**{side.hook: refuse}), version=version, choices=choices)
                    self.check(side.near(connection, publish(qos=qos, version=version)), to_device=told)

    def test_a_device_that_finishes_nothing(self) -> None:
        for side in (UP, DOWN):
            connection = opened(handler(**{side.hook: refuse}))
            for packet_id in range(1, MOST_SWALLOWED + 1):
                side.near(connection, publish(qos=2, packet_id=packet_id))
            self.assertIsNone(connection.closing)
            side.near(connection, publish(qos=2, packet_id=MOST_SWALLOWED + 1))
            assert isinstance(connection.closing, Denied)
            self.assertEqual(connection.closing.kind, "quota")

    def test_a_copy_of_what_was_forwarded_can_not_be_refused_alone(self) -> None:
        """The target has the first one: neither a refusal nor an acknowledgement would be true."""
        for side in (UP, DOWN):
            for version in (3, 4, 5):
                answers = iter([None, False])
                connection = opened(handler(**{side.hook: lambda *_, answers=answers: next(answers)}), version=version)
                message = publish(qos=2, version=version)
                self.assertEqual(side.near(connection, message), side.sent(far=message))
                sent = side.near(connection, publish(qos=2, dup=True, version=version))
                self.assertEqual(sent, Sent(b"", wire.disconnect(0x87) if version == 5 else b""))
                self.assertIsInstance(connection.closing, Denied)

    def test_after_its_release_it_can(self) -> None:
        answers = iter([None, False])
        connection = opened(handler(auth_publish=lambda *_: next(answers)))
        connection.up(publish(qos=2), pubrel())
        self.check(connection.up(publish(qos=2)), to_device=pubrec())
        self.assertIsNone(connection.closing)

    def test_after_the_target_refused_it_can(self) -> None:
        answers = iter([None, False])
        connection = opened(handler(auth_publish=lambda *_: next(answers)), version=5)
        connection.up(publish(qos=2, version=5))
        self.check(connection.down(pubrec(1, 0x97)), to_device=pubrec(1, 0x97))
        self.check(connection.up(publish(qos=2, version=5)), to_device=pubrec(1, 0x87))


class LoweredTests(RelayTest):
    """A hook may lower the QoS: each side gets the handshake of its own QoS, and no other."""

    def opened(self, side: Side, qos: int, version: int) -> Connection:
        return opened(handler(**{side.hook: edit(qos=qos)}), version=version)

    def each(self, qos: int) -> Any:
        for side in (UP, DOWN):
            for version in (3, 4, 5):
                with self.subTest(side.hook, version=version):
                    yield side, version, self.opened(side, qos, version)

    def test_1_to_0(self) -> None:
        for side, version, connection in self.each(0):
            sent = side.near(connection, publish(qos=1, packet_id=7, version=version))
            self.assertEqual(sent, side.sent(far=publish(version=version), near=puback(7)))

    def test_2_to_0(self) -> None:
        for side, version, connection in self.each(0):
            sent = side.near(connection, publish(qos=2, packet_id=7, version=version))
            self.assertEqual(sent, side.sent(far=publish(version=version), near=pubrec(7)))
            again = side.near(connection, publish(qos=2, packet_id=7, dup=True, version=version))
            self.assertEqual(again, side.sent(near=pubrec(7)), "not forwarded twice")
            self.assertEqual(side.near(connection, pubrel(7)), side.sent(near=pubcomp(7)))

    def test_2_to_1(self) -> None:
        for side, version, connection in self.each(1):
            sent = side.near(connection, publish(qos=2, packet_id=7, dup=True, version=version))
            self.assertEqual(sent, side.sent(far=publish(qos=1, packet_id=7, dup=True, version=version)))
            self.assertEqual(side.far(connection, puback(7)), side.sent(near=pubrec(7)))
            self.assertEqual(side.near(connection, pubrel(7)), side.sent(near=pubcomp(7)))
            self.assertEqual(side.far(connection, puback(7)), side.sent(near=puback(7)), "no message of ours any more")

    def test_2_to_1_and_the_far_side_refuses(self) -> None:
        for side in (UP, DOWN):
            connection = self.opened(side, 1, 5)
            side.near(connection, publish(qos=2, packet_id=7, version=5))
            self.assertEqual(side.far(connection, puback(7, 0x97, NO)), side.sent(near=pubrec(7, 0x97, NO)))
            sent = side.near(connection, publish(qos=2, packet_id=7, version=5))
            self.assertEqual(sent, side.sent(far=publish(qos=1, packet_id=7, version=5)), "that exchange is over")

    def test_2_to_1_beside_others(self) -> None:
        hook = {"auth_publish": lambda session, topic, payload: Message(qos=1) if topic == "lower" else None}
        connection = opened(handler(**hook))
        connection.up(publish("lower", qos=2, packet_id=1), publish("as is", qos=1, packet_id=2))
        self.check(connection.down(puback(2), pubrec(3), pubcomp(4)), to_device=puback(2) + pubrec(3) + pubcomp(4))
        self.check(connection.down(puback(1)), to_device=pubrec(1))

    def test_never_raised(self) -> None:
        for side in (UP, DOWN):
            for came, wanted in ((0, 1), (1, 2), (0, 3), (1, -1), (1, "0"), (2, 3)):
                connection = opened(handler(**{side.hook: edit(qos=wanted)}), version=5)
                side.near(connection, publish(qos=came, version=5))
                self.check_refused(connection, "handler_fault", side.hook)


class EditedTests(RelayTest):
    def test_each_field(self) -> None:
        for side in (UP, DOWN):
            for version in (3, 4, 5):
                for fields, far in (
                    ({"topic": "ü"}, publish("ü", b"p", qos=1, version=version)),
                    ({"payload": b""}, publish("a", b"", qos=1, version=version)),
                    ({"retain": True}, publish("a", b"p", qos=1, retain=True, version=version)),
                    ({}, publish("a", b"p", qos=1, version=version)),
                ):
                    connection = opened(handler(**{side.hook: edit(**fields)}), version=version)
                    sent = side.near(connection, publish("a", b"p", qos=1, version=version))
                    self.assertEqual(sent, side.sent(far=far))

    def test_properties(self) -> None:
        one, two = wire.user_property("k", "1"), wire.user_property("k", "2")
        for properties, props in ((None, one), (Properties(), b""), ([(PropertyId.USER_PROPERTY, ("k", "2"))], two)):
            connection = opened(handler(auth_publish=edit(topic="b", properties=properties)), version=5)
            sent = connection.up(publish("a", version=5, props=one))
            self.check(sent, to_target=publish("b", version=5, props=props))
        connection = opened(handler(auth_publish=edit(topic="b", properties=Properties([(38, ("k", "v"))]))), version=4)
        self.check(connection.up(publish("a")), to_target=publish("b"))

    def test_what_cannot_be_sent(self) -> None:
        for fields in (
            {"topic": ""}, {"topic": "a/#"}, {"topic": "+"}, {"topic": "\0"}, {"topic": "\ud800"},
            {"topic": "a" * 70_000}, {"topic": "/" * 128}, {"properties": 5}, {"properties": [5]},
            {"properties": [(PropertyId.USER_PROPERTY, "v")]}, {"properties": [(99, 1)]},
        ):  # fmt: skip
            for side in (UP, DOWN):
                with self.subTest(repr(fields)[:40], side=side.hook):
                    connection = opened(handler(**{side.hook: edit(**fields)}), version=5)
                    self.assertEqual(side.near(connection, publish(version=5)), Sent())
                    self.check_refused(connection, "handler_fault", side.hook)

    def test_too_large_for_the_far_side(self) -> None:
        fits, larger = b"x" * 80, b"x" * 93
        for side in (UP, DOWN):
            props = {"connack_props" if side is UP else "props": largest(100)}
            for payload in (fits, larger):
                connection = opened(handler(**{side.hook: edit(payload=payload)}), version=5, **props)
                sent = side.near(connection, publish("a", b"", qos=1, packet_id=7, version=5))
                if payload is fits:
                    self.assertEqual(sent, side.sent(far=publish("a", fits, qos=1, packet_id=7, version=5)))
                elif side is UP:
                    reason = b"\x1f" + wire.text("the changed packet is larger than the receiver takes")
                    self.check(sent, to_device=puback(7, 0x97, reason))
                else:
                    self.check(sent, to_target=puback(7))

    def test_larger_than_the_limit(self) -> None:
        connection = opened(handler(auth_publish=edit(payload=bytes(200))), limits=Limits(max_packet_size=100))
        self.check(connection.up(publish(qos=1)), to_device=puback())
        self.check_refused(connection, "too_large")

    def test_too_large_and_of_qos_2(self) -> None:
        """Nothing of it was forwarded, so the gateway finishes it."""
        for version in (3, 4):
            connection = opened(
                handler(auth_publish=edit(payload=bytes(200))), limits=Limits(max_packet_size=100), version=version
            )
            self.check(connection.up(publish(qos=2)), to_device=pubrec())
            self.check(connection.up(pubrel()), to_device=pubcomp())


class ControlTests(RelayTest):
    """`$SYS` and `$CONTROL` are closed to devices, unless a handler names them."""

    def test_closed(self) -> None:
        for hooks in (
            {},
            {"auth_publish": lambda *_: None},
            {"auth_publish": lambda *_: True},
            {"auth_publish": lambda _, topic, payload: Message(payload=b"signed") if topic[0] == "$" else None},
        ):
            for topic in ("$SYS/a", "$CONTROL/dynamic-security/v1"):
                connection = opened(handler(**hooks))
                self.check(connection.up(publish(topic, qos=1)), to_device=puback())
                connection = opened(handler(**hooks), version=5)
                sent = connection.up(publish(topic, qos=1, version=5) * 2, publish("a", version=5))
                self.assertEqual(sent.to_target, publish("a", version=5))
                self.assertEqual([one[4] for one in wire.packets(sent.to_device)[0]], [0x87, 0x87])
                refusal = ("not_authorised", "", "", "the topic controls the target")
                self.assertEqual(connection.notebook.refusals, [refusal] * 2)

    def test_opened(self) -> None:
        for message in (publish("$SYS/a"), publish("$SYS/a", qos=1)):
            connection = opened(handler(auth_publish=edit(topic="$SYS/a")))
            self.check(connection.up(message), to_target=message)

    def test_from_the_target(self) -> None:
        for hooks in ({}, {"auth_deliver": lambda *_: None}):
            message = publish("$SYS/broker/uptime")
            self.check(opened(handler(**hooks)).down(message), to_device=message)


class AliasTests(RelayTest):
    """Aliases are those of the near side; the far side gets one only if it knows it."""

    def opened(self, side: Side, *plugins: Any) -> Connection:
        return opened(*plugins, version=5, **{"connack_props" if side is UP else "props": ALIASES})

    def test_pass_as_they_came(self) -> None:
        for side in (UP, DOWN):
            for hooks in ({}, {side.hook: lambda *_: None}):
                connection = self.opened(side, handler(**hooks))
                for message in (publish("a", version=5, props=alias(1)), publish("", version=5, props=alias(1))):
                    self.assertEqual(side.near(connection, message), side.sent(far=message))

    def test_the_handler_is_asked_about_the_topic(self) -> None:
        for side in (UP, DOWN):
            asked: list[str] = []
            hook = {side.hook: lambda session, topic, payload, asked=asked: asked.append(topic)}
            connection = self.opened(side, handler(**hook))
            side.near(connection, publish("a", version=5, props=alias(1)), publish("", version=5, props=alias(1)))
            self.assertEqual(asked, ["a", "a"])

    def test_behind_a_packet_that_did_not_arrive(self) -> None:
        """What set the alias was refused, changed or too large: the topic is sent along with the next one, once."""
        first = publish("a", b"1", version=5, props=alias(1))
        bare, full = publish("", b"2", version=5, props=alias(1)), publish("a", b"2", version=5, props=alias(1))

        def judge(answer: Any) -> Any:
            return lambda session, topic, payload: answer if payload == b"1" else None

        def refuse_last(session: Any, packet: Any, direction: Any) -> Any:
            return False if isinstance(packet, Publish) and packet.payload == b"1" else None

        for side in (UP, DOWN):
            for plugin, far in (
                (handler(**{side.hook: judge(Denied())}), b""),
                (handler(**{side.hook: judge(Message("x"))}), publish("x", b"1", version=5)),
                (handler(**{side.hook: judge(Message(payload=bytes(1 << 20)))}), b""),
                (interceptor(after=refuse_last), b""),
            ):
                connection = self.opened(side, plugin)
                self.assertEqual(side.near(connection, first), side.sent(far=far))
                self.assertEqual(side.near(connection, bare), side.sent(far=full))
                self.assertEqual(side.near(connection, bare), side.sent(far=bare))

    def test_a_topic_that_does_not_fit_beside_its_alias(self) -> None:
        connection = opened(handler(auth_publish=lambda session, topic, payload: payload != b"1"), version=5,
                            connack_props=ALIASES + largest(50))  # fmt: skip
        topic = "t" * 40
        connection.up(publish(topic, b"1", version=5, props=alias(1)))
        self.assertEqual(connection.up(publish("", bytes(20), version=5, props=alias(1))).to_target, b"")
        small = publish("", b"", version=5, props=alias(1))
        self.check(connection.up(small), to_target=publish(topic, b"", version=5, props=alias(1)))
        self.check(connection.up(small), to_target=small)

    def test_an_edit_leaves_the_alias_behind(self) -> None:
        for side in (UP, DOWN):
            connection = self.opened(side, handler(**{side.hook: edit(topic="x")}))
            for topic in ("a", ""):
                sent = side.near(connection, publish(topic, version=5, props=alias(1)))
                self.assertEqual(sent, side.sent(far=publish("x", version=5)))

    def test_refused(self) -> None:
        for side in (UP, DOWN):
            for message, code in (
                (publish("a", version=5, props=alias(11)), 0x94), (publish("", version=5, props=alias(2)), 0x82),
            ):  # fmt: skip
                connection = self.opened(side)
                sent = side.near(connection, message * 2)
                self.assertEqual((sent.to_target, sent.to_device[0]), (b"", 0xE0))
                self.assertEqual(sent.to_device[2], code if side is UP else 0x83, "not the device's mistake")

    def test_nobody_announced_any(self) -> None:
        connection = opened(version=5)
        self.assertEqual(connection.up(publish("a", version=5, props=alias(1))).to_target, b"")
        assert isinstance(connection.closing, Malformed)
        self.assertEqual(connection.closing.code, 0x94)

    def test_levels_of_the_topic_behind_an_alias(self) -> None:
        connection = self.opened(UP)
        self.assertEqual(connection.up(publish("/" * 128, version=5, props=alias(1))).to_target, b"")
        self.assertIsInstance(connection.closing, Malformed)


class ToldTests(RelayTest):
    """`publish` is told of what the target has: QoS 0 when it was forwarded, else when it was acknowledged."""

    def opened(self, version: int, **hooks: Any) -> Connection:
        self.told: list[tuple[str, bytes]] = []
        note = handler("Told", publish=lambda session, topic, payload: self.told.append((topic, payload)))
        return opened(handler(**hooks), note, version=version, **({"connack_props": ALIASES} if version == 5 else {}))

    def test_qos_0(self) -> None:
        for version in (3, 4, 5):
            connection = self.opened(version)
            connection.up(publish("a", b"1", version=version), publish("$SYS/a", version=version))
            self.assertEqual(self.told, [("a", b"1")])

    def test_qos_1(self) -> None:
        for version, ack in ((3, puback(7)), (4, puback(7)), (5, puback(7)), (5, puback(7, 0)), (5, puback(7, 0x10))):
            connection = self.opened(version)
            connection.up(publish("a", b"1", qos=1, packet_id=7, version=version))
            self.assertEqual(self.told, [])
            self.check(connection.down(puback(6), ack, ack), to_device=puback(6) + ack * 2)
            self.assertEqual(self.told, [("a", b"1")], "once")

    def test_qos_2(self) -> None:
        for version, ack in ((3, pubrec(7)), (4, pubrec(7)), (5, pubrec(7)), (5, pubrec(7, 0x10, b""))):
            connection = self.opened(version)
            connection.up(publish("a", b"1", qos=2, packet_id=7, version=version))
            self.check(connection.down(pubcomp(7)), to_device=pubcomp(7))
            self.assertEqual(self.told, [])
            self.check(connection.down(ack), to_device=ack)
            self.assertEqual(self.told, [("a", b"1")])
            self.check(connection.up(pubrel(7)), to_target=pubrel(7))
            self.check(connection.down(pubcomp(7)), to_device=pubcomp(7))
            self.assertEqual(self.told, [("a", b"1")])

    def test_what_ends_an_exchange_tells_nothing(self) -> None:
        connection = self.opened(5)
        connection.up(publish("a", qos=2, version=5))
        self.check(connection.down(pubcomp(1, 0x92)), to_device=pubcomp(1, 0x92))
        self.assertEqual(self.told, [])

    def test_not_of_what_the_target_refused(self) -> None:
        connection = self.opened(5)
        connection.up(publish("a", qos=1, packet_id=1, version=5), publish("a", qos=2, packet_id=2, version=5))
        connection.down(puback(1, 0x97), pubrec(2, 0x87, b""))
        connection.down(puback(1), pubrec(2))
        self.assertEqual(self.told, [])

    def test_not_of_what_a_handler_refused(self) -> None:
        connection = self.opened(4, auth_publish=refuse)
        connection.up(publish(), publish(qos=1), publish(qos=2, packet_id=2))
        connection.down(puback(1), pubrec(2))
        self.assertEqual(self.told, [])

    def test_of_what_the_target_received(self) -> None:
        for qos in (0, 1):
            connection = self.opened(5, auth_publish=lambda s, topic, payload: Message("x/" + topic, payload * 2))
            connection.up(publish("a", b"1", qos=qos, version=5))
            connection.down(puback())
            self.assertEqual(self.told, [("x/a", b"11")])

    def test_of_what_was_lowered(self) -> None:
        for lowered, answer in ((0, b""), (1, puback(7))):
            connection = self.opened(4, auth_publish=edit(qos=lowered))
            connection.up(publish("a", b"1", qos=2, packet_id=7))
            connection.down(answer)
            self.assertEqual(self.told, [("a", b"1")])

    def test_by_its_topic(self) -> None:
        connection = self.opened(5)
        connection.up(publish("a", b"1", version=5, props=alias(1)), publish("", b"2", version=5, props=alias(1)))
        self.assertEqual(self.told, [("a", b"1"), ("a", b"2")])

    def test_not_of_deliveries(self) -> None:
        connection = self.opened(4)
        connection.down(publish(), publish(qos=1))
        connection.up(puback())
        self.assertEqual(self.told, [])


class LimitTests(RelayTest):
    def test_user_properties(self) -> None:
        one = wire.user_property("k", "v")
        for count, passes in ((3, True), (4, False)):
            connection = opened(version=5, limits=Limits(max_user_properties=3))
            message = publish(version=5, props=one * count)
            self.assertEqual(connection.up(message).to_target, message if passes else b"")
            if not passes:
                assert isinstance(connection.closing, Malformed)
                self.assertEqual(connection.closing.code, 0x97)

    def test_packet_identifier_0(self) -> None:
        for version in (3, 4, 5):
            for data in (publish(qos=1, packet_id=0, version=version), publish(qos=2, packet_id=0, version=version),
                         pubrel(0), puback(0), pubrec(0), pubcomp(0)):  # fmt: skip
                for plugins in ([], [handler(auth_publish=lambda *_: None)]):
                    connection = opened(*plugins, version=version)
                    self.assertEqual(connection.up(data).to_target, b"")
                    assert isinstance(connection.closing, Malformed)
                    self.assertEqual(connection.closing.code, 0x82)

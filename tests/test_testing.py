"""The fakes for authors of handlers show what devices and targets would see, and hide no fault of a handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import TestCase

from twisted.internet.defer import Deferred

from mgate.handler import Denied, Direction, Filter, Handler, Interceptor, Message, Session
from mgate.limits import Limits
from mgate.mqtt.choices import Choices
from mgate.mqtt.packets import (
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    Unsubscribe,
    Will,
)
from mgate.mqtt.properties import Properties, PropertyId
from mgate.testing import Effect, FakeTarget, LinkProbe, Refusal, RelayProbe, joined_link, relay_with


class Own(Handler):
    """Everybody below their own name; `told` is every notification."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Any, ...]] = []

    def auth_connect(self, session: Session) -> None:
        if session.username is None:
            raise Denied("bad credentials", "who are you?")

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Message | None:
        if not topic.startswith(f"{session.username}/"):
            raise Denied("not authorised", "yours only")
        return Message(payload=payload.upper())

    def auth_subscribe(self, session: Session, filters: list[str]) -> list[str | Denied | Filter]:
        return [each if each.startswith(f"{session.username}/") else Denied("bad topic") for each in filters]

    def auth_deliver(self, session: Session, topic: str, payload: bytes) -> None:
        if topic.endswith("/secret"):
            raise Denied("not authorised")

    def connect(self, session: Session) -> None:
        self.told.append(("connect", session.id))

    def publish(self, session: Session, topic: str, payload: bytes) -> None:
        self.told.append(("publish", topic, payload))

    def subscribe(self, session: Session, granted: dict[str, int]) -> None:
        self.told.append(("subscribe", granted))

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        self.told.append(("unsubscribe", filters))

    def disconnect(self, session: Session, reason: str) -> None:
        self.told.append(("disconnect", reason))


class Slow(Handler):
    """Answers its first question when the test fires `answer`, and all others at once."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Deferred[Any] = Deferred()
        self.asked = 0

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        self.asked += 1
        return self.answer if self.asked == 1 else None


class SlowWelcome(Slow):
    """Takes its time for CONNECT too."""

    def auth_connect(self, session: Session) -> Any:
        return self.answer


class Faulty(Handler):
    """A typing mistake in each hook."""

    def auth_publish(self, session: Session, topic: str, payload: bytes) -> Any:
        return topic.missing  # type: ignore[attr-defined]

    def disconnect(self, session: Session, reason: str) -> Any:
        return reason.missing  # type: ignore[attr-defined]


class Hop(Interceptor):
    """Notes which packets it saw, and adds a hop to messages."""

    def __init__(self) -> None:
        super().__init__()
        self.saw: list[tuple[str, Direction]] = []

    def before(self, session: Session, packet: Packet, direction: Direction) -> None:
        self.saw.append((packet.type.name, direction))

    def after(self, session: Session, packet: Packet, direction: Direction) -> Packet | None:
        if isinstance(packet, Publish):
            return Publish(f"hop/{packet.topic}", packet.payload)
        return None


class RelayWithTests(TestCase):
    """One step, and what it led to."""

    def test_allowed_message_reaches_the_target_as_the_handler_left_it(self) -> None:
        handler = Own()
        device = relay_with(handler, username="alice")
        effect = device.publish("alice/t", b"hi", qos=1)
        self.assertEqual(effect.published, [("alice/t", b"HI")])
        self.assertEqual(effect.codes, [0])
        self.assertFalse(effect.waiting)
        self.assertEqual(handler.told, [("connect", "device"), ("publish", "alice/t", b"HI")])

    def test_refusal_in_the_words_of_each_version(self) -> None:
        for version, codes, reasons in ((3, [0], []), (4, [0], []), (5, [0x87], ["yours only"])):
            with self.subTest(version=version):
                device = relay_with(Own(), version=version, username="alice")
                effect = device.publish("bob/t", qos=1)
                self.assertEqual((effect.published, effect.codes, effect.reasons), ([], codes, reasons))
                self.assertEqual(device.refusals, [Refusal("not_authorised", "Own", "auth_publish", "yours only")])
                self.assertIsNone(effect.closed)

    def test_one_of_two_filters(self) -> None:
        handler = Own()
        device = relay_with(handler, username="alice")
        effect = device.subscribe("alice/#", "bob/#", qos=1)
        self.assertEqual(effect.codes, [1, 0x8F])
        (sent,) = effect.to_target
        assert isinstance(sent, Subscribe)
        self.assertEqual([each.filter for each in sent.subscriptions], ["alice/#"])
        self.assertEqual(device.unsubscribe("alice/#").codes, [0])
        self.assertEqual(handler.told[1:], [("subscribe", {"alice/#": 1}), ("unsubscribe", ["alice/#"])])

    def test_delivery(self) -> None:
        device = relay_with(Own(), username="alice")
        self.assertEqual(device.deliver("alice/t", b"x").delivered, [("alice/t", b"x")])
        effect = device.deliver("alice/secret", b"x", qos=1)
        self.assertEqual(effect.delivered, [])
        self.assertIsInstance(effect.to_target[0], Puback)

    def test_connect_is_a_step_of_its_own_where_it_is_what_is_tested(self) -> None:
        device = relay_with(Own(), opened=False)
        effect = device.connect()
        self.assertEqual((effect.to_target, effect.codes, effect.reasons), ([], [0x86], ["who are you?"]))
        self.assertIsInstance(effect.closed, Denied)

    def test_connect_fields(self) -> None:
        device = relay_with(Own(), username="alice", client_id="a", will=Will("alice/gone", b"x"), keep_alive=7)
        (connect,) = device.target.packets
        assert isinstance(connect, Connect)
        self.assertEqual((connect.client_id, connect.keep_alive), ("a", 7))
        self.assertEqual(connect.will and connect.will.payload, b"X")
        self.assertEqual((device.session.username, device.session.peer.host), ("alice", "192.0.2.1"))

    def test_refused_connection_is_no_open_one(self) -> None:
        with self.assertRaisesRegex(AssertionError, "who are you"):
            relay_with(Own())

    def test_unanswered_connection_is_no_open_one(self) -> None:
        with self.assertRaisesRegex(AssertionError, "has not answered"):
            relay_with(SlowWelcome())

    def test_late_answer_is_added_to_its_effect(self) -> None:
        handler = Slow()
        device = relay_with(handler)
        effect = device.publish("t", b"1", qos=1)
        behind = device.publish("t", b"2", qos=1)
        self.assertTrue(effect.waiting)
        self.assertEqual(effect.to_target + behind.to_target, [])
        handler.answer.callback(None)
        self.assertFalse(effect.waiting)
        self.assertEqual(effect.published, [("t", b"1"), ("t", b"2")])
        self.assertEqual(effect.codes, [0, 0])

    def test_late_welcome(self) -> None:
        handler = SlowWelcome()
        device = relay_with(handler, opened=False)
        effect = device.connect()
        self.assertTrue(effect.waiting)
        handler.answer.callback(None)
        self.assertEqual(effect.codes, [0])

    def test_no_answer_in_time(self) -> None:
        handler = Slow()
        device = relay_with(handler, raise_faults=False)
        effect = device.publish("t", qos=1)
        device.time_out()
        self.assertEqual(effect.codes, [0x83])
        self.assertEqual(effect.published, [])
        self.assertIsInstance(device.faults[0], TimeoutError)

    def test_answer_after_the_end_is_dropped(self) -> None:
        handler = Slow()
        device = relay_with(handler)
        effect = device.publish("t", qos=1)
        device.end()
        handler.answer.callback(None)
        self.assertEqual(effect.to_target, [])

    def test_disconnect_hook(self) -> None:
        steps: list[tuple[Callable[[RelayProbe], object], str]] = [
            (lambda device: device.disconnect(), "disconnect"),
            (lambda device: device.end(), "device_lost"),
            (lambda device: device.end("target_lost"), "target_lost"),
            (lambda device: device.publish("bob/t"), "not_authorised"),
        ]
        for step, reason in steps:
            with self.subTest(reason):
                handler = Own()
                device = relay_with(handler, username="alice", choices=Choices(denied_publish="disconnect"))
                step(device)
                device.end()
                self.assertEqual(handler.told[1:], [("disconnect", reason)])

    def test_fault_is_raised_in_the_test(self) -> None:
        device = relay_with(Faulty())
        with self.assertRaises(AttributeError):
            device.publish("t")
        with self.assertRaises(AttributeError):
            device.end()

    def test_fault_of_a_late_answer_is_raised_in_the_next_step(self) -> None:
        handler = Slow()
        device = relay_with(handler)
        device.publish("t")
        handler.answer.errback(KeyError("x"))
        with self.assertRaises(KeyError):
            device.send(Pingreq())

    def test_fault_as_devices_see_it(self) -> None:
        device = relay_with(Faulty(), raise_faults=False)
        self.assertEqual(device.publish("t", qos=1).codes, [0x83])
        self.assertEqual(device.counters.handler_faults, 1)
        self.assertIsInstance(device.faults[0], AttributeError)

    def test_interceptor(self) -> None:
        hop = Hop()
        device = relay_with(Own(), hop, username="alice")
        self.assertEqual(device.publish("alice/t", b"x").published, [("hop/alice/t", b"X")])
        self.assertEqual(hop.saw, [
            ("CONNECT", Direction.UPLINK), ("CONNACK", Direction.DOWNLINK), ("PUBLISH", Direction.UPLINK),
        ])  # fmt: skip

    def test_named_handlers(self) -> None:
        device = relay_with(("own", Own()), username="alice")
        device.publish("bob/t")
        self.assertEqual(device.refusals[0].handler, "own")

    def test_limits(self) -> None:
        device = relay_with(limits=Limits(max_topic_levels=2))
        effect = device.publish("a/b/c")
        self.assertEqual(effect.reasons, [])
        self.assertIn("levels", str(effect.closed))

    def test_raw_packets(self) -> None:
        device = relay_with(Own(), username="alice")
        self.assertEqual(device.send(Pingreq()).to_device, [Pingresp()])
        effect = device.send(Publish("alice/t", b"x", 2, packet_id=7), Pubrel(7))
        self.assertEqual([type(each) for each in effect.to_device], [Pubrec, Pubcomp])
        self.assertEqual(device.from_target(Pingresp()).to_device, [Pingresp()])


class FakeTargetTests(TestCase):
    """A target may also disagree."""

    class Strict(FakeTarget):
        def answer(self, packet: Packet) -> list[Packet]:
            match packet:
                case Connect(client_id="wrong"):
                    return [Connack(0x85)]
                case Subscribe():
                    return [Suback(packet.packet_id, [0x87] * len(packet.subscriptions))]
            return list(super().answer(packet))

    def test_its_refusals_reach_the_device(self) -> None:
        handler = Own()
        device = relay_with(handler, target=self.Strict(), username="alice")
        self.assertEqual(device.subscribe("alice/#", "bob/#").codes, [0x87, 0x8F])
        self.assertEqual(handler.told, [("connect", "device")])

    def test_refused_connect(self) -> None:
        device = relay_with(target=self.Strict(), opened=False)
        effect = device.connect("wrong")
        self.assertEqual(effect.codes, [0x85])
        self.assertIsNotNone(effect.closed)

    def test_unsubscribe_below_version_5_has_no_codes(self) -> None:
        device = relay_with(version=4)
        effect = device.send(Unsubscribe(1, ["a", "b"]))
        self.assertEqual(effect.codes, [])
        self.assertEqual(len(effect.to_device), 1)


class JoinedLinkTests(TestCase):
    """The same connection with its link, on a clock."""

    def test_message_and_its_acknowledgement(self) -> None:
        link = joined_link(Own(), username="alice")
        link.publish("alice/t", b"hi", qos=1)
        message = link.target.packets[-1]
        assert isinstance(message, Publish)
        self.assertEqual((message.topic, message.payload), ("alice/t", b"HI"))
        self.assertEqual(Effect(to_device=link.received).codes, [0, 0])
        self.assertFalse(link.closed)

    def test_target_is_dialled_when_the_handlers_have_agreed(self) -> None:
        handler = SlowWelcome()
        link = joined_link(handler, opened=False)
        link.connect()
        with self.assertRaisesRegex(AssertionError, "not dialled"):
            link.lose_target()
        handler.answer.callback(None)
        link.advance(0)
        self.assertIsInstance(link.target.packets[0], Connect)
        self.assertIsInstance(link.received[0], Connack)

    def test_handler_that_never_answers(self) -> None:
        link = joined_link(Slow(), raise_faults=False, limits=Limits(handler_timeout=3))
        link.publish("t", qos=1)
        link.advance(2.9)
        self.assertEqual(len(link.received), 1)
        link.advance(0.2)
        self.assertEqual(Effect(to_device=link.received).codes, [0, 0x83])

    def test_silent_device(self) -> None:
        handler = Own()
        link = joined_link(handler, username="alice", keep_alive=10)
        link.advance(14)
        self.assertFalse(link.closed)
        link.advance(2)
        self.assertTrue(link.closed)
        last = link.received[-1]
        assert isinstance(last, Disconnect)
        self.assertEqual(last.reason_code, 0x8D)
        self.assertEqual(handler.told[-1], ("disconnect", "keep_alive"))

    def test_each_end_may_go_first(self) -> None:
        steps: list[tuple[Callable[[LinkProbe], None], str]] = [
            (lambda link: link.disconnect(), "disconnect"),
            (lambda link: link.lose_device(), "device_lost"),
            (lambda link: link.lose_target(), "target_lost"),
            (lambda link: link.close_target(), "target_closed"),
        ]
        for step, reason in steps:
            with self.subTest(reason):
                handler = Own()
                link = joined_link(handler, username="alice")
                step(link)
                link.advance(0)
                self.assertTrue(link.closed)
                self.assertEqual(handler.told[1:], [("disconnect", reason)])
                self.assertEqual(link.clock.getDelayedCalls(), [])

    def test_target_speaks(self) -> None:
        link = joined_link(version=4)
        link.from_target(Publish("t", b"x"))
        self.assertEqual(link.received[-1], Publish("t", b"x"))

    def test_refused_connection_is_no_open_one(self) -> None:
        with self.assertRaisesRegex(AssertionError, "who are you"):
            joined_link(Own())

    def test_limit_of_connections(self) -> None:
        with self.assertRaisesRegex(AssertionError, "limit"):
            joined_link(limits=Limits(max_connections=0))

    def test_fault_is_raised_in_the_test(self) -> None:
        link = joined_link(Faulty())
        with self.assertRaises(AttributeError):
            link.publish("t")

    def test_assigned_client_identifier(self) -> None:
        class Names(Handler):
            def auth_connect(self, session: Session) -> None:
                session.id = session.id or "given"

        link = joined_link(Names(), client_id="")
        connack = link.received[0]
        assert isinstance(connack, Connack)
        self.assertEqual((connack.properties or Properties()).get(PropertyId.ASSIGNED_CLIENT_IDENTIFIER), "given")

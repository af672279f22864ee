"""What reviewers broke, as bytes: each of these once let something through, or took far too long."""

from __future__ import annotations

from typing import Any
from unittest import mock

from mgate.errors import Denied
from mgate.mqtt import relay as relay_module
from mgate.mqtt.connecting import OPEN
from mgate.mqtt.lane import NOTHING
from mgate.outcome import Direction
from tests import wire
from tests.mqtt.relays import Asking, Connection, RelayTest, handler, interceptor, opened
from tests.wire import auth, connack, connect, publish

UPLINK, DOWNLINK = Direction.UPLINK, Direction.DOWNLINK
METHOD = b"\x15" + wire.text("SCRAM")


def below(prefix: str) -> Any:
    def auth_publish(session: Any, topic: str, payload: bytes) -> None:
        if not topic.startswith(prefix):
            raise Denied("not authorised")

    return handler(auth_publish=auth_publish)


class InPlaceTests(RelayTest):
    """An interceptor may change the packet that it was given: what was judged is what goes on."""

    def test_before(self) -> None:
        for returned in (True, False):

            def before(session: Any, packet: Any, direction: Any, returned: bool = returned) -> Any:
                if hasattr(packet, "topic"):
                    packet.topic = "tenant/" + packet.topic
                    return packet if returned else None
                return None

            connection = opened(interceptor(before=before), below("tenant/"))
            self.check(connection.up(publish("secret/x")), to_target=publish("tenant/secret/x"))

    def test_after(self) -> None:
        def after(session: Any, packet: Any, direction: Any) -> Any:
            if hasattr(packet, "payload"):
                packet.payload = b"REDACTED"
            return packet

        connection = opened(interceptor(after=after), below(""))
        self.check(connection.up(publish("a", b"plain")), to_target=publish("a", b"REDACTED"))

    def test_untouched_packets_leave_as_they_came(self) -> None:
        connection = opened(interceptor(before=lambda *_: None), version=5)
        data = publish("a", props=b"\x01\x01", version=5) + wire.PINGREQ
        self.check(connection.up(data), to_target=data)

    def test_properties_of_a_will(self) -> None:
        def auth_connect(session: Any) -> None:
            session.will.properties.remove(0x26)

        connection = Connection(handler(auth_connect=auth_connect), version=5)
        secret = wire.user_property("key", "SECRET")
        with_it = connect(version=5, will=wire.Will(properties=secret))
        without = connect(version=5, will=wire.Will(properties=b""))
        self.check(connection.up(with_it), to_target=without)


class PacedTests(RelayTest):
    """Work that a device can cause is linear in what it sends."""

    def test_held_packets_are_looked_at_once_or_nearly(self) -> None:
        asking = Asking()
        connection = opened(handler(auth_publish=asking))
        packets = [publish(str(number)) for number in range(500)]
        looked_at = 0
        split = relay_module.split

        def counted(*arguments: Any) -> Any:
            nonlocal looked_at
            result = split(*arguments)
            looked_at += sum(len(spans) for _, spans in result[0])
            return result

        with mock.patch.object(relay_module, "split", counted):
            connection.up(b"".join(packets))
            while asking.open:
                asking.admit()
        self.assertEqual(connection.sent().to_target, b"".join(packets))
        self.assertLess(looked_at, 100 * len(packets))

    def test_a_chunk_is_taken_whole_again_when_nobody_thinks(self) -> None:
        asking = Asking()
        connection = opened(
            handler(auth_publish=lambda session, topic, payload: asking(session) if topic == "ask" else None)
        )
        plain = publish("a", bytes(300)) * 3
        connection.up(publish("ask") + plain)
        asking.admit()
        self.check(connection.sent(), to_target=publish("ask") + plain)
        self.check(connection.up(plain), to_target=plain)

    def test_the_target_speaks_next(self) -> None:
        connection = Connection(version=5)
        connection.up(connect(version=5, props=METHOD))
        self.check(connection.up(auth(0x18, METHOD) * 1000))
        self.assertIsNone(connection.closing)
        connection.down(auth(0x18, METHOD))
        self.assertIsNotNone(connection.closing, "more than one AUTH behind that of the target")


class CrossingTests(RelayTest):
    """Both directions at once."""

    def test_connack_while_an_interceptor_thinks_about_auth(self) -> None:
        asking = Asking()

        def before(session: Any, packet: Any, direction: Direction) -> Any:
            return asking(session) if packet.type == 15 and direction is UPLINK else None

        connection = Connection(interceptor(before=before), version=5)
        connection.up(connect(version=5, props=METHOD))
        connection.down(auth(0x18, METHOD))
        self.check(connection.up(auth(0x18, METHOD)))
        self.check(connection.down(connack(version=5)), to_device=connack(version=5))
        self.assertEqual(connection.relay.state, OPEN)
        asking.admit()
        self.check(connection.sent(), to_target=auth(0x18, METHOD))

    def test_a_hook_that_has_the_other_direction_decided(self) -> None:
        asking = Asking()
        connection = opened(
            handler(auth_deliver=asking, auth_publish=lambda session, topic, payload: asking.refuse(Denied("quota"))),
            version=5,
        )
        connection.down(publish("down", version=5))
        self.check(connection.up(publish("up", version=5)), to_target=publish("up", version=5))
        self.assertEqual(NOTHING, ())
        self.assertIsNone(connection.closing)

    def test_nothing_comes_behind_the_disconnect_of_a_target(self) -> None:
        connection = opened(version=5)
        goodbye = wire.disconnect(0x8B)
        self.check(connection.down(goodbye + publish("late", version=5)), to_device=goodbye)
        self.check(connection.down(publish("later", version=5)))

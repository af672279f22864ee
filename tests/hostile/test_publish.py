"""PUBLISH: topics, sizes, flags and identifiers that break the protocol, and odd ones that have to pass."""

from __future__ import annotations

from typing import Any

from mgate.handler import Handler, Message
from tests import wire
from tests.gateway import WITNESS, Script
from tests.hostile.refusals import HostileTest
from tests.hostile.test_connect import BAD_TEXT, GOOD_TEXT
from tests.wire import connack, connect, packet, properties, publish, short, text

MIB = 1 << 20


class BadPublish(HostileTest):
    """Cases that end the connection."""

    async def both(self, make: Any, codes: list[int]) -> None:
        """`make(version)` gives the cases of a version."""
        for version in (3, 4, 5):
            await self.refused(make(version), version=version, codes=codes)

    async def test_m27_qos_3(self) -> None:
        await self.both(
            lambda version: {
                f"first byte {first:#x}": packet(first, text("a/b") + short(1) + properties(version, b"") + b"x")
                for first in (0x36, 0x37, 0x3E, 0x3F)
            },
            [0x81],
        )

    async def test_m28_dup_with_qos_0(self) -> None:
        for version in (4, 5):
            await self.refused(
                {
                    "DUP": publish(dup=True, version=version),
                    "DUP and retain": publish(dup=True, retain=True, version=version),
                },
                version=version,
                codes=[0x81],
            )

    async def test_m28_packet_identifier_0(self) -> None:
        await self.both(
            lambda version: {
                f"QoS {qos}, DUP {dup}": publish(qos=qos, packet_id=0, dup=dup, version=version)
                for qos in (1, 2)
                for dup in (False, True)
            },
            [0x82],
        )

    async def test_m29_empty_topic(self) -> None:
        await self.both(
            lambda version: {f"QoS {qos}": publish("", qos=qos, version=version) for qos in (0, 1, 2)}, [0x82]
        )

    async def test_m30_wildcard_in_topic_name(self) -> None:
        topics = ("+", "#", "a/+", "a/#", "+/b", "a/+/b", "a+b", "a#", "#a", "/+", "a/b+", "sport/#/x")
        await self.both(
            lambda version: {topic: publish(topic, qos=len(topic) % 3, version=version) for topic in topics}, [0x90]
        )

    async def test_m31_topic_bad_utf8(self) -> None:
        await self.both(
            lambda version: {name: publish(raw, qos=1, version=version) for name, raw in BAD_TEXT.items()}, [0x81]
        )

    async def test_m31_odd_but_good_utf8_passes(self) -> None:
        for version in (3, 4, 5):
            await self.passed({name: publish(raw, version=version) for name, raw in GOOD_TEXT.items()}, version=version)

    async def test_m32_cut_inside_the_packet(self) -> None:
        await self.both(
            lambda version: {
                "no body": packet(0x30),
                "one byte": packet(0x30, b"\x00"),
                "topic longer than the packet": packet(0x30, b"\x00\x05a/b"),
                "topic far longer than the packet": packet(0x30, b"\xff\xffa/b"),
                "QoS 1, no body": packet(0x32),
                "QoS 1, no identifier": packet(0x32, text("a/b")),
                "QoS 1, half an identifier": packet(0x32, text("a/b") + b"\x00"),
                "QoS 2, no identifier": packet(0x34, text("a/b")),
                "QoS 2, half an identifier": packet(0x34, text("a/b") + b"\x00"),
            },
            [0x81],
        )

    async def test_m32_no_properties_v5(self) -> None:
        await self.refused(
            {
                "QoS 0": packet(0x30, text("a/b")),
                "QoS 1": packet(0x32, text("a/b") + short(1)),
                "half a length": packet(0x30, text("a/b") + b"\x80"),
            },
            version=5,
            codes=[0x81],
        )

    async def test_m33_empty_retained_and_100_kib_pass(self) -> None:
        for version in (3, 4, 5):
            await self.passed(
                {
                    "empty retained": publish("a/b", b"", retain=True, version=version),
                    "empty retained QoS 2": publish("a/b", b"", retain=True, qos=2, version=version),
                    "100 KiB": publish("a/b", bytes(range(256)) * 400, qos=1, version=version),
                },
                version=version,
            )

    async def test_m34_too_large_is_refused_at_the_header(self) -> None:
        await self.both(
            lambda version: {
                "1 MiB + 1, whole packet": b"\x30" + wire.varint(MIB + 1 - 4),
                "1 MiB + 1, remaining length": b"\x30" + wire.varint(MIB + 1),
                "256 MiB": b"\x32\xff\xff\xff\x7f" + text("a/b"),
                "SUBSCRIBE of 2 MiB": b"\x82" + wire.varint(2 * MIB),
            },
            [0x95],
        )

    async def test_m34_of_exactly_1_mib_passes(self) -> None:
        for version in (4, 5):
            head = len(publish("a/b", b"", version=version)) + 2
            whole = publish("a/b", b"x" * (MIB - head), version=version)
            self.assertEqual(len(whole), MIB)
            await self.passed({"1 MiB": whole}, version=version)

    async def test_m35_too_many_levels(self) -> None:
        await self.both(
            lambda version: {
                "65,535 slashes": publish(b"/" * 65535, version=version),
                "129 levels": publish("a/" * 128 + "a", version=version),
            },
            [0x81],
        )

    async def test_m57_good_then_bad(self) -> None:
        for version in (3, 4, 5):
            good = [publish("good", bytes([number]), qos=1, packet_id=number, version=version) for number in (1, 2, 3)]
            await self.refused(
                {
                    "wildcard": publish("bad/#", version=version),
                    "wildcard, good behind it": publish("bad/#", version=version) + good[0],
                },
                version=version,
                codes=[0x90],
                good=good,
            )


class Protected(HostileTest):
    """Topics that belong to the broker."""

    topics = ("$SYS/broker/x", "$SYS", "$CONTROL/dynamic-security/v1", "$CONTROL")

    async def test_m36_refused_in_3(self) -> None:
        for version in (3, 4):
            for gateway in await self.pair():
                for topic in self.topics:
                    before = gateway.refusals
                    device = await gateway.connected(version=version)
                    device.send(publish(topic, qos=0) + publish(topic, qos=1, packet_id=2))
                    self.assertEqual(await device.read_packet(), wire.puback(2), "acknowledged and dropped")
                    device.send(publish(topic, qos=2, packet_id=3))
                    self.assertEqual(await device.read_packet(), wire.pubrec(3))
                    device.send(wire.pubrel(3))
                    self.assertEqual(await device.read_packet(), wire.pubcomp(3), "finished by the gateway")
                    device.send(publish("a/b"))
                    await device.uplink.expect(publish("a/b"))
                    self.assertEqual(gateway.refusals - before, 3)

    async def test_m36_refused_in_5(self) -> None:
        for gateway in await self.pair():
            for topic in self.topics:
                before = gateway.refusals
                device = await gateway.connected(version=5)
                device.send(publish(topic, qos=0, version=5) + publish(topic, qos=1, packet_id=2, version=5))
                answer = await device.read_packet()
                self.assertEqual((answer[0], answer[2:5]), (0x40, b"\x00\x02\x87"))
                device.send(publish(topic, qos=2, packet_id=3, version=5))
                answer = await device.read_packet()
                self.assertEqual((answer[0], answer[2:5]), (0x50, b"\x00\x03\x87"))
                device.send(publish("a/b", version=5))
                await device.uplink.expect(publish("a/b", version=5))
                self.assertEqual(gateway.refusals - before, 3)

    async def test_m36_will_on_a_protected_topic(self) -> None:
        for topic in self.topics:
            await self.refused_at_connect({topic: connect(will=wire.Will(topic))}, codes=[5])
            await self.refused_at_connect({topic: connect(version=5, will=wire.Will(topic))}, version=5, codes=[0x87])

    async def test_m36_passes_where_the_handler_says_so(self) -> None:
        class Operator(Handler):
            def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
                return None if session.id == WITNESS else Message(topic, payload)

        gateway = await self.gateway(Operator())
        for version in (4, 5):
            device = await gateway.connected(version=version)
            message = publish("$CONTROL/x", b"{}", qos=1, version=version)
            device.send(message)
            await device.uplink.expect(message)

    async def test_m36_other_dollar_topics_pass(self) -> None:
        for version in (4, 5):
            topics = ("$share/g/a", "$SYSTEM/x", "$aws/things", "$", "a/$SYS")
            await self.passed({topic: publish(topic, version=version) for topic in topics}, version=version)


class Aliases(HostileTest):
    """Topic aliases (3.3.2.3.4); the CONNACK of the target allows five."""

    script = Script(connack=connack(version=5, props=b"\x22\x00\x05"))

    def with_alias(self, alias: int, topic: str = "a/b", **fields: Any) -> bytes:
        return publish(topic, version=5, props=b"\x23" + short(alias), **fields)

    async def test_m37_alias_out_of_range(self) -> None:
        cases = {str(alias): self.with_alias(alias) for alias in (0, 6, 65535)}
        cases["0, no topic"] = self.with_alias(0, "")
        cases["6, QoS 1"] = self.with_alias(6, qos=1)
        await self.refused(cases, version=5, codes=[0x94], script=self.script)

    async def test_m37_alias_where_none_is_allowed(self) -> None:
        await self.refused({"1": self.with_alias(1)}, version=5, codes=[0x94])

    async def test_m37_unknown_alias(self) -> None:
        await self.refused(
            {"never set": self.with_alias(1, ""), "never set, QoS 1": self.with_alias(5, "", qos=1)},
            version=5,
            codes=[0x82],
            script=self.script,
        )

    async def test_m37_an_alias_of_another_connection_is_unknown(self) -> None:
        for gateway in await self.pair():
            first = await gateway.connected(version=5, script=self.script)
            first.send(self.with_alias(1, "secret", qos=1) + self.with_alias(1, "", qos=1, packet_id=2))
            await first.uplink.until(lambda first=first: len(first.uplink.packets) == 3, "both")
            second = await gateway.connected(version=5, script=self.script, client_id="second")
            second.send(self.with_alias(1, ""))
            await self.check_ended(second, 5, [0x82])


class Streams(HostileTest):
    """Packets and segments do not have to agree."""

    async def test_m54_bytes_behind_disconnect_are_dropped(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                for behind in (publish(version=version), b"\x00\x00", b"\x30", b"\xff" * 20):
                    before = gateway.refusals
                    device = await gateway.connected(version=version)
                    device.send(wire.DISCONNECT + behind)
                    self.assertEqual(await device.read_until_closed(), b"")
                    await gateway.released()
                    self.assertEqual(device.uplink.behind_connect, wire.DISCONNECT)
                    self.assertEqual(gateway.refusals, before)

    async def test_m55_publish_pipelined_behind_connect(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                many = [publish("a/b", str(number).encode(), version=version) for number in range(100)]
                device = await gateway.device()
                device.send(connect(version=version) + b"".join(many))
                device.uplink = await gateway.target.accepted()
                await device.uplink.expect(*many)
                self.assertEqual(await device.read_packet(), connack(version=version))

    async def test_m55_bad_publish_pipelined_behind_connect(self) -> None:
        for version in (3, 4):
            for gateway in await self.pair():
                good = publish("good", version=version)
                device = await gateway.device()
                device.send(connect(version=version) + good + publish("a/#", version=version))
                device.uplink = await gateway.target.accepted()
                await device.read_until_closed()
                await gateway.released()
                self.assertIn(device.uplink.behind_connect, (b"", good), "the bad one does not go up")

    async def test_m56_three_in_one_segment(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                three = [publish(str(number), qos=number, version=version) for number in range(3)]
                device = await gateway.connected(version=version)
                device.send(b"".join(three))
                await device.uplink.expect(*three)

    async def test_m56_byte_by_byte(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                first = connect(version=version, username="user", password=b"secret", will=wire.Will())
                rest = [publish("a/b", bytes(150), qos=1, version=version), wire.subscribe("a/#", version=version)]
                device = await gateway.device()
                for byte in first:
                    device.send(bytes([byte]))
                    await self.turn()
                device.uplink = await gateway.target.accepted()
                self.assertEqual(await device.read_packet(), connack(version=version))
                for byte in b"".join(rest):
                    device.send(bytes([byte]))
                    await self.turn()
                await device.uplink.expect(*rest)
                self.assertEqual(device.uplink.packets[0], first)

    async def test_m61_cut_publish_and_fin_forwards_nothing(self) -> None:
        for version in (3, 4, 5):
            whole = publish("a/b", bytes(300), qos=1, version=version)
            for gateway in await self.pair():
                for size in (1, 2, 3, 8, len(whole) - 1):
                    device = await gateway.connected(version=version)
                    device.send(whole[:size])
                    device.fin()
                    await device.uplink.until(lambda device=device: device.uplink.closed, "close")
                    self.assertEqual(device.uplink.behind_connect, b"")
                    await device.read_until_closed()

    async def test_m59_half_close_delivers_what_came_before(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                for payload in (b"last words", bytes(200_000)):
                    device = await gateway.connected(version=version)
                    message = publish("a/b", payload, qos=1, version=version)
                    device.send(message)
                    device.fin()
                    await device.uplink.until(lambda device=device: device.uplink.closed, "close")
                    self.assertEqual(device.uplink.behind_connect, message, "all of it, and no DISCONNECT")

    async def test_m60_reset_inside_a_packet_frees_all(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                device.send(publish("a/b", bytes(100_000), version=version)[:50_000])
                await self.turn()
                device.reset()
                await gateway.released(1.0)
                self.assertEqual(device.uplink.behind_connect, b"")

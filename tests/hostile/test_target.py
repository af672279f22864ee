"""A target that is old, broken or hostile: what it sends may neither reach a device nor hurt the gateway."""

from __future__ import annotations

from collections.abc import Iterable

from tests import wire
from tests.gateway import Gateway, Script
from tests.hostile.refusals import Cases, HostileTest
from tests.hostile.test_connect import BAD_TEXT
from tests.wire import connack, integer, packet, properties, publish, short, suback, text


class BadTarget(HostileTest):
    """U01-U05: packets that no server may send."""

    async def cut(self, cases: Cases, version: int, good: Iterable[bytes] = ()) -> None:
        """Each case ends both sides; the device gets `good` that came in front of it, and not a byte of the case."""
        await self._each(cases, self._check_cut, version, list(good))

    async def _check_cut(self, gateway: Gateway, data: bytes, version: int, good: list[bytes]) -> None:
        before = gateway.refusals
        device = await gateway.connected(version=version)
        device.uplink.send(b"".join(good) + data)
        answers = await self.check_ended(device, version, [0x83])
        self.assertEqual(answers, good, "what the device got")
        await gateway.released()
        self.check_counted(gateway, before)
        self.assertEqual(gateway.counters.rejects.keys(), {"upstream_malformed"})

    async def test_u01_packets_of_a_device(self) -> None:
        for version in (3, 4, 5):
            cases = {
                "SUBSCRIBE": wire.subscribe("a", version=version),
                "UNSUBSCRIBE": wire.unsubscribe("a", version=version),
                "CONNECT": wire.connect(version=version),
                "PINGREQ": wire.PINGREQ,
            }
            if version < 5:
                cases |= {"DISCONNECT": wire.DISCONNECT, "AUTH": wire.auth(0x18, b"\x15" + text("m"))}
            await self.cut(cases, version)

    async def test_u02_second_connack(self) -> None:
        for version in (3, 4, 5):
            await self.cut(
                {"accepted": connack(version=version), "refused": connack(5, version=version)},
                version,
                good=[publish("good", version=version)],
            )

    async def test_u03_bad_publish(self) -> None:
        for version in (3, 4, 5):
            none = properties(version, b"")
            cases = {
                "QoS 3": packet(0x36, text("a") + short(1) + none),
                "wildcard #": publish("a/#", version=version),
                "wildcard +": publish("a/+", qos=1, version=version),
                "empty topic": publish("", version=version),
                "identifier 0": publish("a", qos=1, packet_id=0, version=version),
            }
            cases |= {name: publish(raw, version=version) for name, raw in BAD_TEXT.items()}
            await self.cut(cases, version, good=[publish("good", version=version)])

    async def test_u03_bad_properties_v5(self) -> None:
        await self.cut(
            {
                "unknown": publish("a", version=5, props=b"\x7f\x00"),
                "two Content Types": publish("a", version=5, props=(b"\x03" + text("t")) * 2),
                "Payload Format Indicator 2": publish("a", version=5, props=b"\x01\x02"),
                "Subscription Identifier 0": publish("a", version=5, props=b"\x0b\x00"),
                "Topic Alias 0": publish("a", version=5, props=b"\x23\x00\x00"),
                "Topic Alias nobody allowed": publish("a", version=5, props=b"\x23\x00\x01"),
                "length beyond the packet": packet(0x30, text("a") + b"\x7f"),
            },
            5,
        )

    async def test_u04_overrun(self) -> None:
        for version in (3, 4, 5):
            await self.cut(
                {
                    "topic longer than the packet": packet(0x30, b"\x00\x20a"),
                    "PUBLISH without body": packet(0x30),
                    "no identifier": packet(0x32, text("a")),
                    "PUBACK of one byte": packet(0x40, b"\x00"),
                    "PUBACK identifier 0": packet(0x40, short(0)),
                    "SUBACK of one byte": packet(0x90, b"\x00"),
                    "PINGRESP with body": packet(0xD0, b"\x00"),
                    "five byte length": b"\x30\x80\x80\x80\x80\x01",
                    "length that goes on": b"\x30\xff\xff\xff\xff",
                    "length not in shortest form": b"\xd0\x80\x00",
                    "claims 256 MiB": b"\x30\xff\xff\xff\x7f" + text("a/b"),
                },
                version,
                good=[publish("good", version=version), publish("good", qos=2, version=version)],
            )

    async def test_u05_type_0_and_flags(self) -> None:
        for version in (4, 5):
            await self.cut(
                {
                    "type 0": b"\x00\x00",
                    "flags of PUBACK": b"\x41" + wire.puback()[1:],
                    "flags of PUBREL": b"\x60" + wire.pubrel()[1:],
                    "flags of SUBACK": b"\x92" + suback(1, b"\x00", version=version)[1:],
                    "flags of PINGRESP": b"\xd1\x00",
                },
                version,
            )

    async def test_u11_suback_without_codes(self) -> None:
        for version in (3, 4, 5):
            await self.cut({"SUBACK": suback(1, b"", version=version)}, version)

    async def test_u11_suback_that_answers_a_subscribe_with_too_few_codes(self) -> None:
        for version in (4, 5):
            gateway = (await self.pair())[1]
            device = await gateway.connected(version=version, script=Script(answers=False))
            device.send(wire.subscribe("a", "b", version=version, packet_id=9))
            await device.uplink.expect(wire.subscribe("a", "b", version=version, packet_id=9))
            device.uplink.send(suback(9, b"\x00", version=version))
            await device.until(lambda device=device: bool(device.unread) or device.closed, "answer or close")
            self.assertEqual([one for one in self.watcher.told if one[0] == "subscribe"], [], "nothing was granted")


class BeforeConnack(HostileTest):
    """U06-U08, U10: what a target may say before, and instead of, CONNACK 0."""

    async def unavailable(self, cases: Cases, version: int, reasons: set[str]) -> None:
        """Each case, sent instead of a CONNACK, is CONNACK 3 (0x88 in version 5) to the device."""
        await self._each(cases, self._check_unavailable, version, reasons)

    async def _check_unavailable(self, gateway: Gateway, data: bytes, version: int, reasons: set[str]) -> None:
        before = gateway.refusals
        gateway.target.scripts.append(Script(connack=data))
        device = await gateway.device()
        device.send(wire.connect(version=version))
        side = await gateway.target.accepted()
        self.check_connack(await device.read_until_closed(), version, [0x88 if version == 5 else 3])
        await gateway.released()
        self.assertEqual(bytes(side.received), wire.connect(version=version), "only the CONNECT goes up")
        self.check_counted(gateway, before)
        self.assertLessEqual(gateway.counters.rejects.keys(), reasons)

    async def test_u06_garbage_instead_of_connack(self) -> None:
        for version in (3, 4, 5):
            await self.unavailable(
                {
                    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
                    "TLS alert": bytes.fromhex("15030100020228"),
                    "zeros": bytes(16),
                    "ones": b"\xff" * 16,
                    "PUBLISH": publish(version=version),
                    "SUBACK": suback(1, b"\x00", version=version),
                    "PINGRESP": wire.PINGRESP,
                    "CONNECT": wire.connect(version=version),
                    "empty CONNACK": packet(0x20),
                    "CONNACK of one byte": packet(0x20, b"\x00"),
                    "reserved bits of CONNACK": connack(present=2, version=version),
                    "flags of CONNACK": b"\x21" + connack(version=version)[1:],
                    "claims 256 MiB": b"\x20\xff\xff\xff\x7f",
                    "unknown code": connack(0x7F, version=version),
                    "cut properties": packet(0x20, b"\x00\x00\x09") if version == 5 else packet(0x20, b"\x00\x00\x00"),
                },
                version,
                {"upstream_malformed"},
            )

    async def test_u07_close_instead_of_connack(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                before = gateway.refusals
                for half in (b"", connack(version=version)[:-1]):
                    gateway.target.scripts.append(Script(connack=half))
                    device = await gateway.device()
                    device.send(wire.connect(version=version))
                    side = await gateway.target.accepted()
                    await side.until(lambda side=side: bool(side.packets), "CONNECT")
                    side.close()
                    self.check_connack(await device.read_until_closed(), version, [0x88] if version == 5 else [])
                    await gateway.released()
                self.assertEqual(gateway.refusals - before, 2)

    async def test_u08_refusal_of_the_target_passes_byte_exact(self) -> None:
        for version, code in ((3, 5), (4, 1), (4, 5), (5, 0x87), (5, 0x9C)):
            raw = connack(code, version=version, props=b"\x1f" + text("no") + b"\x1c" + text("elsewhere"))
            for gateway in await self.pair():
                gateway.target.scripts.append(Script(connack=raw))
                device = await gateway.device()
                device.send(wire.connect(version=version) + publish("a", version=version))
                side = await gateway.target.accepted()
                self.assertEqual(await device.read_packet(), raw)
                side.close()
                self.assertEqual(await device.read_until_closed(), b"")
                await gateway.released()
        self.assertEqual(self.watcher.told, [], "nobody is told of a connection that never was")

    async def test_u10_reset_before_and_after_connack(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                gateway.target.scripts.append(Script(connack=b""))
                device = await gateway.device()
                device.send(wire.connect(version=version))
                side = await gateway.target.accepted()
                side.reset()
                self.check_connack(await device.read_until_closed(), version, [0x88] if version == 5 else [])
                device = await gateway.connected(version=version)
                device.uplink.reset()
                answers, rest = wire.packets(await device.read_until_closed())
                self.assertEqual(rest, b"")
                self.assertEqual([one[2] for one in answers if one[0] == 0xE0], [0x8B] if version == 5 else [])
                self.assertEqual([one[0] for one in answers if one[0] != 0xE0], [])

    async def test_a_target_that_closes_has_answered(self) -> None:
        """The device sees it close, as it would without a gateway: nothing is put into the target's mouth."""
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                device.uplink.send(publish("last", version=version))
                device.uplink.close()
                self.assertEqual(await device.read_until_closed(), publish("last", version=version))
                await gateway.released()


class GoodTarget(HostileTest):
    """U09: what a target may say passes byte for byte."""

    async def test_u09_publish_passes(self) -> None:
        everything = (
            b"\x01\x01" + b"\x02" + integer(9) + b"\x08" + text("r") + b"\x09" + text("c") + b"\x0b\x05\x0b\x06"
        ) + (b"\x03" + text("t") + wire.user_property("k", "v"))
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                messages = [
                    publish(str(qos), bytes(size), qos=qos, version=version, props=everything, retain=qos == 1)
                    for qos in (0, 1, 2)
                    for size in (0, 10, 100_000)
                ]
                device.uplink.send(b"".join(messages))
                await device.until(
                    lambda device=device, whole=messages: len(device.unread) >= sum(map(len, whole)), "messages"
                )
                self.assertEqual(device.unread, b"".join(messages))

    async def test_u09_disconnect_of_the_target_passes(self) -> None:
        for raw in (wire.disconnect(0x8E), wire.disconnect(0x9D, b"\x1c" + text("elsewhere") + b"\x1f" + text("why"))):
            for gateway in await self.pair():
                device = await gateway.connected(version=5)
                message = publish("last", version=5)
                device.uplink.send(message + raw)
                device.uplink.close()
                self.assertEqual(await device.read_until_closed(), message + raw)
                await gateway.released()
                self.assertEqual(device.uplink.behind_connect, b"")

"""Fixed headers, acknowledgements, AUTH and DISCONNECT; and connections that drip, ping or fall silent."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall

from tests import wire
from tests.hostile.refusals import HostileTest
from tests.wire import auth, disconnect, integer, packet, puback, pubcomp, publish, pubrec, pubrel, short, text

reactor: Any = installed_reactor

METHOD = b"\x15" + text("SCRAM")


class Headers(HostileTest):
    """M23-M26."""

    async def test_m23_wrong_flags_in_the_fixed_header(self) -> None:
        for version in (4, 5):
            whole = {
                "SUBSCRIBE": (wire.subscribe("a", version=version), 2),
                "UNSUBSCRIBE": (wire.unsubscribe("a", version=version), 2),
                "PUBREL": (pubrel(), 2),
                "PINGREQ": (wire.PINGREQ, 0),
                "DISCONNECT": (wire.DISCONNECT, 0),
                "PUBACK": (puback(), 0),
                "PUBREC": (pubrec(), 0),
                "PUBCOMP": (pubcomp(), 0),
            }
            cases = {
                f"{name} flags {flags:#x}": bytes([raw[0] & 0xF0 | flags]) + raw[1:]
                for name, (raw, right) in whole.items()
                for flags in (0, 1, 2, 3, 4, 8, 10, 15)
                if flags != right
            }
            await self.refused(cases, version=version, codes=[0x81])

    async def test_m23_dup_bit_is_tolerated_in_3_1(self) -> None:
        await self.passed({"SUBSCRIBE": b"\x8a" + wire.subscribe("a", version=3)[1:]}, version=3)

    async def test_m24_type_0(self) -> None:
        for version in (3, 4, 5):
            await self.refused(
                {"empty": b"\x00\x00", "flags": b"\x0f\x00", "body": b"\x00\x02ab"}, version=version, codes=[0x81]
            )

    async def test_m24_type_15_below_5(self) -> None:
        for version in (3, 4):
            await self.refused(
                {"empty": b"\xf0\x00", "AUTH": auth(0x18, METHOD), "flags": b"\xff\x00"}, version=version
            )

    async def test_m25_packets_of_a_server(self) -> None:
        for version in (3, 4, 5):
            await self.refused(
                {
                    "CONNACK": wire.connack(version=version),
                    "SUBACK": wire.suback(1, b"\x00", version=version),
                    "UNSUBACK": wire.unsuback(1, b"\x00", version=version),
                    "PINGRESP": wire.PINGRESP,
                },
                version=version,
                codes=[0x82],
            )

    async def test_m26_pingreq_with_body(self) -> None:
        for version in (3, 4, 5):
            await self.refused(
                {"one byte": b"\xc0\x01\x00", "long": packet(0xC0, bytes(1000))}, version=version, codes=[0x81]
            )


class Acknowledgements(HostileTest):
    """M42-M44."""

    kinds = (("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70))

    async def test_m42_bad_acknowledgement(self) -> None:
        for version in (3, 4, 5):
            for name, first in self.kinds:
                cases = {
                    f"{name} identifier 0": packet(first, short(0)),
                    f"{name} empty": packet(first),
                    f"{name} one byte": packet(first, b"\x00"),
                }
                if version < 5:
                    cases[f"{name} three bytes"] = packet(first, short(1) + b"\x00")
                    cases[f"{name} long"] = packet(first, short(1) + bytes(100))
                await self.refused(cases, version=version, codes=[0x81, 0x82])

    async def test_m42_exact_codes_v5(self) -> None:
        await self.refused({name: packet(first, short(0)) for name, first in self.kinds}, version=5, codes=[0x82])
        await self.refused({name: packet(first, b"\x00") for name, first in self.kinds}, version=5, codes=[0x81])

    async def test_m42_unknown_reason_or_overrun_v5(self) -> None:
        for name, first in self.kinds:
            head = short(1)
            await self.refused(
                {
                    f"{name} reason 0x01": packet(first, head + b"\x01"),
                    f"{name} reason 0x7f": packet(first, head + b"\x7f"),
                    f"{name} reason 0xff": packet(first, head + b"\xff"),
                    f"{name} reason of another packet": packet(first, head + (b"\x92" if first < 0x60 else b"\x87")),
                    f"{name} properties beyond the packet": packet(first, head + b"\x00\x05"),
                    f"{name} bytes behind the properties": packet(first, head + b"\x00\x00\x00"),
                    f"{name} property of PUBLISH": packet(first, head + b"\x00\x02\x01\x01"),
                    f"{name} two Reason Strings": packet(first, head + b"\x00\x08" + (b"\x1f" + text("r")) * 2),
                    f"{name} bad UTF-8": packet(first, head + b"\x00\x04\x1f" + text(b"\xff")),
                },
                version=5,
                codes=[0x81, 0x82],
            )

    async def test_m43_acknowledgement_of_an_unknown_identifier_is_forwarded(self) -> None:
        for version in (3, 4, 5):
            cases = {"PUBACK": puback(4242), "PUBREC": pubrec(4242), "PUBREL": pubrel(4242), "PUBCOMP": pubcomp(4242)}
            await self.passed(cases, version=version)

    async def test_m43_every_form_of_version_5_is_forwarded(self) -> None:
        props = b"\x1f" + text("why") + wire.user_property("k", "v")
        await self.passed(
            {
                "code 0": puback(1, 0),
                "code 0, no properties": puback(1, 0, b""),
                "no matching subscribers": pubrec(1, 0x10),
                "refused": puback(1, 0x97, props),
                "unknown identifier": pubrel(1, 0x92, props),
                "PUBCOMP": pubcomp(1, 0x92),
            },
            version=5,
        )

    async def test_m44_one_qos_2_identifier_200_times(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                first = publish("a/b", b"x", qos=2, packet_id=7, version=version)
                again = publish("a/b", b"x", qos=2, packet_id=7, dup=True, version=version)
                device.send(first + again * 199)
                await device.uplink.expect(first, *[again] * 199)
                for _ in range(200):
                    self.assertEqual(await device.read_packet(), pubrec(7))
                device.send(pubrel(7))
                self.assertEqual(await device.read_packet(), pubcomp(7))


class AuthAndDisconnect(HostileTest):
    """M52, M53."""

    async def test_m52_auth_without_method_in_connect(self) -> None:
        await self.refused(
            {"continue": auth(0x18, METHOD), "again": auth(0x19, METHOD), "empty": auth()}, version=5, codes=[0x82]
        )

    async def test_m52_bad_auth(self) -> None:
        foreign = b"\x15" + text("PLAIN")
        await self.refused(
            {
                "foreign method": auth(0x19, foreign),
                "no method": auth(0x19, b""),
                "code 0": auth(0x00, METHOD),
                "empty means code 0": auth(),
                "two methods": auth(0x19, METHOD * 2),
            },
            version=5,
            codes=[0x82],
            props=METHOD,
        )
        await self.refused(
            {
                "flags": b"\xf1" + auth(0x19, METHOD)[1:],
                "unknown code": auth(0x01, METHOD),
                "cut": packet(0xF0, b"\x19\x20"),
                "no property length": auth(0x19),
                "foreign property": auth(0x19, METHOD + b"\x01\x01"),
            },
            version=5,
            codes=[0x81, 0x82],
            props=METHOD,
        )

    async def test_m52_good_auth_is_forwarded(self) -> None:
        await self.passed(
            {"again": auth(0x19, METHOD + b"\x16" + text("data"))}, version=5, props=METHOD + b"\x16" + text("first")
        )

    async def test_m53_disconnect_with_body(self) -> None:
        for version in (3, 4):
            await self.refused(
                {"code 0": b"\xe0\x01\x00", "code 4": disconnect(4), "long": packet(0xE0, bytes(100))}, version=version
            )

    async def test_m53_bad_disconnect_v5(self) -> None:
        raised = b"\x11" + integer(60)
        await self.refused(
            {
                "unknown reason": disconnect(0x7F),
                "reason of a server": disconnect(0x8B),
                "reason 1": disconnect(0x01),
                "expiry raised from 0": disconnect(0, raised),
                "properties beyond the packet": packet(0xE0, b"\x00\x09"),
                "foreign property": disconnect(0, b"\x01\x01"),
                "two expiries": disconnect(0, raised * 2),
                "bytes behind the properties": packet(0xE0, b"\x00\x00\x00"),
            },
            version=5,
            codes=[0x81, 0x82],
        )

    async def test_m53_expiry_raised_from_0_is_a_protocol_error(self) -> None:
        await self.refused({"raised": disconnect(0, b"\x11" + integer(1))}, version=5, codes=[0x82])

    async def test_m53_disconnect_reaches_the_target(self) -> None:
        cases = [
            disconnect(0x04),
            disconnect(0x00),
            disconnect(),
            disconnect(0x00, b"\x11" + integer(60)),
            disconnect(0x04, b"\x1f" + text("bye") + wire.user_property("k", "v")),
        ]
        for gateway in await self.pair():
            for case in cases:
                before = gateway.refusals
                device = await gateway.connected(version=5, props=b"\x11" + integer(30))
                device.send(case)
                self.assertEqual(await device.read_until_closed(), b"")
                await gateway.released()
                self.assertEqual(device.uplink.behind_connect, case)
                self.assertEqual(gateway.refusals, before)


class Flow(HostileTest):
    """M58, M63."""

    async def test_m58_2000_pings_stay_open(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                device.send(wire.PINGREQ * 2000)
                await device.until(lambda device=device: len(device.unread) == 4000, "2,000 answers")
                self.assertEqual(device.unread, wire.PINGRESP * 2000)
                self.assertFalse(device.closed)

    async def test_m63_keep_alive(self) -> None:
        silent = [self.closed_by_keep_alive(version, b"") for version in (3, 4, 5)]
        dripping = [
            self.closed_by_keep_alive(version, publish("a/b", bytes(1000), version=version)) for version in (4, 5)
        ]
        await gatherResults([Deferred.fromCoroutine(one) for one in [*silent, *dripping]], consumeErrors=True)

    async def closed_by_keep_alive(self, version: int, drip: bytes) -> None:
        """An unfinished packet, `drip`, is no sign of life."""
        gateway = await self.gateway()
        device = await gateway.connected(version=version, keep_alive=1)
        started = reactor.seconds()
        rest = iter(drip)
        dripping = LoopingCall(lambda: device.send(bytes([next(rest)])))
        if drip:
            dripping.start(0.1)
        try:
            await device.until(lambda: device.closed, "close")
        finally:
            if drip:
                dripping.stop()
        took = reactor.seconds() - started
        self.assertGreater(took, 0.95, "closed before its time")
        self.assertLess(took, 2.1, "kept for too long")
        await self.check_ended(device, version, [0x8D])
        await gateway.released()
        self.check_counted(gateway, 0)

    async def test_m63_packets_are_signs_of_life(self) -> None:
        gateway = (await self.pair())[0]
        device = await gateway.connected(keep_alive=1)
        pinging = LoopingCall(device.send, wire.PINGREQ)
        pinging.start(0.5)
        try:
            await device.until(lambda: device.unread.count(wire.PINGRESP) == 5, "five answers")
        finally:
            pinging.stop()
        self.assertFalse(device.closed)

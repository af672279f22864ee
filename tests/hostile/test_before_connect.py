"""Bytes of a stranger: what is not a whole, timely CONNECT is closed without an answer and without a dial."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import LoopingCall

from mgate.limits import Limits
from tests import wire
from tests.gateway import Gateway
from tests.hostile.refusals import HostileTest

reactor: Any = installed_reactor

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * PAGE


class BeforeConnect(HostileTest):
    """M01, M02, M04-M07, M62, M64."""

    async def refused_silently(self, cases: dict[str, bytes]) -> None:
        await self.refused_at_connect(cases)

    async def test_m01_any_packet_before_connect(self) -> None:
        for version in (4, 5):
            await self.refused_silently(
                {
                    "CONNACK": wire.connack(version=version),
                    "PUBLISH QoS 0": wire.publish(version=version),
                    "PUBLISH QoS 1": wire.publish(qos=1, version=version),
                    "PUBLISH QoS 2": wire.publish(qos=2, version=version),
                    "PUBACK": wire.puback(),
                    "PUBREC": wire.pubrec(),
                    "PUBREL": wire.pubrel(),
                    "PUBCOMP": wire.pubcomp(),
                    "SUBSCRIBE": wire.subscribe("a", version=version),
                    "SUBACK": wire.suback(1, b"\x00", version=version),
                    "UNSUBSCRIBE": wire.unsubscribe("a", version=version),
                    "UNSUBACK": wire.unsuback(1, b"\x00", version=version),
                    "PINGREQ": wire.PINGREQ,
                    "PINGRESP": wire.PINGRESP,
                    "DISCONNECT": wire.DISCONNECT,
                    "AUTH": wire.auth(0x18, b"\x15" + wire.text("method")),
                    "type 0": b"\x00\x00",
                }
            )

    async def test_m02_publish_glued_in_front_of_connect(self) -> None:
        for version in (3, 4, 5):
            await self.refused_silently(
                {"PUBLISH, CONNECT": wire.publish(version=version) + wire.connect(version=version)}
            )

    async def test_m04_foreign_header_that_claims_256_mib(self) -> None:
        await self.refused_silently(
            {f"type {kind}": bytes([kind << 4]) + b"\xff\xff\xff\x7f" for kind in range(16) if kind != 1}
        )

    async def test_m05_connect_header_that_claims_256_mib(self) -> None:
        for gateway in await self.pair():
            claims = [await self.claim(gateway) for _ in range(8)]
            before = resident()
            claims += [await self.claim(gateway) for _ in range(32)]
            self.assertEqual(claims, [b""] * 40)
            self.assertLess(resident() - before, 1 << 20, "memory follows the claim")
            self.assertEqual(gateway.refusals, 40)
            self.assertEqual(gateway.counters.target_dials, 0)

    async def test_who_never_said_connect_is_no_event(self) -> None:
        gateway = await self.gateway()
        device = await gateway.device()
        device.reset()
        await gateway.released()
        stranger = await gateway.device()
        stranger.send(b"GET / HTTP/1.1\r\n\r\n")
        await stranger.read_until_closed()
        await gateway.released()
        self.assertEqual(gateway.journal.events, [])
        device = await gateway.connected()
        device.send(wire.DISCONNECT)
        await gateway.released()
        self.assertEqual([name for name, _ in gateway.journal.events], ["connect", "disconnect"])

    async def claim(self, gateway: Gateway) -> bytes:
        device = await gateway.device()
        device.send(b"\x10\xff\xff\xff\x7f")
        return await device.read_until_closed()

    async def test_m06_remaining_length_of_five_bytes(self) -> None:
        await self.refused_silently(
            {
                "five bytes": b"\x10\x80\x80\x80\x80\x01" + bytes(8),
                "four that go on": b"\x10\xff\xff\xff\xff",
                "four that go on, zero": b"\x10\x80\x80\x80\x80",
                "four that go on, PUBLISH": b"\x30\xff\xff\xff\xff",
            }
        )

    async def test_m07_remaining_length_not_in_shortest_form(self) -> None:
        whole = wire.connect()
        await self.refused_silently(
            {
                "two bytes": bytes([0x10, whole[1] | 128, 0]) + whole[2:],
                "three bytes": bytes([0x10, whole[1] | 128, 128, 0]) + whole[2:],
                "four bytes": bytes([0x10, whole[1] | 128, 128, 128, 0]) + whole[2:],
                "zero in two": b"\x10\x80\x00",
            }
        )

    async def test_m62_silence_before_connect(self) -> None:
        for gateway in await self.pair(Limits(connect_timeout=0.3)):
            before = reactor.seconds()
            device = await gateway.device()
            self.assertEqual(await device.read_until_closed(), b"")
            self.assertGreater(reactor.seconds() - before, 0.25, "closed before its time")
            await gateway.released()
            self.assertEqual((gateway.refusals, gateway.counters.target_dials), (1, 0))

    async def test_m62_one_byte_at_a_time_before_connect(self) -> None:
        for version in (4, 5):
            for gateway in await self.pair(Limits(connect_timeout=0.3)):
                before = gateway.refusals
                device = await gateway.device()
                drip = iter(wire.connect("x" * 600, version=version))
                dripping = LoopingCall(lambda device=device, drip=drip: device.send(bytes([next(drip)])))
                dripping.start(0.02)
                try:
                    self.assertEqual(await device.read_until_closed(1.0), b"", "bytes do not buy time")
                finally:
                    dripping.stop()
                await gateway.released()
                self.assertEqual((gateway.refusals - before, gateway.counters.target_dials), (1, 0))

    async def test_m62_silence_inside_connect(self) -> None:
        for version in (4, 5):
            for gateway in await self.pair(Limits(connect_timeout=0.3)):
                device = await gateway.device()
                device.send(wire.connect(version=version)[:-1])
                self.assertEqual(await device.read_until_closed(1.0), b"")
                await gateway.released()
                self.assertEqual(gateway.counters.target_dials, 0)

    async def test_m64_other_protocols_on_the_plain_port(self) -> None:
        hello = bytes.fromhex("16030100c8010000c40303") + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00"
        await self.refused_silently(
            {
                "TLS 1.3 hello": hello + bytes(205 - len(hello)),
                "SSL 2 hello": bytes.fromhex("802e010301001500000010"),
                "HTTP GET": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "HTTP POST": b"POST /mqtt HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "PROXY v1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 1883\r\n" + wire.connect(),
                "PROXY v2": bytes.fromhex("0d0a0d0a000d0a515549540a21110000000c") + bytes(12) + wire.connect(),
                "SSH": b"SSH-2.0-x\r\n",
                "zeros": bytes(64),
            }
        )

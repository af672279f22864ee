"""Every limit of `mgate.limits`, at its value and one beyond; a test fails when a limit has no test here."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any
from unittest import skipUnless

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import LoopingCall, deferLater

from mgate.handler import Handler
from mgate.limits import Limits
from tests import wire
from tests.gateway import WITNESS, Flood, RawDevice, RecordingTarget, Script, eventually
from tests.hostile.refusals import HostileTest
from tests.hostile.test_faults import FLOOD, BlackHole
from tests.wire import connack, connect, publish, subscribe, unsubscribe, user_property

reactor: Any = installed_reactor
ROOT = Path(__file__).resolve().parents[2]


class Times(HostileTest):
    """Limits in seconds."""

    async def test_connect_timeout_ends_with_a_whole_connect(self) -> None:
        for gateway in await self.pair(Limits(connect_timeout=0.2)):
            device = await gateway.device()
            whole = connect()
            device.send(whole[:-1])
            await deferLater(reactor, 0.1)
            device.send(whole[-1:])
            self.assertEqual(await device.read_packet(), connack())
            await deferLater(reactor, 0.25)
            device.send(wire.PINGREQ)
            self.assertEqual(await device.read_packet(), wire.PINGRESP, "the time-out is over")

    async def test_connect_timeout_closes(self) -> None:
        for gateway in await self.pair(Limits(connect_timeout=0.1)):
            device = await gateway.device()
            device.send(connect()[:-1])
            self.assertEqual(await device.read_until_closed(1.0), b"")

    async def test_connack_timeout(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair(Limits(connack_timeout=0.15)):
                before = gateway.refusals
                gateway.target.scripts.append(Script(connack=b""))
                device = await gateway.device()
                device.send(connect(version=version))
                side = await gateway.target.accepted()
                self.check_connack(await device.read_until_closed(1.0), version, [0x88 if version == 5 else 3])
                await gateway.released()
                self.assertEqual(bytes(side.received), connect(version=version))
                self.check_counted(gateway, before)

    async def test_connack_timeout_ends_with_the_connack(self) -> None:
        for gateway in await self.pair(Limits(connack_timeout=0.15)):
            device = await gateway.connected()
            await deferLater(reactor, 0.25)
            device.send(wire.PINGREQ)
            self.assertEqual(await device.read_packet(), wire.PINGRESP)

    async def test_packet_timeout(self) -> None:
        for version in (3, 4, 5):
            whole = publish("a/b", bytes(1000), version=version)
            # Version 4 falls silent too; 3 and 5 only drip.
            for gateway in await self.pair(Limits(packet_timeout=0.2)):
                for drip in (False, True)[version & 1 :]:
                    before = gateway.refusals
                    device = await gateway.connected(version=version)
                    device.send(publish("good", version=version) + whole[:20])
                    dripping = LoopingCall(device.send, b"\x00")
                    if drip:
                        dripping.start(0.05)
                    try:
                        await device.until(lambda device=device: device.closed, "close", 1.5)
                    finally:
                        if drip:
                            dripping.stop()
                    await self.check_ended(device, version, range(0x80, 0xA3), publish("good", version=version))
                    await gateway.released()
                    self.check_counted(gateway, before)

    async def test_packet_timeout_counts_from_the_start_of_each_packet(self) -> None:
        whole = publish("a/b", bytes(300))
        for gateway in await self.pair(Limits(packet_timeout=0.4)):
            device = await gateway.connected()
            for _ in range(4):
                device.send(whole[:100])
                await deferLater(reactor, 0.15)
                device.send(whole[100:])
            await device.uplink.expect(*[whole] * 4)
            await deferLater(reactor, 0.5)
            device.send(wire.PINGREQ)
            self.assertEqual(await device.read_packet(), wire.PINGRESP, "an idle connection has begun no packet")

    async def test_handler_timeout(self) -> None:
        class Slow(Handler):
            def auth_publish(self, session: Any, topic: str, payload: bytes) -> Any:
                if session.id == WITNESS:
                    return None
                return deferLater(reactor, 0.1 if topic == "in time" else 10)

        gateway = await self.gateway(Slow(), limits=Limits(handler_timeout=0.25))
        for version in (4, 5):
            device = await gateway.connected(version=version)
            good = publish("in time", qos=1, version=version)
            device.send(good + publish("late", qos=1, packet_id=2, version=version))
            self.assertEqual(await device.read_packet(), wire.puback(1))
            answer = await device.read_packet()
            self.assertEqual(answer[2:5], b"\x00\x02\x83" if version == 5 else b"\x00\x02")
            await device.uplink.expect(good)

    async def test_dial_timeout(self) -> None:
        target = RecordingTarget()
        target.listen()
        holes = [BlackHole(target.endpoint()), BlackHole(target.endpoint())]
        gateway = await self.gateway(
            endpoints=[*holes, target.endpoint()], target=target, limits=Limits(dial_timeout=0.1)
        )
        started = reactor.seconds()
        await gateway.connected()
        self.assertGreater(reactor.seconds() - started, 0.18, "each address has its time")
        self.assertEqual([one.cancelled for one in holes], [1, 1])

    async def test_drain_timeout(self) -> None:
        message = publish("a", bytes(16_000))
        for gateway in await self.pair(Limits(drain_timeout=0.3, write_buffer_high=64 << 20)):
            device = await gateway.connected(script=Script(answers=False))
            device.uplink.stop_reading()
            Flood(device, message, FLOOD)
            await eventually(lambda gateway=gateway: gateway.counters.bytes_uplink > FLOOD, lambda: "not all was read")
            device.reset()
            await eventually(lambda gateway=gateway: not gateway.counters.connections, lambda: "still open", 1.5)
            device.uplink.read_on()
            await gateway.released()
            self.assertLess(len(device.uplink.received), FLOOD)

    async def test_drain_timeout_of_the_other_direction(self) -> None:
        message = publish("a", bytes(16_000))
        for gateway in await self.pair(Limits(drain_timeout=0.3, write_buffer_high=64 << 20)):
            device = await gateway.connected()
            device.stop_reading()
            Flood(device.uplink, message, FLOOD)
            await eventually(
                lambda gateway=gateway: gateway.counters.bytes_downlink > FLOOD, lambda: "not all was read"
            )
            device.uplink.reset()
            await eventually(lambda gateway=gateway: not gateway.counters.connections, lambda: "still open", 1.5)

    async def test_drain_timeout_is_time_enough_for_a_slow_reader(self) -> None:
        """What was read before one side ended still reaches the other, as long as it takes it in time."""
        message = publish("a", bytes(16_000))
        gateway = await self.gateway(limits=Limits(write_buffer_high=64 << 20))
        device = await gateway.connected(script=Script(answers=False))
        device.uplink.stop_reading()
        Flood(device, message, FLOOD)
        await eventually(lambda: gateway.counters.bytes_uplink > FLOOD, lambda: "not all was read")
        device.close()
        await deferLater(reactor, 1.0)
        device.uplink.read_on()
        await device.uplink.until(lambda: device.uplink.closed, "close", 10)
        self.assertGreater(len(device.uplink.received), FLOOD)

    @skipUnless(sys.platform == "linux", "reads /proc")
    async def test_tcp_keep_alive_notices_a_device_that_vanished(self) -> None:
        """Not a limit that one sets: 60 s idle, then three probes 10 s apart."""
        gateway = await self.gateway()
        device = await gateway.connected()
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [row.split() for row in table]
        ours, theirs = f":{gateway.port:04X}", f":{device.transport.getHost().port:04X}"
        timers = [row[5] for row in rows if row[1].endswith(ours) and row[2].endswith(theirs)]
        self.assertEqual(len(timers), 1)
        kind, when = timers[0].split(":")
        self.assertEqual(kind, "02", "a keep-alive timer runs")
        self.assertLessEqual(int(when, 16), 60 * 100, "hundredths of a second")


class Sizes(HostileTest):
    """Limits in bytes and counts."""

    async def test_max_connect_size(self) -> None:
        for version in (3, 4, 5):
            limits = Limits(max_connect_size=500)
            rest = len(connect("device", version=version, username="")) + 1
            for gateway in await self.pair(limits):
                whole = connect("device", version=version, username="u" * (500 - rest))
                self.assertEqual(len(whole), 500)
                device = await gateway.connected(version=version, username="u" * (500 - rest))
                self.assertEqual(device.uplink.packets[0], whole)
                await gateway.settle()
            over = connect(version=version, username="u" * (501 - rest))
            self.assertEqual(len(over), 501)
            await self.refused_at_connect({"501": over, "its header": over[:3]})

    async def test_max_packet_size(self) -> None:
        await self.pair(Limits(max_packet_size=500))
        for version in (3, 4, 5):
            rest = len(publish("a", b"", version=version)) + 1
            await self.passed({"500": publish("a", bytes(500 - rest), version=version)}, version=version)
            over = publish("a", bytes(501 - rest), version=version)
            self.assertEqual(len(over), 501)
            await self.refused({"501": over, "its header": over[:3]}, version=version, codes=[0x95])

    async def test_max_packet_size_of_the_target(self) -> None:
        for version in (3, 4, 5):
            rest = len(publish("a", b"", version=version)) + 1
            for gateway in await self.pair(Limits(max_packet_size=500)):
                device = await gateway.connected(version=version)
                whole = publish("a", bytes(500 - rest), version=version)
                device.uplink.send(whole + publish("a", bytes(501 - rest), version=version))
                self.assertEqual(await device.read_packet(), whole)
                await self.check_ended(device, version, [0x83])

    async def test_max_clientid_len(self) -> None:
        await self.pair(Limits(max_clientid_len=8))
        for version in (3, 4, 5):
            for gateway in await self.pair():
                await gateway.connected(version=version, client_id="12345678")
                await gateway.settle()
            over = {"9": connect("123456789", version=version), "in bytes": connect("\u00e9" * 5, version=version)}
            await self.refused_at_connect(over, version=version, codes=[0x85 if version == 5 else 2])

    async def test_max_topic_levels(self) -> None:
        await self.pair(Limits(max_topic_levels=4))
        for version in (3, 4, 5):
            good = {"4": publish("a/b/c/d", version=version), "empty ones": publish("///", version=version)}
            good["filter"] = subscribe("a/b/c/d", "+/+/+/#", version=version)
            await self.passed(good, version=version)
            bad = {"5": publish("a/b/c/d/e", version=version), "empty ones": publish("////", version=version)}
            bad["filter"] = subscribe("a", "a/b/c/d/e", version=version)
            bad["unsubscribe"] = unsubscribe("a/b/c/d/#", version=version)
            await self.refused(bad, version=version, codes=[0x81])
            will = connect(version=version, will=wire.Will("a/b/c/d/e"))
            await self.refused_at_connect({"will": will}, version=version, codes=[0x81] if version == 5 else [])

    async def test_max_filters(self) -> None:
        await self.pair(Limits(max_filters=3))
        for version in (3, 4, 5):
            for make in (subscribe, unsubscribe):
                await self.passed({"3": make("a", "b", "c", version=version)}, version=version)
                await self.refused({"4": make("a", "b", "c", "d", version=version)}, version=version, codes=[0x97])

    async def test_max_user_properties(self) -> None:
        await self.pair(Limits(max_user_properties=2))
        two, three = user_property("k", "v") * 2, user_property("k", "v") * 3
        for gateway in await self.pair():
            await gateway.connected(version=5, props=two, will=wire.Will(properties=two))
            await gateway.settle()
        over = {
            "CONNECT": connect(version=5, props=three),
            "will": connect(version=5, will=wire.Will(properties=three)),
        }
        await self.refused_at_connect(over, version=5, codes=[0x97])

        def packets(props: bytes) -> dict[str, bytes]:
            return {
                "PUBLISH": publish("a", version=5, props=props),
                "SUBSCRIBE": subscribe("a", version=5, props=props),
                "UNSUBSCRIBE": unsubscribe("a", version=5, props=props),
            }

        await self.passed(packets(two), version=5)
        await self.refused(packets(three), version=5, codes=[0x97])


class Connections(HostileTest):
    """Limits of how many and how fast."""

    async def shut_out(self, limits: Limits, allowed: int) -> None:
        """`allowed` devices are served, and the next is closed at accept, until one of them has left."""
        gateway = await self.gateway(limits=limits)
        served = [await gateway.connected(client_id=f"d{number}") for number in range(allowed)]
        device = await gateway.device()
        device.send(connect())
        self.assertEqual(await device.read_until_closed(), b"")
        self.assertEqual(gateway.counters.connections_refused, 1)
        self.assertEqual(gateway.counters.target_dials, allowed)
        for one in served:
            one.send(wire.PINGREQ)
            self.assertEqual(await one.read_packet(), wire.PINGRESP, "those that are there stay")
        served[0].reset()
        await served[0].uplink.until(lambda: served[0].uplink.closed, "close")
        await self.turn()
        await gateway.connected(client_id="next")

    async def test_max_connections(self) -> None:
        await self.shut_out(Limits(max_connections=3), 3)

    async def test_max_connections_per_address(self) -> None:
        await self.shut_out(Limits(max_connections_per_address=2), 2)

    async def test_max_connections_counts_silent_devices(self) -> None:
        gateway = await self.gateway(limits=Limits(max_connections=2))
        silent = [await gateway.device() for _ in range(2)]
        device = await gateway.device()
        self.assertEqual(await device.read_until_closed(), b"")
        self.assertFalse(any(one.closed for one in silent))

    async def test_max_connection_rate(self) -> None:
        gateway = await self.gateway(limits=Limits(max_connection_rate=5))
        devices: list[RawDevice] = [await gateway.device() for _ in range(12)]
        for device in devices:
            device.send(connect())
        await deferLater(reactor, 0.1)
        served = [one for one in devices if not one.closed]
        self.assertEqual(len(served), 5)
        self.assertEqual(gateway.counters.connections_refused, 7)
        await deferLater(reactor, 1.1)
        gateway.forget()
        await gateway.connected(client_id="later")


class Buffers(HostileTest):
    """write_buffer_high."""

    async def stalled_at(self, limits: Limits) -> int:
        gateway = await self.gateway(limits=limits)
        device = await gateway.connected(script=Script(answers=False))
        device.uplink.stop_reading()
        message = publish("a", bytes(16_000))
        flood = Flood(device, message, 2 * FLOOD)
        taken = await flood.stalled()
        device.uplink.read_on()
        flood.stopProducing()
        sent = flood.pushed // len(message)
        await device.uplink.until(lambda: len(device.uplink.packets) >= sent + 1, f"{sent} packets", 10)
        return taken

    async def test_write_buffer_high(self) -> None:
        small = await self.stalled_at(Limits(write_buffer_high=64 << 10))
        large = await self.stalled_at(Limits(write_buffer_high=16 << 20))
        self.assertGreater(large - small, 8 << 20, "the gateway holds as much as it is told, and no more")


class Complete(HostileTest):
    """No limit without a test."""

    def test_every_limit_has_a_test(self) -> None:
        names = [
            name for case in (Times, Sizes, Connections, Buffers) for name in vars(case) if name.startswith("test_")
        ]
        for elsewhere in (
            "tests/tls/test_gateway_hostile.py", "tests/proxyprotocol/test_wrapper.py", "tests/hostile/test_http.py",
            "tests/http/test_protocol.py",
        ):  # fmt: skip
            names += re.findall(r"def (test_\w+)", (ROOT / elsewhere).read_text())
        missing = [
            field.name
            for field in dataclasses.fields(Limits)
            if not any(field.name in name for name in names)
        ]
        self.assertEqual(missing, [])

"""Faults of the way to the target: refused, silent, cut, slow."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from mgate.limits import Limits
from tests import wire
from tests.gateway import Flood, Gateway, RecordingTarget, Script, eventually
from tests.hostile.refusals import HostileTest
from tests.wire import connack, connect, publish

reactor: Any = installed_reactor


FLOOD = 24 << 20
"""Far more bytes than the sockets' buffers and the gateway may hold together."""


@implementer(IStreamClientEndpoint)
class BlackHole:
    """An address that answers no SYN while `silent`."""

    def __init__(self, endpoint: TCP4ClientEndpoint) -> None:
        self.endpoint = endpoint
        self.silent = True
        self.dialled = self.cancelled = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        self.dialled += 1
        return Deferred(self._cancel) if self.silent else self.endpoint.connect(factory)

    def _cancel(self, _: Any) -> None:
        self.cancelled += 1


class Faults(HostileTest):
    """F01-F04."""

    async def unavailable(self, gateway: Gateway) -> None:
        """A device of each version learns that the target cannot be reached."""
        for version in (3, 4, 5):
            before = gateway.refusals
            device = await gateway.device()
            device.send(connect(version=version) + publish("behind", version=version))
            self.check_connack(await device.read_until_closed(), version, [0x88 if version == 5 else 3])
            await gateway.released()
            self.check_counted(gateway, before)

    async def test_f01_target_refused(self) -> None:
        gateway = await self.gateway()
        await gateway.target.stop()
        await self.unavailable(gateway)
        self.assertGreaterEqual(gateway.counters.target_failures, 3)
        gateway.target.listen()

    async def test_f01_next_address_is_tried(self) -> None:
        closed = RecordingTarget()
        closed.listen()
        await closed.stop()
        target = RecordingTarget()
        target.listen()
        gateway = await self.gateway(endpoints=[closed.endpoint(), target.endpoint()], target=target)
        for version in (3, 4, 5):
            await gateway.connected(version=version)
        self.assertEqual(gateway.refusals, 0)

    async def test_f02_black_hole(self) -> None:
        target = RecordingTarget()
        target.listen()
        hole = BlackHole(target.endpoint())
        gateway = await self.gateway(endpoints=[hole], target=target, limits=Limits(dial_timeout=0.2))
        started = reactor.seconds()
        await self.unavailable(gateway)
        self.assertGreater(reactor.seconds() - started, 0.55, "given up before its time")
        self.assertEqual((hole.dialled, hole.cancelled), (3, 3))
        hole.silent = False

    async def test_f02_device_leaves_while_we_dial(self) -> None:
        target = RecordingTarget()
        target.listen()
        hole = BlackHole(target.endpoint())
        gateway = await self.gateway(endpoints=[hole], target=target)
        for version in (4, 5):
            device = await gateway.device()
            device.send(connect(version=version))
            await eventually(lambda: hole.dialled > hole.cancelled, lambda: "not dialled")
            device.reset()
            await gateway.released()
        self.assertEqual((hole.dialled, hole.cancelled), (2, 2), "the dial is given up with the device")
        hole.silent = False

    async def test_f03_reset_inside_a_packet(self) -> None:
        for version in (3, 4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                whole = publish("whole", version=version)
                device.uplink.send(whole + publish("half", bytes(100_000), version=version)[:50_000])
                self.assertEqual(await device.read_packet(), whole)
                device.uplink.reset()
                rest = await device.read_until_closed()
                self.assertNotIn(b"half", rest, "half a packet was dropped")
                if version < 5:
                    self.assertEqual(rest, b"")
                await gateway.released()

    async def test_f04_slow_target(self) -> None:
        for version in (4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version, script=Script(answers=False))
                device.uplink.stop_reading()
                message = publish("a", bytes(16_000), version=version)
                flood = Flood(device, message, FLOOD)
                await flood.stalled()
                device.uplink.read_on()
                total = -(-FLOOD // len(message))
                await device.uplink.until(
                    lambda device=device, total=total: len(device.uplink.packets) == total + 1, f"{total} packets", 10
                )
                self.assertEqual(set(device.uplink.packets[1:]), {message})
                device.reset()
                await gateway.released()

    async def test_f04_slow_device(self) -> None:
        for version in (4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                device.stop_reading()
                message = publish("a", bytes(16_000), version=version)
                flood = Flood(device.uplink, message, FLOOD)
                await flood.stalled()
                device.read_on()
                total = -(-FLOOD // len(message)) * len(message)
                await device.until(
                    lambda device=device, total=total: len(device.received) > total, f"{total} bytes", 10
                )
                self.assertEqual(device.unread.count(message), total // len(message))
                device.reset()
                await gateway.released()

    async def test_f04_slow_device_does_not_stop_its_uplink(self) -> None:
        for version in (4, 5):
            for gateway in await self.pair():
                device = await gateway.connected(version=version)
                device.stop_reading()
                await Flood(device.uplink, publish("a", bytes(16_000), version=version), FLOOD).stalled()
                device.send(publish("up", version=version))
                await device.uplink.expect(publish("up", version=version))
                device.reset()
                await gateway.released()

    async def test_f04_answers_of_the_gateway_to_a_device_that_does_not_read(self) -> None:
        """What the gateway answers by itself counts as unsent bytes too."""
        gateway = (await self.pair())[0]
        device = await gateway.connected(version=5)
        device.stop_reading()
        await Flood(device, publish("$SYS/x", b"", qos=1, version=5) * 1000, 8 << 20).stalled()
        self.assertEqual(device.uplink.packets[1:], [])

    async def test_f01_nothing_is_kept_of_a_device_that_found_no_target(self) -> None:
        gateway = await self.gateway()
        await gateway.target.stop()
        for _ in range(50):
            device = await gateway.device()
            device.send(connect())
            self.assertEqual(await device.read_until_closed(), connack(3))
        await gateway.released()
        self.assertEqual(gateway.counters.connections, 0)
        self.assertEqual(gateway.counters.connections_total, 50)
        gateway.target.listen()
        device = await gateway.connected()
        device.send(wire.PINGREQ)
        self.assertEqual(await device.read_packet(), wire.PINGRESP)

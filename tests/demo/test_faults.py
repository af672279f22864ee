"""A demo broker that misbehaves as it is told."""

from __future__ import annotations

from mgate.demo.faults import Faults
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connack, Connect, Disconnect, PacketType, Pingreq, Pingresp, Publish
from mgate.mqtt.properties import Properties, PropertyId
from tests.demo.devices import BrokerTest, Device


class FaultTest(BrokerTest):
    def test_refuse(self) -> None:
        for version, code in ((4, 5), (5, 0x97)):
            self.start(faults=Faults(refuse=code))
            device = self.device(version=version)
            self.assertEqual(self.connack.reason_code, code)
            self.assertTrue(device.closed)

    def test_delay_keeps_the_order(self) -> None:
        self.start(faults=Faults(delay=2))
        device = Device(self.factory)
        self.assertEqual(device.send(Connect(5, "a"), Pingreq(), Disconnect()), [])
        self.assertFalse(device.closed)
        self.clock.advance(1.9)
        self.assertEqual(device.got(), [])
        self.clock.advance(0.2)
        self.assertEqual([type(packet) for packet in device.got()], [Connack, Pingresp])
        self.assertTrue(device.closed)

    def test_drop(self) -> None:
        self.start(faults=Faults(drop=frozenset({PacketType.PUBACK})))
        device = self.device()
        self.assertEqual(device.send(Publish("t", qos=1, packet_id=1), Pingreq()), [Pingresp()])

    def test_split(self) -> None:
        self.start(faults=Faults(split=3))
        device = Device(self.factory)
        device.send(Connect(5, "a"))
        self.clock.advance(0)
        whole = encode(5, Connack(0, False, Properties([(PropertyId.TOPIC_ALIAS_MAXIMUM, 10)])))
        self.assertEqual(device.transport.writes, [whole[:3], whole[3:6], whole[6:]])

    def test_silent(self) -> None:
        self.start(faults=Faults(silent=True))
        device = Device(self.factory)
        self.assertEqual(device.send(Connect(5, "a"), Pingreq()), [])
        self.assertFalse(device.closed)

    def test_close_after(self) -> None:
        self.start(faults=Faults(close_after=2))
        device = self.device()
        self.assertEqual(device.send(Pingreq(), Pingreq()), [Pingresp()])
        self.assertTrue(device.closed)

    def test_reset_all(self) -> None:
        devices = [self.device() for _ in range(3)]
        gone: list[object] = []
        self.factory.reset_all().addCallback(gone.append)
        self.assertEqual(gone, [None])
        self.assertTrue(all(device.closed for device in devices))
        self.assertEqual(self.factory.connections, set())
        self.factory.reset_all().addCallback(gone.append)
        self.assertEqual(gone, [None, None])

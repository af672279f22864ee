"""aiomqtt through the gateway to mosquitto: what most asyncio programs use."""

from __future__ import annotations

import asyncio
import contextlib
import unittest

from aiomqtt import Client, MqttError, ProtocolVersion, Will

from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto

PATIENCE = 30


class AiomqttTest(unittest.IsolatedAsyncioTestCase):
    broker: Mosquitto
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = Mosquitto(ForClass(cls))
        cls.gateway = Gateway(
            ForClass(cls), cls.broker.port, plain=Serve(), watching=Serve(["watcher"]), refusing=Serve(["refuser"])
        )

    async def test_messages(self) -> None:
        for listener in ("plain", "watching"):
            for version in ProtocolVersion:
                with self.subTest(listener, version=version):
                    async with (
                        asyncio.timeout(PATIENCE),
                        Client("127.0.0.1", self.gateway.ports[listener], protocol=version) as client,
                    ):
                        await client.subscribe("a/+", qos=2)
                        for number in range(60):
                            await client.publish("a/b", str(number), qos=number % 3)
                        came = []
                        async for message in client.messages:
                            came.append(message.payload)
                            if len(came) == 60:
                                break
                        self.assertEqual(sorted(came, key=str), sorted((b"%d" % n for n in range(60)), key=str))

    async def test_a_will(self) -> None:
        port = self.gateway.ports["watching"]
        async with asyncio.timeout(PATIENCE), Client("127.0.0.1", port) as witness:
            await witness.subscribe("will")
            mortal = Client("127.0.0.1", port, will=Will("will", b"gone", 1))
            await mortal.__aenter__()
            mortal._client.socket().shutdown(2)  # type: ignore[union-attr]
            message = await anext(aiter(witness.messages))
            self.assertEqual(message.payload, b"gone")
            with contextlib.suppress(MqttError):  # which it raises if it has noticed
                await mortal.__aexit__(None, None, None)

    async def test_refusals(self) -> None:
        port = self.gateway.ports["refusing"]
        for version, text in ((ProtocolVersion.V311, "Not authorized"), (ProtocolVersion.V5, "Banned")):
            with self.subTest(version):
                with self.assertRaisesRegex(MqttError, text):
                    async with Client("127.0.0.1", port, protocol=version, username="deny", password="banned"):
                        pass
                async with asyncio.timeout(PATIENCE), Client("127.0.0.1", port, protocol=version) as client:
                    codes = await client.subscribe([("a", 1), ("closed/quota", 1)])
                    values = [getattr(code, "value", code) for code in codes]
                    self.assertEqual(values, [1, 0x80 if version is ProtocolVersion.V311 else 0x97])

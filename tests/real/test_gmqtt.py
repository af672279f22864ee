"""gmqtt through the gateway to mosquitto: an asyncio client with its own MQTT 5 and 3.1.1."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from gmqtt import Client, Message, Subscription  # type: ignore[import-untyped]

from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto

PATIENCE = 20
VERSIONS = (4, 5)


class Device:
    """A client of gmqtt with queues in place of its callbacks."""

    def __init__(self, name: str, version: int, clean: bool = True, **more: Any) -> None:
        self.version = version
        self.messages: asyncio.Queue[tuple[str, bytes, int, dict[str, Any]]] = asyncio.Queue()
        self.granted: asyncio.Queue[list[int]] = asyncio.Queue()
        self.gone: asyncio.Queue[Any] = asyncio.Queue()
        self.codes: list[int] = []
        self.client = Client(name, clean_session=clean, **more)
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_connect = lambda client, flags, code, properties: self.codes.append(code)
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda client, mid, codes, properties: self.granted.put_nowait(list(codes))
        self.client.on_unsubscribe = lambda client, mid, codes: self.granted.put_nowait(list(codes))
        self.client.on_disconnect = lambda client, packet, exc=None: self.gone.put_nowait(packet)

    def _on_message(self, client: Client, topic: str, payload: bytes, qos: int, properties: dict[str, Any]) -> int:
        kept = {key: value for key, value in properties.items() if key not in ("dup", "retain")}
        self.messages.put_nowait((topic, bytes(payload), qos, kept))
        return 0

    async def connect(self, port: int) -> Device:
        await self.client.connect("127.0.0.1", port, keepalive=60, version=self.version)
        return self

    async def subscribe(self, *subscriptions: Subscription) -> list[int]:
        self.client.subscribe(list(subscriptions))
        return await self.granted.get()

    async def receive(self) -> tuple[str, bytes, int, dict[str, Any]]:
        return await self.messages.get()


class GmqttTest(unittest.IsolatedAsyncioTestCase):
    broker: Mosquitto
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = Mosquitto(ForClass(cls))
        cls.gateway = Gateway(
            ForClass(cls), cls.broker.port, plain=Serve(), watching=Serve(["watcher"]), refusing=Serve(["refuser"])
        )

    async def asyncSetUp(self) -> None:
        patience = asyncio.timeout(PATIENCE)
        await patience.__aenter__()
        self.addAsyncCleanup(patience.__aexit__, None, None, None)

    async def device(self, listener: str, name: str, version: int, **more: Any) -> Device:
        device = Device(name, version, **more)
        await device.connect(self.gateway.ports[listener])

        async def end() -> None:
            if device.client.is_connected:
                await device.client.disconnect()

        self.addAsyncCleanup(end)
        return device

    async def test_messages(self) -> None:
        for listener in ("plain", "watching"):
            for version in VERSIONS:
                with self.subTest(listener, version=version):
                    device = await self.device(listener, f"{listener}-{version}", version)
                    asked = [Subscription("g/0", qos=0), Subscription("g/1/+", qos=1), Subscription("g/2/#", qos=2)]
                    self.assertEqual(await device.subscribe(*asked), [0, 1, 2])
                    for topic, granted in (("g/0", 0), ("g/1/a", 1), ("g/2/a/b", 2)):
                        for qos in (0, 1, 2):
                            device.client.publish(topic, f"{qos}", qos=qos)
                            came = await device.receive()
                            self.assertEqual(came[:3], (topic, b"%d" % qos, min(qos, granted)))
                    device.client.unsubscribe("g/0")
                    await device.granted.get()

    async def test_properties(self) -> None:
        for listener in ("plain", "watching"):
            with self.subTest(listener):
                device = await self.device(listener, f"{listener}-5", 5)
                await device.subscribe(Subscription("g/props", qos=1))
                device.client.publish(
                    Message(
                        "g/props", "x", qos=1, content_type="text/plain", response_topic="g/answer",
                        correlation_data=b"7", user_property=[("b", "1"), ("a", "2"), ("b", "1")],
                    )
                )  # fmt: skip
                _, _, _, properties = await device.receive()
                self.assertEqual(properties["user_property"], [("b", "1"), ("a", "2"), ("b", "1")])
                self.assertEqual(properties["content_type"], ["text/plain"])
                self.assertEqual(properties["response_topic"], ["g/answer"])
                self.assertEqual(properties["correlation_data"], [b"7"])

    async def test_a_persistent_session_and_a_will(self) -> None:
        for listener in ("plain", "watching"):
            for version in VERSIONS:
                with self.subTest(listener, version=version):
                    lasting = {"session_expiry_interval": 60} if version == 5 else {}
                    name = f"keeper-{listener}-{version}"
                    keeper = await self.device(listener, name, version, clean=False, **lasting)
                    await keeper.subscribe(Subscription(f"{name}/#", qos=2))
                    await keeper.client.disconnect()
                    will = Message(f"{name}/will", "gone", qos=1)
                    mortal = await self.device(listener, f"mortal-{name}", version, will_message=will)
                    mortal.client.publish(f"{name}/said", "alive", qos=2)
                    witness = await self.device(listener, f"witness-{name}", version)
                    await witness.subscribe(Subscription(f"{name}/#", qos=2))
                    mortal.client._connection._transport.abort()
                    self.assertEqual((await witness.receive())[:2], (f"{name}/will", b"gone"))
                    back = await self.device(listener, name, version, clean=False, **lasting)
                    came = [await back.receive(), await back.receive()]
                    self.assertEqual(sorted(message[1] for message in came), [b"alive", b"gone"])

    async def test_refusals(self) -> None:
        for version, code in ((4, 0x80), (5, 0x97)):
            with self.subTest(version):
                device = await self.device("refusing", f"r-{version}", version)
                asked = [Subscription("a", qos=1), Subscription("closed/quota", qos=1), Subscription("b", qos=2)]
                self.assertEqual(await device.subscribe(*asked), [1, code, 2])
                device.client.publish("closed/quota", "no", qos=1)
                device.client.publish("a", "yes", qos=1)
                self.assertEqual((await device.receive())[1], b"yes")

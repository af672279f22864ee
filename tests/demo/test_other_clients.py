"""Other people's clients at the demo broker, so that it and our codec are not only right to each other."""

from __future__ import annotations

import socket
import sys
import textwrap
from collections.abc import Callable
from queue import Queue
from typing import Any

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from twisted.internet.threads import deferToThread

from tests.demo.listening import ListeningTest

PATIENCE = 10
"""Seconds after which what a test waits for counts as never coming."""


class MosquittoClientsTest(ListeningTest):
    async def publish(self, version: str, *arguments: str) -> tuple[str, str, int]:
        return await self.command("mosquitto_pub", "-V", version, "-p", self.number, *arguments)

    async def subscribe(self, version: str, *arguments: str) -> tuple[str, str, int]:
        return await self.command("mosquitto_sub", "-V", version, "-p", self.number, "-W", "5", *arguments)

    async def test_retained_messages_of_every_version_and_qos(self) -> None:
        for version in ("mqttv31", "mqttv311", "mqttv5"):
            for qos in ("0", "1", "2"):
                message = f"{version} at {qos}"
                _, err, code = await self.publish(version, "-t", "t/1", "-m", message, "-q", qos, "-r")
                self.assertEqual((err, code), ("", 0))
                out, _, _ = await self.subscribe(version, "-t", "t/#", "-q", qos, "-C", "1", "-F", "%t %q %r %p")
                self.assertEqual(out, f"t/1 {qos} 1 {message}\n")

    async def test_messages_wait_for_a_persistent_session(self) -> None:
        for version in ("mqttv311", "mqttv5"):
            keep = ["-i", f"keeper-{version}", "-c", "-q", "2", "-t", "t"]
            if version == "mqttv5":
                keep += ["-x", "60"]
            await self.subscribe(version, *keep, "-E")
            for qos in ("1", "2"):
                await self.publish(version, "-t", "t", "-m", qos, "-q", qos)
            out, _, code = await self.subscribe(version, *keep, "-C", "2", "-F", "%q %p")
            self.assertEqual((out, code), ("1 1\n2 2\n", 0))

    async def test_request_and_response(self) -> None:
        asking = self.command(
            "mosquitto_rr", "-V", "mqttv5", "-p", self.number, "-t", "ask", "-e", "answer", "-m", "6*7", "-W", "5"
        )
        # Ask only when the responder is there.
        responder = PahoDevice(MQTTProtocolVersion.MQTTv5, int(self.number))
        try:
            await deferToThread(responder.subscribe, "ask", 1)
            answering = deferToThread(responder.respond)
            out, err, code = await asking
            await answering
            self.assertEqual((out, code), ("6*7 = 42\n", 0), err)
        finally:
            await deferToThread(responder.close)


class PahoDevice:
    """A blocking device on paho; its methods run in a thread of their own."""

    def __init__(self, version: MQTTProtocolVersion, port: int, client_id: str = "", **connect: Any) -> None:
        self.messages: Queue[MQTTMessage] = Queue()
        self.acknowledged: Queue[list[Any]] = Queue()
        self.connected: Queue[Any] = Queue()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=version)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connected.put(reason)
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.acknowledged.put(reasons)
        self.port = port
        self.arguments = connect

    def connect(self) -> PahoDevice:
        self.client.connect("127.0.0.1", self.port, **self.arguments)
        self.client.loop_start()
        assert not self.connected.get(timeout=PATIENCE).is_failure
        return self

    def subscribe(self, topic_filter: str, qos: int, **options: Any) -> list[Any]:
        if not self.client.is_connected():
            self.connect()
        self.client.subscribe(topic_filter, qos, **options)
        return self.acknowledged.get(timeout=PATIENCE)

    def publish(self, topic: str, payload: bytes, qos: int, properties: Properties | None = None) -> None:
        self.client.publish(topic, payload, qos, properties=properties).wait_for_publish(PATIENCE)

    def message(self) -> MQTTMessage:
        return self.messages.get(timeout=PATIENCE)

    def respond(self) -> None:
        request = self.message()
        answer = Properties(PacketTypes.PUBLISH)
        answer.CorrelationData = getattr(request.properties, "CorrelationData", b"")
        self.publish(request.properties.ResponseTopic, request.payload + b" = 42", 1, answer)

    def cut(self) -> None:
        """Lose the connection without a DISCONNECT."""
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


class PahoTest(ListeningTest):
    """What paho says at a broker runs in a thread, the broker in the reactor."""

    async def run_with(self, version: MQTTProtocolVersion, scenario: Callable[..., None]) -> None:
        devices: list[PahoDevice] = []

        def device(client_id: str = "", before: Callable[[Client], object] = id, **arguments: Any) -> PahoDevice:
            made = PahoDevice(version, int(self.number), client_id, **arguments)
            before(made.client)
            devices.append(made)
            return made.connect()

        def whole() -> None:
            try:
                scenario(device)
            finally:
                for made in devices:
                    made.close()

        await deferToThread(whole)

    def every_qos(self, device: Callable[..., PahoDevice]) -> None:
        subscriber, publisher = device("s"), device("p")
        subscriber.subscribe("a/+", 2)
        for qos in (0, 1, 2):
            payload = bytes([qos]) * 10_000
            publisher.publish("a/b", payload, qos)
            message = subscriber.message()
            self.assertEqual((message.topic, message.qos, message.payload), ("a/b", qos, payload))

    def will(self, device: Callable[..., PahoDevice]) -> None:
        subscriber = device("s")
        subscriber.subscribe("will", 1)
        device("p", lambda client: client.will_set("will", b"gone", 1)).cut()
        self.assertEqual(subscriber.message().payload, b"gone")

    def version_5(self, device: Callable[..., PahoDevice]) -> None:
        subscriber, publisher = device("s"), device("p")
        identified = Properties(PacketTypes.SUBSCRIBE)
        identified.SubscriptionIdentifier = 7
        reasons = subscriber.subscribe("a/#", 0, options=SubscribeOptions(2, noLocal=True), properties=identified)
        self.assertEqual([reason.value for reason in reasons], [2])
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("k", "1"), ("k", "2")]
        properties.ContentType = "text"
        properties.MessageExpiryInterval = 100
        properties.TopicAlias = 3
        subscriber.publish("a/own", b"not to me", 1)
        publisher.publish("a/b", b"1", 1, properties)
        aliased = Properties(PacketTypes.PUBLISH)
        aliased.TopicAlias = 3
        publisher.publish("", b"2", 1, aliased)
        first, second = subscriber.message(), subscriber.message()
        self.assertEqual((first.topic, second.topic, second.payload), ("a/b", "a/b", b"2"))
        self.assertEqual(first.properties.UserProperty, [("k", "1"), ("k", "2")])
        self.assertEqual(first.properties.ContentType, "text")
        self.assertEqual(first.properties.SubscriptionIdentifier, [7])
        self.assertEqual(first.properties.MessageExpiryInterval, 100)

    async def test_every_qos(self) -> None:
        for version in (MQTTProtocolVersion.MQTTv31, MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5):
            await self.run_with(version, self.every_qos)

    async def test_will(self) -> None:
        for version in (MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5):
            await self.run_with(version, self.will)

    async def test_version_5(self) -> None:
        await self.run_with(MQTTProtocolVersion.MQTTv5, self.version_5)


GMQTT = textwrap.dedent("""
    import asyncio, sys
    import gmqtt
    from gmqtt.mqtt.constants import MQTTv311, MQTTv50

    async def scenario(version):
        client = gmqtt.Client(f"gmqtt-{version}")
        messages, granted = asyncio.Queue(), asyncio.Queue()
        client.on_message = lambda client, topic, payload, qos, properties: messages.put_nowait((topic, payload)) or 0
        client.on_subscribe = lambda client, mid, codes, properties: granted.put_nowait(list(codes))
        await client.connect("127.0.0.1", int(sys.argv[1]), version=version)
        client.subscribe("g/#", qos=2)
        print(await asyncio.wait_for(granted.get(), 5))
        for qos in (0, 1, 2):
            client.publish(f"g/{qos}", b"x", qos=qos)
            print(*await asyncio.wait_for(messages.get(), 5))
        await client.disconnect()

    for version in (MQTTv311, MQTTv50):
        asyncio.run(scenario(version))
""")


class GmqttTest(ListeningTest):
    async def test_both_versions(self) -> None:
        out, err, code = await self.command(sys.executable, "-c", GMQTT, self.number)
        self.assertEqual(code, 0, err)
        self.assertEqual(out, "[2]\ng/0 b'x'\ng/1 b'x'\ng/2 b'x'\n" * 2)

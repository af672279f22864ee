"""Clients that people use, over WebSocket through the gateway to Debian's mosquitto, which speaks none itself.

Plain, with TLS, and with certificates of devices.
"""

from __future__ import annotations

import json
import os
import ssl
from queue import Queue
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from mgate.addresses import parse_listen
from mgate.entrance import Entrance
from mgate.tables import Listener, Targets
from mgate.tls.checkers import Checkers
from mgate.tls.settings import ServerTls
from tests import wire
from tests.real.mosquitto import Mosquitto
from tests.real.test_mqttjs import FOLDER, installed
from tests.tls.handshakes import file, settings
from tests.websocket.gateway import WebSocketGateway, WebSocketTest

reactor: Any = installed_reactor

PATIENCE = 20
SIZES = (0, 64, 300_000)
VERSIONS = (3, 4, 5)
ENTRANCES: dict[str, ServerTls | None] = {"plain": None, "TLS": settings(client_ca_file=""), "mTLS": settings()}


def client_context() -> ssl.SSLContext:
    """Trusts the gateway, and has the certificate of a device."""
    context = ssl.create_default_context(cafile=file("root.pem"))
    context.load_cert_chain(file("client-good.pem"), file("client-good.key"))
    return context


def paho(port: int, version: int, secure: bool) -> list[tuple[str, int, int]]:
    """One round with paho: every QoS and size, there and back."""
    came: Queue[tuple[str, int, int]] = Queue()
    ready: Queue[Any] = Queue()
    client = Client(
        CallbackAPIVersion.VERSION2, f"paho-{version}", transport="websockets", protocol=MQTTProtocolVersion(version),
        reconnect_on_failure=False,
    )  # fmt: skip
    client.ws_set_options(path="/mqtt/paho")
    if secure:
        client.tls_set_context(client_context())
    client.on_connect = lambda *arguments: ready.put(arguments[3])
    client.on_subscribe = lambda *arguments: ready.put(arguments[3])
    client.on_message = lambda _, __, message: came.put((message.topic, len(message.payload), message.qos))
    client.connect("localhost", port)
    client.loop_start()
    try:
        ready.get(timeout=PATIENCE)
        client.subscribe("paho/#", 2)
        ready.get(timeout=PATIENCE)
        seen = []
        for qos in (0, 1, 2):
            for size in SIZES:
                client.publish(f"paho/{qos}", b"x" * size, qos)
                seen.append(came.get(timeout=PATIENCE))
        return seen
    finally:
        client.disconnect()
        client.loop_stop()


class Clients(WebSocketTest):
    timeout = 120
    serves_at_the_end = False  # mosquitto is no RecordingTarget

    async def served(self, tls: ServerTls | None = None) -> WebSocketGateway:
        broker = Mosquitto(self)
        gateway = await self.websocket(endpoints=[TCP4ClientEndpoint(reactor, "127.0.0.1", broker.port)])
        if tls is not None:
            listener = Listener(parse_listen("127.0.0.1:1"), Targets(), tls=tls)
            checkers = Checkers(reactor, lambda *_: None)
            journal: Any = gateway.journal
            entrance = Entrance("ws", listener, [b"http/1.1"], reactor, journal, gateway.counters, checkers)
            gateway.serve_through(entrance.around(gateway.factory))
        return gateway

    async def test_paho(self) -> None:
        expected = [(f"paho/{qos}", size, qos) for qos in (0, 1, 2) for size in SIZES]
        for name, tls in ENTRANCES.items():
            gateway = await self.served(tls)
            for version in VERSIONS:
                seen = await deferToThread(paho, gateway.port, version, tls is not None)
                self.assertEqual(seen, expected, (name, version))
            self.assertEqual(gateway.refusals, 0, name)

    async def test_mqttjs(self) -> None:
        node = await deferToThread(installed)
        expected = [[f"js/{qos}", size, qos] for qos in (0, 1, 2) for size in SIZES]
        script = os.path.join(os.path.dirname(__file__), "play.js")
        environment = {**os.environ, "NODE_PATH": str(FOLDER / "node_modules")}
        for name, tls in ENTRANCES.items():
            gateway = await self.served(tls)
            scheme = "ws" if tls is None else "wss"
            files = [] if tls is None else [file(one) for one in ("root.pem", "client-good.pem", "client-good.key")]
            for version in VERSIONS:
                url = f"{scheme}://localhost:{gateway.port}/mqtt"
                out, err, code = await getProcessOutputAndValue(
                    node, [script, url, str(version), *files], env=environment
                )
                self.assertEqual(code, 0, (name, version, err.decode()))
                self.assertEqual(json.loads(out), expected, (name, version))
            self.assertEqual(gateway.refusals, 0, name)

    async def test_websockets(self) -> None:
        gateway = await self.served()
        url = f"ws://localhost:{gateway.port}"

        def talk() -> None:
            with connect(f"{url}/mqtt", subprotocols=["mqtt"]) as client:  # type: ignore[list-item]
                self.assertEqual((client.subprotocol, client.protocol.extensions), ("mqtt", []))
                client.send(wire.connect())
                self.assertEqual(client.recv(PATIENCE), wire.connack())
                self.assertTrue(client.ping("x").wait(PATIENCE))
                packet = wire.publish("a", b"x" * 3000, qos=1, packet_id=9)
                client.send([packet[:1000], packet[1000:2000], packet[2000:]])
                self.assertEqual(client.recv(PATIENCE), wire.puback(9))
            self.assertEqual(client.protocol.close_code, 1000)
            with connect(f"{url}/mqtt", subprotocols=["mqtt"]) as client:  # type: ignore[list-item]
                client.send("text")
                with self.assertRaises(ConnectionClosed) as closed:
                    client.recv(PATIENCE)
                assert closed.exception.rcvd is not None
                self.assertEqual(closed.exception.rcvd.code, 1003)
            for path, options, status in (("/other", {"subprotocols": ["mqtt"]}, 404), ("/mqtt", {}, 400)):
                with self.assertRaises(InvalidStatus) as refused, connect(url + path, **options):  # type: ignore[arg-type]
                    pass
                self.assertEqual(refused.exception.response.status_code, status)

        await deferToThread(talk)

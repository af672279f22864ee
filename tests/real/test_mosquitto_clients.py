"""Mosquitto's command line clients through the gateway to mosquitto."""

from __future__ import annotations

import os
import subprocess
import tempfile
import unittest

from tests.real.gateway import ForClass, Gateway, Serve
from tests.real.mosquitto import Mosquitto, command
from tests.real.needed import needed
from tests.real.paho_device import Device, properties

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")


class MosquittoClientsTest(unittest.TestCase):
    """Once with no handler, and once with handlers that watch everything and admit it."""

    broker: Mosquitto
    gateway: Gateway

    @classmethod
    def setUpClass(cls) -> None:
        cls.broker = Mosquitto(ForClass(cls))
        cls.gateway = Gateway(ForClass(cls), cls.broker.port, plain=Serve(), watching=Serve(["watcher"]))

    def each(self) -> list[tuple[str, str]]:
        return [(listener, version) for listener in self.gateway.ports for version in VERSIONS]

    def pub(self, listener: str, version: str, *arguments: str) -> None:
        done = command("mosquitto_pub", "-p", str(self.gateway.ports[listener]), "-V", version, *arguments)
        self.assertEqual((done.stderr, done.returncode), ("", 0))

    def sub(self, listener: str, version: str, *arguments: str) -> str:
        port = str(self.gateway.ports[listener])
        done = command("mosquitto_sub", "-p", port, "-V", version, "-W", "20", *arguments)
        self.assertEqual((done.stderr, done.returncode), ("", 0))
        return done.stdout

    def test_retained_messages(self) -> None:
        self.pub("plain", "mqttv5", "-t", "always", "-m", "there", "-r")
        for listener, version in self.each():
            for qos in "012":
                with self.subTest(listener, version=version, qos=qos):
                    topic = f"{listener}/{version}/{qos}"
                    self.pub(listener, version, "-q", qos, "-t", topic, "-m", "kept", "-r")
                    for name in (topic, f"{listener}/{version}/+", f"{listener}/#"):
                        out = self.sub(listener, version, "-q", qos, "-t", name, "-C", "1", "-F", "%q %r %p")
                        self.assertRegex(out, "^[012] 1 kept\n$")
                    self.pub(listener, version, "-q", qos, "-t", topic, "-n", "-r")
                    self.assertEqual(self.sub(listener, version, "-t", topic, "-t", "always", "-C", "1"), "there\n")

    def test_persistent_sessions(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                keep = ["-i", f"{listener}-{version}", "-c", "-q", "2", "-t", f"kept/{listener}/{version}"]
                if version == "mqttv5":
                    keep += ["-x", "60"]
                self.sub(listener, version, *keep, "-E")
                for number in range(30):
                    topic = f"kept/{listener}/{version}"
                    self.pub(listener, version, "-q", str(number % 2 + 1), "-t", topic, "-m", str(number))
                out = self.sub(listener, version, *keep, "-C", "30", "-F", "%q %p")
                expected = [f"{number % 2 + 1} {number}" for number in range(30)]
                self.assertEqual(sorted(out.splitlines()), sorted(expected))

    def test_lines_of_a_pipe(self) -> None:
        """Many messages of one connection, and large ones."""
        lines = [f"line {number} " + "x" * (number * 40) for number in range(1000)]
        program = needed("mosquitto_pub", "apt install mosquitto-clients")
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                port = str(self.gateway.ports[listener])
                keep = ["-i", f"pipe-{listener}-{version}", "-c", "-q", "1", "-t", f"pipe/{listener}/{version}"]
                if version == "mqttv5":
                    keep += ["-x", "60"]
                self.sub(listener, version, *keep, "-E")
                subprocess.run(
                    [program, "-h", "127.0.0.1", "-p", port, "-V", version, "-q", "1", "-l", "-t",
                     f"pipe/{listener}/{version}"],
                    input="\n".join(lines) + "\n", text=True, check=True, timeout=60, capture_output=True,
                )  # fmt: skip
                self.assertEqual(self.sub(listener, version, *keep, "-C", "1000").splitlines(), lines)

    def test_a_file_of_half_a_mebibyte(self) -> None:
        content = os.urandom(512 * 1024)
        file = self.enterContext(tempfile.NamedTemporaryFile())
        file.write(content)
        file.flush()
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                witness = Device(self, self.broker.port, "witness")
                witness.subscribe("file")
                self.pub(listener, version, "-q", "2", "-t", "file", "-f", file.name)
                self.assertEqual(witness.receive()[:3], ("file", content, 2))
                witness.drop()

    def test_the_will(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                witness = Device(self, self.broker.port, "witness")
                witness.subscribe("last/#")
                sleeper = subprocess.Popen(
                    [needed("mosquitto_sub", "apt install mosquitto-clients"), "-h", "127.0.0.1", "-p",
                     str(self.gateway.ports[listener]), "-V", version, "-t", "last/awake", "--will-topic", "last/will",
                     "--will-payload", "gone", "--will-qos", "2"],
                    stdout=subprocess.PIPE,
                )  # fmt: skip
                try:
                    witness.publish("last/awake", b"there\n", qos=1, retain=True)
                    assert sleeper.stdout is not None
                    self.assertEqual(sleeper.stdout.readline(), b"there\n")
                    self.assertEqual(witness.receive().payload, b"there\n")
                finally:
                    sleeper.kill()
                    sleeper.communicate()
                self.assertEqual(witness.receive()[:3], ("last/will", b"gone", 2))
                witness.publish("last/awake", b"", qos=1, retain=True)
                witness.drop()

    def test_properties_of_version_5(self) -> None:
        for listener in self.gateway.ports:
            with self.subTest(listener):
                witness = Device(self, self.broker.port, "witness", version=5)
                witness.subscribe("properties")
                self.pub(
                    listener, "mqttv5", "-q", "1", "-t", "properties", "-m", "x",
                    "-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "answer",
                    "-D", "publish", "correlation-data", "7", "-D", "publish", "payload-format-indicator", "1",
                    "-D", "publish", "user-property", "b", "1", "-D", "publish", "user-property", "a", "2",
                    "-D", "publish", "user-property", "b", "1", "-D", "publish", "topic-alias", "1",
                    "-D", "publish", "message-expiry-interval", "100",
                )  # fmt: skip
                came = witness.receive().properties
                self.assertLessEqual(came.pop("MessageExpiryInterval"), 100)
                self.assertEqual(
                    came,
                    {
                        "ContentType": "text/plain",
                        "ResponseTopic": "answer",
                        "CorrelationData": b"7",
                        "PayloadFormatIndicator": 1,
                        "UserProperty": [("b", "1"), ("a", "2"), ("b", "1")],
                    },
                )
                witness.drop()

    def test_request_and_response(self) -> None:
        for listener in self.gateway.ports:
            for version in ("mqttv311", "mqttv5"):
                with self.subTest(listener, version=version):
                    responder = Device(self, self.gateway.ports[listener], "responder", version=5)
                    responder.subscribe("ask")
                    asking = subprocess.Popen(
                        [needed("mosquitto_rr", "apt install mosquitto-clients"), "-h", "127.0.0.1", "-p",
                         str(self.gateway.ports[listener]), "-V", version, "-t", "ask", "-e", "answer", "-m", "6*7",
                         "-q", "1", "-W", "20"],
                        stdout=subprocess.PIPE,
                    )  # fmt: skip
                    request = responder.receive()
                    made = None
                    if version == "mqttv5":
                        self.assertEqual(request.properties["ResponseTopic"], "answer")
                        if "CorrelationData" in request.properties:
                            made = properties("publish", CorrelationData=request.properties["CorrelationData"])
                    responder.publish("answer", b"42", 1, made=made)
                    out, _ = asking.communicate(timeout=30)
                    self.assertEqual((out, asking.returncode), (b"42\n", 0))
                    responder.drop()

    def test_a_shared_subscription(self) -> None:
        for listener, version in self.each():
            with self.subTest(listener, version=version):
                topic = f"shared/{listener}/{version}"
                program = needed("mosquitto_sub", "apt install mosquitto-clients")
                both = [
                    subprocess.Popen(
                        [program, "-h", "127.0.0.1", "-p", str(self.gateway.ports[listener]), "-V", version, "-q", "1",
                         "-t", f"$share/g/{topic}", "-t", f"{name}/{topic}", "-C", "6", "-W", "20"],
                        stdout=subprocess.PIPE,
                    )
                    for name in "ab"
                ]  # fmt: skip
                publisher = Device(self, self.broker.port, "publisher")
                for name, process in zip("ab", both, strict=True):
                    publisher.publish(f"{name}/{topic}", b"ready", qos=1, retain=True)
                    assert process.stdout is not None
                    self.assertEqual(process.stdout.readline(), b"ready\n")
                for number in range(10):
                    publisher.publish(topic, f"{number}", qos=1)
                outs = [process.communicate(timeout=30)[0].split() for process in both]
                self.assertEqual(sorted(outs[0] + outs[1]), sorted(b"%d" % number for number in range(10)))
                self.assertEqual([len(out) for out in outs], [5, 5])
                publisher.drop()


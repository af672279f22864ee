"""Much over TLS: nothing is lost, and whoever does not read costs the gateway no memory.

``LOSS_MESSAGES`` says how many small messages there are in each direction, 100,000 if it does not.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import threading
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path

from mgate.limits import DEFAULT
from mgate.mqtt.encode import encode
from mgate.mqtt.packets import Connack, Connect, Disconnect, Publish
from tests.real.certificates import TLS_1_2, TLS_1_3, Certificates
from tests.real.gateway import Gateway, Serve
from tests.real.mosquitto import Mosquitto
from tests.real.sessions import Publisher, Subscriber

MESSAGES = int(os.environ.get("LOSS_MESSAGES", "100000"))
PATIENCE = 120
WINDOW = 200
AHEAD = 500

MEBIBYTE = 1024 * 1024
SIZE = MEBIBYTE // 16
"""Bytes of each message to a side that does not read."""
LINKS = 20
MUCH = 32 * MEBIBYTE
"""What would be sent on each link if it were taken."""
QUIET = 1.0
"""Seconds without room for a byte after which nothing moves any more."""
BOUND = 2 * DEFAULT.max_packet_size + DEFAULT.write_buffer_high
"""Bytes that a link may cost at most."""
PACKET = encode(4, Publish("slow", bytes(range(256)) * (SIZE // 256)))
STREAM = PACKET * (MUCH // SIZE)
GOODBYE = encode(4, Disconnect())
KERNEL = 16 * MEBIBYTE
"""More than the buffers of the kernel hold, of all sockets on the way."""


class LossTest(unittest.TestCase):
    def test_small_messages_in_both_directions(self) -> None:
        asyncio.run(self.lose_nothing())

    async def lose_nothing(self) -> None:
        certificates = Certificates(self)
        broker = Mosquitto(
            self, "max_queued_messages 0", f"max_inflight_messages {WINDOW}", certificates=certificates
        )
        keys = {"tls": certificates.serving("ocsp", "crl"), "target_tls": certificates.dialling()}
        target = f"mqtts://localhost:{broker.port}"
        gateway = Gateway(self, target, sliced=Serve(keys=keys), judged=Serve(["watcher", "copier"], keys=keys))
        pairs = []
        for listener, port in gateway.ports.items():
            for version, tls in ((4, TLS_1_2), (5, TLS_1_3)):
                name = f"{listener}-{version}"
                count = MESSAGES // 4
                publisher = Publisher(port, f"from {name}", version, 1, name, count, WINDOW)
                subscriber = Subscriber(port, f"to {name}", version, 1, name, count, publisher, AHEAD)
                publisher.tls = subscriber.tls = certificates.context(version=tls)
                pairs.append((publisher, subscriber))
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
            for _, subscriber in pairs:
                tasks.create_task(subscriber.run())
            for _, subscriber in pairs:
                await subscriber.ready.wait()
            for publisher, _ in pairs:
                tasks.create_task(publisher.run())
        for publisher, subscriber in pairs:
            with self.subTest(publisher.client_id):
                numbers = set(range(publisher.count))
                self.assertEqual(publisher.acknowledged, numbers)
                self.assertEqual(subscriber.seen, dict.fromkeys(numbers, 1))
                self.assertEqual((publisher.connections, subscriber.connections), (1, 1))


class FlowTest(unittest.TestCase):
    """Devices over TLS, and a target that is this test, so that it knows how much it was asked to take."""

    def setUp(self) -> None:
        self.certificates = Certificates(self)
        self.target = self.enterContext(socket.create_server(("127.0.0.1", 0), backlog=LINKS))
        self.gateway = Gateway(
            self, int(self.target.getsockname()[1]), secure=Serve(keys={"tls": self.certificates.serving("ocsp")})
        )

    def link(self, tls: ssl.TLSVersion) -> tuple[ssl.SSLSocket, socket.socket]:
        """A device and its target, after CONNACK."""
        device = self.enterContext(self.certificates.connection(self.gateway.port, version=tls))
        device.sendall(encode(4, Connect(4, "slow")))
        target, _ = self.target.accept()
        self.enterContext(target)
        target.settimeout(PATIENCE)
        self.assertEqual(target.recv(1000)[:1], b"\x10")
        target.sendall(encode(4, Connack()))
        self.assertEqual(device.recv(4), encode(4, Connack()))
        return device, target


class BackPressureTest(FlowTest):
    def setUp(self) -> None:
        if not Path("/proc/self/status").exists():
            self.skipTest("NOT TESTED: only Linux tells how much memory a process has")
        super().setUp()

    def resident(self) -> int:
        """Bytes of memory that the gateway has."""
        status = Path(f"/proc/{self.gateway.running.process.pid}/status").read_text()
        return 1024 * int(status.partition("VmRSS:")[2].split()[0])

    def test_devices_that_do_not_read(self) -> None:
        for tls in (TLS_1_2, TLS_1_3):
            with self.subTest(tls):
                self.nothing_piles_up(tls, lambda device, target: (target, device))

    def test_targets_that_do_not_read(self) -> None:
        for tls in (TLS_1_2, TLS_1_3):
            with self.subTest(tls):
                self.nothing_piles_up(tls, lambda device, target: (device, target))

    def nothing_piles_up(
        self,
        tls: ssl.TLSVersion,
        choose: Callable[[ssl.SSLSocket, socket.socket], tuple[socket.socket, socket.socket]],
    ) -> None:
        """Send until nothing is taken any more; when it is read at last, all of that is there."""
        ends = [choose(*self.link(tls)) for _ in range(LINKS)]
        before = self.resident()
        sent = [0] * LINKS
        sources = {source: number for number, (source, _) in enumerate(ends)}
        for source in sources:
            source.setblocking(False)
        while sources and (ready := select.select([], list(sources), [], QUIET)[1]):
            for source in ready:
                number = sources[source]
                sent[number] += push(source, memoryview(STREAM)[sent[number] :])
                if sent[number] == len(STREAM):
                    del sources[source]
        self.assertLess(max(sent), KERNEL)
        self.assertLess(self.resident() - before, LINKS * BOUND)
        for number, (source, sink) in enumerate(ends):
            sink.settimeout(PATIENCE)
            # What is in the middle of a packet, or of a record of TLS, is not passed on.
            due = sent[number] // len(PACKET) * len(PACKET)
            came = bytearray()
            while len(came) < due:
                came += sink.recv(MEBIBYTE)
            self.assertEqual(bytes(came), STREAM[: len(came)])
            source.close()
            sink.close()


class EndingTest(FlowTest):
    """What was sent before the end arrives, however slowly it is read."""

    def each(self) -> Iterator[tuple[ssl.SSLSocket, socket.socket]]:
        for tls in (TLS_1_2, TLS_1_3):
            with self.subTest(tls):
                yield self.link(tls)

    def test_a_target_that_closes(self) -> None:
        for device, target in self.each():
            sender = threading.Thread(target=say_all, args=(target, STREAM, target.close))
            sender.start()
            came = b"".join(iter(lambda: device.recv(MEBIBYTE), b""))  # noqa: B023
            sender.join()
            self.assertEqual(came, STREAM)

    def test_a_device_that_says_goodbye(self) -> None:
        for device, target in self.each():
            sender = threading.Thread(target=say_all, args=(device, STREAM + GOODBYE, device.unwrap))
            sender.start()
            came = b"".join(iter(lambda: target.recv(MEBIBYTE), b""))  # noqa: B023
            target.close()
            sender.join()
            self.assertEqual(came, STREAM + GOODBYE)

    def test_a_device_that_is_cut_off(self) -> None:
        """Without close_notify (RFC 8446 section 6.1), whole packets count, and a part of one does not."""
        for device, target in self.each():
            part = STREAM[: len(STREAM) // 3]
            cut = lambda: device.shutdown(socket.SHUT_WR)  # noqa: B023, E731
            sender = threading.Thread(target=say_all, args=(device, part, cut))
            sender.start()
            came = b"".join(iter(lambda: target.recv(MEBIBYTE), b""))  # noqa: B023
            sender.join()
            self.assertEqual(came, part[: len(part) // len(PACKET) * len(PACKET)])


def say_all(source: socket.socket, data: bytes, end: Callable[[], object]) -> None:
    """Send everything, and end the connection."""
    source.sendall(data)
    end()


def push(source: socket.socket, data: memoryview) -> int:
    """Send what the kernel takes of `data`, at most a mebibyte. Returns how much that was."""
    sent = 0
    while sent < MEBIBYTE and sent < len(data):
        try:
            # A record that was begun is written again whole: OpenSSL remembers it.
            sent += source.send(data[sent : sent + 16384])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            break
    return sent

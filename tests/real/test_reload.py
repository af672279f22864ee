"""Two hundred reloads of a process that is busy (hostile.md S03): with files that are good, junk, or do not belong
together. No connection is dropped, who connects gets what was good last, and nothing grows."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import unittest
from pathlib import Path

from tests import wire
from tests.real.certificates import Certificates
from tests.real.gateway import ForClass, Gateway, Serve

RELOADS = int(os.environ.get("RELOADS", "200"))
DEVICES = 12
"""On each listener, from before the first reload to the end."""
PATIENCE = 60
WARM = RELOADS // 2
"""Reloads after which the memory of the process is what it is."""
NOISE = 3 << 20
"""Bytes by which it may differ; one set of contexts for each reload would be more."""

PAGE = os.sysconf("SC_PAGE_SIZE")


class Broker:
    """Accepts every CONNECT, acknowledges every PUBLISH."""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readexactly(2)
                body = await reader.readexactly(head[1])
                if head[0] >> 4 == 1:
                    writer.write(wire.connack())
                elif head[0] >> 4 == 3:
                    at = 2 + int.from_bytes(body[:2], "big")
                    writer.write(wire.puback(int.from_bytes(body[at : at + 2], "big")))
        writer.close()


class Device:
    """Publishes, waits for the acknowledgement, and so on.

    Attributes:
        acknowledged: how often. failed: what ended it before it was told to end.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.failed: BaseException | None = None

    async def connect(self, name: str, port: int, context: ssl.SSLContext | None) -> None:
        name_asked = "127.0.0.1" if context is not None else None
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name_asked
        )
        self.writer.write(wire.connect(client_id=name))
        if await self.reader.readexactly(4) != wire.connack():
            raise AssertionError(f"{name} has no CONNACK 0")

    @property
    def certificate(self) -> bytes:
        """What the gateway showed, in DER."""
        found: bytes = self.writer.get_extra_info("ssl_object").getpeercert(True)
        return found

    async def publish(self) -> None:
        self.writer.write(wire.publish("a/b", bytes(40), qos=1, packet_id=1 + self.acknowledged % 1000))
        await self.reader.readexactly(4)
        self.acknowledged += 1

    async def go_on(self) -> None:
        try:
            while True:
                await self.publish()
                await asyncio.sleep(0.01)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.failed = error

    def leave(self) -> None:
        self.writer.write(wire.DISCONNECT)
        self.writer.close()


class ReloadTest(unittest.TestCase):
    certificates: Certificates

    @classmethod
    def setUpClass(cls) -> None:
        cls.certificates = Certificates(ForClass(cls))

    def setUp(self) -> None:
        self.folder = self.certificates.folder
        self.put("server", "server")

    def put(self, certificate: str, key: str) -> None:
        """What the file names, from now on."""
        for name, kind in ((certificate, "pem"), (key, "key")):
            if name != "junk":
                shutil.copy(self.folder / f"{name}.{kind}", self.folder / f"live.{kind}")
            else:
                (self.folder / f"live.{kind}").write_bytes(os.urandom(3000))

    def test_200_reloads_under_load(self) -> None:
        asyncio.run(self.reload_under_load())

    async def reload_under_load(self) -> None:
        broker = Broker()
        await broker.start()
        tls = {
            **self.certificates.serving("ocsp", ocsp_depth=1),
            "cert_file": str(self.folder / "live.pem"),
            "key_file": str(self.folder / "live.key"),
        }
        gateway = Gateway(self, broker.port, plain=Serve(), tls=Serve(keys={"tls": tls}))
        file = Path(gateway.running.process.args[-1])  # type: ignore[index, arg-type]
        text = file.read_text()
        context = self.certificates.context()
        context.check_hostname = False
        devices = [Device() for _ in range(2 * DEVICES)]
        for number, device in enumerate(devices):
            encrypted = number % 2
            port = gateway.ports["tls" if encrypted else "plain"]
            await device.connect(f"device-{number}", port, context if encrypted else None)
        busy = [asyncio.create_task(device.go_on()) for device in devices]
        shown = {name: ssl.PEM_cert_to_DER_cert(_first(self.folder / f"{name}.pem"))
                 for name in ("server", "other-server")}  # fmt: skip
        last, warm = "server", 0
        for number in range(RELOADS):
            good = number % 2 == 0
            if good:
                last = ("other-server", "server")[number // 2 % 2]
                self.put(last, last)
                # Another setting is another checker, and another set of everything.
                file.write_text(text.replace("ocsp_depth = 1", f"ocsp_depth = 1, deadline = {2 + number % 7}"))
            elif number % 4 == 1:
                self.put("junk", "server")
            else:
                self.put("other-server", "server")
            before = [device.acknowledged for device in devices]
            gateway.running.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(gateway.running.expect, "reloaded: 2 listening" if good else "not reloaded:")
            if number % 10 < 2:
                device = Device()
                await device.connect(f"new-{number}", gateway.ports["tls"], context)
                self.assertEqual(device.certificate, shown[last], f"reload {number}")
                await device.publish()
                device.leave()
            await asyncio.wait_for(self._progress(devices, before), PATIENCE)
            if number == WARM:
                warm = resident(gateway.running.process.pid)
        self.assertEqual([device.failed for device in devices], [None] * len(devices))
        self.assertLess(resident(gateway.running.process.pid) - warm, NOISE)
        self.assertIsNone(gateway.running.process.poll())
        self.assertNotIn("Traceback", "".join(gateway.running.lines))
        for task in busy:
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)
        for device in devices:
            device.leave()
        await broker.stop()

    async def _progress(self, devices: list[Device], before: list[int]) -> None:
        """Wait until each has its next acknowledgement, or has failed."""
        while any(
            device.acknowledged <= count and device.failed is None
            for device, count in zip(devices, before, strict=True)
        ):
            await asyncio.sleep(0.005)


def _first(path: Path) -> str:
    end = "-----END CERTIFICATE-----\n"
    return path.read_text().partition(end)[0] + end


def resident(process: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE

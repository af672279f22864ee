"""The bundled client over TLS, against a demo broker behind TLS."""

from __future__ import annotations

import contextlib
import io
import sys
import unittest
from pathlib import Path
from tempfile import mkdtemp

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory

from mgate.demo import client
from mgate.demo.errands import DONE, LOST, MISSED
from mgate.testing.pki import Pki
from mgate.tls.contexts import ServerContexts
from mgate.tls.settings import ServerTls
from tests.demo.listening import ListeningTest, reactor


class OptionsTest(unittest.TestCase):
    def test_mistakes_are_told_before_anything_is_dialled(self) -> None:
        for arguments, expected in (
            (("--cert", "a.pem"), "--cert and --key go together"),
            (("--key", "a.key"), "--cert and --key go together"),
            (("--cafile", "/nowhere/ca.pem"), "/nowhere/ca.pem: "),
            (("--tls", "-h", "a b"), "'a b' is neither a host name nor an IP address"),
        ):
            with self.subTest(arguments), contextlib.redirect_stderr(io.StringIO()) as err:
                with self.assertRaises(SystemExit) as end:
                    client.main(("pub", "-t", "a", "-n", *arguments))
                self.assertEqual(end.exception.code, 2)
                self.assertIn(expected, err.getvalue().splitlines()[-1])


class TlsTest(ListeningTest):
    """Every test starts what listens by itself."""

    async def setUp(self) -> None:
        await super().setUp()
        self.pki = Pki.make()
        self.folder = Path(mkdtemp())
        self.addCleanup(self.remove)
        self.pki.write(self.folder)

    def remove(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def path(self, name: str) -> str:
        return str(self.folder / name)

    async def listen(self, server: str = "server", client_ca_file: str = "") -> None:
        """Have TLS before the broker, in the place of no TLS."""
        settings = ServerTls(self.path(f"{server}.pem"), self.path(f"{server}.key"), client_ca_file)
        contexts = ServerContexts(settings, None, [b"mqtt"], reactor)
        await self.listen_with(TLSMemoryBIOFactory(contexts, False, self.factory))

    async def listen_with(self, factory: Factory) -> None:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.addCleanup(port.stopListening)
        self.number = str(port.getHost().port)

    async def publish(self, *arguments: str) -> tuple[str, int]:
        """(What it says, exit code)."""
        _, err, code = await self.command(
            sys.executable, "-m", "mgate.demo.client", "pub", "-p", self.number, "-t", "t", "-m", "x", *arguments
        )
        return err, code

    async def test_the_server_is_who_it_must_be(self) -> None:
        await self.listen()
        for host in ("127.0.0.1", "localhost"):
            told = await self.publish("-h", host, "--cafile", self.path("ca.pem"))
            self.assertEqual(told, ("acknowledged: 0x10 no matching subscribers\n", DONE))

    async def test_nobody_vouches_for_the_server(self) -> None:
        await self.listen()
        for trusted in (("--cafile", self.path("foreign.pem")), ("--tls",)):
            told, code = await self.publish(*trusted)
            self.assertRegex(told, r"^cannot connect to 127.0.0.1 port \d+: .* is of an unknown authority\n$")
            self.assertEqual(code, LOST)

    async def test_the_server_has_another_name(self) -> None:
        await self.listen("other-server")
        told, code = await self.publish("-h", "localhost", "--cafile", self.path("ca.pem"))
        self.assertIn("its certificate is not for localhost", told)
        self.assertEqual(code, LOST)

    async def test_a_certificate_of_its_own(self) -> None:
        await self.listen(client_ca_file=self.path("root.pem"))
        own = ("--cert", self.path("client-good.pem"), "--key", self.path("client-good.key"))
        told = await self.publish("--cafile", self.path("ca.pem"), *own)
        self.assertEqual(told, ("acknowledged: 0x10 no matching subscribers\n", DONE))

    async def test_a_refusal_after_the_handshake_is_told(self) -> None:
        await self.listen(client_ca_file=self.path("root.pem"))
        told, code = await self.publish("--cafile", self.path("ca.pem"))
        self.assertRegex(told, "^TLS: .*certificate required\nconnection closed before it was accepted\n$")
        self.assertEqual(code, LOST)

    async def test_the_other_side_speaks_no_tls(self) -> None:
        told, code = await self.publish("--tls")
        self.assertRegex(told, r"^cannot connect to 127.0.0.1 port \d+: TLS handshake: .*\n$")
        self.assertEqual(code, LOST)

    async def test_the_other_side_is_silent(self) -> None:
        silent = Factory.forProtocol(Protocol)
        await self.listen_with(silent)
        told, code = await self.publish("--tls", "-W", "0.3")
        self.assertRegex(told, r"^cannot connect to 127.0.0.1 port \d+: no answer in time\n$")
        self.assertEqual(code, MISSED)

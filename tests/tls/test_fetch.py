"""Fetching from servers on the loopback interface that do what they should not."""

from __future__ import annotations

from typing import Any
from unittest import mock

from twisted.internet import reactor as installed_reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from mgate.tls import fetch
from mgate.tls.fetch import Fetcher, FetchError

reactor: Any = installed_reactor
LONG = 20.0
LIMIT = 1000


class Scripted(Protocol):
    """A server that says what its factory tells it to."""

    factory: Server

    def connectionMade(self) -> None:
        """IProtocol."""
        self.factory.open.append(self)
        self.request = b""
        self.later: Any = None

    def dataReceived(self, data: bytes) -> None:
        """IProtocol."""
        self.request += data
        head, end, body = self.request.partition(b"\r\n\r\n")
        if end and len(body) >= int(dict(_fields(head)).get(b"content-length", b"0")):
            self.factory.requests.append(self.request)
            self.factory.answer(self)
            asked, self.factory.asked = self.factory.asked, Deferred()
            asked.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """IProtocol."""
        self.factory.open.remove(self)
        if self.later is not None and self.later.active():
            self.later.cancel()
        if not self.factory.open:
            quiet, self.factory.quiet = self.factory.quiet, Deferred()
            quiet.callback(None)

    def say(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)  # type: ignore[union-attr]


def _fields(head: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.strip()) for name, _, value in (row.partition(b":") for row in head.split(b"\r\n"))]


class Server(Factory):
    """Makes `Scripted` servers.

    Attributes:
        open: connections.
        requests: whole requests, as they came.
        asked: fires with the next request.
        quiet: fires when the last connection is lost.
    """

    protocol = Scripted
    noisy = False

    def __init__(self) -> None:
        self.open: list[Scripted] = []
        self.requests: list[bytes] = []
        self.asked: Deferred[None] = Deferred()
        self.quiet: Deferred[None] = Deferred()
        self.script = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def answer(self, connection: Scripted) -> None:
        """A request has come."""
        connection.say(self.script)


class Endless(Server):
    """Sends `script`, and then goes on until it is closed."""

    def answer(self, connection: Scripted) -> None:
        """A request has come."""
        connection.say(self.script)
        self.go_on(connection)

    def go_on(self, connection: Scripted) -> None:
        """More."""
        if connection in self.open:
            connection.say(b"a" * 8192)
            connection.later = reactor.callLater(0, self.go_on, connection)


class Dripping(Server):
    """Sends `script` and then a byte now and then."""

    def answer(self, connection: Scripted) -> None:
        """A request has come."""
        connection.say(self.script)
        self.drip(connection)

    def drip(self, connection: Scripted) -> None:
        """A byte."""
        if connection in self.open:
            connection.say(b"a")
            connection.later = reactor.callLater(0.01, self.drip, connection)


class Names:
    """IHostnameResolver with a table; a name that is not in it never gets an answer."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, **_: object) -> object:
        """IHostnameResolver."""
        self.asked.append(hostName)
        receiver.resolutionBegan(object())
        if hostName in self.addresses:
            for host in self.addresses[hostName]:
                kind = IPv6Address if ":" in host else IPv4Address
                receiver.addressResolved(kind("TCP", host, portNumber))
            receiver.resolutionComplete()
        self.late = receiver.resolutionComplete
        return object()


class FetchTestCase(TestCase):
    """A server and a fetcher."""

    timeout = 30

    def setUp(self) -> None:
        self.names = Names(server=["127.0.0.1"])
        self.fetcher = Fetcher(reactor, resolver=self.names)
        self.addCleanup(self.fetcher.stop)

    async def serve(self, server: Server | None = None) -> str:
        """Start a server; its URL by a name."""
        self.server = server or Server()
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.server)
        self.addCleanup(self.closed)
        self.addCleanup(port.stopListening)
        self.port = port.getHost().port
        return f"http://server:{self.port}/path?query"

    async def closed(self) -> None:
        """Wait until the server has no connection: the fetcher must have ended all of them."""
        if self.server.open:
            await self.server.quiet

    def fetch(self, url: str, **options: Any) -> Deferred[bytes]:
        """Fetch with limits that suit a test."""
        wanted = {"limit": LIMIT, "deadline": LONG, "trusted": True} | options
        return self.fetcher.fetch(wanted.pop("method", "GET"), url, **wanted)

    async def refused(self, url: str, **options: Any) -> str:
        """Why a fetch fails."""
        try:
            body = await self.fetch(url, **options)
        except FetchError as error:
            return error.text
        self.fail(f"fetched {body[:100]!r}")


class AnswerTests(FetchTestCase):
    """What a server may answer, and what it may not."""

    async def test_get(self) -> None:
        self.assertEqual(await self.fetch(await self.serve()), b"ok")
        [request] = self.server.requests
        self.assertTrue(request.startswith(b"GET /path?query HTTP/1.1\r\n"), request)
        fields = dict(_fields(request))
        self.assertEqual(fields[b"host"], b"server:%d" % self.port)
        self.assertNotIn(b"accept-encoding", fields)

    async def test_post(self) -> None:
        url = await self.serve()
        body = await self.fetch(url, method="POST", data=b"question", content_type="application/ocsp-request")
        self.assertEqual(body, b"ok")
        [request] = self.server.requests
        self.assertTrue(request.startswith(b"POST /path?query HTTP/1.1\r\n"), request)
        self.assertTrue(request.endswith(b"\r\n\r\nquestion"), request)
        self.assertEqual(dict(_fields(request))[b"content-type"], b"application/ocsp-request")

    async def test_bodies(self) -> None:
        whole = b"a" * LIMIT
        cases = {
            "length": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + whole,
            "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + whole + b"\r\n0\r\n\r\n",
        }
        url = await self.serve()
        for name, script in cases.items():
            with self.subTest(name):
                self.server.script = script
                self.assertEqual(await self.fetch(url), whole)

    async def test_body_until_the_server_closes(self) -> None:
        class Closing(Server):
            def answer(self, connection: Scripted) -> None:
                connection.say(b"HTTP/1.0 200 OK\r\n\r\nall")
                connection.transport.loseConnection()  # type: ignore[union-attr]

        self.assertEqual(await self.fetch(await self.serve(Closing())), b"all")

    async def test_status(self) -> None:
        url = await self.serve()
        for status in (b"404 Not Found", b"500 Oops", b"204 No Content", b"206 Partial Content", b"304 Not Modified"):
            with self.subTest(status=status):
                self.server.script = b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n"
                self.assertEqual(await self.refused(url), f"HTTP status {int(status[:3])}")

    async def test_redirects_are_not_followed(self) -> None:
        url = await self.serve()
        for where in (url, "file:///etc/passwd", "http://169.254.169.254/latest/meta-data"):
            for status in (b"301", b"302", b"303", b"307", b"308"):
                with self.subTest(where=where, status=status):
                    self.server.script = (
                        b"HTTP/1.1 " + status + b" Go\r\nLocation: " + where.encode() + b"\r\nContent-Length: 0\r\n\r\n"
                    )
                    self.server.requests.clear()
                    self.assertEqual(await self.refused(url), f"HTTP status {status.decode()}")
                    self.assertEqual(len(self.server.requests), 1)

    async def test_too_long_by_its_own_word(self) -> None:
        url = await self.serve()
        self.server.script = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
        self.assertIn("1073741824", await self.refused(url))

    async def test_endless(self) -> None:
        cases = {
            "body with a small length": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
            "body without a length": b"HTTP/1.1 200 OK\r\n\r\n",
            "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
            "line": b"HTTP/1.1 200 OK\r\nX-Long: ",
            "status": b"",
        }
        for name, script in cases.items():
            server = Endless()
            server.script = script
            url = await self.serve(server)
            with self.subTest(name):
                await self.refused(url)
                await self.closed()

    async def test_endless_header_fields(self) -> None:
        class Fields(Endless):
            def go_on(self, connection: Scripted) -> None:
                if connection in self.open:
                    connection.say(b"X-Field: value\r\n" * 500)
                    connection.later = reactor.callLater(0, self.go_on, connection)

        server = Fields()
        server.script = b"HTTP/1.1 200 OK\r\n"
        await self.refused(await self.serve(server))
        await self.closed()

    async def test_cut_short(self) -> None:
        class Cutting(Server):
            def answer(self, connection: Scripted) -> None:
                connection.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
                connection.transport.loseConnection()  # type: ignore[union-attr]

        self.assertEqual(await self.refused(await self.serve(Cutting())), "the body was cut short")

    async def test_junk(self) -> None:
        url = await self.serve()
        for script in (b"220 mail ESMTP\r\n\r\n", b"\x00\x01\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"):
            with self.subTest(script=script):
                self.server.script = script
                self.assertLess(len(await self.refused(url)), 201)

    async def test_refused_connection(self) -> None:
        port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Server())
        number = port.getHost().port
        await port.stopListening()
        self.assertIn("refused", (await self.refused(f"http://127.0.0.1:{number}/")).lower())

    async def test_https_is_never_plain(self) -> None:
        class Plain(Server):
            def buildProtocol(self, addr: Any) -> Any:
                reactor.callLater(0, lambda: self.open[0].say(self.script))
                return super().buildProtocol(addr)

        url = (await self.serve(Plain())).replace("http:", "https:")
        self.assertIn("SSL", await self.refused(url))
        self.assertEqual(self.server.requests, [])


class TimeTests(FetchTestCase):
    """Nothing takes longer than the deadline, and nothing is left over."""

    async def test_stall(self) -> None:
        server = Server()
        for server.script in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"HTTP/1.1 200 OK\r\nX: "):
            url = await self.serve(server)
            with self.subTest(script=server.script):
                self.assertEqual(await self.refused(url, deadline=0.1), "no answer in 0.1 s")
                await self.closed()

    async def test_drip(self) -> None:
        for script in (b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "):
            server = Dripping()
            server.script = script
            url = await self.serve(server)
            with self.subTest(script=script):
                self.assertEqual(await self.refused(url, deadline=0.2), "no answer in 0.2 s")
                await self.closed()

    async def test_name_without_an_answer(self) -> None:
        self.assertEqual(await self.refused("http://silent/", deadline=0.05), "no answer in 0.05 s")
        self.names.late()

    async def test_cancelled(self) -> None:
        url = await self.serve()
        self.server.script = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
        for wait in (True, False):
            with self.subTest(asked=wait):
                fetching = self.fetch(url)
                if wait:
                    await self.server.asked
                fetching.cancel()
                self.failureResultOf(fetching, CancelledError)
        await self.closed()

    async def test_cancelled_between_head_and_end_of_the_body(self) -> None:
        url = await self.serve()
        self.server.script = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
        fetching = self.fetch(url)
        await self.server.asked
        await deferLater(reactor, 0.05)
        fetching.cancel()
        self.failureResultOf(fetching, CancelledError)
        await self.closed()

    async def test_stop(self) -> None:
        url = await self.serve()
        self.server.script = b""
        fetching = [self.fetch(url) for _ in range(fetch.AT_ONCE + 5)]
        await self.server.asked
        self.fetcher.stop()
        for each in fetching:
            self.failureResultOf(each, CancelledError)
        await self.closed()


class AddressTests(FetchTestCase):
    """Where a URL of a certificate leads."""

    async def test_private_addresses(self) -> None:
        url = await self.serve()
        for host in (f"127.0.0.1:{self.port}", f"[::1]:{self.port}", f"[::ffff:127.0.0.1]:{self.port}", "0.0.0.0"):
            with self.subTest(host=host):
                self.fetcher = Fetcher(reactor, resolver=self.names, allowed_ports=(80, self.port))
                self.assertIn("no address", await self.refused(f"http://{host}/", trusted=False))
        self.assertIn("no address", await self.refused(url, trusted=False))
        self.assertEqual((self.server.requests, self.server.open), ([], []))

    async def test_one_private_address_is_enough_to_refuse(self) -> None:
        await self.serve()
        self.fetcher = Fetcher(reactor, resolver=self.names, allowed_ports=(self.port,))
        for addresses in (["127.0.0.1", "93.184.215.14"], ["93.184.215.14", "127.0.0.1"], ["93.184.215.14", "::1"]):
            with self.subTest(addresses=addresses):
                self.names.addresses["both"] = addresses
                self.assertIn("no address", await self.refused(f"http://both:{self.port}/", trusted=False))
        self.assertEqual(self.server.open, [])

    async def test_allowed_network_and_port(self) -> None:
        url = await self.serve()
        networks = ["127.0.0.0/8"]
        self.fetcher = Fetcher(reactor, resolver=self.names, allowed_networks=networks, allowed_ports=(self.port,))
        self.assertEqual(await self.fetch(url, trusted=False), b"ok")
        self.fetcher = Fetcher(reactor, resolver=self.names, allowed_networks=networks)
        self.assertEqual(await self.refused(url, trusted=False), f"port {self.port} is not allowed")

    async def test_the_name_is_looked_up_once(self) -> None:
        """The connection goes to the address that was checked, whatever the name means a moment later."""
        url = await self.serve()
        self.assertEqual(await self.fetch(url), b"ok")
        self.assertEqual(self.names.asked, ["server"])

    async def test_next_address(self) -> None:
        url = await self.serve()
        self.names.addresses["server"] = ["127.0.0.2", "127.0.0.1"]  # the server listens at the second one only
        self.assertEqual(await self.fetch(url), b"ok")

    async def test_names_without_or_with_too_many_addresses(self) -> None:
        self.names.addresses |= {"none": [], "many": ["93.184.215.14"] * 65}
        self.assertEqual(await self.refused("http://none/"), "the name has no address")
        self.assertEqual(await self.refused("http://many/"), "the name has 65 addresses")

    async def test_other_schemes_even_if_trusted(self) -> None:
        for url in ("file:///etc/passwd", "ldap://server/", "http://user:secret@server/", "http://2130706433/"):
            with self.subTest(url=url):
                self.assertNotIn("secret", await self.refused(url))
        self.assertEqual(self.names.asked, [])

    async def test_ipv6_literal(self) -> None:
        self.server = Server()
        try:
            port = await TCP6ServerEndpoint(reactor, 0, interface="::1").listen(self.server)
        except OSError as error:
            raise SkipTest("no IPv6 here") from error
        self.addCleanup(self.closed)
        self.addCleanup(port.stopListening)
        number = port.getHost().port
        self.assertEqual(await self.fetch(f"http://[0::1]:{number}/x"), b"ok")
        self.assertEqual(dict(_fields(self.server.requests[0]))[b"host"], b"[::1]:%d" % number)

    def test_networks_that_are_none(self) -> None:
        with self.assertRaises(ValueError):
            Fetcher(reactor, allowed_networks=["10.0.0.1/8"])


class QueueTests(FetchTestCase):
    """How much is asked of one host."""

    async def test_eight_at_a_time_in_order(self) -> None:
        url = await self.serve()
        self.server.script = b""
        fetching = [self.fetch(f"{url}={number}") for number in range(20)]
        while len(self.server.requests) < fetch.AT_ONCE:
            await self.server.asked
        self.assertEqual(len(self.server.open), fetch.AT_ONCE)
        self.server.script = Server().script
        for connection in self.server.open:
            self.server.answer(connection)
        self.assertEqual(await gatherResults(fetching), [b"ok"] * 20)
        self.assertEqual(len(self.server.requests), 20)

    async def test_full_queue(self) -> None:
        url = await self.serve()
        self.server.script = b""
        with mock.patch.object(fetch, "WAITING", 3):
            fetching = [self.fetch(url) for _ in range(fetch.AT_ONCE + 3)]
            self.assertEqual(await self.refused(url), "3 requests wait for server")
        for each in fetching:
            each.cancel()
            self.failureResultOf(each, CancelledError)

    async def test_who_waits_has_a_deadline_too(self) -> None:
        url = await self.serve()
        self.server.script = b""
        fetching = [self.fetch(url) for _ in range(fetch.AT_ONCE)]
        self.assertEqual(await self.refused(url, deadline=0.05), "no answer in 0.05 s")
        for each in fetching:
            each.cancel()
            self.failureResultOf(each, CancelledError)

    async def test_one_slow_host_does_not_delay_another(self) -> None:
        await self.serve()
        slow = [self.fetch("http://silent/") for _ in range(20)]
        self.assertEqual(await self.fetch(f"http://127.0.0.1:{self.port}/"), b"ok")
        for each in slow:
            each.cancel()
            self.failureResultOf(each, CancelledError)

    async def test_too_many_hosts(self) -> None:
        with mock.patch.object(fetch, "HOSTS", 2):
            slow = [self.fetch(f"http://silent{number}/") for number in range(2)]
            self.assertEqual(await self.refused("http://another/"), "too many hosts are being asked")
            slow[0].cancel()
            self.failureResultOf(slow[0], CancelledError)
            again = self.fetch("http://another/")
            self.assertNoResult(again)
        for each in (slow[1], again):
            each.cancel()
            self.failureResultOf(each, CancelledError)


class BreakerTests(FetchTestCase):
    """A host that does not answer is left alone."""

    async def time_out(self, url: str, times: int) -> None:
        """Let requests run out of time."""
        for _ in range(times):
            self.assertIn("no answer", await self.refused(url, deadline=0.05))

    async def test_three_in_a_row(self) -> None:
        await self.time_out("http://silent/", 3)
        asked = len(self.names.asked)
        self.assertIn("left alone", await self.refused("http://silent/"))
        self.assertEqual(len(self.names.asked), asked)

    async def test_who_waits_is_told_at_once(self) -> None:
        running = [
            Deferred.fromCoroutine(self.refused("http://silent/", deadline=0.05)) for _ in range(fetch.AT_ONCE)
        ]
        waiting = [self.fetch("http://silent/") for _ in range(5)]
        await gatherResults(running)
        for each in waiting[:2]:  # took the places of the first two that ran out of time
            each.cancel()
            self.failureResultOf(each, CancelledError)
        for each in waiting[2:]:
            self.assertEqual(self.failureResultOf(each, FetchError).value.text, "the host does not answer")

    async def test_an_answer_in_between(self) -> None:
        url = await self.serve()
        good, self.server.script = self.server.script, b""
        for _ in range(3):
            await self.time_out(url, 2)
            self.server.script = good
            self.assertEqual(await self.fetch(url), b"ok")
            self.server.script = b""

    async def test_another_host(self) -> None:
        url = await self.serve()
        await self.time_out("http://silent/", 3)
        self.assertEqual(await self.fetch(url), b"ok")

    async def test_after_a_rest_one_more_time_out_is_enough(self) -> None:
        with mock.patch.object(fetch, "REST", 0.0):
            await self.time_out("http://silent/", 3)
        await self.time_out("http://silent/", 1)
        self.assertIn("left alone", await self.refused("http://silent/"))

    async def test_cancelling_is_no_time_out(self) -> None:
        for _ in range(5):
            fetching = self.fetch("http://silent/")
            fetching.cancel()
            self.failureResultOf(fetching, CancelledError)
        self.assertNoResult(waiting := self.fetch("http://silent/"))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)

"""The opening handshake, both roles, as bytes."""

from __future__ import annotations

import json
import unittest

from hypothesis import given
from hypothesis import strategies as st

from mgate.errors import TargetLost
from mgate.websocket import handshake
from mgate.websocket.handshake import ClientOpening, HeadReader, Refused, Request, Rules, accept_for, agree
from tests.websocket import raw
from tests.websocket.raw import request


def read(head: bytes, **rules: object) -> tuple[Request, str]:
    return Rules(**{"path_prefix": "/mqtt", **rules}).read(head)  # type: ignore[arg-type]


class Served(unittest.TestCase):
    def test_what_is_asked_for(self) -> None:
        asked, subprotocol = read(request("/mqtt/a%20b?token=x", Origin="https://a.example", X_Other="y"))
        self.assertEqual(
            (asked.path, asked.query, asked.host, asked.origin, asked.offered, asked.key, asked.fields["x-other"]),
            ("/mqtt/a b", "token=x", "localhost:8083", "https://a.example", ("mqtt",), raw.KEY, ["y"]),
        )
        self.assertEqual(subprotocol, "mqtt")
        self.assertEqual(
            agree(asked.key, subprotocol),
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + raw.ACCEPT.encode() + b"\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        )

    def test_spellings(self) -> None:
        for fields in (
            {"Connection": "keep-alive, Upgrade"},
            {"Connection": ["keep-alive", "uPGRADE"]},
            {"Connection": "Upgrade,"},
            {"Upgrade": "WebSocket"},
            {"Upgrade": "h2c, websocket"},
            {"Sec-WebSocket-Protocol": "foo, mqtt"},
            {"Sec-WebSocket-Protocol": "foo,mqtt \t"},
            {"Sec-WebSocket-Protocol": ["foo", "mqtt"]},
            {"Sec-WebSocket-Protocol": ["foo,, mqttv3.1x", " mqtt,mqttv3.1"]},
            {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
            {"Content-Length": "0"},
        ):
            self.assertEqual(read(request(**fields))[1], "mqtt", fields)
        lower = request().replace(b"Sec-WebSocket-", b"sec-websocket-").replace(b"Host: ", b"hOST:\t")
        self.assertEqual(read(lower)[1], "mqtt")

    def test_the_first_that_is_spoken_is_chosen(self) -> None:
        for offer, chosen in (
            ("mqttv3.1", "mqttv3.1"), ("mqttv3.1, mqtt", "mqttv3.1"), ("MQTT, mqtt, mqttv3.1", "mqtt")
        ):  # fmt: skip
            self.assertEqual(read(request(Sec_WebSocket_Protocol=offer))[1], chosen)

    def test_paths(self) -> None:
        for target, path in (
            ("/mqtt", "/mqtt"),
            ("/mqtt/", "/mqtt/"),
            ("/mqtt/deep/er", "/mqtt/deep/er"),
            ("/%6dqtt", "/mqtt"),
            ("/mqtt?", "/mqtt"),
            ("http://LOCALHOST:8083/mqtt", "/mqtt"),
            ("ws://localhost:8083/mqtt?a", "/mqtt"),
        ):
            self.assertEqual(read(request(target))[0].path, path)
        for prefix in ("", "/", "/mqtt/"):
            self.assertEqual(read(request("/mqtt"), path_prefix=prefix)[1], "mqtt")
        self.assertEqual(read(request("http://localhost:8083?q"), path_prefix="")[0].path, "/")
        self.assertEqual(read(request("http://localhost:8083?q"), path_prefix="")[0].query, "q")

    def test_origins(self) -> None:
        allowed = ("https://App.example", "null")
        for origin in ("https://app.EXAMPLE", "null"):
            self.assertEqual(read(request(Origin=origin), origins=allowed)[0].origin, origin)
        self.assertIsNone(read(request(), origins=allowed)[0].origin)
        self.assertEqual(read(request(Origin="https://any.example"))[0].origin, "https://any.example")


class NotServed(unittest.TestCase):
    def refused(self, status: int, head: bytes, **rules: object) -> Refused:
        with self.assertRaises(Refused, msg=head) as caught:
            read(head, **rules)
        self.assertEqual(caught.exception.status, status, (head, caught.exception.text))
        return caught.exception

    def test_subprotocols(self) -> None:
        self.refused(400, request(without="Sec-WebSocket-Protocol"))
        for offer in ("foo", "", "mqtt2", "MQTT", "mqtt;q=1", '"mqtt"'):
            self.assertEqual(self.refused(400, request(Sec_WebSocket_Protocol=offer)).reason, "subprotocol")

    def test_versions(self) -> None:
        for version in ("8", "0", "14", "13, 8", "1_3", ""):
            error = self.refused(426, request(Sec_WebSocket_Version=version))
            self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", error.answer())
        self.refused(426, request(without="Sec-WebSocket-Version"))
        self.refused(400, request(Sec_WebSocket_Version=["13", "13"]))

    def test_keys(self) -> None:
        self.refused(400, request(without="Sec-WebSocket-Key"))
        for key in ("short==", raw.KEY[:-1], raw.KEY + "=", "dGhlIHNhbXBsZSBub25jZQ.=", "é" * 24, "AAAA" * 6, "=" * 24):
            self.refused(400, request(Sec_WebSocket_Key=key))
        self.refused(400, request(Sec_WebSocket_Key=[raw.KEY, raw.KEY]))

    def test_methods_and_upgrades(self) -> None:
        for method in ("POST", "HEAD", "PUT", "OPTIONS", "get"):
            self.assertIn(b"\r\nAllow: GET\r\n", self.refused(405, request(method=method)).answer())
        for head in (
            request(without="Upgrade"),
            request(without="Connection"),
            request(Upgrade="h2c"),
            request(Connection="keep-alive"),
            request(Connection="Upgraded"),
            request(version="HTTP/1.0"),
        ):
            self.assertIn(b"\r\nUpgrade: websocket\r\n", self.refused(426, head).answer())
        for version in ("HTTP/2.0", "HTTP/1.2", "HTTP/9.9"):
            self.refused(505, request(version=version))

    def test_paths(self) -> None:
        for path in ("/", "/other", "/mqttX", "/mqt", "/MQTT", "/x/mqtt"):
            self.refused(404, request(path))
        for path in (
            "*", "mqtt", "/mqtt/../admin", "/mqtt/./a", "/mqtt/%2e%2e/a", "/mqtt%2fa", "/mqtt/%00", "/mqtt\\a",
            "//mqtt", "/mqtt//a", "/mqtt/%zz", "/mqtt/%2", "/mqtt#a", "/mqtt?a%", "/mqtt/%ff", "/mqtt/%0a",
            "http://elsewhere/mqtt", "ftp://localhost:8083/mqtt",
        ):  # fmt: skip
            self.refused(400, request(path))

    def test_origins(self) -> None:
        allowed = ("https://app.example",)
        for origin in ("https://evil.example", "http://app.example", "https://app.example:444", "", "null"):
            self.refused(403, request(Origin=origin), origins=allowed)
        self.refused(400, request(Origin=["https://app.example", "https://evil.example"]), origins=allowed)

    def test_hosts(self) -> None:
        self.refused(400, request(without="Host"))
        for host in ("", "a b", "a@b", "a/b", "a:b", ["localhost", "localhost"]):
            self.refused(400, request(Host=host))
        for host in ("a.example", "127.0.0.1:1", "[::1]:8083"):
            self.assertEqual(read(request(Host=host))[0].host, host)

    def test_a_handshake_has_no_body(self) -> None:
        for fields in ({"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}, {"Content-Length": ["0", "0"]}):
            self.refused(400, request(**fields))

    def test_heads(self) -> None:
        good = request()
        for bad in (
            good.replace(b"Host:", b"Host :"),
            good.replace(b"Upgrade: websocket", b"Upgrade:\r\n websocket"),
            good.replace(b"Upgrade: websocket\r\n", b"Upgrade: websocket\n"),
            good.replace(b"Upgrade: websocket", b"Upgrade: web\rsocket"),
            good.replace(b"Upgrade: websocket", b"Upgrade: websocket\0"),
            good.replace(b"Upgrade: websocket", b": websocket"),
            good.replace(b"Upgrade: websocket", b"Upgrade"),
            good.replace(b"GET /mqtt", b"GET  /mqtt"),
            good.replace(b" HTTP/1.1", b""),
            good.replace(b"HTTP/1.1", b"HTTP/1.1 "),
            good.replace(b"/mqtt", b"/m\xc3\xa4"),
        ):
            self.refused(400, bad)
        self.assertEqual(read(request(X=["y"] * 94))[1], "mqtt")
        self.refused(431, request(X=["y"] * 95))

    def test_the_answer(self) -> None:
        answer = Refused(404, "there is nothing here", "not_found").answer()
        head, _, body = answer.partition(b"\r\n\r\n")
        self.assertEqual(head.split(b"\r\n")[0], b"HTTP/1.1 404 Not Found")
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertIn(b"Connection: close", head)
        self.assertEqual(json.loads(body), {"message": "there is nothing here", "code": "not_found"})


class Heads(unittest.TestCase):
    @given(st.lists(st.integers(0, 400), max_size=8), st.binary(max_size=9))
    def test_any_cut(self, places: list[int], rest: bytes) -> None:
        head = request()
        data, reader, found = head + rest, HeadReader(1000), None
        edges = [0, *sorted(min(place, len(head) - 1) for place in places), len(data)]
        for start, stop in zip(edges, edges[1:], strict=False):
            self.assertIsNone(found)
            if start < stop:
                found = reader.receive(data[start:stop])
        self.assertEqual(found, (head, rest))

    def test_size(self) -> None:
        head = request()
        self.assertEqual(HeadReader(len(head)).receive(head), (head, b""))
        for data in (head, head[:-2]):
            with self.assertRaises(Refused) as caught:
                HeadReader(len(data) - 1).receive(data)
            self.assertEqual(caught.exception.status, 431)

    def test_other_protocols(self) -> None:
        for data in (b"\x16\x03\x01", b"\x10\x10\0\x04MQTT", b"\r\n\r\nPROXY", b"\0"):
            with self.assertRaises(Refused) as caught:
                HeadReader(1000).receive(data)
            self.assertEqual(caught.exception.status, 400)


class Client(unittest.TestCase):
    def setUp(self) -> None:
        self.opening = ClientOpening("broker.example", "/mqtt?x=y", ("mqtt", "mqttv3.1"))
        head = self.opening.request()
        self.asked, self.chosen = Rules().read(head)
        self.answer = agree(self.asked.key, "mqtt")

    def test_both_roles_agree(self) -> None:
        self.assertEqual((self.asked.path, self.asked.query, self.asked.host), ("/mqtt", "x=y", "broker.example"))
        self.assertEqual(self.opening.check(self.answer), "mqtt")
        self.assertNotEqual(Rules().read(ClientOpening("a", "/").request())[0].key, self.asked.key)

    def test_other_spellings(self) -> None:
        for old, new in (
            (b"Upgrade: websocket", b"UPGRADE: WebSocket"),
            (b"Connection: Upgrade", b"Connection: keep-alive, upgrade"),
            (b"101 Switching Protocols", b"101"),
        ):
            self.assertEqual(self.opening.check(self.answer.replace(old, new)), "mqtt")

    def test_what_is_no_agreement(self) -> None:
        accept = accept_for(self.asked.key).encode()
        for old, new in (
            (b"101 Switching Protocols", b"200 OK"),
            (b"101 Switching Protocols", b"404 Not Found"),
            (b"HTTP/1.1 101", b"HTTP/2 101"),
            (b"Upgrade: websocket", b"Upgrade: h2c"),
            (b"Connection: Upgrade", b"Connection: close"),
            (accept, accept.swapcase()),
            (b"Protocol: mqtt", b"Protocol: foo"),
            (b"Sec-WebSocket-Protocol: mqtt\r\n", b""),
            (b"Protocol: mqtt", b"Protocol: mqtt\r\nSec-WebSocket-Protocol: mqtt"),
            (b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
            (b"\r\n\r\n", b"\r\nbad field\r\n\r\n"),
        ):
            with self.assertRaises(TargetLost, msg=new):
                self.opening.check(self.answer.replace(old, new))

    def test_the_example_of_the_rfc(self) -> None:
        self.assertEqual(accept_for(raw.KEY), raw.ACCEPT)
        self.assertEqual(handshake.MQTT_SUBPROTOCOLS[0], "mqtt")

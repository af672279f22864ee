"""What is read of a request: its framing, path, fields and credentials. No reactor, no transport."""

from __future__ import annotations

import unittest

from hypothesis import given
from hypothesis import strategies as st

from mgate.errors import Denied, GateError, TargetLost, TimedOut
from mgate.http import paths
from mgate.http.answers import Refused, refused, render
from mgate.http.bodies import BodyError, Chunked, Counted, UntilClosed, chunk
from mgate.http.choices import Choices
from mgate.http.credentials import Credentials, authorization_of, credentials_of, split_query
from mgate.http.forwarding import end_to_end, forwarded_fields, request_head, response_head
from mgate.http.heads import check_begun, parse_request, parse_response
from mgate.http.responses import ResponseReader
from mgate.http.rules import Action, Request, Rules, origin_allowed, tokens
from mgate.limits import Limits

LIMITS = Limits()


def read(text: str, choices: Choices | None = None, limits: Limits = LIMITS, local: str = "") -> Request:
    """The request with this request line and these fields, one a line."""
    data = text.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n"
    return Rules(choices or Choices(), limits).read(parse_request(data, limits.http_max_fields), local)


class Case(unittest.TestCase):
    def assertRefused(self, status: int, text: str, choices: Choices | None = None, local: str = "") -> None:
        with self.assertRaises(Refused) as raised:
            read(text, choices, Limits(http_max_body=1000), local)
        self.assertEqual(raised.exception.status, status, text)


class Heads(Case):
    def test_request(self) -> None:
        head = parse_request(b"PUT /a?b HTTP/1.0\r\nHost: h\r\nX-A:  1 \t\r\nX-A: 2\r\n\r\n", 3)
        self.assertEqual((head.method, head.target, head.minor), ("PUT", b"/a?b", 0))
        self.assertEqual(head.fields, [(b"host", b"h"), (b"x-a", b"1"), (b"x-a", b"2")])

    def test_request_refused(self) -> None:
        for data, status in (
            (b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            (b"GET /\r\n\r\n", 400), (b"PRI * HTTP/2.0\r\n\r\n", 400), (b"GET / HTTP/1.2\r\n\r\n", 505),
            (b"GET / HTTP/1.1\r\nA: b\r\nA: b\r\n\r\n", 431),
        ):  # fmt: skip
            with self.assertRaises(Refused) as raised:
                parse_request(data, 1)
            self.assertEqual(raised.exception.status, status, data)

    def test_methods_that_the_parser_does_not_know_are_left_to_the_rules(self) -> None:
        self.assertEqual(parse_request(b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 9).method, "BREW")

    def test_begun(self) -> None:
        for data in (b"GET / HT", b"GET / HTTP/1.1\r", b"GET / HTTP/1.1\r\nHost", b"GET / HTTP/1.1\r\nHost: a\r\nB"):
            check_begun(data, 0)
        for data in (b"GET /\n", b"GET /\rx", b"\x16\x03", b"GET /\r\n", b"GET / HTTP/1.1\r\nA: b\n"):
            with self.assertRaises(Refused):
                check_begun(data, 0)
            with self.assertRaises(Refused):
                check_begun(data, len(data) - 1)

    def test_response(self) -> None:
        head = parse_response(b"HTTP/1.0 404 Not here\r\nA: b\r\n\r\n", 1)
        self.assertEqual((head.status, head.phrase, head.minor, head.fields), (404, b"Not here", 0, [(b"a", b"b")]))
        self.assertEqual(parse_response(b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 2).status,
        101)
        both = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        for data in (b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\nA: b\r\n\r\n", both):
            with self.assertRaises(TargetLost):
                parse_response(data, 1)

    @given(st.binary(max_size=200))
    def test_only_refusals_come_of_anything(self, data: bytes) -> None:
        for whole in (data + b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n"):
            try:
                Rules(Choices(), LIMITS).read(parse_request(whole, 100))
            except GateError:
                pass
            try:
                parse_response(b"HTTP/1.1 200 OK\r\n" + whole, 100)
            except TargetLost:
                pass


class Bodies(Case):
    def test_counted(self) -> None:
        body = Counted(5)
        self.assertEqual((body.feed(b"ab"), body.done), ((b"ab", b""), False))
        self.assertEqual((body.feed(b"cdeX"), body.done), ((b"cde", b"X"), True))
        self.assertEqual(Counted(2).feed(b"ab"), (b"ab", b""))
        self.assertTrue(Counted(0).done)

    def test_until_closed(self) -> None:
        self.assertEqual(UntilClosed().feed(b"ab"), (b"ab", b""))

    @given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
    def test_chunked_is_read_alike_however_it_is_split(self, payloads: list[bytes], data: st.DataObject) -> None:
        expected = b"".join(payloads)
        wire = b"".join(b"".join(chunk(payload)) for payload in [*payloads, b""])
        wire = wire.replace(b"\r\n", b";a=b\r\n", 1).removesuffix(b"\r\n") + b"X: y\r\n\r\nbehind"
        body, got, behind = Chunked(), b"", b""
        while wire:
            size = data.draw(st.integers(1, len(wire)))
            if body.done:
                behind += wire
                break
            payload, rest = body.feed(wire[:size])
            got, behind, wire = got + payload, behind + rest, wire[size:]
        self.assertEqual((got, behind, body.done), (expected, b"behind", True))

    def test_malformed_chunks(self) -> None:
        for data in (
            b"x\r\n", b"0x1\r\n", b"\r\n", b"1\n", b"123456789\r\n", b"2\r\nabc\r\n", b"2\r\nabc",
            b"0\r\nX : a\r\n\r\n",
            b"1;" + b"a" * 2000, b"1;a\nb\r\n", b"1 \rb", b"0\r\n" + b"X: abcdefgh\r\n" * 1500, b"-", b"1 x\r\n",
            b"0\r\nab\n",
        ):  # fmt: skip
            with self.assertRaises(BodyError, msg=repr(data)):
                Chunked().feed(data)

    @given(st.binary(max_size=100))
    def test_only_body_errors_come_of_anything(self, data: bytes) -> None:
        try:
            Chunked().feed(data)
        except BodyError:
            pass


class Paths(Case):
    def test_canonical(self) -> None:
        for wire, path, again in (
            (b"/a/b-c_d.e~", "/a/b-c_d.e~", b"/a/b-c_d.e~"), (b"/", "/", b"/"), (b"/%41", "/A", b"/A"),
            (b"/a%3Fb", "/a?b", b"/a%3Fb"), (b"/.a/..b", "/.a/..b", b"/.a/..b"), (b"/%F0%9F%98%80", "/😀",
            b"/%F0%9F%98%80"),
        ):  # fmt: skip
            self.assertEqual(paths.read_path(wire), path)
            self.assertEqual(paths.encode_path(path), again)

    def test_refused(self) -> None:
        for wire in (
            b"", b"a", b"//", b"/a//b", b"/a/", b"/.", b"/a/..", b"/%2e", b"/a%2fb", b"/%255c", b"/a\\b", b"/%5c",
            b"/%00",
            b"/%c0%ae", b"/%ff", b"/%f", b"/a+b", b"/%2B", b"/%23", b"/..;x", b"/%2e%2e%3bx", b"/%20", b"/%c2%85",
            b"/a?b",
        ):  # fmt: skip
            with self.assertRaises(Refused, msg=repr(wire)):
                paths.read_path(wire)

    @given(st.text())
    def test_one_path_for_each_topic_and_one_topic_for_each_path(self, topic: str) -> None:
        try:
            path = paths.read_topic(topic)
        except Refused:
            return
        self.assertEqual(paths.read_path(paths.encode_path(path)), path)
        self.assertEqual(path[1:], topic)

    @given(st.binary(max_size=40))
    def test_what_is_canonical_stays_so(self, wire: bytes) -> None:
        try:
            path = paths.read_path(b"/" + wire)
        except Refused:
            return
        self.assertEqual(paths.read_path(paths.encode_path(path)), path)
        self.assertNotIn("..", path.split("/"))

    def test_surrogates(self) -> None:
        with self.assertRaises(Refused):
            paths.read_topic("a\ud800")

    def test_controlling(self) -> None:
        self.assertTrue(paths.controls_target("$SYS/a"))
        self.assertFalse(paths.controls_target("$SYSTEM/a"))
        self.assertFalse(paths.controls_target("a/$SYS"))


class Identities(Case):
    def test_query(self) -> None:
        for query, kept, found in (
            (b"", b"", None), (b"x=1", b"x=1", None), (b"x=%41", b"x=%41", None), (b"a=1&b", b"a=1&b", None),
            (b"authorization=t&x=1", b"x=1", b"t"), (b"x=1&AUTHORIZATION=a+b", b"x=1", b"a b"),
            (b"%61uthorization=%2B", b"", b"+"), (b"authorization", b"", b""),
        ):  # fmt: skip
            self.assertEqual(split_query(query), (kept, found))
        with self.assertRaises(Refused):
            split_query(b"authorization=a&authorization=b")

    def test_credentials(self) -> None:
        self.assertEqual(credentials_of(None, None), (None, None))
        self.assertEqual(credentials_of(b"basic dTpw", None), ("u", b"p"))
        self.assertEqual(credentials_of(b"Bearer t", b"Bearer t"), (None, b"t"))
        self.assertEqual(credentials_of(None, b"raw token"), (None, b"raw token"))
        with self.assertRaises(Refused):
            credentials_of(b"Bearer t", b"x")
        for bad in (b"", b"Basic", b"Basic dQ==", b"Basic !", b"Basic /zph", b"Basic Cjph", b"Bearer", b"Bearer a b"):
            with self.assertRaises(Denied, msg=repr(bad)):
                credentials_of(bad, None)
        with self.assertRaises(Denied):
            credentials_of(None, b"")

    @given(st.text(), st.binary())
    def test_basic_there_and_back(self, username: str, password: bytes) -> None:
        credentials = Credentials(username, password)
        try:
            field = authorization_of(credentials)
        except ValueError:
            return
        self.assertEqual(credentials_of(field, None), credentials)

    def test_authorization(self) -> None:
        self.assertEqual(authorization_of(Credentials("u", None)), b"Basic dTo=")
        self.assertIsNone(authorization_of(Credentials(None, None)))
        self.assertEqual(authorization_of(Credentials(None, b"t")), b"Bearer t")
        self.assertEqual(authorization_of(Credentials(None, b"Client t")), b"Client t")
        for bad in (Credentials("a:b", b""), Credentials("a\n", b""), Credentials(None, b"a\r\nb"),
        Credentials(None, b"")):
            with self.assertRaises(ValueError):
                authorization_of(bad)


class Reading(Case):
    def test_actions(self) -> None:
        for method, action in (
            ("POST", Action.PUBLISH), ("PUT", Action.PUBLISH), ("GET", Action.READ), ("HEAD", Action.READ),
            ("DELETE", Action.CLEAR),
        ):  # fmt: skip
            self.assertIs(read(f"{method} /a HTTP/1.1\nHost: h").action, action)
        self.assertRefused(405, "PATCH /a HTTP/1.1\nHost: h")

    def test_framing(self) -> None:
        self.assertEqual(read("POST /a HTTP/1.1\nHost: h\nContent-Length: 5").length, 5)
        self.assertIsNone(read("POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: Chunked").length)
        self.assertTrue(read("POST /a HTTP/1.1\nHost: h").body.done)
        for fields in ("Transfer-Encoding: gzip, chunked", "Content-Length: 11111111111111111111"):
            self.assertRefused(400, f"POST /a HTTP/1.1\nHost: h\n{fields}")
        self.assertRefused(400, "POST /a HTTP/1.0\nTransfer-Encoding: chunked")
        self.assertRefused(413, "POST /a HTTP/1.1\nHost: h\nContent-Length: 1001")

    def test_the_rules_refuse_by_themselves_what_the_parser_does(self) -> None:
        for fields in (
            [(b"host", b"h"), (b"content-length", b"1"), (b"transfer-encoding", b"chunked")],
            [(b"host", b"h"), (b"content-length", b"+1")],
            [(b"host", b"h"), (b"content-length", b"1"), (b"content-length", b"1")],
        ):
            head = parse_request(b"POST /a HTTP/1.1\r\nHost: h\r\n\r\n", 9)
            head.fields = fields
            with self.assertRaises(Refused) as raised:
                Rules(Choices(), LIMITS).read(head)
            self.assertEqual(raised.exception.status, 400)

    def test_hosts(self) -> None:
        for host in ("h", "h:80", "[::1]:80", "127.0.0.1"):
            self.assertEqual(read(f"GET /a HTTP/1.1\nHost: {host}").host, host.encode())
        self.assertEqual(read("GET /a HTTP/1.0").host, b"")
        for fields in ("", "\nHost:", "\nHost: a\nHost: a", "\nHost: a/b", "\nHost: h:", "\nHost: h:123456"):
            self.assertRefused(400, f"GET /a HTTP/1.1{fields}")

    def test_absolute_form(self) -> None:
        choices = Choices(hosts=("gate",))
        for target, host in (
            ("http://gate/a", "gate"), ("https://GATE:80/a", "gate:80"), ("http://localhost/a", "localhost"),
            ("http://[::1]/a", "[::1]"), ("http://[::1]:80/a", "[::1]:80"),
        ):  # fmt: skip
            self.assertEqual(read(f"GET {target} HTTP/1.1\nHost: {host}", choices, local="::1").topic, "a")
        self.assertRefused(404, "GET http://gate HTTP/1.1\nHost: gate", choices)
        for target, host in (("http://evil/a", "gate"), ("http://evil/a", "evil"), ("http://gate@evil/a", "gate")):
            self.assertRefused(400, f"GET {target} HTTP/1.1\nHost: {host}", choices)
        self.assertRefused(404, "GET * HTTP/1.1\nHost: h")

    def test_paths(self) -> None:
        request = read("GET /a/b?x=%41 HTTP/1.1\nHost: h")
        self.assertEqual((request.path, request.topic, request.query), ("/a/b", "a/b", b"x=%41"))
        self.assertRefused(404, "GET / HTTP/1.1\nHost: h")
        self.assertRefused(400, 'GET /a?" HTTP/1.1\nHost: h')
        prefix = Choices(path_prefix="/p/")
        self.assertEqual(read("GET /p/x HTTP/1.1\nHost: h", prefix).topic, "p/x")
        self.assertRefused(404, "GET /px HTTP/1.1\nHost: h", prefix)
        stripped = Choices(path_prefix="/p", strip_prefix=True, target_path="/m")
        self.assertEqual(read("GET /p/m/x HTTP/1.1\nHost: h", stripped).path, "/m/x")
        self.assertRefused(404, "GET /p/mx HTTP/1.1\nHost: h", stripped)
        self.assertRefused(404, "GET /p HTTP/1.1\nHost: h", stripped)

    def test_bypass(self) -> None:
        request = read("GET /health?authorization=t HTTP/1.1\nHost: h\nAuthorization: Basic !")
        self.assertTrue(request.bypass)
        self.assertEqual((request.query, request.authorization), (b"authorization=t", b"Basic !"))
        self.assertFalse(read("GET /healthz HTTP/1.1\nHost: h").bypass)

    def test_query_credentials(self) -> None:
        self.assertEqual(read("GET /a?authorization=t&x HTTP/1.1\nHost: h").query, b"x")
        kept = read("GET /a?authorization=t&x HTTP/1.1\nHost: h", Choices(forward_token=True))
        self.assertEqual((kept.query, kept.credentials), (b"authorization=t&x", (None, b"t")))

    def test_fields(self) -> None:
        request = read(
            "GET /a HTTP/1.1\nHost: h\nConnection: x-hop\nConnection: close\nX-Hop: 1\nX-Forwarded-Foo: 1\nTE: x\n"
            "X_Forwarded_For: 1\nX_Real_IP: 1\nX_Mine: 1\nOrigin: http://o"
        )
        self.assertEqual(request.fields, [(b"x_mine", b"1"), (b"origin", b"http://o")])
        self.assertFalse(request.keep_alive)
        self.assertRefused(403, "GET /a HTTP/1.1\nHost: h\nOrigin: null", Choices(origins=("http://o",)))
        self.assertTrue(origin_allowed(b"HTTP://O", ("http://o",)))

    def test_keep_alive_and_expectations(self) -> None:
        self.assertTrue(read("GET /a HTTP/1.1\nHost: h").keep_alive)
        self.assertFalse(read("GET /a HTTP/1.0").keep_alive)
        self.assertTrue(read("GET /a HTTP/1.0\nConnection: Keep-Alive").keep_alive)
        self.assertTrue(read("GET /a HTTP/1.1\nHost: h\nExpect: 100-Continue").expects)
        self.assertFalse(read("GET /a HTTP/1.0\nExpect: 100-continue").expects)
        self.assertRefused(417, "GET /a HTTP/1.1\nHost: h\nExpect: more")

    def test_upgrades(self) -> None:
        fields = "Connection: keep-alive, Upgrade\nUpgrade: h2c\nUpgrade: WebSocket"
        self.assertTrue(read(f"GET /a HTTP/1.1\nHost: h\n{fields}").upgrade)
        for text in (
            f"GET /a HTTP/1.0\nHost: h\n{fields}", f"POST /a HTTP/1.1\nHost: h\n{fields}",
            "GET /a HTTP/1.1\nHost: h\nUpgrade: websocket", "GET /a HTTP/1.1\nHost: h\nConnection: upgrade",
        ):  # fmt: skip
            self.assertFalse(read(text).upgrade)

    def test_again(self) -> None:
        for text in ("POST /a HTTP/1.1\nHost: h\nContent-Length: 3",
        "POST /a HTTP/1.1\nHost: h\nTransfer-Encoding: chunked"):
            first = read(text)
            second = first.again()
            self.assertIsNot(first.body, second.body)
            self.assertIsNot(first.fields, second.fields)
            self.assertEqual((first.topic, first.length), (second.topic, second.length))
        self.assertEqual(repr(second), "<Request POST 'a'>")

    def test_choices_that_can_not_be_used(self) -> None:
        for choices in (Choices(path_prefix="no"), Choices(target_path="/.."), Choices(bypass=("(",))):
            with self.assertRaises(ValueError):
                Rules(choices, LIMITS)
        with self.assertRaises(ValueError):
            Rules(Choices(), LIMITS).path_of("a/../b")
        self.assertEqual(tokens(b"A, b ,"), {b"a", b"b", b""})


class Writing(Case):
    def test_request_heads(self) -> None:
        lines = forwarded_fields(Choices(secure=True, target_host=b"t:1"), "2001:db8::1")
        head = request_head(read("GET /a?b HTTP/1.1\nHost: h:80\nX: y"), lines, b"Basic x", 0)
        self.assertEqual(
            head.split(b"\r\n"),
            [
                b"GET /a?b HTTP/1.1", b"host: t:1", b"x-forwarded-for: 2001:db8::1", b"x-forwarded-proto: https",
                b'forwarded: for="[2001:db8::1]";proto=https;host="h:80"', b"x-forwarded-host: h:80", b"x: y",
                b"authorization: Basic x", b"", b"",
            ],
        )  # fmt: skip
        self.assertIn(b"for=unknown", forwarded_fields(Choices(), ""))
        self.assertTrue(request_head(read("POST /a HTTP/1.0"), lines, None, 0).endswith(b"content-length: 0\r\n\r\n"))
        self.assertTrue(request_head(read("PUT /a HTTP/1.0"), lines, None, None).endswith(b"chunked\r\n\r\n"))

    def test_response_heads(self) -> None:
        head = response_head(299, b"", [(b"a", b"b")], b"x: y", close=True, announce_keep_alive=True)
        self.assertEqual(head, b"HTTP/1.1 299 \r\na: b\r\nx: y\r\nconnection: close\r\n\r\n")
        head = response_head(200, b"", [], b"", close=False, announce_keep_alive=True)
        self.assertEqual(head, b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n\r\n")
        head = response_head(200, b"Fine", [], b"", close=False, announce_keep_alive=False)
        self.assertEqual(head, b"HTTP/1.1 200 Fine\r\n\r\n")

    def test_end_to_end(self) -> None:
        fields = [(b"a", b"1"), (b"connection", b"A"), (b"upgrade", b"x"), (b"b", b"2")]
        self.assertEqual(end_to_end(fields), [(b"b", b"2")])
        self.assertEqual(end_to_end([(b"te", b"x"), (b"b", b"2")]), [(b"b", b"2")])

    def test_answers(self) -> None:
        for error, status in (
            (Denied("bad credentials"), 401), (Denied("rate"), 429), (Denied("handler fault"), 500),
            (TargetLost("x", "shutdown"), 503), (TargetLost("x"), 502), (TimedOut("x"), 408), (GateError("x"), 500),
            (Refused(414, "x"), 414),
        ):  # fmt: skip
            self.assertEqual(refused(error).status, status)
        whole = render(refused(Denied("bad credentials", "é\r\n")), "r-1", close=True)
        self.assertIn(b"connection: close\r\n", whole)
        told = b'{"message": "\\u00e9\\r\\n", "code": "bad_credentials", "request_id": "r-1"}\n'
        self.assertTrue(whole.endswith(told))
        self.assertTrue(render(refused(GateError("x")), "r-1", head_only=True).endswith(b"\r\n\r\n"))


class Responses(Case):
    def reader(self, method: str = "GET") -> ResponseReader:
        return ResponseReader(method, Limits(http_max_head=200))

    def test_framings(self) -> None:
        for method, data, payload, done, reusable in (
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok", True, True),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", b"ok", False, True),
            ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokX", b"ok", True, False),
            ("GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok", True, True),
            ("GET", b"HTTP/1.1 200 OK\r\n\r\nok", b"ok", False, False),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"", True, True),
            ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"", True, False),
            ("GET", b"HTTP/1.1 304 x\r\n\r\n", b"", True, True),
            ("GET", b"HTTP/1.0 200 x\r\nContent-Length: 0\r\n\r\n", b"", True, False),
            ("GET", b"HTTP/1.0 200 x\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", b"", True, True),
            ("GET", b"HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 204 x\r\n\r\n", b"", True, True),
        ):
            for step in (len(data), 1):
                reader, got = self.reader(method), b""
                for start in range(0, len(data), step):
                    got += reader.feed(data[start : start + step])
                self.assertEqual((got, reader.done, reader.reusable), (payload, done, reusable), data)

    def test_ends(self) -> None:
        reader = self.reader()
        reader.feed(b"HTTP/1.1 200 OK\r\n\r\nok")
        self.assertTrue(reader.until_closed)
        reader.end()
        self.assertTrue(reader.done)
        for data in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"):
            reader = self.reader()
            reader.feed(data)
            with self.assertRaises(TargetLost):
                reader.end()

    def test_broken(self) -> None:
        for data in (
            b"HTTP/1.1 101 x\r\n\r\n", b"HTTP/1.1 100 x\r\n\r\n" * 17, b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300,
            b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"1" * 20 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):  # fmt: skip
            with self.assertRaises(TargetLost, msg=repr(data[:80])):
                self.reader().feed(data)


if __name__ == "__main__":
    unittest.main()

"""Requests that break HTTP, or try to be two things at once: the exact answer, and not a byte for the target."""

from __future__ import annotations

import base64
import json
import re

from mgate.handler import Denied, Handler
from mgate.http.choices import Choices
from mgate.limits import Limits
from tests.http.serving import HttpGateway, HttpTest, TargetSide, answers, get, post

HEAD = b"POST /messages/a HTTP/1.1\r\nHost: gate\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


class Watcher(Handler):
    """Admits everything, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[object, ...]] = []

    def auth_connect(self, session: object) -> None:
        self.asked.append(("connect", session.username, session.password))  # type: ignore[attr-defined]

    def auth_publish(self, session: object, topic: str, payload: bytes) -> None:
        self.asked.append(("publish", topic, payload))

    def auth_subscribe(self, session: object, filters: list[str]) -> None:
        self.asked.append(("subscribe", *filters))


class Refusals(HttpTest):
    """Each case on a gateway that judges nothing and on one that judges everything."""

    async def refuse(self, cases: dict[str, bytes], *statuses: int, limits: Limits | None = None) -> None:
        problems = []
        for handlers in ((), (Watcher(),)):
            gateway = await self.serving(*handlers, limits=limits)
            for name, data in cases.items():
                try:
                    answer = await gateway.refused(data, *statuses)
                    body = json.loads(answer.partition(b"\r\n\r\n")[2])
                    self.assertEqual(sorted(body), ["code", "message", "request_id"])
                except AssertionError as error:
                    problems.append(f"{name}: {error}")
                    await gateway.settle()
        self.assertEqual(problems, [])

    async def test_h01_length_and_coding(self) -> None:
        length, coding = b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
        rest = b"\r\n0\r\n\r\nGET /messages/smuggled HTTP/1.1\r\nHost: gate\r\n\r\n"
        await self.refuse({"CL.TE": HEAD + length + coding + rest, "TE.CL": HEAD + coding + length + rest}, 400)

    async def test_h02_transfer_codings(self) -> None:
        codings = {
            "gzip": b"Transfer-Encoding: gzip", "gzip, chunked": b"Transfer-Encoding: gzip, chunked",
            "chunked, chunked": b"Transfer-Encoding: chunked, chunked", "identity": b"Transfer-Encoding: identity",
            "xchunked": b"Transfer-Encoding: xchunked", "quoted": b'Transfer-Encoding: "chunked"',
            "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "identity first": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "blank before the colon": b"Transfer-Encoding : chunked",
            "vertical tab": b"Transfer-Encoding: \x0bchunked",
            "form feed": b"Transfer-Encoding:\x0cchunked", "empty": b"Transfer-Encoding:",
            "parameter": b"Transfer-Encoding: chunked;a=b", "comma": b"Transfer-Encoding: chunked,",
        }  # fmt: skip
        await self.refuse({name: HEAD + line + b"\r\n\r\n0\r\n\r\n" for name, line in codings.items()}, 400, 501)
        old = HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        await self.refuse({"HTTP/1.0": old}, 400)

    async def test_h03_lengths(self) -> None:
        values = [b"+2", b"-1", b"0x2", b"2,2", b"", b"2 2", b"1_0", b"\xd9\xa2", b"2.0", b"1" * 20, b"2;", b"\x002"]
        cases = {repr(value): HEAD + b"Content-Length: " + value + b"\r\n\r\nab" for value in values}
        cases["twice, equal"] = HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab"
        cases["twice, different"] = HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"
        await self.refuse(cases, 400)

    async def test_h03_http_max_body(self) -> None:
        lengths = {"1 byte": b"1001", "1 TiB": b"1099511627776"}
        cases = {name: HEAD + b"Content-Length: " + length + b"\r\n\r\n" for name, length in lengths.items()}
        await self.refuse(cases, 413, limits=Limits(http_max_body=1000))

    async def test_length_at_the_limit(self) -> None:
        gateway = await self.serving(limits=Limits(http_max_body=1000))
        answer = (await gateway.asked(post(body=b"x" * 1000)))[0]
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"))

    async def test_h04_lines(self) -> None:
        lines = {
            "obs-fold": b"X: a\r\n b", "obs-fold with tab": b"X: a\r\n\tb", "leading blank": b" X: a",
            "bare CR": b"X: a\rb", "bare LF": b"X: a\nY: b", "bare LF at the end": b"X: a\n", "NUL": b"X: a\x00b",
            "no colon": b"abc", "empty name": b": a", "blank before the colon": b"X : a", "control": b"X: a\x01b",
            "DEL": b"X: a\x7f", "name with a bracket": b"X(: a", "name of 8 bits": b"X\xe4: a", "CR CR LF": b"X: a\r",
        }  # fmt: skip
        await self.refuse({name: HEAD + line + b"\r\n\r\n" for name, line in lines.items()}, 400)
        await self.refuse(
            {
                "only LF": b"GET /messages/a HTTP/1.1\nHost: gate\n\n",
                "blank in front": b" GET /messages/a HTTP/1.1\r\nHost: gate\r\n\r\n",
                "fold in front of the first field": b"GET /messages/a HTTP/1.1\r\n Host: gate\r\n\r\n",
                "two empty lines": b"\r\n\r\n" + get(),
                "bare CR in front": b"\rGET /messages/a HTTP/1.1\r\nHost: gate\r\n\r\n",
            },
            400,
        )

    async def test_h05_chunks(self) -> None:
        bodies = {
            "0x": b"0x2\r\nab\r\n0\r\n\r\n", "negative": b"-2\r\nab\r\n0\r\n\r\n", "plus": b"+2\r\nab\r\n0\r\n\r\n",
            "17 digits": b"00000000000000002\r\nab\r\n0\r\n\r\n", "no CRLF behind the data": b"2\r\nab0\r\n\r\n",
            "too long": b"2\r\nabc\r\n0\r\n\r\n", "LF in an extension": b"2;a\nb\r\nab\r\n0\r\n\r\n",
            "LF behind the size": b"2\nab\r\n0\r\n\r\n", "CR in an extension": b"2;a\rb\r\nab\r\n0\r\n\r\n",
            "20 KiB extension": b"2;" + b"a" * 20480 + b"\r\nab\r\n0\r\n\r\n", "empty size": b"\r\nab\r\n0\r\n\r\n",
            "64 KiB trailers": b"2\r\nab\r\n0\r\n" + b"X: aaaaaaaaaaaa\r\n" * 4096 + b"\r\n",
            "malformed trailer": b"2\r\nab\r\n0\r\nX : a\r\n\r\n", "blank in front": b" 2\r\nab\r\n0\r\n\r\n",
            "many extensions": (b"1;" + b"a" * 1000 + b"\r\na\r\n") * 20 + b"0\r\n\r\n",
        }  # fmt: skip
        await self.refuse({name: CHUNKED + body for name, body in bodies.items()}, 400)

    async def test_h05_chunks_above_the_limit(self) -> None:
        body = b"200\r\n" + b"x" * 512 + b"\r\n"
        await self.refuse({"sum": CHUNKED + body + body + b"0\r\n\r\n"}, 413, limits=Limits(http_max_body=1000))

    async def test_h05_trailers_become_no_fields(self) -> None:
        gateway = await self.serving()
        await gateway.asked(CHUNKED + b"2\r\nab\r\n0\r\nAuthorization: Basic eDp5\r\nX-Late: 1\r\n\r\n")
        (request,) = gateway.target.requests
        self.assertNotIn(b"authorization", request.lower())
        self.assertNotIn(b"late", request.lower())
        self.assertTrue(request.endswith(b"content-length: 2\r\n\r\nab"))

    async def test_h06_request_targets(self) -> None:
        await self.refuse(
            {
                "foreign": b"GET http://evil.example/messages/a HTTP/1.1\r\nHost: gate\r\n\r\n",
                "foreign, as its Host": b"GET http://evil.example/messages/a HTTP/1.1\r\nHost: evil.example\r\n\r\n",
                "user info": b"GET http://gate@evil.example/messages/a HTTP/1.1\r\nHost: gate\r\n\r\n",
                "no Host": b"GET /messages/a HTTP/1.1\r\n\r\n",
                "two Hosts": b"GET /messages/a HTTP/1.1\r\nHost: gate\r\nHost: gate\r\n\r\n",
                "empty Host": b"GET /messages/a HTTP/1.1\r\nHost:\r\n\r\n",
                "odd Host": b"GET /messages/a HTTP/1.1\r\nHost: a/b\r\n\r\n",
                "Host with a user": b"GET /messages/a HTTP/1.1\r\nHost: a@b\r\n\r\n",
                "list of Hosts": b"GET /messages/a HTTP/1.1\r\nHost: a, b\r\n\r\n",
            },
            400,
        )
        await self.refuse({"CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n"}, 405)
        await self.refuse({"OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: gate\r\n\r\n"}, 404, 405)

    async def test_h06_host_is_ours(self) -> None:
        gateway = await self.serving()
        port = str(gateway.port).encode()
        data = b"GET http://127.0.0.1:%s/messages/a HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n\r\n" % (port, port)
        await gateway.asked(data)
        (request,) = gateway.target.requests
        self.assertTrue(request.startswith(b"GET /messages/a HTTP/1.1\r\nhost: target:80\r\n"), request)

    async def test_h07_http_max_head_and_http_max_fields(self) -> None:
        await self.refuse(
            {
                "64 KiB field": HEAD + b"X: " + b"a" * 65536 + b"\r\n\r\n",
                "2,000 fields": HEAD + b"a: b\r\n" * 2000 + b"\r\n",
                "101 fields": HEAD + b"a: b\r\n" * 100 + b"\r\n",
                "one byte more": HEAD + b"X: " + b"a" * (16384 - len(HEAD) - 6) + b"\r\n\r\n",
            },
            431,
        )
        await self.refuse({"64 KiB target": b"GET /messages/" + b"a" * 65536 + b" HTTP/1.1\r\nHost: g\r\n\r\n"}, 414)

    async def test_sizes_of_the_head_at_the_limit(self) -> None:
        gateway = await self.serving()
        fields = HEAD + b"a: b\r\n" * 99 + b"\r\n"
        large = HEAD + b"X: " + b"a" * (16384 - len(HEAD) - 7) + b"\r\n\r\n"
        self.assertEqual(len(large), 16384)
        for data in (fields, large):
            self.assertTrue((await gateway.asked(data))[0].startswith(b"HTTP/1.1 200"))

    async def test_h08_expectations(self) -> None:
        await self.refuse({"other": HEAD + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\nab"}, 417)

        class Nobody(Handler):
            def auth_connect(self, session: object) -> None:
                raise Denied("bad credentials")

        gateway = await self.serving(Nobody())
        answer = await gateway.refused(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n", 401)
        self.assertNotIn(b"100", answer.partition(b"\r\n")[0])
        self.serves_at_the_end = False

    async def test_h08_continue_is_sent_once_admitted(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        await device.until(lambda: device.received == b"HTTP/1.1 100 Continue\r\n\r\n", "100")
        self.assertEqual(gateway.target.received, b"")
        device.send(b"ab")
        self.assertTrue((await answers(device, 2))[1].startswith(b"HTTP/1.1 200"))

    async def test_h09_paths(self) -> None:
        paths = [
            "/messages/../admin", "/messages/..", "/messages/./a", "/messages/a%2fb", "/messages/a%2Fb",
            "/messages/%2e%2e/admin", "/messages/%252e%252e/admin", "/messages/a%252fb", "/messages/..;/admin",
            "/messages/..;a=b/admin", "/messages/a\\b", "/messages/a%5cb", "/messages/a%00b", "/messages/%c0%ae",
            "/messages/%c0%af", "/messages/%ff", "/messages/%zz", "/messages/%2", "/messages/%", "//evil/messages",
            "//messages/a", "/messages//a", "/messages/a/", "/messages/a#b", "/messages/%0d%0aX:1", "/messages/a%23",
            "/messages/+/a", "/messages/%2b", "/messagesX", "/messagesX/a", "/", "/other", "messages/a",
            "/messages/a b", "/messages/%7f", "/%2e/messages/a", "/health/../messages/a", "/healthz", "/x/health",
            "/messages/%20", "/messages/;a",
        ]  # fmt: skip
        await self.refuse({path: get(path) for path in paths}, 400, 404)
        await self.refuse({"8 bits": b"GET /messages/\xe4 HTTP/1.1\r\nHost: gate\r\n\r\n"}, 400)

    async def test_h09_one_path_for_handler_and_target(self) -> None:
        watcher = Watcher()
        gateway = await self.serving(watcher)
        for path, topic, wire in (
            ("/messages/%61/b", "messages/a/b", b"/messages/a/b"),
            ("/messages/a%20b", "messages/a b", b"/messages/a%20b"),
            ("/messages/%C3%A4", "messages/ä", b"/messages/%C3%A4"),
            ("/messages/a;b", "messages/a;b", b"/messages/a%3Bb"),
            ("/messages", "messages", b"/messages"),
            ("/%6dessages/x?q=%2e", "messages/x", b"/messages/x?q=%2e"),
        ):
            watcher.asked.clear()
            await gateway.asked(get(path))
            self.assertEqual(watcher.asked[1], ("subscribe", topic))
            self.assertEqual(gateway.target.requests[-1].split(b" ")[1], wire)

    async def test_h10_hop_by_hop_fields(self) -> None:
        gateway = await self.serving()
        fields = [
            "Connection: close, X-Secret, authorization", "X-Secret: 1", "Keep-Alive: 5", "TE: trailers",
            "Proxy-Authorization: x", "Trailer: x", "Upgrade: h2c", "HTTP2-Settings: x", "X-Forwarded-For: 1.2.3.4",
            "X-Forwarded-Proto: https", "X_Forwarded_For: 1.2.3.4", "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4",
            "Authorization: Basic dTpw", "X-Kept: yes", "Content_Length: 3",
        ]  # fmt: skip
        await gateway.asked(get("/messages/a", *fields))
        (request,) = gateway.target.requests
        lines = request.split(b"\r\n")
        self.assertEqual(
            lines,
            [
                b"GET /messages/a HTTP/1.1", b"host: target:80", b"x-forwarded-for: 127.0.0.1",
                b"x-forwarded-proto: http", b"forwarded: for=127.0.0.1;proto=http;host=gate",
                b"x-forwarded-host: gate", b"x-kept: yes", b"authorization: Basic dTpw", b"", b"",
            ],
        )  # fmt: skip

    async def test_h11_upgrades(self) -> None:
        smuggled = get("/messages/smuggled")
        for connection in ("Upgrade", "keep-alive, Upgrade", "UPGRADE", "keep-alive,upgrade"):
            fields = (f"Connection: {connection}", "Upgrade: WebSocket", "Sec-WebSocket-Version: 13")
            await self.refuse({connection: get("/messages/a", *fields) + smuggled}, 501)
        gateway = await self.serving()
        (answer,) = await gateway.asked(get("/messages/a", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"))
        self.assertNotIn(b"h2c", gateway.target.requests[0])

    async def test_h12_methods_and_versions(self) -> None:
        for method in ("TRACE", "PATCH", "OPTIONS", "get", "BREW"):
            await self.refuse({method: get(method=method)}, 405)
        await self.refuse(
            {
                "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/0.9": b"GET /messages/a\r\n\r\n",
                "HTTP/0.9 of one line": b"GET /messages/a\r\n", "no target": b"GET HTTP/1.1\r\nHost: gate\r\n\r\n",
                "two blanks": b"GET  /messages/a HTTP/1.1\r\nHost: gate\r\n\r\n",
                "tab": b"GET\t/messages/a HTTP/1.1\r\nHost: gate\r\n\r\n",
                "control": b"GET /mess\x01 HTTP/1.1\r\n\r\n",
                "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                "MQTT": b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00",
                "lower case version": b"GET /messages/a http/1.1\r\nHost: gate\r\n\r\n",
            },
            400,
        )  # fmt: skip
        await self.refuse({"9.9": b"GET /messages/a HTTP/9.9\r\nHost: gate\r\n\r\n"}, 505)
        await self.refuse({"2.0": b"GET /messages/a HTTP/2.0\r\nHost: gate\r\n\r\n"}, 505)

    async def test_h12_bodies(self) -> None:
        gateway = await self.serving()
        gateway.target.answer = lambda side, request: (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + (b"" if request.startswith(b"HEAD") else b"12345")
        )
        device = await gateway.device()
        device.send(get(method="HEAD"))
        await device.until(lambda: device.received.endswith(b"\r\n\r\n"), "head")
        device.send(get("/messages/a", "Content-Length: 26") + b"GET /smuggled HTTP/1.1\r\n\r\n")
        await device.until(lambda: device.received.endswith(b"12345"), "response")
        self.assertEqual(device.received.count(b"HTTP/1.1 200"), 2)
        self.assertEqual(len(gateway.target.requests), 2)
        missing = await gateway.refused(get("/other", method="HEAD"), 404)
        self.assertTrue(missing.endswith(b"\r\n\r\n"))

    async def test_h13_credentials(self) -> None:
        def basic(text: bytes) -> str:
            return "Authorization: Basic " + base64.b64encode(text).decode()

        watcher = Watcher()
        gateway = await self.serving(watcher)
        for data, asked in (
            (get("/messages/a", basic(b"u:p:q")), ("u", b"p:q")),
            (get("/messages/a", "Authorization: Bearer t0ken"), (None, b"t0ken")),
            (get("/messages/a", "Authorization: Client t0ken"), (None, b"Client t0ken")),
            (get("/messages/a?authorization=t0ken&x=1"), (None, b"t0ken")),
            (get("/messages/a?x=1&Authorization=Bearer%20t0ken"), (None, b"t0ken")),
            (get("/messages/a?authorization=t0ken&x=1", "Authorization: Bearer t0ken"), (None, b"t0ken")),
            (get("/messages/a?%61uthorization=t0ken&x=1"), (None, b"t0ken")),
            (get(), (None, None)),
        ):
            watcher.asked.clear()
            await gateway.asked(data)
            self.assertEqual(watcher.asked[0], ("connect", *asked))
        for request in gateway.target.requests:
            self.assertNotIn(b"t0ken", request.split(b"\r\n")[0])
        await self.refuse(
            {
                "two fields": get("/messages/a", basic(b"a:b"), basic(b"a:b")),
                "field and query differ": get("/messages/a?authorization=other", basic(b"a:b")),
                "two parameters": get("/messages/a?authorization=a&authorization=a"),
            },
            400,
        )
        bad = ["!!!!", "YQ", "", "YQ==", base64.b64encode(b"\xff:a").decode(), base64.b64encode(b"a\nb:c").decode()]
        await self.refuse({value: get("/messages/a", f"Authorization: Basic {value}") for value in bad}, 401)
        await self.refuse({"empty": get("/messages/a", "Authorization:")}, 401)

    async def test_h13_the_token_is_in_no_report(self) -> None:
        class Nobody(Handler):
            def auth_connect(self, session: object) -> None:
                raise Denied("bad credentials")

        gateway = await self.serving(Nobody())
        device = await gateway.device()
        device.send(get("/messages/a?authorization=s3cret"))
        (answer,) = await answers(device)
        self.assertTrue(answer.startswith(b"HTTP/1.1 401"))
        self.assertIn(b"www-authenticate: ", answer)
        self.assertNotIn("s3cret", repr(gateway.journal.rejects))
        self.assertEqual(gateway.target.received, b"")
        self.serves_at_the_end = False

    async def test_h14_pipelined_requests_are_answered_in_order(self) -> None:
        gateway = await self.serving()
        gateway.target.answer = _echo_path
        answered = await gateway.asked(b"".join(get(f"/messages/{index}") for index in range(10)), 10)
        bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answered]
        self.assertEqual(bodies, [b"/messages/%d" % index for index in range(10)])

    async def test_h14_good_then_bad(self) -> None:
        gateway = await self.serving()
        device = await gateway.device()
        device.send(get("/messages/good") + HEAD + b"Content-Length: +1\r\n\r\na" + get("/messages/behind"))
        data = await device.read_until_closed()
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", data), [b"200", b"400"])
        self.assertEqual([one.split(b" ")[1] for one in gateway.target.requests], [b"/messages/good"])

    async def test_h15_http_head_timeout_ends_a_drip(self) -> None:
        gateway = await self.serving(limits=Limits(http_head_timeout=0.2))
        device = await gateway.device()
        device.send(b"GET /mess")
        answer = await device.read_until_closed()
        self.assertTrue(answer.startswith(b"HTTP/1.1 408"))
        self.assertEqual(gateway.counters.target_dials, 0)

    async def test_h15_silence(self) -> None:
        gateway = await self.serving(limits=Limits(http_head_timeout=0.2))
        device = await gateway.device()
        self.assertEqual(await device.read_until_closed(), b"")

    async def test_h15_http_keep_alive(self) -> None:
        gateway = await self.serving(limits=Limits(http_keep_alive=0.2))
        device = await gateway.device()
        device.send(get())
        data = await device.read_until_closed()
        self.assertEqual(data.count(b"HTTP/1.1"), 1)

    async def test_h16_http_body_timeout(self) -> None:
        for handlers in ((), (Watcher(),)):
            gateway = await self.serving(*handlers, limits=Limits(http_body_timeout=0.2))
            for data in (HEAD + b"Content-Length: 5\r\n\r\nab", CHUNKED + b"5\r\nab"):
                await gateway.refused(data, 408)

    async def test_h16_cut_body(self) -> None:
        for handlers in ((), (Watcher(),)):
            gateway = await self.serving(*handlers)
            for data in (HEAD + b"Content-Length: 5\r\n\r\nab", CHUNKED + b"5\r\nab", CHUNKED + b"2\r\nab\r\n"):
                device = await gateway.device()
                device.send(data)
                device.fin()
                await device.read_until_closed()
                self.assertEqual(gateway.target.received, b"")

    async def test_h16_the_head_is_judged_before_the_body_is_read(self) -> None:
        class Nobody(Handler):
            def auth_connect(self, session: object) -> None:
                raise Denied("not authorised", "not you")

        gateway = await self.serving(Nobody())
        answer = await gateway.refused(HEAD + b"Content-Length: 1000000\r\n\r\n", 403)
        self.assertIn(b'"message": "not you", "code": "not_authorised"', answer)
        self.serves_at_the_end = False


class Targets(HttpTest):
    """What a target may not do."""

    async def test_broken_responses(self) -> None:
        gateway = await self.serving()
        bad = [
            b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\nA: b\n\n" + b"x" * 17000, b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 101 + b"\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20000,
            b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
        ]  # fmt: skip
        for data in bad:
            gateway.target.answer = lambda side, request, data=data: data  # type: ignore[misc]
            (answer,) = await gateway.asked(post())
            self.assertTrue(answer.startswith(b"HTTP/1.1 502"), (data[:60], answer[:60]))

    async def test_broken_chunks_reset_the_device(self) -> None:
        gateway = await self.serving()
        gateway.target.answer = lambda side, request: (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"
        )
        device = await gateway.device()
        device.send(get())
        await device.until(lambda: device.received.endswith(b"ok\r\n"), "first chunk")
        gateway.target.sides[-1].send(b"zz\r\n")
        await device.until(lambda: device.closed, "close")
        self.assertFalse(bytes(device.received).endswith(b"0\r\n\r\n"))

    async def test_what_is_said_unasked_reaches_nobody(self) -> None:
        gateway = await self.serving()
        poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
        gateway.target.answer = lambda side, request: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + poison
        for _ in range(3):
            (answer,) = await gateway.asked(get())
            self.assertTrue(answer.endswith(b"\r\n\r\nok"))
        await self.kept_unasked(gateway, poison)

    async def kept_unasked(self, gateway: HttpGateway, poison: bytes) -> None:
        """The same a moment later, when the connection is kept."""
        gateway.target.answer = lambda side, request: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        await gateway.asked(get())
        side = gateway.target.sides[-1]
        side.send(poison)
        await side.until(lambda: side.closed, "close")
        (answer,) = await gateway.asked(get())
        self.assertTrue(answer.endswith(b"\r\n\r\nok"))

    async def test_response_fields_of_one_hop(self) -> None:
        gateway = await self.serving()
        gateway.target.answer = lambda side, request: (
            b"HTTP/1.1 200 Fine\r\nConnection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: 3\r\nUpgrade: h2c\r\n"
            b"X-End: 2\r\nContent-Length: 2\r\n\r\nok"
        )
        (answer,) = await gateway.asked(get())
        self.assertEqual(answer, b"HTTP/1.1 200 Fine\r\nx-end: 2\r\ncontent-length: 2\r\n\r\nok")


class Origins(HttpTest):
    async def test_origins(self) -> None:
        choices = Choices(path_prefix="/messages", origins=("https://good.example",))
        gateway = await self.serving(choices=choices)
        await gateway.refused(get("/messages/a", "Origin: https://evil.example"), 403)
        await gateway.refused(get("/messages/a", "Origin: null"), 403)
        (answer,) = await gateway.asked(get("/messages/a", "Origin: https://good.example"))
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"))


def _echo_path(side: TargetSide, request: bytes) -> bytes:
    path = request.split(b" ")[1]
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path)

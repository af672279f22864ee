"""W01-W19: strangers on a WebSocket listener. Each test ends with the gateway serving another device."""

from __future__ import annotations

from mgate.limits import Limits
from mgate.websocket.handshake import Rules
from tests import wire
from tests.gateway import eventually
from tests.websocket import raw
from tests.websocket.gateway import WebSocketDevice, WebSocketTest
from tests.websocket.raw import frame, request

FRAME_LIMIT = 1024 * 1024


class Handshakes(WebSocketTest):
    async def refused(self, cases: dict[str, bytes], status: int, *, rules: Rules | None = None) -> list[bytes]:
        """Each handshake is answered with `status` and closed, nothing is dialled, and one refusal is counted."""
        gateway = await self.websocket(rules=rules)
        heads = []
        for name, data in cases.items():
            before = gateway.refusals
            device = await gateway.device()
            head = await device.upgraded(data)
            self.assertEqual(head[:12], b"HTTP/1.1 %d" % status, name)
            self.assertIn(b"Connection: close", head, name)
            await device.until(lambda device=device: device.closed, "close")  # type: ignore[misc]
            length = int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])
            self.assertEqual(len(device.raw), len(head) + length, name)
            self.assertEqual((gateway.refusals - before, gateway.counters.target_dials), (1, 0), name)
            heads.append(head)
        self.assertEqual(len(gateway.journal.rejects), len(cases))
        return heads

    async def test_w01_subprotocols(self) -> None:
        await self.refused(
            {
                "none": request(without="Sec-WebSocket-Protocol"),
                "foreign": request(Sec_WebSocket_Protocol="foo"),
                "empty": request(Sec_WebSocket_Protocol=""),
            },
            400,
        )

    async def test_w01_one_that_is_known_is_selected(self) -> None:
        gateway = await self.websocket()
        for offer, selected in (
            ("foo, mqtt", b"mqtt"),
            ("mqttv3.1", b"mqttv3.1"),
            (["foo", "mqtt"], b"mqtt"),
            ("foo,mqttv3.1,mqtt", b"mqttv3.1"),
        ):
            device = await gateway.device()
            head = await device.upgraded(request(Sec_WebSocket_Protocol=offer))
            self.assertIn(b"\r\nSec-WebSocket-Protocol: %s\r\n" % selected, head)
            self.assertEqual(head.count(b"Sec-WebSocket-Protocol"), 1)
            self.assertIn(b"\r\nSec-WebSocket-Accept: %s\r\n" % raw.ACCEPT.encode(), head)

    async def test_w02_versions(self) -> None:
        for head in await self.refused({"8": request(Sec_WebSocket_Version="8")}, 426):
            self.assertIn(b"\r\nSec-WebSocket-Version: 13\r\n", head)

    async def test_w02_no_upgrade(self) -> None:
        await self.refused(
            {
                "no Upgrade": request(without="Upgrade"),
                "no Connection": request(without="Connection"),
                "HTTP/1.0": request(version="HTTP/1.0"),
                "plain GET, with another behind it": b"GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n" * 2,
            },
            426,
        )

    async def test_w02_keys(self) -> None:
        await self.refused(
            {
                "missing": request(without="Sec-WebSocket-Key"),
                "short": request(Sec_WebSocket_Key="c2hvcnQ="),
                "no base64": request(Sec_WebSocket_Key="!" * 24),
            },
            400,
        )

    async def test_w02_methods(self) -> None:
        for head in await self.refused({"POST": request(method="POST"), "HEAD": request(method="HEAD")}, 405):
            self.assertIn(b"\r\nAllow: GET\r\n", head)

    async def test_w03_outside_of_the_prefix(self) -> None:
        await self.refused({path: request(path) for path in ("/", "/mqttX", "/other/mqtt", "/mqt")}, 404)

    async def test_w03_paths_in_disguise(self) -> None:
        paths = ("/mqtt/../x", "/mqtt/%2e%2e/x", "/mqtt%2fx", "//mqtt", "/mqtt/%00", "*")
        await self.refused({path: request(path) for path in paths}, 400)

    async def test_w04_origins(self) -> None:
        rules = Rules("/mqtt", origins=["https://app.example"])
        origins = ("https://evil.example", "http://app.example", "null", "https://app.example.evil.example")
        await self.refused({origin: request(Origin=origin) for origin in origins}, 403, rules=rules)

    async def test_w04_allowed_origins_and_no_origin(self) -> None:
        gateway = await self.websocket(rules=Rules("/mqtt", origins=["https://app.example"]))
        for asked in (request(), request(Origin="https://app.example")):
            device = await gateway.device()
            self.assertIn(b" 101 ", await device.upgraded(asked))

    async def test_w05_large_heads(self) -> None:
        await self.refused(
            {
                "64 KiB": request(X_Large="x" * 65536),
                "64 KiB without an end": request(X_Large="x" * 65536)[:-4],
                "2,000 fields": request(X=["y"] * 2000),
                "101 fields": request(X=["y"] * 96),
            },
            431,
        )

    async def test_other_protocols(self) -> None:
        await self.refused(
            {
                "MQTT": wire.connect(),
                "TLS": bytes.fromhex("16030100a5010000a1"),
                "PROXY v2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
                "bare LF": request().replace(b"\r\n", b"\n") + b"\r\n\r\n",
                "NUL": request(X="a\0b"),
                "obs-fold": request().replace(b"Upgrade: ", b"Upgrade:\r\n "),
                "two hosts": request(Host=["a", "b"]),
                "body": request(Content_Length="5"),
            },
            400,
        )

    async def test_a_handshake_byte_by_byte_and_a_packet_glued_to_it(self) -> None:
        gateway = await self.websocket()
        device = await gateway.device()
        data = request() + frame(2, wire.connect())
        for at in range(len(data)):
            device.send_raw(data[at : at + 1])
        self.assertEqual(await device.read_packet(), wire.connack())

    async def test_w19_silence(self) -> None:
        gateway = await self.websocket(limits=Limits(connect_timeout=0.3))
        silent = await gateway.device()
        inside = await gateway.device()
        inside.send_raw(request()[:40])
        after = await gateway.device()
        await after.upgraded()
        pinging = await gateway.device()
        await pinging.upgraded()
        pinging.send_raw(frame(9, b"alive?"))
        for device in (silent, inside, after, pinging):
            await device.until(lambda device=device: device.closed, "close")  # type: ignore[misc]
        self.assertEqual((silent.raw, inside.raw), (b"", b""))
        self.assertEqual((await after.close_told())[0], 1008)
        self.assertEqual(gateway.counters.rejects, {"connect_timeout": 4})
        self.assertEqual(gateway.counters.target_dials, 0)


class Frames(WebSocketTest):
    """Each case is sent by a device that is connected, behind a packet that is good."""

    async def broken(self, cases: dict[str, bytes], code: int) -> None:
        """The packet goes up, the device is told `code`, the target sees a close without DISCONNECT."""
        gateway = await self.websocket()
        good = wire.publish("good", b"x")
        for name, data in cases.items():
            before = gateway.refusals
            device = await gateway.connected()
            device.send_raw(frame(2, good) + data + frame(2, wire.publish("late", b"y")))
            self.assertEqual((await device.close_told())[0], code, name)
            await device.uplink.until(lambda device=device: device.uplink.closed, "close")  # type: ignore[misc]
            self.assertEqual(device.uplink.behind_connect, good, name)
            self.assertEqual(gateway.refusals - before, 1, name)

    async def passes(self, data: bytes, packets: bytes) -> WebSocketDevice:
        """What the frames in `data` carry reaches the target byte for byte, in whatever pieces they come."""
        gateway = await self.websocket()
        device = await gateway.connected()
        device.send_raw(data)
        await device.uplink.until(lambda: len(device.uplink.behind_connect) >= len(packets), "packets")
        self.assertEqual(device.uplink.behind_connect, packets)
        other = await gateway.connected()
        for at in range(len(data)):
            other.send_raw(data[at : at + 1])
        await other.uplink.until(lambda: len(other.uplink.behind_connect) >= len(packets), "packets")
        self.assertEqual(other.uplink.behind_connect, packets)
        return device

    async def test_w06_text(self) -> None:
        cases = {"text": frame(1, b"hello"), "empty": frame(1), "fragment": frame(1, b"a", final=False)}
        await self.broken(cases, 1003)

    async def test_w07_to_w09_headers(self) -> None:
        cases = {"unmasked": frame(2, wire.PINGREQ, key=None), "unmasked close": raw.close(1000, key=None)}
        cases |= {f"RSV {bits}": frame(2, b"x", reserved=bits) for bits in (1, 2, 4, 7)}
        cases |= {f"opcode {opcode}": frame(opcode, b"x") for opcode in (3, 7, 11, 15)}
        await self.broken(cases, 1002)

    async def test_w10_w11_control_frames_and_fragments(self) -> None:
        await self.broken(
            {
                "long ping": frame(9, b"x" * 126),
                "long close": raw.close(1000, b"x" * 124),
                "fragmented ping": frame(9, b"x", final=False),
                "stray continuation": frame(0, b"x"),
                "message inside of a message": frame(2, b"", final=False) + frame(2, wire.PINGREQ),
            },
            1002,
        )

    async def test_w12_packets_and_frames_are_cut_apart(self) -> None:
        packet = wire.publish("a/b", b"payload" * 30)
        third = len(packet) // 3
        device = await self.passes(
            frame(2, packet[:third], final=False) + frame(9, b"inside")
            + frame(0, packet[third : 2 * third], final=False) + frame(0, packet[2 * third :]),
            packet,
        )  # fmt: skip
        self.assertEqual([one.payload for one in device.frames if one.opcode == 10], [b"inside"])

    async def test_w12_messages_and_packets_have_borders_of_their_own(self) -> None:
        packet = wire.publish("a/b", b"payload" * 30)
        await self.passes(frame(2, packet[:2]) + frame(2, packet[2:]) + frame(2, packet * 2) + frame(2), packet * 3)

    async def test_w12_every_size_of_length(self) -> None:
        for size in (100, 60_000, 70_000):
            packet = wire.publish("a/b", b"x" * size)
            gateway = await self.websocket()
            device = await gateway.connected()
            device.send(packet)
            await device.uplink.expect(packet)

    async def test_w12_empty_fragments(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.send_raw(frame(2, final=False) + frame(0, final=False) * 100_000)
        self.assertEqual((await device.close_told())[0], 1008)

    async def test_w13_claims(self) -> None:
        await self.broken({"2^63": frame(2, size=1 << 63), "longer than it need be": frame(2, b"x", width=8)}, 1002)
        await self.broken({"2^40": frame(2, size=1 << 40)[:10], "limit + 1": frame(2, size=FRAME_LIMIT + 1)[:10]}, 1009)

    async def test_w13_fragments_past_the_limit(self) -> None:
        gateway = await self.websocket(limits=Limits(max_packet_size=1000))
        packet = wire.publish("a", b"x" * 500)
        device = await gateway.connected()
        device.send_raw(frame(2, packet, final=False) + frame(0, packet))
        self.assertEqual((await device.close_told())[0], 1009)
        self.assertEqual(device.uplink.behind_connect, packet)
        limit = await gateway.connected()
        limit.send_raw(frame(2, wire.publish("a", b"x" * 994)))
        await limit.uplink.expect(wire.publish("a", b"x" * 994))

    async def test_w14_a_cut_packet_is_not_forwarded(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.send_raw(frame(2, b"\x30\x80\x20") + raw.close(1000))
        self.assertEqual(await device.close_told(), (1000, ""))
        await device.uplink.until(lambda: device.uplink.closed, "close")
        self.assertEqual(device.uplink.behind_connect, b"")

    async def test_w15_close_frames(self) -> None:
        cases = {str(code): raw.close(code) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)}
        await self.broken({**cases, "one byte": frame(8, b"x")}, 1002)
        await self.broken({"bad UTF-8": raw.close(1000, b"\xc3\x28")}, 1007)

    async def test_w16_a_close_is_echoed_and_ends_all(self) -> None:
        gateway = await self.websocket()
        for code, reason in ((1000, b""), (1001, "tschüß".encode()), (3999, b"")):
            device = await gateway.connected()
            device.send_raw(raw.close(code, reason) + frame(2, wire.publish("late", b"x")))
            self.assertEqual(await device.close_told(), (code, reason.decode()))
            await device.uplink.until(lambda device=device: device.uplink.closed, "close")  # type: ignore[misc]
            self.assertEqual(device.uplink.behind_connect, b"")
        device = await gateway.connected()
        device.send_raw(raw.close())
        await device.until(lambda device=device: device.closed, "close")  # type: ignore[misc]
        self.assertEqual(device.frames[-1], raw.Parsed(8, b""))
        self.assertEqual(gateway.refusals, 0)

    async def test_w16_pings_and_pongs(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.send_raw(frame(10, b"unasked") + frame(9, b"x" * 125))
        self.assertEqual(await device.read_frame(1), raw.Parsed(10, b"x" * 125))
        device.send_raw(b"".join(frame(9, b"%d" % number) for number in range(2000)))
        await device.until(lambda: len(device.frames) == 2002, "2,000 pongs")
        self.assertEqual([one.payload for one in device.frames[2:]], [b"%d" % number for number in range(2000)])
        device.send(wire.PINGREQ)
        self.assertEqual(await device.read_packet(), wire.PINGRESP)

    async def test_w16_who_reads_no_pong_is_not_read(self) -> None:
        gateway = await self.websocket()
        device = await gateway.connected()
        device.stop_reading()
        side = next(iter(gateway.factory.inner.open)).link.device
        ping = frame(9, b"x" * 125) * 400
        sent = 0

        def unread() -> bool:
            nonlocal sent
            device.send_raw(ping)
            sent += 1
            return not side.transport.wire.reading

        await eventually(unread, lambda: f"{sent * len(ping)} bytes of pings, all answered")
        self.assertLess(side.transport.wire.unsent, 2 * 1024 * 1024)
        device.reset()

    async def test_w17_deflate_is_declined(self) -> None:
        gateway = await self.websocket()
        for offer in ("permessage-deflate", "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"):
            device = await gateway.connected(request=request(Sec_WebSocket_Extensions=offer))
            self.assertNotIn(b"extensions", device.head.lower())

    async def test_w18_errors_of_mqtt(self) -> None:
        gateway = await self.websocket()
        for version, told in ((4, []), (5, [0xE0])):
            device = await gateway.connected(version=version)
            device.send(wire.packet(0x36, b"\0\1a\0\1"))
            self.assertEqual((await device.close_told())[0], 1002)
            packets, rest = wire.packets(device.unread)
            self.assertEqual(([one[0] for one in packets], rest), (told, b""))
            if version == 5:
                self.assertEqual(packets[0][2], 0x81)
            await device.uplink.until(lambda device=device: device.uplink.closed, "close")  # type: ignore[misc]
            self.assertEqual(device.uplink.behind_connect, b"")

    async def test_w18_a_refused_connect(self) -> None:
        gateway = await self.websocket()
        device = await gateway.device()
        await device.upgraded()
        device.send(wire.connect(version=9))
        self.assertEqual((await device.close_told())[0], 1002)
        self.assertEqual(device.received[3], 0x84)

    async def test_resets_at_every_stage(self) -> None:
        gateway = await self.websocket()
        pieces = [request()[:30], request()[30:], frame(2, wire.connect())[:7], frame(2, wire.connect())[7:]]
        for count in range(len(pieces) + 1):
            device = await gateway.device()
            for piece in pieces[:count]:
                device.send_raw(piece)
            device.reset()
        await gateway.settle()
        self.assertEqual(gateway.counters.rejects, {})

"""Frames: what comes out does not depend on how the bytes were cut, and `websockets` reads the same."""

from __future__ import annotations

import unittest
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as OracleFrame
from websockets.frames import Opcode
from websockets.protocol import CLIENT, SERVER, Protocol

from mgate.websocket import frames as module
from mgate.websocket.closing import NO_STATUS, Closed
from mgate.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NATIVE_FROM,
    PING,
    PONG,
    TEXT,
    Frames,
    Message,
    Received,
    masked,
)
from tests.websocket import raw

LIMIT = 1024 * 1024
law = settings(deadline=None, max_examples=200)


def together(received: list[Received]) -> Received:
    """What several chunks led to, as if they had been one."""
    whole = Received()
    for one in received:
        whole.data += one.data
        whole.messages += one.messages
        whole.replies += one.replies
        whole.closed = whole.closed or one.closed
        whole.error = whole.error or one.error
    return whole


def told(received: Received) -> tuple[object, ...]:
    """What can be compared of it."""
    code = None if received.error is None else received.error.code
    return received.data, received.messages, b"".join(received.replies), received.closed, code


def receive(data: bytes, *, server: bool = True, limit: int = LIMIT, whole: bool = False) -> Received:
    return Frames(server, limit, whole=whole).receive(data)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]


keys = st.one_of(st.just(b"\0\0\0\0"), st.binary(min_size=4, max_size=4))
sizes = st.one_of(st.integers(0, 20), st.sampled_from([124, 125, 126, 127, 500, 1199, 1200, 1201, 65535, 65536]))


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    size = draw(sizes)
    return (draw(st.binary(min_size=1, max_size=9)) * (size + 1))[:size]


@st.composite
def streams(draw: st.DrawFn, server: bool, wide: bool = True) -> bytes:
    """Frames that may be right or wrong, often many alike; with `wide`, lengths that are not the shortest too."""
    out = []
    for _ in range(draw(st.integers(1, 8))):
        made = raw.frame(
            draw(st.sampled_from([BINARY] * 6 + [TEXT, CONTINUATION, CONTINUATION, PING, PONG, CLOSE, 3, 11])),
            draw(payloads()),
            final=draw(st.sampled_from([True, True, True, False])),
            key=draw(keys) if server is draw(st.sampled_from([True] * 30 + [False])) else None,
            reserved=draw(st.sampled_from([0] * 30 + [1, 4])),
            width=draw(st.sampled_from([None] * 20 + [8])) if wide else None,
        )
        out.append(made * draw(st.sampled_from([1, 1, 1, 5])))
    return b"".join(out)


class Laws(unittest.TestCase):
    @law
    @given(streams(True), st.lists(st.integers(0, 1 << 20), max_size=12), st.booleans())
    def test_any_cut_of_what_a_server_reads(self, data: bytes, places: list[int], whole: bool) -> None:
        self.same(data, places, server=True, whole=whole)

    @law
    @given(streams(False), st.lists(st.integers(0, 1 << 20), max_size=12), st.booleans())
    def test_any_cut_of_what_a_client_reads(self, data: bytes, places: list[int], whole: bool) -> None:
        self.same(data, places, server=False, whole=whole)

    def same(self, data: bytes, places: list[int], *, server: bool, whole: bool) -> None:
        frames = Frames(server, LIMIT, whole=whole)
        with mock.patch.object(module.os, "urandom", return_value=b"abcd"):
            parts = told(together([frames.receive(part) for part in cut(data, places)]))
            self.assertEqual(parts, told(receive(data, server=server, whole=whole)))

    def test_byte_by_byte(self) -> None:
        data = (
            raw.frame(BINARY, b"one", final=False) + raw.frame(PING, b"p") + raw.frame(CONTINUATION, b"two")
            + raw.frame(BINARY, b"x" * 70000) + raw.close(1000, b"bye") + b"dropped"
        )  # fmt: skip
        frames = Frames(True, LIMIT)
        received = together([frames.receive(data[at : at + 1]) for at in range(len(data))])
        self.assertEqual(received.data, b"onetwo" + b"x" * 70000)
        self.assertEqual(received.replies, [raw.frame(PONG, b"p", key=None)])
        self.assertEqual(received.closed, Closed(1000, "bye"))

    @law
    @given(streams(True, wide=False))
    def test_websockets_reads_the_same_as_a_server(self, data: bytes) -> None:
        self.compare(data, server=True)

    @law
    @given(streams(False, wide=False))
    def test_websockets_reads_the_same_as_a_client(self, data: bytes) -> None:
        self.compare(data, server=False)

    def compare(self, data: bytes, *, server: bool) -> None:
        """Messages, the payloads of Close, and the code for what is wrong. `websockets` takes lengths that are not the
        shortest, and leaves text to whoever decodes it."""
        oracle = Protocol(SERVER if server else CLIENT, max_size=LIMIT)
        oracle.receive_data(data)
        messages: list[Message] = []
        parts: list[bytes] = []
        opcode, closed = 0, None
        for event in oracle.events_received():
            assert isinstance(event, OracleFrame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                opcode = int(event.opcode) or opcode
                parts.append(bytes(event.data))
                if event.fin:
                    messages.append(Message(opcode, b"".join(parts)))
                    parts = []
            elif event.opcode is Opcode.CLOSE:
                closed = oracle.close_rcvd
        received = receive(data, server=server, whole=True)
        if received.error is not None and received.error.code == 1007 and received.closed is None:
            whole = [message for message in messages if message.opcode == TEXT]
            bad = b"".join(parts) if opcode == TEXT else b""
            checked = [message.payload for message in whole] + [bad]
            if any(not _is_text(payload) for payload in checked):
                return  # it leaves that to whoever takes the text
        self.assertEqual(received.messages, messages)
        self.assertEqual(received.closed is None, closed is None)
        if received.closed is not None and closed is not None:
            self.assertEqual(received.closed, Closed(closed.code, closed.reason))
        code = None if received.error is None else received.error.code
        sent = oracle.close_sent.code if oracle.parser_exc is not None and oracle.close_sent is not None else None
        if closed is None and (code, sent) != (1002, 1007):  # a Close with two faults, of which it finds the other
            self.assertEqual(code, sent)

    @law
    @given(payloads(), keys)
    def test_masks(self, payload: bytes, key: bytes) -> None:
        self.assertEqual(masked(payload, key), raw.unmasked(payload, key))
        with mock.patch.object(module, "USES_NVX", False):
            self.assertEqual(masked(payload, key), raw.unmasked(payload, key))

    @law
    @given(payloads(), st.sampled_from([BINARY, PING, CLOSE]))
    def test_what_one_role_sends_the_other_reads(self, payload: bytes, opcode: int) -> None:
        for server in (True, False):
            frames = Frames(server, LIMIT)
            if opcode == BINARY:
                sent, expected = b"".join(frames.data(payload)), (payload, None, [])
            elif opcode == PING:
                sent, expected = frames.ping(), (b"", None, [b""])
            else:
                sent, expected = frames.close(1009, "too large"), (b"", Closed(1009, "too large"), [])
            received = receive(sent, server=not server)
            replies = [raw.parse(reply)[0][0].payload for reply in received.replies]
            self.assertEqual((received.data, received.closed, replies), expected)
            self.assertIsNone(received.error)


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


class Checks(unittest.TestCase):
    def broken(self, code: int, data: bytes, *, before: bytes = b"", **roles: bool) -> None:
        """The violation, and nothing but what came before it."""
        for padding in (b"", raw.frame(BINARY, b"later")):
            received = receive(data + padding, **roles)
            self.assertIsNotNone(received.error, data[:20])
            assert received.error is not None
            self.assertEqual(received.error.code, code, received.error.text)
            self.assertEqual(received.data, before)

    def test_headers(self) -> None:
        for reserved in range(1, 8):
            self.broken(1002, raw.frame(BINARY, b"x", reserved=reserved))
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.broken(1002, raw.frame(opcode, b"x"))
        for opcode in (BINARY, TEXT, PING, CLOSE):
            self.broken(1002, raw.frame(opcode, b"x", key=None))
            self.broken(1002, raw.frame(opcode, b"x"), server=False)

    def test_a_header_is_refused_by_its_first_two_bytes(self) -> None:
        for data in (raw.frame(PING, b"x" * 126), raw.frame(PING, b"", final=False), raw.frame(CONTINUATION, b"xx")):
            received = receive(data[:2])
            assert received.error is not None
            self.assertEqual(received.error.code, 1002)

    def test_lengths_that_are_not_the_shortest(self) -> None:
        for server in (True, False):
            key = raw.MASK if server else None
            for size, width in ((0, 2), (125, 2), (0, 8), (125, 8), (65535, 8)):
                self.broken(1002, raw.frame(BINARY, b"x" * size, width=width, key=key), server=server)

    def test_lengths_that_are_too_large(self) -> None:
        self.broken(1002, raw.frame(BINARY, size=1 << 63))
        self.broken(1009, raw.frame(BINARY, size=1 << 40)[:10])
        self.broken(1009, raw.frame(BINARY, size=LIMIT + 1)[:10])

    def test_the_limit_of_a_message(self) -> None:
        for limit in (10, 125, 126, 300, 70000):
            for server in (True, False):
                key = raw.MASK if server else None
                for pad in (b"", b"\x82"):
                    good = receive(raw.frame(BINARY, b"x" * limit, key=key) + pad, server=server, limit=limit)
                    self.assertEqual((good.data, good.error), (b"x" * limit, None))
                bad = receive(raw.frame(BINARY, b"x" * (limit + 1), key=key), server=server, limit=limit)
                assert bad.error is not None
                self.assertEqual((bad.data, bad.error.code, bad.error.reason), (b"", 1009, "too_large"))

    def test_fragments_count_together(self) -> None:
        data = raw.frame(BINARY, b"x" * 60, final=False) + raw.frame(CONTINUATION, b"x" * 41)
        received = receive(data, limit=100)
        assert received.error is not None
        self.assertEqual((received.data, received.error.code), (b"x" * 60, 1009))
        self.assertIsNone(receive(data, limit=101).error)

    def test_the_next_message_counts_anew(self) -> None:
        for whole in (True, False):
            frames = Frames(True, 100, whole=whole)
            for _ in range(5):
                received = frames.receive(
                    raw.frame(BINARY, b"x" * 60, final=False) + raw.frame(CONTINUATION, b"x" * 40)
                )
                self.assertIsNone(received.error)

    def test_fragments_without_an_end(self) -> None:
        frames = Frames(True, LIMIT)
        self.assertIsNone(frames.receive(raw.frame(BINARY, final=False)).error)
        most = module.FREE_FRAGMENTS - 1
        self.assertIsNone(frames.receive(raw.frame(CONTINUATION, final=False) * most).error)
        received = frames.receive(raw.frame(CONTINUATION, final=False))
        assert received.error is not None
        self.assertEqual(received.error.code, 1008)

    def test_the_fragments_of_each_message_count_anew(self) -> None:
        message = raw.frame(BINARY, final=False) + raw.frame(CONTINUATION)
        self.assertIsNone(receive(message * module.FREE_FRAGMENTS).error)

    def test_fragments_that_carry_something_are_not_too_many(self) -> None:
        data = raw.frame(BINARY, final=False) + raw.frame(CONTINUATION, b"x" * 16, final=False) * 20000
        received = receive(data + raw.frame(CONTINUATION))
        self.assertEqual((len(received.data), received.error), (320000, None))

    def test_fragments_out_of_order(self) -> None:
        self.broken(1002, raw.frame(CONTINUATION, b"x"))
        begun = raw.frame(BINARY, b"x", final=False)
        self.broken(1002, begun + raw.frame(BINARY, b"x"), before=b"x")
        self.broken(1002, begun + raw.frame(TEXT, b"x"), before=b"x")
        whole = begun + raw.frame(CONTINUATION, b"y")
        self.broken(1002, whole + raw.frame(CONTINUATION, b"x"), before=b"xy")

    def test_control_frames(self) -> None:
        for opcode in (PING, PONG, CLOSE):
            self.broken(1002, raw.frame(opcode, b"x" * 126))
            self.broken(1002, raw.frame(opcode, b"", final=False))
        self.assertEqual(receive(raw.frame(PING, b"x" * 125)).replies, [raw.frame(PONG, b"x" * 125, key=None)])
        self.assertEqual(told(receive(raw.frame(PONG, b"x"))), (b"", [], b"", None, None))

    def test_a_client_masks_its_pong(self) -> None:
        (reply,) = receive(raw.frame(PING, b"abc", key=None), server=False).replies
        self.assertEqual(raw.parse(reply), ([raw.Parsed(PONG, b"abc", masked=True)], b""))

    def test_text_without_whole(self) -> None:
        self.broken(1003, raw.frame(BINARY, b"x") + raw.frame(TEXT, b"x"), before=b"x")

    def test_close(self) -> None:
        self.assertEqual(receive(raw.close()).closed, Closed(NO_STATUS, ""))
        for code in (1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999):
            self.assertEqual(receive(raw.close(code, "ä".encode())).closed, Closed(code, "ä"))
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
            self.broken(1002, raw.close(code))
        self.broken(1002, raw.frame(CLOSE, b"x"))
        self.broken(1007, raw.close(1000, b"\xff"))
        self.assertEqual(receive(raw.close(1000) + raw.frame(BINARY, b"x")).data, b"")

    def test_nothing_is_read_after_the_end(self) -> None:
        for last in (raw.close(1000), raw.frame(TEXT, b"x")):
            frames = Frames(True, LIMIT)
            frames.receive(last)
            self.assertEqual(told(frames.receive(raw.frame(BINARY, b"x"))), (b"", [], b"", None, None))

    def test_sent_close(self) -> None:
        for code, reason, payload in (
            (1002, "why", b"\x03\xeawhy"),
            (NO_STATUS, "", b""),
            (1006, "never", b"\x03\xe8"),
            (1011, "ä" * 100, b"\x03\xf3" + "ä".encode() * 61),
        ):
            self.assertEqual(Frames(True, LIMIT).close(code, reason), raw.frame(CLOSE, payload, key=None))

    def test_sent_data(self) -> None:
        for size in (0, 1, 125, 126, 65535, 65536):
            payload = b"x" * size
            self.assertEqual(b"".join(Frames(True, LIMIT).data(payload)), raw.frame(BINARY, payload, key=None))
            sent = b"".join(Frames(False, LIMIT).data(payload))
            self.assertEqual(raw.parse(sent), ([raw.Parsed(BINARY, payload, masked=True)], b""))


class Whole(unittest.TestCase):
    def test_messages(self) -> None:
        data = (
            raw.frame(TEXT, b"a") + raw.frame(BINARY, b"b", final=False) + raw.frame(PING)
            + raw.frame(CONTINUATION, b"c", final=False) + raw.frame(CONTINUATION, b"d") + raw.frame(TEXT)
        )  # fmt: skip
        expected = [Message(TEXT, b"a"), Message(BINARY, b"bcd"), Message(TEXT, b"")]
        received = receive(data, whole=True)
        self.assertEqual((received.messages, received.data, len(received.replies)), (expected, b"", 1))

    def test_text_is_utf_8(self) -> None:
        good = "κόσμε".encode()
        frames = Frames(True, LIMIT, whole=True)
        for at in range(len(good)):
            data = raw.frame(TEXT, good[:at], final=False) + raw.frame(CONTINUATION, good[at:])
            self.assertEqual(frames.receive(data).messages, [Message(TEXT, good)])
        for bad in (b"\xff", b"a\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", good[:-1]):
            received = receive(raw.frame(TEXT, b"ok") + raw.frame(TEXT, bad), whole=True)
            assert received.error is not None
            self.assertEqual((received.messages, received.error.code), ([Message(TEXT, b"ok")], 1007))

    def test_bad_text_is_refused_before_its_end(self) -> None:
        received = receive(raw.frame(TEXT, b"a\xff" + b"x" * 1000)[:20], whole=True)
        assert received.error is not None
        self.assertEqual(received.error.code, 1007)

    def test_sent(self) -> None:
        message = Message(TEXT, b"x" * (NATIVE_FROM + 3))
        for server in (True, False):
            sent = Frames(server, LIMIT, whole=True).message(message)
            self.assertEqual(receive(sent, server=not server, whole=True).messages, [message])

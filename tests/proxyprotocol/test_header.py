"""Headers of the PROXY protocol: a table of wire cases, and the laws of reading and writing."""

from __future__ import annotations

import struct
import unittest
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from mgate.proxyprotocol.crc32c import crc32c
from mgate.proxyprotocol.encode import encode
from mgate.proxyprotocol.header import (
    MAX_HEADER,
    MAX_LINE,
    SIGNATURE,
    Address,
    BadHeader,
    Header,
    Read,
    Ssl,
    SslClient,
    read,
)

V4 = Header(Address("192.0.2.1", 56324), Address("198.51.100.7", 443))
V6 = Header(Address("2001:db8::1", 56324), Address("2001:db8::2", 443))
TCP4 = bytes.fromhex("c0000201 c6336407 dc04 01bb")
TCP6 = IPv6Address("2001:db8::1").packed + IPv6Address("2001:db8::2").packed + bytes.fromhex("dc04 01bb")
UNIX = b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")


def version_2(first: int, family: int, content: bytes = b"", length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", first, family, len(content) if length is None else length) + content


def value(kind: int, content: bytes) -> bytes:
    return struct.pack("!BH", kind, len(content)) + content


def with_checksum(family: int, content: bytes) -> bytes:
    whole = version_2(0x21, family, content + value(3, bytes(4)))
    return whole[:-4] + crc32c(whole).to_bytes(4, "big")


LONGEST = b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n"
SSL = value(0x20, b"\x07\0\0\0\0" + value(0x21, b"TLSv1.3") + value(0x22, "gerät".encode()) + value(0x23, b"x"))

ACCEPTED: dict[str, tuple[bytes, Header]] = {
    "TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", V4),
    "TCP6": (b"PROXY TCP6 2001:DB8::1 2001:db8:0:0:0:0:0:2 56324 443\r\n", V6),
    "TCP6 of 104 bytes": (LONGEST, Header(Address("ffff:" * 7 + "ffff", 65535), Address("ffff:" * 7 + "ffff", 65535))),
    "port 0": (b"PROXY TCP4 192.0.2.1 192.0.2.1 0 0\r\n", Header(Address("192.0.2.1", 0), Address("192.0.2.1", 0))),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", Header()),
    "UNKNOWN of 107 bytes": (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", Header()),
    "v2 TCP4": (version_2(0x21, 0x11, TCP4), V4),
    "v2 TCP6": (version_2(0x21, 0x21, TCP6), V6),
    "v2 UNIX": (version_2(0x21, 0x31, UNIX), Header(b"/run/a", b"/run/b")),
    "v2 UNSPEC": (version_2(0x21, 0), Header()),
    "v2 LOCAL": (version_2(0x20, 0), Header()),
    "v2 LOCAL, content and family discarded": (version_2(0x20, 0x77, b"junk"), Header()),
    "v2 values": (
        version_2(0x21, 0x11, TCP4 + value(1, b"mqtt") + value(2, b"a.example") + value(5, b"id") + SSL),
        Header(
            *(V4.source, V4.destination),
            alpn=b"mqtt",
            authority="a.example",
            unique_id=b"id",
            ssl=Ssl(SslClient.SSL | SslClient.CERT_CONN | SslClient.CERT_SESS, 0, "TLSv1.3", "gerät"),
        ),
    ),
    "v2 bare SSL": (version_2(0x21, 0, value(0x20, b"\xf9\0\0\0\2")), Header(ssl=Ssl(SslClient.SSL, 2))),
    "v2 unknown, empty and repeated padding": (
        version_2(0x21, 0x11, TCP4 + value(0xEE, b"") + value(0xEE, b"x") + value(4, b"") + value(4, b"\0\0")), V4,
    ),
    "v2 checksum": (with_checksum(0x11, TCP4), V4),
    "v2 checksum in front": (
        (whole := version_2(0x21, 0x11, TCP4 + value(3, bytes(4)) + value(4, b"x")))[:31]
        + crc32c(whole).to_bytes(4, "big") + whole[35:], V4,
    ),
    "v2 unique id of 128": (version_2(0x21, 0, value(5, b"i" * 128)), Header(unique_id=b"i" * 128)),
    "v2 as long as can be": (version_2(0x21, 0x11, TCP4 + value(4, bytes(MAX_HEADER - 31))), V4),
}  # fmt: skip


def v1(addresses: str, family: str = "TCP4") -> bytes:
    return f"PROXY {family} {addresses}\r\n".encode()


REFUSED: dict[str, tuple[bytes, str]] = {
    "a TLS hello": (b"\x16\x03\x01", "begins with no header"),
    "a CONNECT": (b"\x10\x0e\x00\x04MQTT", "begins with no header"),
    "lower case": (b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", "begins with no header"),
    "protocol in lower case": (v1("1.2.3.4 1.2.3.4 1 1", "tcp4"), "not a protocol"),
    "UDP4": (v1("1.2.3.4 1.2.3.4 1 1", "UDP4"), "not a protocol"),
    "nothing": (b"PROXY \r\n", "not a protocol"),
    "two spaces": (v1("1.2.3.4  1.2.3.4 1 1"), "not a protocol"),
    "a space behind": (v1("1.2.3.4 1.2.3.4 1 1 "), "not a protocol"),
    "one port": (v1("1.2.3.4 1.2.3.4 1"), "not a protocol"),
    "a signature that goes wrong": (SIGNATURE[:11] + b"\r", "begins with no header"),
    "port 70000": (v1("1.2.3.4 1.2.3.4 70000 1"), "not a port"),
    "port 65536": (v1("1.2.3.4 1.2.3.4 1 65536"), "not a port"),
    "port of 6 digits": (v1("1.2.3.4 1.2.3.4 1 000001"), "not a port"),
    "leading zero of a port": (v1("1.2.3.4 1.2.3.4 01 1"), "not a port"),
    "two zeros": (v1("1.2.3.4 1.2.3.4 00 1"), "not a port"),
    "signed port": (v1("1.2.3.4 1.2.3.4 +1 1"), "not a port"),
    "no port": (b"PROXY TCP4 1.2.3.4 1.2.3.4  1\r\n", "not a port"),
    "leading zero of an address": (v1("1.2.3.04 1.2.3.4 1 1"), "not an address"),
    "short address": (v1("1.2.3 1.2.3.4 1 1"), "not an address"),
    "a name": (v1("localhost 1.2.3.4 1 1"), "not an address"),
    "bytes that are no ASCII": (b"PROXY TCP4 \xff 1.2.3.4 1 1\r\n", "not an address"),
    "IPv6 as TCP4": (v1("::1 ::1 1 1"), "another family"),
    "IPv4 as TCP6": (v1("1.2.3.4 1.2.3.4 1 1", "TCP6"), "another family"),
    "a zone": (v1("fe80::1%eth0 ::1 1 1", "TCP6"), "another family"),
    "CR alone": (b"PROXY UNKNOWN\rX", "CR without LF"),
    "108 bytes": (b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "line is too long"),
    "107 bytes and no end": (b"PROXY UNKNOWN " + b"x" * 93, "line is too long"),
    "version 1 in binary": (version_2(0x11, 0x11, TCP4), "unknown version or command"),
    "version 3": (version_2(0x31, 0x11, TCP4), "unknown version or command"),
    "command 2": (version_2(0x22, 0x11, TCP4), "unknown version or command"),
    "family 4": (version_2(0x21, 0x41, TCP4), "unknown address family"),
    "datagrams": (version_2(0x21, 0x12, TCP4), "unknown address family"),
    "STREAM of no family": (version_2(0x21, 0x01), "unknown address family"),
    "length 65535": (version_2(0x21, 0x11, b"", 65535), "too long"),
    "length 65535 of LOCAL": (version_2(0x20, 0, b"", 65535), "too long"),
    "one byte too long": (version_2(0x21, 0x11, b"", MAX_HEADER - 16 + 1), "too long"),
    "TCP4 too short": (version_2(0x21, 0x11, TCP4[:-1]), "too short"),
    "TCP6 too short": (version_2(0x21, 0x21, b"", 12), "too short"),
    "UNIX too short": (version_2(0x21, 0x31, b"", 215), "too short"),
    "half a value": (version_2(0x21, 0x11, TCP4 + b"\x04\0"), "cut off"),
    "a value beyond the end": (version_2(0x21, 0x11, TCP4 + b"\x04\0\1"), "cut off"),
    "ALPN twice": (version_2(0x21, 0x11, TCP4 + value(1, b"a") * 2), "there twice"),
    "wrong checksum": (with_checksum(0x11, TCP4)[:-1] + b"\0", "wrong checksum"),
    "checksum of 3 bytes": (version_2(0x21, 0x11, TCP4 + value(3, b"abc")), "wrong checksum"),
    "unique id of 129": (version_2(0x21, 0x11, TCP4 + value(5, bytes(129))), "unique id is too long"),
    "SSL of 4 bytes": (version_2(0x21, 0x11, TCP4 + value(0x20, bytes(4))), "PP2_TYPE_SSL is too short"),
    "cut off within SSL": (version_2(0x21, 0x11, TCP4 + value(0x20, bytes(6))), "cut off"),
    "a name in Latin 1": (version_2(0x21, 0x11, TCP4 + value(2, b"\xe4")), "not UTF-8"),
}

hosts_4 = st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number)))
hosts_6 = st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number)))
ports = st.integers(0, 65535)
paths = st.binary(max_size=108).map(lambda path: path.rstrip(b"\0"))


def ends(kind: st.SearchStrategy[Address] | st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[object, object]]:
    return st.tuples(kind, kind)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
tls = st.builds(Ssl, st.integers(0, 7).map(SslClient), st.integers(0, 2**32 - 1), texts, texts)
headers = st.builds(
    lambda ends, *rest: Header(*ends, *rest),
    st.just((None, None)) | ends(st.builds(Address, hosts_4, ports)) | ends(st.builds(Address, hosts_6, ports))
    | ends(paths),
    st.binary(max_size=20), texts, st.binary(max_size=128), st.none() | tls,
)  # fmt: skip


class ReadTest(unittest.TestCase):
    def test_accepted(self) -> None:
        for name, (data, header) in ACCEPTED.items():
            with self.subTest(name):
                self.assertEqual(read(data + b"\x16\x03"), Read(header, len(data)))

    def test_every_prefix_waits_for_more(self) -> None:
        for name, (data, _) in ACCEPTED.items():
            with self.subTest(name):
                self.assertEqual({read(bytearray(data[:size])) for size in range(len(data))}, {None})

    def test_refused(self) -> None:
        for name, (data, why) in REFUSED.items():
            with self.subTest(name), self.assertRaisesRegex(BadHeader, why):
                read(data)

    def test_the_longest_lines(self) -> None:
        self.assertEqual(len(ACCEPTED["UNKNOWN of 107 bytes"][0]), MAX_LINE)
        self.assertEqual(len(ACCEPTED["v2 as long as can be"][0]), MAX_HEADER)

    def test_a_line_without_an_end_is_refused_before_a_longer_one_is_kept(self) -> None:
        self.assertIsNone(read(b"PROXY UNKNOWN ".ljust(MAX_LINE - 1, b"x")))
        with self.assertRaises(BadHeader):
            read(b"PROXY UNKNOWN ".ljust(MAX_LINE, b"x"))

    @given(st.binary(max_size=300) | st.builds(bytes.__add__, st.sampled_from([SIGNATURE, b"PROXY "]), st.binary()))
    def test_garbage_is_refused_or_waited_for(self, data: bytes) -> None:
        try:
            found = read(data)
        except BadHeader as error:
            self.assertEqual(error.reason, "proxy_header")
        else:
            self.assertTrue(found is None or found.size <= len(data))

    @given(st.sampled_from([data for data, _ in ACCEPTED.values()]), st.integers(0), st.integers(0, 255))
    def test_a_damaged_header_is_refused_or_read(self, data: bytes, where: int, byte: int) -> None:
        damaged = bytearray(data)
        damaged[where % len(data)] = byte
        try:
            found = read(damaged)
        except BadHeader:
            return
        self.assertTrue(found is None or found.size <= len(data))


class EncodeTest(unittest.TestCase):
    @given(headers, st.booleans(), st.binary(max_size=3))
    def test_what_is_written_is_read(self, header: Header, checksum: bool, rest: bytes) -> None:
        data = encode(header, checksum=checksum)
        self.assertEqual(read(data + rest), Read(header, len(data)))

    def test_exact_bytes(self) -> None:
        self.assertEqual(encode(V4), version_2(0x21, 0x11, TCP4))
        self.assertEqual(encode(V6), version_2(0x21, 0x21, TCP6))
        self.assertEqual(encode(Header(b"/run/a", b"/run/b")), version_2(0x21, 0x31, UNIX))
        self.assertEqual(encode(Header()), version_2(0x20, 0))
        self.assertEqual(encode(Header(alpn=b"mqtt")), version_2(0x21, 0, value(1, b"mqtt")))
        self.assertEqual(encode(V4, checksum=True), with_checksum(0x11, TCP4))
        bare = Header(ssl=Ssl(SslClient.SSL, 2))
        self.assertEqual(encode(bare), version_2(0x21, 0, value(0x20, b"\1\0\0\0\2")))
        named = Header(ssl=Ssl(SslClient.SSL, 0, common_name="a"))
        self.assertEqual(encode(named), version_2(0x21, 0, value(0x20, b"\1\0\0\0\0" + value(0x22, b"a"))))

    def test_ipv4_beside_ipv6_is_mapped(self) -> None:
        found = read(encode(Header(V4.source, V6.destination)))
        assert found is not None
        source = found.header.source
        assert isinstance(source, Address)
        self.assertEqual((IPv6Address(source.host).ipv4_mapped, source.port), (IPv4Address("192.0.2.1"), 56324))

    def test_what_cannot_be_written(self) -> None:
        for header in (
            Header(V4.source),
            Header(None, V4.destination),
            Header(b"/run/a", V4.destination),
            Header(Address("localhost", 1), V4.destination),
            Header(b"/" * 109, b""),
            Header(unique_id=b"i" * 129),
            Header(alpn=bytes(MAX_HEADER)),
            Header(alpn=bytes(70_000)),
            Header(ssl=Ssl(common_name="n" * 70_000)),
        ):
            with self.subTest(header=str(header)[:80]), self.assertRaises(ValueError):
                encode(header)


class ChecksumTest(unittest.TestCase):
    def test_vectors(self) -> None:
        """RFC 3720, appendix B.4, and the check value of the catalogues."""
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(crc32c(b"\xff" * 32), 0x62A8AB43)
        self.assertEqual(crc32c(bytes(range(32))), 0x46DD794E)

"""Where a certificate may send the gateway."""

from __future__ import annotations

from unittest import TestCase

from mgate.tls.fetch_rules import FetchError, Location, is_public, may_connect, parse_networks, parse_url

WEB = (80, 443)

LEADING_NOWHERE = [
    "file:///etc/passwd",
    "ldap://example.com/cn=crl",
    "ftp://example.com/a.crl",
    "//example.com/a",
    "example.com/a",
    "",
    "http://",
    "http:///path",
    "http://user@example.com/",
    "http://user:secret@example.com/",
    "http://@example.com/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://127.1/",
    "http://127.1./",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.0.0.1./",
    "http://1.2.3.4.5/",
    "http://[::1/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[v1.a]/",
    "http://[1.2.3.4]/",
    "http://::1/",
    "http://a..b/",
    "http://.example.com/",
    "http://a b/",
    "http://exa\tmple.com/",
    "http://example.com\\@10.0.0.1/",
    "http://exämple.com/",
    "http://ex%61mple.com/",
    "http://example.com/\r\nX: y",
    "http://" + "a" * 64 + ".com/",
    "http://" + "a." * 127 + "com/",
    "http://example.com/" + "a" * 2048,
    "http://example.com:22/",
    "http://example.com:0/",
    "http://example.com:70000/",
    "http://example.com:x/",
    "http://example.com:-1/",
]  # fmt: skip

PRIVATE = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.16.0.1", "192.0.2.1", "192.168.1.1",
    "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::8.8.8.8", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "64:ff9b::a00:1", "64:ff9b:1::1", "2001::1",
    "2001:db8::1", "2002:a00:1::1", "2002:808:808::1", "fc00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
    "4000::1",
]  # fmt: skip

PUBLIC = ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::1"]


class UrlTests(TestCase):
    """Which URLs are read."""

    def test_parts(self) -> None:
        cases = {
            "http://example.com": Location("http", "example.com", 80, "/"),
            "HTTP://Example.COM/a/b?c=d&e": Location("http", "example.com", 80, "/a/b?c=d&e"),
            "https://example.com/a": Location("https", "example.com", 443, "/a"),
            "http://example.com:443/a#part": Location("http", "example.com", 443, "/a"),
            "http://example.com.:80/": Location("http", "example.com.", 80, "/"),
            "http://crl_1.ca-x.example/%20": Location("http", "crl_1.ca-x.example", 80, "/%20"),
            "http://8.8.8.8/": Location("http", "8.8.8.8", 80, "/"),
            "http://[2606:4700:0::1]:80/": Location("http", "2606:4700::1", 80, "/"),
            "http://localhost": Location("http", "localhost", 80, "/"),
        }
        for url, location in cases.items():
            with self.subTest(url=url):
                self.assertEqual(parse_url(url, WEB), location)

    def test_refused(self) -> None:
        for url in LEADING_NOWHERE:
            with self.subTest(url=url), self.assertRaises(FetchError) as raised:
                parse_url(url, WEB)
            self.assertNotIn("secret", raised.exception.text)
            self.assertLess(len(raised.exception.text), 200)

    def test_any_port_where_the_operator_says_so(self) -> None:
        self.assertEqual(parse_url("http://example.com:8080/", None).port, 8080)
        self.assertEqual(parse_url("http://example.com:8080/", (8080,)).port, 8080)
        with self.assertRaises(FetchError):
            parse_url("http://example.com/", (8080,))

    def test_what_is_sent(self) -> None:
        cases = {
            "http://example.com/a?b": ("example.com", "http://example.com:80/a?b"),
            "https://example.com:443/": ("example.com", "https://example.com:443/"),
            "http://example.com:443/": ("example.com:443", "http://example.com:443/"),
            "http://[2606:4700::1]/": ("[2606:4700::1]", "http://[2606:4700::1]:80/"),
            "https://[2606:4700::1]:80/": ("[2606:4700::1]:80", "https://[2606:4700::1]:80/"),
        }
        for url, sent in cases.items():
            with self.subTest(url=url):
                location = parse_url(url, WEB)
                self.assertEqual((location.host_header, location.url), sent)


class AddressTests(TestCase):
    """Which addresses are connected to."""

    def test_private(self) -> None:
        for address in PRIVATE:
            with self.subTest(address=address):
                self.assertFalse(may_connect(address, ()))

    def test_public(self) -> None:
        for address in PUBLIC:
            with self.subTest(address=address):
                self.assertTrue(may_connect(address, ()))

    def test_allowed_networks_come_on_top(self) -> None:
        networks = parse_networks(["10.1.0.0/16", "fd00::/8"])
        for address in ("10.1.2.3", "fd12::1", *PUBLIC):
            with self.subTest(address=address):
                self.assertTrue(may_connect(address, networks))
        for address in ("10.2.0.1", "fe80::1", "::ffff:10.1.2.3", "127.0.0.1"):
            with self.subTest(address=address):
                self.assertFalse(may_connect(address, networks))

    def test_no_address(self) -> None:
        with self.assertRaises(ValueError):
            may_connect("example.com", ())

    def test_no_network(self) -> None:
        for text in ("10.0.0.1/8", "example.com", "", "10.0.0.0/33"):
            with self.subTest(text=text), self.assertRaises(ValueError):
                parse_networks([text])

    def test_values_are_of_both_families(self) -> None:
        v4, v6 = parse_networks(["8.8.8.8/32", "2606:4700::1/128"])
        self.assertEqual([is_public(v4[0]), is_public(v6[0])], [True, True])

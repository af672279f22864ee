"""The TOML file: every mistake at once, one line each, with the file, the key and the nearest known name."""

from __future__ import annotations

import tempfile
import unittest
from dataclasses import fields
from pathlib import Path

from mgate.addresses import parse_listen, parse_target
from mgate.config import AVAILABLE, Configuration, load
from mgate.effective import mask, rows
from mgate.errors import ConfigError
from mgate.limits import Limits
from mgate.listeners import PROTOCOLS

MINIMAL = '[[listener]]\nname = "mqtt"\nlisten = ":1884"\ntarget = "broker"\n'


class FileTest(unittest.TestCase):
    """Writes files and loads them without any environment."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def load(self, text: str | bytes, environ: dict[str, str] | None = None) -> Configuration:
        file = self.folder / "mgate.toml"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(str(file), environ or {})

    def problems(self, text: str | bytes, environ: dict[str, str] | None = None) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.load(text, environ)
        return [problem.replace(f"{self.folder}/", "") for problem in caught.exception.problems]


class GoodFiles(FileTest):
    def test_minimal(self) -> None:
        listener = self.load(MINIMAL).listeners["mqtt"]
        self.assertEqual((listener.listen.host, listener.listen.port), ("", 1884))
        self.assertEqual([str(target) for target in listener.target], ["mqtt://broker:1883"])
        self.assertEqual(listener.versions, {3, 4, 5})
        self.assertEqual(listener.limits, Limits())

    def test_everything_has_a_key(self) -> None:
        limits = "\n".join(f"{field.name} = 7" for field in fields(Limits))
        configuration = self.load(
            f"""
            plugin_dirs = ["handlers", "/opt/handlers"]
            handlers = ["log"]
            [log]
            format = "json"
            level = "warn"
            lines_per_second = 3
            [limits]
            {limits}
            [[listener]]
            name = "plant-3"
            protocol = "mqtt"
            listen = "[::1]:1885"
            target = ["mqtt://a:1", "b:2", "tcp://[::1]:3", "unix:/run/broker.sock"]
            handlers = ["acl:rules.toml", "log"]
            versions = [5]
            denied_publish = "disconnect"
            denied_delivery = "disconnect"
            denied_subscribe_31 = "grant"
            [listener.limits]
            handler_timeout = 1
            """
        )
        listener = configuration.listeners["plant-3"]
        self.assertEqual(configuration.plugin_dirs, (str(self.folder / "handlers"), "/opt/handlers"))
        self.assertEqual(configuration.log.lines_per_second, 3)
        self.assertEqual([target.host for target in listener.target], ["a", "b", "::1", ""])
        self.assertEqual(listener.target[3].path, "/run/broker.sock")
        self.assertEqual(listener.handlers, ("acl:rules.toml", "log"))
        self.assertEqual((listener.denied_publish, listener.denied_subscribe_31), ("disconnect", "grant"))
        self.assertEqual(listener.limits.handler_timeout, 1.0)
        self.assertEqual(listener.limits.connack_timeout, 7.0)  # of the file's [limits]

    def test_a_listener_without_handlers_has_those_of_the_file(self) -> None:
        two = '[[listener]]\nname = "b"\nlisten = ":1885"\ntarget = "b"\nhandlers = []\n'
        configuration = self.load(f'handlers = ["log"]\n{MINIMAL}{two}')
        self.assertEqual(configuration.listeners["mqtt"].handlers, ("log",))
        self.assertEqual(configuration.listeners["b"].handlers, ())

    def test_seed_defaults_fill_in_what_the_file_leaves_out(self) -> None:
        configuration = self.load('seed_defaults = true\n[[listener]]\nname = "mqtt"\ntarget = "elsewhere"\n')
        listener = configuration.listeners["mqtt"]
        self.assertEqual(str(listener.listen), ":1884")
        self.assertEqual(listener.target[0].host, "elsewhere")
        self.assertIn("CoAP 5682", configuration.notes[0])

    def test_every_protocol_that_may_be_named_can_be_started(self) -> None:
        self.assertEqual(set(AVAILABLE), set(PROTOCOLS))


class BadFiles(FileTest):
    def test_all_mistakes_at_once(self) -> None:
        found = self.problems(
            """
            handler = ["log"]
            [log]
            level = "inf"
            lines_per_second = 0
            [limits]
            connect_timeout = -1
            max_filters = "many"
            dial_timeout = inf
            [[listener]]
            name = "mqtt"
            listen = ":70000"
            target = ["a", "wss://b"]
            versions = [2]
            denied_publish = "dropp"
            handlers = "log"
            [listener.limits]
            max_paket_size = 5
            max_packet_size = 999999999
            [[listener]]
            name = "other"
            listen = ":0"
            protocol = "coap"
            path_prefix = "/"
            [listener.tls]
            cert = "server.pem"
            """
        )
        self.assertEqual(
            sorted(found),
            sorted([
                "mgate.toml: handler: unknown key (did you mean handlers?)",
                "mgate.toml: log.level: must be one of debug, info, warn, error (did you mean info?)",
                "mgate.toml: log.lines_per_second: must be above 0",
                "mgate.toml: limits.connect_timeout: must be above 0",
                "mgate.toml: limits.max_filters: must be a whole number, not a string",
                "mgate.toml: limits.dial_timeout: must be finite",
                "mgate.toml: listener \"mqtt\".listen: port '70000' is not a number from 1 to 65535",
                "mgate.toml: listener \"mqtt\".target: 'wss' targets are not available in this version",
                'mgate.toml: listener "mqtt".versions: must be a list of protocol levels: '
                "3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0",
                'mgate.toml: listener "mqtt".denied_publish: must be one of drop, disconnect (did you mean drop?)',
                'mgate.toml: listener "mqtt".handlers: must be a list of "name" or "name:arguments"',
                'mgate.toml: listener "mqtt".limits.max_paket_size: unknown key (did you mean max_packet_size?)',
                'mgate.toml: listener "mqtt".limits.max_packet_size: must be at most 268435460, '
                "the largest that MQTT knows",
                "mgate.toml: listener \"other\".listen: port '0' is not a number from 1 to 65535",
                "mgate.toml: listener \"other\".protocol: protocol 'coap' is not available in this version",
                'mgate.toml: listener "other".path_prefix: is not available in this version',
                'mgate.toml: listener "other".target: missing',
                'mgate.toml: listener "other".tls.cert: unknown key (did you mean cert_file?)',
                'mgate.toml: listener "other".tls.cert_file: missing',
                'mgate.toml: listener "other".tls.key_file: missing',
            ]),
        )  # fmt: skip

    def test_types_are_exact(self) -> None:
        for value in ("true", "1.5", '"5"', "[5]", "1979-05-27"):
            with self.subTest(value=value):
                self.assertEqual(len(self.problems(f"{MINIMAL}[listener.limits]\nmax_filters = {value}")), 1)

    def test_bad_toml_says_line_and_column(self) -> None:
        self.assertRegex(self.problems('a = 1\nb = = "x"')[0], r"^mgate\.toml: line 2, column 5: ")
        self.assertRegex(self.problems("a = ")[0], r"^mgate\.toml: (at its end|line 1, column 5): ")

    def test_no_text(self) -> None:
        self.assertEqual(self.problems(b"a = '\xff'")[0], "mgate.toml: is not UTF-8 text (byte 5)")

    def test_unreadable(self) -> None:
        for file, why in ((self.folder / "none.toml", "No such file"), (self.folder, "Is a directory")):
            with self.subTest(why), self.assertRaises(ConfigError) as caught:
                load(str(file), {})
            self.assertRegex(caught.exception.problems[0], f"^{file}: cannot be read: {why}")

    def test_tables_that_are_none(self) -> None:
        self.assertEqual(self.problems(f"limits = 3\n{MINIMAL}"), ["mgate.toml: limits: must be a table"])
        self.assertEqual(
            self.problems('[listener]\nname = "a"')[0],
            "mgate.toml: listener: must be an array of tables: write [[listener]]",
        )

    def test_names(self) -> None:
        self.assertEqual(
            self.problems(f'{MINIMAL}{MINIMAL}[[listener]]\nlisten = ":1"\n[[listener]]\nname = "a b"\n'),
            [
                'mgate.toml: listener 2: name: "mqtt" is taken by another listener',
                "mgate.toml: listener 3: name: missing",
                "mgate.toml: listener 4: name: must be 1 to 64 letters, digits, dots, dashes or underscores",
                'mgate.toml: listener 2.listen: :1884 is taken by listener "mqtt"',
                "mgate.toml: listener 3.target: missing",
                "mgate.toml: listener 4.listen: missing",
                "mgate.toml: listener 4.target: missing",
            ],
        )

    def test_unknown_variables_are_named_beside_mistakes(self) -> None:
        found = self.problems(f"{MINIMAL}x = 1\n", {"MGATE_LOG_LEVLE": "debug"})
        self.assertEqual(found[0], 'mgate.toml: listener "mqtt".x: unknown key')
        self.assertIn("MGATE_LOG_LEVLE: nothing knows this variable", found[1])

    def test_two_listeners_on_one_address(self) -> None:
        second = '[[listener]]\nname = "b"\nlisten = "127.0.0.1:1884"\ntarget = "b"\n'
        self.assertEqual(
            self.problems(MINIMAL + second),
            ['mgate.toml: listener "b".listen: 127.0.0.1:1884 is taken by listener "mqtt"'],
        )

    def test_a_listener_that_is_its_own_target(self) -> None:
        for listen, target in (
            (":1884", "localhost:1884"), (":1884", "[::1]:1884"), ("0.0.0.0:1884", "127.0.0.2:1884"),
            ("127.0.0.1:1884", "LOCALHOST:1884"), ("192.0.2.1:1884", "192.0.2.1:1884"), ("unix:/a:mode=600", "unix:/a"),
        ):  # fmt: skip
            with self.subTest(listen, target=target):
                text = MINIMAL.replace(":1884", listen).replace('"broker"', f'["broker", "{target}"]')
                (problem,) = self.problems(text)
                self.assertEqual(problem, f'mgate.toml: listener "mqtt".target: {parse_target(target)} is this '
                                          "listener itself")  # fmt: skip

    def test_targets_that_are_somebody_else(self) -> None:
        for listen, target in (
            (":1884", "localhost:1883"), (":1884", "broker:1884"), ("127.0.0.1:1884", "127.0.0.2:1884"),
            ("0.0.0.0:1884", "[::1]:1884"), (":1884", "192.0.2.1:1884"), ("unix:/a", "unix:/b"), ("unix:/a", "b:1"),
        ):  # fmt: skip
            with self.subTest(listen, target=target):
                self.load(MINIMAL.replace(":1884", listen).replace('"broker"', f'"{target}"'))

    def test_no_listener(self) -> None:
        self.assertEqual(
            self.problems("[log]\n"), ["mgate.toml: no listener: add [[listener]] with listen and target"]
        )

    def test_nothing_at_all(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            load(None, {})
        self.assertRegex(caught.exception.problems[0], "--config FILE.*--listen :1884.*--seed-defaults")

    def test_credentials_in_a_target_are_not_repeated(self) -> None:
        found = self.problems(MINIMAL.replace('"broker"', '"mqtt://user:hunter2@broker"'))
        self.assertRegex(found[0], "credentials")
        self.assertNotIn("hunter2", found[0])


class Addresses(unittest.TestCase):
    def test_listen(self) -> None:
        for text, host, port in (
            (":1884", "", 1884), ("127.0.0.1:1", "127.0.0.1", 1), ("localhost:65535", "127.0.0.1", 65535),
            ("[::1]:1884", "::1", 1884),
        ):  # fmt: skip
            with self.subTest(text):
                address = parse_listen(text)
                self.assertEqual((address.host, address.port, address.endpoint), (host, port, ""))
        for text in ("tcp:1884", "unix:/run/x.sock:mode=600", "systemd:domain=INET:name=mqtt", "tcp6:1884"):
            with self.subTest(text):
                self.assertEqual(parse_listen(text).endpoint, text)

    def test_listen_on_what_is_no_address(self) -> None:
        for text in ("", "1884", "127.0.0.1", "broker:1884", "::1:1884", "[::1", "[127.0.0.1]:1", ":x", ":-1", ":1_0",
                     ":٣", ":0", ":65536", "autobahn:1", "a b:1"):  # fmt: skip
            with self.subTest(text), self.assertRaises(ValueError):
                parse_listen(text)

    def test_listen_with_an_endpoint_that_is_replaced(self) -> None:
        for text, instead in (
            ("ssl:8883:privateKey=k", "[listener.tls]"), ("tls:/keys:tcp:1", "[listener.tls]"),
            ("haproxy:tcp:1", "trusted_proxies"),
        ):  # fmt: skip
            with self.subTest(text), self.assertRaises(ValueError) as caught:
                parse_listen(text)
            self.assertIn(instead, str(caught.exception))

    def test_overlaps(self) -> None:
        for one, other, overlap in (
            (":1", ":1", True), (":1", ":2", False), (":1", "127.0.0.1:1", True), ("0.0.0.0:1", "127.0.0.1:1", True),
            ("127.0.0.2:1", "127.0.0.1:1", False), ("[::]:1", "127.0.0.1:1", False), ("[::]:1", "[::1]:1", True),
            ("unix:/a", "unix:/a", True), ("unix:/a", ":1", False),
        ):  # fmt: skip
            with self.subTest(f"{one} {other}"):
                self.assertEqual(parse_listen(one).overlaps(parse_listen(other)), overlap)

    def test_target(self) -> None:
        for text, shown in (
            ("broker", "mqtt://broker:1883"), ("broker:1", "mqtt://broker:1"), ("mqtt://b:2/", "mqtt://b:2"),
            ("tcp://[::1]:3", "mqtt://[::1]:3"), ("unix:/run/b", "unix:/run/b"), ("unix:///run/b", "unix:/run/b"),
            ("mqtts://b", "mqtts://b:8883"), ("ssl://b:1", "mqtts://b:1"), ("TLS://[::1]", "mqtts://[::1]:8883"),
        ):  # fmt: skip
            with self.subTest(text):
                address = parse_target(text)
                self.assertEqual(str(address), shown)
                self.assertEqual(address.tls, shown.startswith("mqtts:"))

    def test_what_is_no_target(self) -> None:
        for text in ("", ":1883", "mqtts://", "ws://b", "gopher://b", "b:0", "b:99999", "mqtt://b/path", "b c",
                     "unix:relative", "u@b", "mqtt://b:1?x"):  # fmt: skip
            with self.subTest(text), self.assertRaises(ValueError):
                parse_target(text)


class Effective(FileTest):
    def test_value_and_source(self) -> None:
        text = f'handlers = ["jwt:secret=hunter2,aud=x"]\n{MINIMAL}[listener.limits]\nmax_filters = 7\n'
        found = {key: (value, source) for key, value, source in rows(self.load(text, {"MGATE_LOG_LEVEL": "warn"}))}
        file = f"file {self.folder}/mgate.toml"
        self.assertEqual(found["log.level"], ('"warn"', "environment MGATE_LOG_LEVEL"))
        self.assertEqual(found["log.format"], ('"text"', "default"))
        self.assertEqual(found['listener "mqtt".limits.max_filters'], ("7", file))
        self.assertEqual(found['listener "mqtt".handlers'], ('["jwt:secret=***,aud=x"]', file))
        self.assertEqual(found['listener "mqtt".listen'], ('":1884"', file))
        self.assertEqual(found["limits.max_filters"], ("1024", "default"))

    def test_mask(self) -> None:
        for text, shown in (
            ("db:host=x;password=p;user=u", "db:host=x;password=***;user=u"),
            ("redis://user:pw@host/0", "redis://***@host/0"),
            ("API-Key: abc def", "API-Key: ***"),
            ("acl:rules.toml", "acl:rules.toml"),
        ):
            with self.subTest(text):
                self.assertEqual(mask(text), shown)

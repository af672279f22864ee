"""The options of ``twistd mgate``: they win over file and environment, and all that is wrong is said first."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from twisted.python.usage import UsageError

from mgate.config import Configuration
from mgate.options import Options
from tests.processes import run

TWO = """
[[listener]]
name = "a"
listen = ":1884"
target = "x"
handlers = ["log"]
[[listener]]
name = "b"
listen = ":1885"
target = "x"
"""


class OptionsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.environ: dict[str, str] = {}

    def parse(self, *arguments: str) -> Configuration:
        options = Options()
        with mock.patch.dict(os.environ, self.environ, clear=True):
            options.parseOptions(list(arguments))
        return options.configuration

    def mistakes(self, *arguments: str) -> list[str]:
        with self.assertRaises(UsageError) as caught:
            self.parse(*arguments)
        head, *problems = str(caught.exception).splitlines()
        self.assertEqual(head, "the configuration cannot be used:")
        return problems

    def file(self, text: str) -> str:
        path = self.folder / "mgate.toml"
        path.write_text(text)
        return str(path)


class Values(OptionsTest):
    def test_a_listener_without_a_file(self) -> None:
        listener = self.parse("--listen", ":1", "--target", "a:1", "--target", "b:2").listeners["mqtt"]
        self.assertEqual(str(listener.listen), ":1")
        self.assertEqual([target.host for target in listener.target], ["a", "b"])
        self.assertEqual(listener.handlers, ())

    def test_options_win_over_environment_and_file(self) -> None:
        file = self.file('[log]\nformat = "json"\nlevel = "debug"\n[limits]\nmax_filters = 1\n' + TWO)
        self.environ = {"MGATE_LOG_LEVEL": "warn", "MGATE_LIMITS_MAX_FILTERS": "2", "MGATE_CONFIG": "/nowhere"}
        found = self.parse("-c", file, "--log-level=error", "--set", "limits.max_filters=3", "--plugin-dir", "rel")
        self.assertEqual((found.log.format, found.log.level), ("json", "error"))
        self.assertEqual(found.listeners["b"].limits.max_filters, 3)
        self.assertEqual(found.plugin_dirs, (os.path.abspath("rel"),))
        self.assertEqual(self.parse("-c", file).listeners["b"].limits.max_filters, 2)

    def test_the_only_listener_needs_no_name(self) -> None:
        file = self.file('[[listener]]\nname = "plant"\nlisten = ":1"\ntarget = "x"\n')
        self.assertEqual(list(self.parse("-c", file, "--listen", ":9").listeners), ["plant"])

    def test_named_listeners(self) -> None:
        listeners = self.parse("--listen", "a=:1", "--listen", "b=unix:/run/x:mode=600", "--target", "a=x",
                               "--target", "b=y").listeners  # fmt: skip
        self.assertEqual(listeners["b"].listen.endpoint, "unix:/run/x:mode=600")
        self.assertEqual(listeners["b"].target[0].host, "y")

    def test_an_endpoint_string_is_no_name(self) -> None:
        text = "systemd:domain=INET:name=mqtt"
        self.assertEqual(self.parse("--listen", text, "--target", "x").listeners["mqtt"].listen.endpoint, text)

    def test_handlers_replace_those_of_the_file(self) -> None:
        found = self.parse("-c", self.file(TWO), "--handler", "log:level=debug", "--handler", "deny")
        for listener in found.listeners.values():
            self.assertEqual(listener.handlers, ("log:level=debug", "deny"))

    def test_set(self) -> None:
        found = self.parse("-c", self.file(TWO), "--set", "listener.a.denied_publish=disconnect",
                           "--set", "listener.b.limits.handler_timeout=1.5", "--set", "listener.b.versions=[4, 5]",
                           "--set", "listener.b.handlers=['log:a=b']")  # fmt: skip
        self.assertEqual(found.listeners["a"].denied_publish, "disconnect")
        self.assertEqual(found.listeners["b"].limits.handler_timeout, 1.5)
        self.assertEqual(found.listeners["b"].versions, {4, 5})
        self.assertEqual(found.listeners["b"].handlers, ("log:a=b",))

    def test_tls(self) -> None:
        found = self.parse("--listen", ":1", "--target", "a", "--cert", "c.pem", "--key", "/k.pem", "--client-ca", "ca")
        tls = found.listeners["mqtt"].tls
        assert tls is not None
        here = os.getcwd()
        self.assertEqual((tls.cert_file, tls.key_file, tls.client_ca_file), (f"{here}/c.pem", "/k.pem", f"{here}/ca"))

    def test_tls_of_a_named_listener(self) -> None:
        found = self.parse("-c", self.file(TWO), "--cert", "b=c.pem", "--key", "b=k.pem")
        self.assertIsNone(found.listeners["a"].tls)
        self.assertIsNotNone(found.listeners["b"].tls)

    def test_options_of_tls_win(self) -> None:
        text = '[[listener]]\nname = "m"\nlisten = ":1"\ntarget = "x"\ntls = {cert_file = "c", key_file = "k"}\n'
        tls = self.parse("-c", self.file(text), "--cert", "/new.pem").listeners["m"].tls
        assert tls is not None
        self.assertEqual((tls.cert_file, tls.key_file), ("/new.pem", str(self.folder.resolve() / "k")))

    def test_files_that_are_set_are_those_of_the_working_directory(self) -> None:
        found = self.parse("--listen", ":1", "--target", "mqtts://a", "--set", "listener.mqtt.tls.cert_file=c",
                           "--set", "listener.mqtt.tls.key_file=/k", "--set", "listener.mqtt.target_tls={ca_file='t'}",
                           "--set", "listener.mqtt.tls.server_name=[{cert_file='s', key_file='t'}]")  # fmt: skip
        listener = found.listeners["mqtt"]
        assert listener.tls is not None and listener.target_tls is not None
        here = os.getcwd()
        self.assertEqual((listener.tls.cert_file, listener.tls.key_file), (f"{here}/c", "/k"))
        self.assertEqual(listener.tls.server_name[0].key_file, f"{here}/t")
        self.assertEqual(listener.target_tls.ca_file, f"{here}/t")

    def test_seed_defaults_with_certificates(self) -> None:
        found = self.parse("--seed-defaults", "--cert", "mqtt-tls=c", "--key", "mqtt-tls=k")
        self.assertEqual(str(found.listeners["mqtt-tls"].listen), ":8883")
        self.assertIsNone(found.listeners["mqtt"].tls)

    def test_seed_defaults(self) -> None:
        found = self.parse("--seed-defaults", "--listen", "127.0.0.1:1999")
        self.assertEqual(str(found.listeners["mqtt"].listen), "127.0.0.1:1999")
        self.assertIn("HTTP 8086", found.notes[0])


class Mistakes(OptionsTest):
    def test_they_name_the_option(self) -> None:
        found = self.mistakes("-c", self.file(TWO), "--listen", ":1", "--target", "a=", "--log-format", "yaml",
                              "--set", "limits.max_paket_size=1", "--set", "limits", "--set", "a..b=1",
                              "--handler", ":x")  # fmt: skip
        self.assertEqual(
            sorted(found),
            [
                "--handler: a handler has no name: write \"name\" or \"name:arguments\"",
                "--listen :1: say which listener: --listen NAME=:1",
                "--log-format: must be one of text, json",
                "--set a..b: write --set KEY=VALUE",
                "--set limits.max_paket_size: unknown key (did you mean max_packet_size?)",
                "--set limits: write --set KEY=VALUE",
                "--target: '' has no host: write mqtt://host:port",
            ],
        )

    def test_all_sources_at_once(self) -> None:
        self.environ = {"MGATE_LOG_LEVEL": "loud"}
        found = "\n".join(self.mistakes("-c", self.file(TWO.replace(":1885", ":0")), "--log-format", "yaml"))
        for expected in ("MGATE_LOG_LEVEL: ", 'mgate.toml: listener "b".listen: ', "--log-format: "):
            self.assertIn(expected, found)

    def test_half_a_pair(self) -> None:
        for option, other, missing in (("--cert", "--key", "key_file"), ("--key", "--cert", "cert_file")):
            with self.subTest(option):
                found = self.mistakes("--listen", ":1", "--target", "a", option, "x.pem")
                self.assertEqual(found, [f'{option}: listener "mqtt".tls.{missing}: missing: add {other}'])
        found = self.mistakes("--listen", ":1", "--target", "a", "--client-ca", "x.pem")
        tls = '--client-ca: listener "mqtt".tls'
        expected = [f"{tls}.cert_file: missing: add --cert", f"{tls}.key_file: missing: add --key"]
        self.assertEqual(found, expected)

    def test_a_certificate_for_nobody_in_particular(self) -> None:
        found = self.mistakes("-c", self.file(TWO), "--cert", "c.pem")
        self.assertEqual(found, ["--cert c.pem: say which listener: --cert NAME=c.pem"])

    def test_an_empty_name_of_a_file(self) -> None:
        found = self.mistakes("--listen", ":1", "--target", "a", "--cert", "", "--key", "k")
        self.assertEqual(found, ["--cert: must name a file"])

    def test_nothing_configured(self) -> None:
        self.assertRegex(self.mistakes()[0], "nothing is configured.*--config FILE.*--seed-defaults")

    def test_an_option_that_does_not_exist(self) -> None:
        with self.assertRaises(UsageError):
            self.parse("--listne", ":1")


class Start(unittest.TestCase):
    def test_version(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as output, self.assertRaises(SystemExit) as caught:
            Options().parseOptions(["--version"])
        self.assertEqual(caught.exception.code, 0)
        self.assertRegex(output.getvalue(), "^mgate ")

    def test_help_loads_neither_reactor_nor_protocols(self) -> None:
        code = (
            "import sys, mgate.options; mgate.options.Options().getUsage(); "
            "print([name for name in ('twisted.internet.reactor', 'cattrs', 'mgate.config', 'mgate.listeners') "
            "if name in sys.modules])"
        )
        done = run([sys.executable, "-c", code])
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))

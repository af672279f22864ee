"""``MGATE_*`` variables of both generations, what they win over, and what is said about those that are wrong."""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path

from mgate.config import Configuration, load
from mgate.environment import SECTIONS
from mgate.errors import ConfigError

PLAIN = "MGATE_MQTT_WITHOUT_TLS_"


def plain(**values: str) -> dict[str, str]:
    return {PLAIN + key: value for key, value in values.items()}


class EnvironmentTest(unittest.TestCase):
    def listener(self, environ: dict[str, str], file: str | None = None) -> tuple[str, list[str]]:
        listener = load(file, environ).listeners["mqtt"]
        return str(listener.listen), [str(target) for target in listener.target]

    def problems(self, environ: dict[str, str], file: str | None = None) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            load(file, environ)
        return caught.exception.problems

    def file(self, text: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "mgate.toml"
        path.write_text(text)
        return str(path)


class Listeners(EnvironmentTest):
    def test_both_generations_and_both_prefixes(self) -> None:
        old = plain(ADDRESS=":1884", TARGET="broker:1885")
        new = plain(HOST="", PORT="1884", TARGET_HOST="broker", TARGET_PORT="1885", TARGET_PROTOCOL="mqtt")
        for environ in (old, new, old | new):
            for prefix in ("MGATE_", "MPROXY_"):
                with self.subTest(sorted(environ), prefix=prefix):
                    renamed = {name.replace("MGATE_", prefix): value for name, value in environ.items()}
                    self.assertEqual(self.listener(renamed), (":1884", ["mqtt://broker:1885"]))

    def test_several_targets(self) -> None:
        environ = plain(ADDRESS=":1884", TARGET="a:1, mqtt://b:2")
        self.assertEqual(self.listener(environ), (":1884", ["mqtt://a:1", "mqtt://b:2"]))

    def test_ipv6(self) -> None:
        environ = plain(HOST="::1", PORT="1884", TARGET_HOST="::1", TARGET_PORT="1883")
        self.assertEqual(self.listener(environ), ("[::1]:1884", ["mqtt://[::1]:1883"]))

    def test_over_the_file(self) -> None:
        file = self.file('[[listener]]\nname = "mqtt"\nlisten = "127.0.0.1:1884"\ntarget = "inside:1885"\n')
        self.assertEqual(self.listener(plain(ADDRESS=":9"), file), (":9", ["mqtt://inside:1885"]))
        # One part alone leaves the other as the file has it: a port must not open all interfaces.
        self.assertEqual(self.listener(plain(PORT="9"), file)[0], "127.0.0.1:9")
        self.assertEqual(self.listener(plain(TARGET_HOST="other"), file)[1], ["mqtt://other:1885"])
        self.assertEqual(self.listener(plain(TARGET_PORT="9"), file)[1], ["mqtt://inside:9"])

    def test_over_the_seed_defaults(self) -> None:
        self.assertEqual(self.listener({"MGATE_SEED_DEFAULTS": "1"}), (":1884", ["mqtt://localhost:1883"]))
        environ = {"MGATE_SEED_DEFAULTS": "yes"} | plain(PORT="9", TARGET_HOST="broker")
        self.assertEqual(self.listener(environ), (":9", ["mqtt://broker:1883"]))
        file = self.file("seed_defaults = true\n")
        self.assertIn("no listener", self.problems({"MGATE_SEED_DEFAULTS": "0"}, file)[0])

    def test_an_empty_value_is_not_set(self) -> None:
        self.assertIn("nothing is configured", self.problems(plain(ADDRESS="", TARGET=" "))[0])

    def test_handlers(self) -> None:
        environ = plain(ADDRESS=":1", TARGET="b", HANDLERS="log 'acl:my rules.toml'")
        self.assertEqual(load(None, environ).listeners["mqtt"].handlers, ("log", "acl:my rules.toml"))
        environ = plain(ADDRESS=":1", TARGET="b") | {"MGATE_HANDLERS": "log"}
        self.assertEqual(load(None, environ).listeners["mqtt"].handlers, ("log",))


class Mistakes(EnvironmentTest):
    def test_names_that_contradict_each_other(self) -> None:
        for environ, found in (
            (plain(ADDRESS=":1", PORT="2", TARGET="b"), f"{PLAIN}ADDRESS, {PLAIN}PORT: ADDRESS and PORT differ"),
            (plain(ADDRESS="127.0.0.1:1", HOST="127.0.0.2", TARGET="b"), "ADDRESS and HOST differ"),
            (plain(ADDRESS=":1", TARGET="a", TARGET_HOST="b"), "TARGET and TARGET_HOST differ"),
            (plain(ADDRESS=":1", TARGET="a:1", TARGET_PORT="2"), "TARGET and TARGET_PORT differ"),
            (plain(ADDRESS=":1", TARGET="a,b", TARGET_PORT="2"), "TARGET names several addresses"),
            (
                plain(ADDRESS=":1", TARGET="a") | {"MPROXY_MQTT_WITHOUT_TLS_ADDRESS": ":2"},
                f"{PLAIN}ADDRESS and MPROXY_MQTT_WITHOUT_TLS_ADDRESS differ",
            ),
        ):
            with self.subTest(found):
                self.assertIn(found, "\n".join(self.problems(environ)))

    def test_values_name_their_variable(self) -> None:
        environ = plain(PORT="70000", TARGET="b") | {
            "MGATE_LOG_LEVEL": "loud",
            "MGATE_LIMITS_MAX_FILTERS": "1.5",
            "MGATE_LIMITS_DIAL_TIMEOUT": "-1",
            "MGATE_LIMITS_HANDLER_TIMEOUT": "soon",
            "MGATE_SEED_DEFAULTS": "perhaps",
            "MGATE_HANDLERS": "'log",
        }
        self.assertEqual(
            sorted(self.problems(environ)),
            [
                "MGATE_HANDLERS: No closing quotation",
                "MGATE_LIMITS_DIAL_TIMEOUT: must be above 0",
                "MGATE_LIMITS_HANDLER_TIMEOUT: must be a number",
                "MGATE_LIMITS_MAX_FILTERS: must be a whole number",
                "MGATE_LOG_LEVEL: must be one of debug, info, warn, error",
                f"{PLAIN}PORT: port '70000' is not a number from 1 to 65535",
                "MGATE_SEED_DEFAULTS: must be 1 or 0, true or false",
            ],
        )

    def test_half_a_listener(self) -> None:
        self.assertEqual(
            self.problems(plain(ADDRESS=":1")), [f'{PLAIN}ADDRESS: listener "mqtt".target: missing']
        )

    def test_what_is_not_available_is_never_started_plain(self) -> None:
        for section, known in SECTIONS.items():
            name = f"MGATE_{section}_ADDRESS"
            if known.missing:
                with self.subTest(section):
                    found = self.problems({name: ":1"} | plain(ADDRESS=":2", TARGET="b"))
                    self.assertEqual(found, [f"{name}: {known.missing} is not available in this version"])
        for key in ("CERT_FILE", "CLIENT_CA_FILE", "CERT_VERIFICATION_METHODS"):
            with self.subTest(key):
                found = self.problems(plain(ADDRESS=":1", TARGET="b") | {PLAIN + key: "x"})
                self.assertEqual(found, [f"{PLAIN}{key}: TLS is not available in this version"])

    def test_target_over_tls(self) -> None:
        found = self.problems(plain(ADDRESS=":1", TARGET_HOST="b", TARGET_PROTOCOL="mqtts"))
        self.assertEqual(found, [f"{PLAIN}TARGET_HOST: 'mqtts' targets are not available in this version"])


class Notes(EnvironmentTest):
    def notes(self, environ: dict[str, str]) -> tuple[str, ...]:
        return tuple(load(None, environ | plain(ADDRESS=":1", TARGET="b")).notes)

    def test_unknown_names(self) -> None:
        self.assertEqual(
            self.notes({"MGATE_MQTT_WITHOUT_TLS_ADRESS": "hunter2", "MGATE_LOG_LEVLE": "x", "MPROXY_QQ": "x"}),
            (
                "MGATE_LOG_LEVLE: nothing knows this variable (did you mean MGATE_LOG_LEVEL?)",
                f"{PLAIN}ADRESS: nothing knows this variable (did you mean {PLAIN}ADDRESS?)",
                "MPROXY_QQ: nothing knows this variable",
            ),
        )

    def test_names_without_effect(self) -> None:
        self.assertEqual(self.notes(plain(TARGET_PATH="/x")), (f"{PLAIN}TARGET_PATH: has no meaning for MQTT",))
        self.assertEqual(self.notes(plain(PATH_PREFIX="/")), ())


class General(EnvironmentTest):
    def test_file_log_limits_and_folders(self) -> None:
        file = self.file('log.level = "error"\n[limits]\nmax_filters = 1\ndial_timeout = 2\n')
        environ = plain(ADDRESS=":1", TARGET="b") | {
            "MGATE_CONFIG": file,
            "MGATE_LOG_FORMAT": "json",
            "MGATE_LIMITS_MAX_FILTERS": "9",
            "MGATE_PLUGIN_DIRS": f"/opt/a{os.pathsep}b",
        }
        configuration: Configuration = load(None, environ)
        self.assertEqual((configuration.log.format, configuration.log.level), ("json", "error"))
        limits = configuration.listeners["mqtt"].limits
        self.assertEqual((limits.max_filters, limits.dial_timeout), (9, 2.0))
        self.assertEqual(configuration.plugin_dirs, ("/opt/a", os.path.abspath("b")))
        self.assertEqual(configuration.directory, os.path.dirname(os.path.realpath(file)))

"""``MGATE_*`` variables of both generations, what they win over, and what is said about those that are wrong."""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path

from mgate.config import Configuration, load
from mgate.errors import ConfigError
from mgate.sections import SECTIONS, SERVER_TLS
from mgate.tls.settings import TargetTls

PLAIN = "MGATE_MQTT_WITHOUT_TLS_"


def plain(**values: str) -> dict[str, str]:
    return {PLAIN + key: value for key, value in values.items()}


def secure(section: str, **values: str) -> dict[str, str]:
    files = {"CERT_FILE": "c.pem", "KEY_FILE": "k.pem", "CLIENT_CA_FILE": "ca.pem"}
    every = {"ADDRESS": ":1", "TARGET": "b"} | files | values
    return {f"MGATE_{section}_{key}": value for key, value in every.items()}


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
            (plain(ADDRESS=":1", TARGET="unix:/run/b", TARGET_PORT="2"), "TARGET is a unix socket"),
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

    def test_variables_of_tls_do_not_belong_to_a_listener_without(self) -> None:
        for end in SERVER_TLS:
            with self.subTest(end):
                found = self.problems(plain(ADDRESS=":1", TARGET="b") | {PLAIN + end: "1"})
                self.assertEqual(
                    found, [f"{PLAIN}{end}: this listener has no TLS: use MQTT_WITH_TLS or MQTT_WITH_MTLS"]
                )

    def test_a_listener_with_tls_is_never_started_plain(self) -> None:
        for section, listener in (("MQTT_WITH_TLS", "mqtt-tls"), ("MQTT_WITH_MTLS", "mqtt-mtls")):
            for prefix in ("MGATE_", "MPROXY_"):
                head = f"{prefix}{section}_"
                address = {f"{head}ADDRESS": ":1", f"{head}TARGET": "b"}
                client = {f"{head}CLIENT_CA_FILE": "ca"}
                tls = f'listener "{listener}".tls'
                for given, who, missing in (
                    (client, "CLIENT_CA_FILE", ("cert_file", "key_file")),
                    (client | {f"{head}CERT_FILE": "c"}, "CERT_FILE", ("key_file",)),
                    (client | {f"{head}KEY_FILE": "k"}, "KEY_FILE", ("cert_file",)),
                ):
                    with self.subTest(section, missing=missing):
                        expected = [
                            f"{head}{who}: {tls}.{key}: missing: set MGATE_{section}_{key.upper()}" for key in missing
                        ]
                        self.assertEqual(self.problems(address | given), expected)
                with self.subTest(section):
                    found = self.problems(address | plain(ADDRESS=":2", TARGET="b"))
                    self.assertIn(f"{head}ADDRESS: {tls}.cert_file: missing: set MGATE_{section}_CERT_FILE", found)

    def test_a_section_without_an_address(self) -> None:
        head = "MGATE_MQTT_WITH_TLS_"
        self.assertEqual(
            self.problems({f"{head}CERT_FILE": "c", f"{head}KEY_FILE": "k"}),
            [f'{head}CERT_FILE: listener "mqtt-tls".{key}: missing' for key in ("listen", "target")],
        )

    def test_mutual_tls_needs_who_signs_the_devices(self) -> None:
        head = "MGATE_MQTT_WITH_MTLS_"
        environ = {f"{head}{end}": "1" for end in ("PORT", "TARGET_HOST", "CERT_FILE", "KEY_FILE")}
        expected = [f'{head}CERT_FILE: listener "mqtt-mtls".tls.client_ca_file: missing: set {head}CLIENT_CA_FILE']
        self.assertEqual(self.problems(environ), expected)
        file = self.file('[[listener]]\nname = "mqtt-mtls"\n[listener.tls]\nclient_ca_file = "ca"\n')
        self.assertIn("mqtt-mtls", load(file, environ).listeners)

    def test_values_of_tls_name_their_variable(self) -> None:
        head = "MGATE_MQTT_WITH_MTLS_"
        values = secure(
            "MQTT_WITH_MTLS", CERT_VERIFICATION_METHODS="ocsp,clr", OCSP_DEPTH="all", CRL_DEPTH="-1",
            OCSP_RESPONDER_URL="ocsp", CRL_DISTRIBUTION_POINTS="http://a, file:///b", TRUSTED_PROXIES="10.0.0.1/8",
            SEND_PROXY_PROTOCOL="v2", ALLOW_INSECURE_KEY="?",
        )  # fmt: skip
        self.assertEqual(
            sorted(self.problems(values)),
            [
                f"{head}ALLOW_INSECURE_KEY: must be 1 or 0, true or false",
                f"{head}CERT_VERIFICATION_METHODS: must be one of ocsp, crl (did you mean crl?)",
                f"{head}CRL_DEPTH: must be 0, for all, or above",
                f"{head}CRL_DISTRIBUTION_POINTS: 'file:///b': scheme 'file' is not read, only http and https",
                f"{head}OCSP_DEPTH: must be a whole number",
                f"{head}OCSP_RESPONDER_URL: 'ocsp': scheme '' is not read, only http and https",
                f"{head}SEND_PROXY_PROTOCOL: must be 1 or 0, true or false",
                f"{head}TRUSTED_PROXIES: '10.0.0.1/8' has bits behind its prefix: write 10.0.0.0/8",
            ],
        )

    def test_a_target_that_names_tls_and_does_not(self) -> None:
        for target, protocol in (("mqtts://b", "mqtt"), ("mqtt://b", "mqtts"), ("tls://b", "tcp")):
            with self.subTest(target):
                found = self.problems(plain(ADDRESS=":1", TARGET=target, TARGET_PROTOCOL=protocol))
                self.assertIn("TARGET and TARGET_PROTOCOL differ", found[0])
        found = self.problems(plain(ADDRESS=":1", TARGET="b", TARGET_PROTOCOL="ws"))
        self.assertIn("'ws' targets are not available in this version", found[0])

    def test_more_than_a_ca_for_a_target_without_tls(self) -> None:
        head = "MGATE_MQTT_WITHOUT_TLS_"
        found = self.problems(plain(ADDRESS=":1", TARGET="b", SERVER_CA_FILE="ca", TARGET_SERVER_NAME="b"))
        self.assertEqual(found, [f"{head}SERVER_CA_FILE: no target is mqtts://, so none has TLS"])


class Tls(EnvironmentTest):
    def test_every_variable(self) -> None:
        for prefix in ("MGATE_", "MPROXY_"):
            environ = secure(
                "MQTT_WITH_MTLS", TARGET="mqtts://b", SERVER_CA_FILE="server-ca.pem", ALLOW_INSECURE_KEY="yes",
                CERT_VERIFICATION_METHODS="OCSP, Crl,ocsp", OCSP_DEPTH="2", OCSP_RESPONDER_URL="http://ocsp",
                CRL_DEPTH="0", CRL_DISTRIBUTION_POINTS="http://a, http://b",
                CRL_DISTRIBUTION_POINTS_ISSUER_CERT_FILE="/i.pem", OFFLINE_CRL_FILE="o.pem",
                OFFLINE_CRL_ISSUER_CERT_FILE="p.pem", TARGET_CERT_FILE="t.pem", TARGET_KEY_FILE="t.key",
                TARGET_SERVER_NAME="broker", TRUSTED_PROXIES="10.0.0.0/8, ::1", SEND_PROXY_PROTOCOL="1",
            )  # fmt: skip
            renamed = {name.replace("MGATE_", prefix): value for name, value in environ.items()}
            listener = load(None, renamed).listeners["mqtt-mtls"]
            here = os.getcwd()
            tls = listener.tls
            assert tls is not None
            with self.subTest(prefix):
                self.assertEqual((tls.cert_file, tls.key_file), (f"{here}/c.pem", f"{here}/k.pem"))
                self.assertEqual((tls.client_ca_file, tls.allow_insecure_key), (f"{here}/ca.pem", True))
                revocation = tls.revocation
                self.assertEqual(revocation.methods, ("ocsp", "crl"))
                self.assertEqual((revocation.ocsp_depth, revocation.crl_depth), (2, 0))
                self.assertEqual(revocation.ocsp_responder_url, "http://ocsp")
                self.assertEqual(revocation.crl_distribution_points, ("http://a", "http://b"))
                self.assertEqual(revocation.crl_distribution_points_issuer_cert_file, "/i.pem")
                self.assertEqual(revocation.offline_crl_file, f"{here}/o.pem")
                self.assertEqual(revocation.offline_crl_issuer_cert_file, f"{here}/p.pem")
                self.assertEqual(
                    listener.target_tls,
                    TargetTls(f"{here}/server-ca.pem", f"{here}/t.pem", f"{here}/t.key", "broker"),
                )
                self.assertEqual(listener.trusted_proxies, ("10.0.0.0/8", "::1"))
                self.assertTrue(listener.send_proxy_protocol)

    def test_a_client_ca_makes_tls_mutual(self) -> None:
        tls = load(None, secure("MQTT_WITH_TLS")).listeners["mqtt-tls"].tls
        assert tls is not None
        self.assertEqual(tls.client_ca_file, f"{os.getcwd()}/ca.pem")

    def test_a_target_with_tls(self) -> None:
        for values, shown in (
            ({"TARGET": "mqtts://b"}, "mqtts://b:8883"),
            ({"TARGET": "b", "TARGET_PROTOCOL": "mqtts"}, "mqtts://b:8883"),
            ({"TARGET": "b:1", "TARGET_PROTOCOL": "ssl"}, "mqtts://b:1"),
            ({"TARGET": "mqtts://b:1", "TARGET_PROTOCOL": "TLS"}, "mqtts://b:1"),
            ({"TARGET_HOST": "b", "TARGET_PROTOCOL": "mqtts"}, "mqtts://b:8883"),
            ({"TARGET_HOST": "b", "TARGET_PORT": "1", "TARGET_PROTOCOL": "mqtts"}, "mqtts://b:1"),
        ):
            with self.subTest(values):
                self.assertEqual(self.listener(plain(ADDRESS=":1", **values))[1], [shown])

    def test_one_variable_does_not_take_tls_away(self) -> None:
        file = self.file('[[listener]]\nname = "mqtt"\nlisten = ":1"\ntarget = "mqtts://inside:8885"\n')
        self.assertEqual(self.listener(plain(TARGET_HOST="other"), file)[1], ["mqtts://other:8885"])
        self.assertEqual(self.listener(plain(TARGET_PROTOCOL="mqtt"), file)[1], ["mqtt://inside:8885"])
        file = self.file('[[listener]]\nname = "mqtt"\nlisten = ":1"\ntarget = "unix:/run/b"\n')
        self.assertEqual(self.listener(plain(TARGET_HOST="other"), file)[1], ["mqtt://other:1883"])

    def test_a_ca_that_is_not_used_is_no_mistake(self) -> None:
        configuration = load(None, plain(ADDRESS=":1", TARGET="b", SERVER_CA_FILE="ca"))
        self.assertEqual(
            list(configuration.notes), [f"{PLAIN}SERVER_CA_FILE: has no effect, as no target is mqtts://"]
        )
        self.assertIsNone(configuration.listeners["mqtt"].target_tls)

    def test_revocation_that_is_not_used_is_no_mistake(self) -> None:
        configuration = load(None, secure("MQTT_WITH_MTLS", OCSP_DEPTH="0", CRL_DEPTH="1"))
        self.assertEqual(
            list(configuration.notes),
            ["MGATE_MQTT_WITH_MTLS_OCSP_DEPTH: has no effect without CERT_VERIFICATION_METHODS"],
        )


class SeedDefaults(EnvironmentTest):
    SEEDED = {"MGATE_SEED_DEFAULTS": "1"}

    def test_without_certificates_there_is_no_listener_with_tls(self) -> None:
        configuration = load(None, self.SEEDED)
        self.assertEqual(list(configuration.listeners), ["mqtt"])
        self.assertEqual(
            [note for note in configuration.notes if "8883" in note or "8884" in note],
            [
                "seed defaults: mqtt-tls (:8883) is not started: it needs MGATE_MQTT_WITH_TLS_CERT_FILE and _KEY_FILE",
                "seed defaults: mqtt-mtls (:8884) is not started: it needs MGATE_MQTT_WITH_MTLS_CERT_FILE, _KEY_FILE "
                "and _CLIENT_CA_FILE",
            ],
        )

    def test_with_certificates(self) -> None:
        for section, name, port in (("MQTT_WITH_TLS", "mqtt-tls", 8883), ("MQTT_WITH_MTLS", "mqtt-mtls", 8884)):
            environ = {key: value for key, value in secure(section).items() if not key.endswith(("ADDRESS", "TARGET"))}
            with self.subTest(section):
                configuration = load(None, self.SEEDED | environ)
                listener = configuration.listeners[name]
                self.assertEqual((str(listener.listen), str(*listener.target)), (f":{port}", "mqtt://localhost:1883"))
                self.assertIsNotNone(listener.tls)
                self.assertNotIn(f"{name} ", " ".join(configuration.notes))

    def test_a_listener_that_is_asked_for_needs_certificates(self) -> None:
        self.assertEqual(
            self.problems(self.SEEDED | {"MGATE_MQTT_WITH_TLS_PORT": "9"}),
            [
                'listener "mqtt-tls".tls.cert_file: missing: set MGATE_MQTT_WITH_TLS_CERT_FILE',
                'listener "mqtt-tls".tls.key_file: missing: set MGATE_MQTT_WITH_TLS_KEY_FILE',
            ],
        )
        file = self.file('[[listener]]\nname = "mqtt-mtls"\n')
        self.assertEqual(
            sorted(self.problems(self.SEEDED, file)),
            [
                f'listener "mqtt-mtls".tls.{key}_file: missing: set MGATE_MQTT_WITH_MTLS_{key.upper()}_FILE'
                for key in ("cert", "client_ca", "key")
            ],
        )


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

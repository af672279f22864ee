"""The tables of TLS, revocation, the target's TLS and the PROXY protocol: what they become, and what is said."""

from __future__ import annotations

import os
import tempfile
import unittest
from dataclasses import fields
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mgate.config import Configuration, Listener, load
from mgate.effective import rows
from mgate.errors import ConfigError
from mgate.settings import Origin, Tree
from mgate.tls.settings import Revocation, ServerName, ServerTls, TargetTls

HEAD = '[[listener]]\nname = "m"\nlisten = ":8883"\n'
PLAIN = f'{HEAD}target = "b"\n'
SECURE = f'{HEAD}target = "mqtts://b"\n'
TLS = f'{PLAIN}[listener.tls]\ncert_file = "c"\nkey_file = "k"\n'
MUTUAL = f'{TLS}client_ca_file = "ca"\n'
REVOCATION = f'{MUTUAL}[listener.tls.revocation]\nmethods = ["ocsp", "crl"]\n'
EVERYTHING = """
[[listener]]
name = "m"
listen = ":8883"
target = ["mqtts://b", "mqtts://c:1"]
trusted_proxies = ["10.0.0.0/8", "::1"]
send_proxy_protocol = true
[listener.tls]
cert_file = "pki/server.pem"
key_file = "../server.key"
client_ca_file = "/etc/ca.pem"
allow_insecure_key = true
strict_sni = true
[listener.tls.revocation]
methods = ["crl", "ocsp"]
ocsp_depth = 2
ocsp_responder_url = "http://ocsp.example.com:8080/x"
ocsp_method = "get"
crl_depth = 0
crl_distribution_points = ["http://a.example.com/a.crl", "https://[::1]/b.crl"]
crl_distribution_points_issuer_cert_file = "i.pem"
offline_crl_file = "o.pem"
offline_crl_issuer_cert_file = "/p.pem"
on_failure = "soft"
on_miss = "refuse"
deadline = 1
max_pending = 5
allowed_networks = ["192.168.0.0/16"]
allowed_ports = [8080]
[[listener.tls.server_name]]
names = ["a.example.com", "*.b.example.com"]
cert_file = "a.pem"
key_file = "/a.key"
client_ca_file = "a-ca.pem"
[[listener.tls.server_name]]
cert_file = "b.pem"
key_file = "b.key"
[listener.target_tls]
ca_file = "ca.pem"
cert_file = "own.pem"
key_file = "own.key"
server_name = "broker.example.com"
"""

KEYS = [
    ("listener", "m", *path)
    for path in (
        ("target",), ("trusted_proxies",), ("send_proxy_protocol",), ("tls",), ("target_tls",),
        *(("tls", field.name) for field in fields(ServerTls)),
        *(("tls", "revocation", field.name) for field in fields(Revocation)),
        *(("target_tls", field.name) for field in fields(TargetTls)),
    )
]  # fmt: skip
TEXTS = st.sampled_from(
    ["", "ocsp", "crl", "hard", "get", "http://a/", "https://[::1", "http://a:0", "10.0.0.0/8", "::1/3", "mqtts://b",
     "b", "mqtt://[", "*.a", "c.pem"]
) | st.text(max_size=5)  # fmt: skip
SCALARS = TEXTS | st.booleans() | st.integers(-2, 70000) | st.floats() | st.just({"cert_file": "c", "key_file": "k"})
TABLES = st.dictionaries(st.sampled_from(["names", "cert_file", "methods"]), SCALARS)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | TABLES


class EncryptionTest(unittest.TestCase):
    """Writes files and loads them, in front of a listener named m."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def load(self, text: str, environ: dict[str, str] | None = None) -> Configuration:
        file = self.folder / "mgate.toml"
        file.write_text(text)
        return load(str(file), environ or {})

    def listener(self, text: str) -> Listener:
        return self.load(text).listeners["m"]

    def problems(self, text: str) -> list[str]:
        with self.assertRaises(ConfigError) as caught:
            self.load(text)
        return [
            problem.replace(f'{self.folder}/mgate.toml: listener "m".', "") for problem in caught.exception.problems
        ]

    def notes(self, text: str) -> list[str]:
        return [note.replace(f'{self.folder}/mgate.toml: listener "m".', "") for note in self.load(text).notes]


class GoodTables(EncryptionTest):
    def test_everything(self) -> None:
        listener = self.listener(EVERYTHING)
        here = str(self.folder)
        self.assertEqual(listener.trusted_proxies, ("10.0.0.0/8", "::1"))
        self.assertTrue(listener.send_proxy_protocol)
        self.assertEqual(
            listener.tls,
            ServerTls(
                cert_file=f"{here}/pki/server.pem",
                key_file=f"{here}/../server.key",
                client_ca_file="/etc/ca.pem",
                allow_insecure_key=True,
                strict_sni=True,
                server_name=(
                    ServerName(f"{here}/a.pem", "/a.key", ("a.example.com", "*.b.example.com"), f"{here}/a-ca.pem"),
                    ServerName(f"{here}/b.pem", f"{here}/b.key"),
                ),
                revocation=Revocation(
                    methods=("crl", "ocsp"),
                    ocsp_depth=2,
                    ocsp_responder_url="http://ocsp.example.com:8080/x",
                    ocsp_method="get",
                    crl_depth=0,
                    crl_distribution_points=("http://a.example.com/a.crl", "https://[::1]/b.crl"),
                    crl_distribution_points_issuer_cert_file=f"{here}/i.pem",
                    offline_crl_file=f"{here}/o.pem",
                    offline_crl_issuer_cert_file="/p.pem",
                    on_failure="soft",
                    on_miss="refuse",
                    deadline=1.0,
                    max_pending=5,
                    allowed_networks=("192.168.0.0/16",),
                    allowed_ports=(8080,),
                ),
            ),
        )
        self.assertEqual(
            listener.target_tls,
            TargetTls(f"{here}/ca.pem", f"{here}/own.pem", f"{here}/own.key", "broker.example.com"),
        )
        self.assertEqual(self.notes(EVERYTHING), [])

    def test_none_of_it(self) -> None:
        listener = self.listener(PLAIN)
        self.assertIsNone(listener.tls)
        self.assertIsNone(listener.target_tls)
        self.assertEqual(listener.trusted_proxies, ())
        self.assertFalse(listener.send_proxy_protocol)

    def test_an_empty_name_of_a_file_is_none(self) -> None:
        tls = self.listener(f'{TLS}client_ca_file = ""\n').tls
        assert tls is not None
        self.assertEqual(tls.client_ca_file, "")

    def test_a_target_with_tls_needs_no_table(self) -> None:
        self.assertEqual(self.listener(SECURE).target_tls, TargetTls())

    def test_a_unix_socket_may_stand_beside_a_target_with_tls(self) -> None:
        targets = self.listener(f'{HEAD}target = ["unix:/b", "mqtts://b"]\n').target
        self.assertEqual([target.tls for target in targets], [False, True])

    def test_methods_without_a_client_ca_of_the_listener(self) -> None:
        text = REVOCATION.replace('client_ca_file = "ca"\n', "")
        name = '[[listener.tls.server_name]]\ncert_file = "c"\nkey_file = "k"\nclient_ca_file = "ca"\n'
        tls = self.listener(text + name).tls
        assert tls is not None
        self.assertEqual(tls.revocation.methods, ("ocsp", "crl"))


class BadTables(EncryptionTest):
    def expect(self, text: str, *problems: str) -> None:
        with self.subTest(text[-60:]):
            self.assertEqual(self.problems(text), list(problems))

    def test_half_a_pair(self) -> None:
        for text, problem in (
            (f'{PLAIN}[listener.tls]\ncert_file = "c"\n', "tls.key_file: missing"),
            (f'{PLAIN}[listener.tls]\nkey_file = "k"\n', "tls.cert_file: missing"),
            (f'{PLAIN}[listener.tls]\nkey_file = "k"\ncert_file = ""\n', "tls.cert_file: must name a file"),
            (f'{SECURE}[listener.target_tls]\ncert_file = "c"\n', "target_tls.key_file: missing"),
            (f'{SECURE}[listener.target_tls]\nkey_file = "c"\ncert_file = ""\n', "target_tls.cert_file: missing"),
            (f'{TLS}[[listener.tls.server_name]]\ncert_file = "c"\n', "tls.server_name 1.key_file: missing"),
        ):
            self.expect(text, problem)
        self.expect(f"{PLAIN}[listener.tls]\n", "tls.cert_file: missing", "tls.key_file: missing")

    def test_mistakes_do_not_hide_each_other(self) -> None:
        self.assertEqual(
            sorted(self.problems(
                f"""{TLS}cert = "c"
                strict_sni = 1
                [listener.tls.revocation]
                method = ["ocsp"]
                methods = ["ocsp", "OSCP", 5]
                ocsp_depth = -1
                crl_depth = -2
                deadline = 0
                max_pending = 0
                allowed_ports = [0, 443, 65536]
                allowed_networks = ["10.0.0.1/8", "public"]
                ocsp_responder_url = "ldap://ca"
                crl_distribution_points = "http://ca/x.crl"
                [[listener.tls.server_name]]
                names = ["a", "A"]
                cert_file = "c"
                key_file = ""
                nams = []
                """
            )),
            sorted([
                "tls.cert: unknown key (did you mean cert_file?)",
                "tls.strict_sni: must be true or false, not a whole number",
                "tls.revocation.method: unknown key (did you mean methods?)",
                "tls.revocation.methods 2: must be one of ocsp, crl",
                "tls.revocation.methods 3: must be one of ocsp, crl",
                "tls.revocation.ocsp_depth: must be 0, for all, or above",
                "tls.revocation.crl_depth: must be 0, for all, or above",
                "tls.revocation.deadline: must be above 0",
                "tls.revocation.max_pending: must be above 0",
                "tls.revocation.allowed_ports 1: 0 is no port from 1 to 65535",
                "tls.revocation.allowed_ports 3: 65536 is no port from 1 to 65535",
                "tls.revocation.allowed_networks 1: '10.0.0.1/8' has bits behind its prefix: write 10.0.0.0/8",
                "tls.revocation.allowed_networks 2: 'public' is no network: write 10.0.0.0/8, or one address",
                "tls.revocation.ocsp_responder_url: 'ldap://ca': scheme 'ldap' is not read, only http and https",
                "tls.revocation.crl_distribution_points: must be a list",
                "tls.server_name 1.names 2: 'A' is there already",
                "tls.server_name 1.key_file: must name a file",
                "tls.server_name 1.nams: unknown key (did you mean names?)",
                "tls.revocation.methods: there are no certificates of devices to ask about: set client_ca_file",
            ]),
        )  # fmt: skip

    def test_tables_that_are_none(self) -> None:
        self.expect(f"{PLAIN}tls = true\n", "tls: must be a table")
        self.expect(f"{TLS}revocation = 5\n", "tls.revocation: must be a table")
        self.expect(f"{TLS}server_name = 5\n", "tls.server_name: must be a list")
        self.expect(f"{TLS}server_name = [5]\n", "tls.server_name 1: must be a table")
        self.expect(f'{TLS}server_name = [{{cert_file = "c", key_file = "k", names = 5}}]\n',
                    "tls.server_name 1.names: must be a list")  # fmt: skip
        self.expect(f"{SECURE}target_tls = []\n", "target_tls: must be a table")
        self.expect(f"{PLAIN}target_tls = []\n", "target_tls: must be a table")
        self.expect(f"{TLS}client_ca_file = 5\n", "tls.client_ca_file: must be a string, not a whole number")

    def test_revocation_needs_certificates_of_devices(self) -> None:
        self.expect(
            REVOCATION.replace('client_ca_file = "ca"\n', ""),
            "tls.revocation.methods: there are no certificates of devices to ask about: set client_ca_file",
        )

    def test_a_nonce_and_get_exclude_each_other(self) -> None:
        self.expect(
            f'{REVOCATION}ocsp_method = "get"\nrequire_nonce = true\n',
            "tls.revocation.require_nonce: a request by GET has no nonce: leave one of them out",
        )

    def test_a_method_is_named_once(self) -> None:
        self.expect(
            REVOCATION.replace('"crl"', '"ocsp"'), "tls.revocation.methods 2: 'ocsp' is there already"
        )

    def test_urls(self) -> None:
        for url in ("", "ca.example.com", "http://", "http://:80/x", "file:///etc/x", "http://a:99999/", "http://[::1",
                    "http://a b/", "http://a:0/", "http://127.1/"):  # fmt: skip
            with self.subTest(url):
                (problem,) = self.problems(f'{REVOCATION}crl_distribution_points = ["http://a/", "{url}"]\n')
                self.assertTrue(problem.startswith(f"tls.revocation.crl_distribution_points 2: {url!r}: "), problem)
                if url:
                    (other,) = self.problems(f'{REVOCATION}ocsp_responder_url = "{url}"\n')
                    cause = problem.partition(" 2: ")[2]
                    self.assertEqual(other, f"tls.revocation.ocsp_responder_url: {cause}")

    def test_credentials_in_a_url_are_not_repeated(self) -> None:
        (problem,) = self.problems(f'{REVOCATION}ocsp_responder_url = "http://user:hunter2@ca:x"\n')
        self.assertNotIn("hunter2", problem)

    def test_names_of_certificates(self) -> None:
        def named(names: str) -> str:
            return f'{TLS}server_name = [{{cert_file = "c", key_file = "k", names = ["x.example.com"]}}, ' \
                   f'{{cert_file = "c", key_file = "k", names = {names}}}]\n'  # fmt: skip

        for name in ("", "a b", "*", "*.", "a.*.com", "w*.example.com", "192.0.2.1", "::1", "a..b", "-a", "a" * 64,
                     "mqtts://a", "é.example.com"):  # fmt: skip
            self.expect(
                named(f'["{name}"]'),
                f"tls.server_name 2.names 1: {name!r} is no host name: write a.example.com or *.example.com",
            )
        self.expect(named('["y", "X.Example.com"]'), "tls.server_name 2.names 2: 'X.Example.com' is there already")

    def test_target(self) -> None:
        self.expect(
            f'{PLAIN}[listener.target_tls]\nca_file = "ca"\n', "target_tls: no target is mqtts://, so none has TLS"
        )
        self.expect(
            f'{HEAD}target = ["mqtts://b", "c"]\n',
            "target: mqtt://c:1883 would stand in for mqtts://b:8883 in plain text: write mqtts:// for all or for none",
        )
        self.expect(
            f'{SECURE}[listener.target_tls]\nserver_name = "*.example.com"\n',
            "target_tls.server_name: '*.example.com' is no host name: write broker.example.com",
        )

    def test_a_targets_certificate_may_name_an_address(self) -> None:
        for name in ("192.0.2.1", "::1", "broker", "Broker.example.com"):
            text = f'{SECURE}[listener.target_tls]\nserver_name = "{name}"\n'
            found = self.listener(text).target_tls
            assert found is not None
            self.assertEqual(found.server_name, name)

    def test_proxies(self) -> None:
        self.expect(
            f'{PLAIN}trusted_proxies = ["::1/64", "localhost", 5]\n',
            "trusted_proxies 1: '::1/64' has bits behind its prefix: write ::/64",
            "trusted_proxies 2: 'localhost' is no network: write 10.0.0.0/8, or one address",
            "trusted_proxies 3: must be a string, not a whole number",
        )
        self.expect(f'{PLAIN}trusted_proxies = "::1"\n', "trusted_proxies: must be a list")
        self.expect(
            f'{PLAIN}trusted_proxies = ["::1"]\n'.replace(":8883", "unix:/run/m"),
            "trusted_proxies: who connects to a unix socket has no address to be trusted by",
        )
        self.expect(f'{PLAIN}send_proxy_protocol = "v2"\n', "send_proxy_protocol: must be true or false, not a string")


class AnyValues(unittest.TestCase):
    """Whatever stands in the tables, it is used or refused; nothing else is raised."""

    @given(st.data())
    def test_used_or_refused(self, data: st.DataObject) -> None:
        overlay = data.draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
        base = {
            ("listener", "m", "listen"): ":1", ("listener", "m", "target"): "b",
            ("listener", "m", "tls", "cert_file"): "c", ("listener", "m", "tls", "key_file"): "k",
        }  # fmt: skip

        def put(tree: Tree) -> list[str]:
            for path, value in {**base, **overlay}.items():
                tree.set(path, value, Origin("option", "--set"))
            return []

        try:
            configuration = load(None, {}, put)
        except ConfigError as error:
            self.assertTrue(all(error.problems))
        else:
            for _, value, _ in rows(configuration):
                self.assertTrue(value)


class WithoutEffect(EncryptionTest):
    def test_revocation_without_methods(self) -> None:
        self.assertEqual(
            self.notes(f"{MUTUAL}[listener.tls.revocation]\nocsp_depth = 1\ncrl_depth = 1\n"),
            ["tls.revocation: has no effect without methods"],
        )
        self.assertEqual(self.notes(f"{MUTUAL}[listener.tls.revocation]\nmethods = []\n"), [])

    def test_keys_of_a_method_that_is_not_used(self) -> None:
        text = REVOCATION.replace('"ocsp", "crl"', '"crl"')
        self.assertEqual(
            self.notes(f'{text}ocsp_responder_url = "http://a"\non_failure = "soft"\n'),
            ["tls.revocation.ocsp_responder_url: has no effect, as methods does not name ocsp"],
        )

    def test_an_issuer_without_its_crl(self) -> None:
        self.assertEqual(
            self.notes(f'{REVOCATION}offline_crl_issuer_cert_file = "a"\n'),
            ["tls.revocation.offline_crl_issuer_cert_file: has no effect without offline_crl_file"],
        )
        self.assertEqual(
            self.notes(f'{REVOCATION}crl_distribution_points_issuer_cert_file = "a"\n'),
            ["tls.revocation.crl_distribution_points_issuer_cert_file: has no effect without crl_distribution_points"],
        )


class Effective(EncryptionTest):
    def shown(self, text: str) -> dict[str, str]:
        return {key.replace('listener "m".', ""): value for key, value, _ in rows(self.load(text))}

    def test_tables_are_shown(self) -> None:
        found = self.shown(EVERYTHING)
        here = str(self.folder)
        self.assertEqual(found["tls.key_file"], f'"{here}/../server.key"')
        self.assertEqual(found["tls.strict_sni"], "true")
        self.assertEqual(found["tls.revocation.methods"], '["crl", "ocsp"]')
        self.assertEqual(found["tls.revocation.ocsp_responder_url"], '"http://ocsp.example.com:8080/x"')
        self.assertEqual(found["tls.server_name 2.cert_file"], f'"{here}/b.pem"')
        self.assertEqual(found["target_tls.server_name"], '"broker.example.com"')
        self.assertEqual(found["trusted_proxies"], '["10.0.0.0/8", "::1"]')
        self.assertEqual(found["target"], '["mqtts://b:8883", "mqtts://c:1"]')
        self.assertNotIn("tls", found)

    def test_source(self) -> None:
        text = EVERYTHING.replace('name = "m"', 'name = "mqtt-tls"')
        configuration = self.load(text, {"MGATE_MQTT_WITH_TLS_CERT_FILE": "x.pem"})
        found = {key: (value, source) for key, value, source in rows(configuration)}
        file = f"file {self.folder}/mgate.toml"
        head = 'listener "mqtt-tls".tls'
        self.assertEqual(
            found[f"{head}.cert_file"],
            (f'"{os.getcwd()}/x.pem"', "environment MGATE_MQTT_WITH_TLS_CERT_FILE"),
        )
        self.assertEqual(found[f"{head}.key_file"][1], file)
        self.assertEqual(found[f"{head}.server_name 2.cert_file"][1], file)
        self.assertEqual(found[f"{head}.revocation.require_nonce"], ("false", "default"))

    def test_a_plain_listener_has_no_rows_of_tls(self) -> None:
        found = self.shown(PLAIN)
        self.assertFalse([key for key in found if key.startswith(("tls", "target_tls"))])
        self.assertEqual(found["trusted_proxies"], "[]")
        self.assertIn("target_tls.ca_file", self.shown(SECURE))

"""What the documentation says is true: its code is run, its commands are typed, its tables are those of the code.

Rules of the pages, which the tests below hold them to:

1. Code of Python and TOML is included from a file that a test runs (`RUN_BY`), never written into a page.
2. What stands in a ``console`` block is typed, and what it prints is compared; ``...`` stands for anything.
3. Ports 1883 to 1885 stand for the broker and the gateways, 8883 and 8884 for TLS, 8889 for the responder; here they
   are free ones.
"""

from __future__ import annotations

import ast
import configparser
import contextlib
import doctest
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

import mgate
from mgate.config import Listener, Log, Tables
from mgate.config import load as load_configuration
from mgate.counters import Counters
from mgate.dropins import ENTRY_POINTS
from mgate.errors import Denied, Kind
from mgate.limits import Limits
from mgate.session import Session
from mgate.testing import relay_with
from mgate.tls.identity import identify
from mgate.tls.settings import Revocation, ServerName, ServerTls, TargetTls
from tests import layers
from tests.processes import MGATE, PATIENCE, Running, run
from tests.real.needed import needed

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.rst") if "_build" not in page.parts)

RUN_BY = {
    "CONTRIBUTING.md": "tests/test_docs.py",
    "deploy/mgate.service": "tests/test_service.py",
    "docs/picture.txt": "tests/test_docs.py",
    "docs/snippets/certbot-hook.sh": "tests/test_docs.py",
    "docs/snippets/embedding_tls.py": "tests/test_docs.py",
    "docs/snippets/haproxy.cfg": "tests/test_docs.py",
    "docs/snippets/hops.py": "tests/test_docs.py",
    "docs/snippets/mtls.toml": "tests/test_docs.py",
    "docs/snippets/named_by_certificate.py": "tests/test_docs.py",
    "docs/snippets/proxied.toml": "tests/test_docs.py",
    "docs/snippets/test_refusing_target.py": "tests/test_docs.py",
    "docs/snippets/test_slow_answers.py": "tests/test_docs.py",
    "docs/snippets/tls.toml": "tests/test_docs.py",
    "examples/embedding.py": "tests/test_docs.py",
    "examples/handlers/credentials.py": "tests/test_examples.py",
    "examples/handlers/rewrite.py": "tests/test_examples.py",
    "examples/handlers/tenant_rules.py": "tests/test_examples.py",
    "examples/mgate.toml": "tests/test_docs.py",
    "examples/test_tenant_rules.py": "tests/test_docs.py",
}
"""Every file that a page includes, and which test runs it."""

PACKAGES = ("http", "mqtt", "proxyprotocol", "tls", "websocket")
"""The parts of mgate whose modules the map may name without their package."""

TYPED_ELSEWHERE = (". .venv/bin/activate", "sudo ")
"""How commands begin that are not typed here: the environment is set up already, and nobody becomes root for a test."""

PORTS = ("1883", "1884", "1885", "8883", "8884", "8889")

SERVERS = (["mgate", "run"], ["python", "embedding.py"], ["python", "examples/ocsp_responder.py"], ["haproxy", "-f"])
"""What goes on running when it is typed. A new one takes the place of the last that began alike."""

BROKER = """
import sys
from twisted.internet import reactor
from mgate.demo.broker import BrokerFactory
reactor.listenTCP(int(sys.argv[1]), BrokerFactory(reactor), interface="127.0.0.1")
print("broker ready", flush=True)
reactor.run()
"""


def load(path: Path) -> ModuleType:
    """Import a file that is in no package."""
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def quiet_ports(count: int) -> list[str]:
    """Ports that nobody listens on, and that no connection is given either before they are listened on."""
    found: list[str] = []
    for port in random.sample(range(10_000, 32_000), 200):  # Linux gives connections those from 32768 on
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(str(port))
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def blocks(page: Path, language: str) -> Iterator[str]:
    """The code blocks of one language in a page, of either markup."""
    text = page.read_text()
    if page.suffix == ".md":
        yield from re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)
        return
    for found in re.finditer(rf"^\.\. code-block:: {language}\n\n((?:   .*\n|\n)+)", text, re.M):
        yield re.sub(r"^   ", "", found[1], flags=re.M).strip("\n") + "\n"


def commands(page: Path) -> Iterator[tuple[str, str]]:
    """Each command of a page's console blocks, and what it should print."""
    for block in (text.replace(" \\\n  ", " ") for text in blocks(page, "console")):
        for each in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, expected = each.partition("\n")
            yield command, expected


class Pages(unittest.TestCase):
    """What may stand in a page."""

    def test_code_is_included(self) -> None:
        for page in PAGES:
            with self.subTest(page.name):
                languages = set(re.findall(r"code-block:: *(\S*)", page.read_text()))
                self.assertLessEqual(languages, {"console", "text"})

    def test_what_is_included_is_run(self) -> None:
        included = set()
        for page in PAGES:
            for name in re.findall(r"literalinclude:: *(\S+)", page.read_text()):
                path = (page.parent / name).resolve()
                self.assertTrue(path.is_file(), f"{page.name} includes {name}")
                included.add(str(path.relative_to(ROOT)))
        self.assertEqual(included, set(RUN_BY))

    def test_those_tests_know_the_files(self) -> None:
        for name, test in RUN_BY.items():
            with self.subTest(name):
                stem = Path(name).name.removesuffix(".py")
                self.assertRegex((ROOT / test).read_text(), re.escape(stem).replace("_", "[-_]"))

    def test_links_between_pages(self) -> None:
        for page in PAGES:
            links = re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", page.read_text())
            for link in links:
                base = DOCS if link.startswith("/") else page.parent
                self.assertTrue((base / f"{link.lstrip('/')}.rst").is_file(), f"{page.name} links to {link}")

    def test_every_page_is_in_the_index(self) -> None:
        listed = set(re.findall(r"^   ([a-z-]+/[a-z-]+)$", (DOCS / "index.rst").read_text(), re.M))
        there = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES} - {"index"}
        self.assertEqual(listed, there)

    def test_links_of_markdown(self) -> None:
        for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"):
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
                if "://" not in link:
                    self.assertTrue((page.parent / link).exists(), f"{page.name} links to {link}")

    def test_files_that_pages_name(self) -> None:
        for page in [*PAGES, ROOT / "README.md"]:
            for name in re.findall(r"`((?:mgate|tests|docs|examples|deploy|benchmarks)/[\w./-]+)`", page.read_text()):
                if "<" not in name and "_build" not in name:
                    self.assertTrue((ROOT / name).exists(), f"{page.name} names {name}")

    def test_entry_point_of_the_how_to(self) -> None:
        text = (DOCS / "howto" / "write-a-handler.rst").read_text()
        (block,) = re.findall(r"::\n\n((?:      .*\n)+)", text)
        parser = configparser.ConfigParser()
        parser.read_string(re.sub(r"^      ", "", block, flags=re.M))
        self.assertIn("tenant-rules", parser["options.entry_points"][ENTRY_POINTS])


class Readme(unittest.TestCase):
    """README.md is text in the repository, so it repeats what is elsewhere."""

    text = (ROOT / "README.md").read_text()

    def test_handler_is_the_example(self) -> None:
        (block,) = blocks(ROOT / "README.md", "python")
        self.assertEqual(block, (ROOT / "examples" / "handlers" / "tenant_rules.py").read_text())

    def test_picture_is_that_of_the_documentation(self) -> None:
        self.assertIn((DOCS / "picture.txt").read_text(), self.text)

    def test_options_are_those_of_the_code(self) -> None:
        generated = load(DOCS / "generated.py")
        self.assertEqual(self.text, generated.with_options(self.text), "type: python docs/generated.py")
        for field in ("name", "listen", "target", "handlers", "denied_publish"):
            self.assertIn(f"| `{field}` |", self.text)

    def test_default_port(self) -> None:
        shown = run([*MGATE, "config", "--seed-defaults"]).stdout
        self.assertRegex(shown, r'listen = ":1884"')
        self.assertIn("| MQTT over TCP | 1884 |", self.text)


class Map(unittest.TestCase):
    """The docstring of the package says where everything is."""

    def test_names_every_module(self) -> None:
        for module in layers.read(ROOT, "mgate"):
            inner = module.startswith(("mgate.demo.", "mgate.handlers.", "mgate.plugins.", "mgate.testing."))
            if module not in ("mgate", "mgate.mqtt", "mgate.__main__") and not inner:
                with self.subTest(module):
                    short = rf"(({'|'.join(PACKAGES)})\.)?{module.rpartition('.')[2]}"
                    self.assertRegex(mgate.__doc__ or "", rf"`(mgate\.)?{short}`")

    def test_names_nothing_else(self) -> None:
        for name in re.findall(r"`(?:mgate\.)?([a-z_.]+)`", mgate.__doc__ or ""):
            paths = [ROOT / "mgate" / folder / name.replace(".", "/") for folder in ("", *PACKAGES)]
            with self.subTest(name):
                self.assertTrue(any(path.is_dir() or path.with_suffix(".py").is_file() for path in paths))


class Generated(unittest.TestCase):
    """The tables that are made when the documentation is built."""

    generated: Any = load(DOCS / "generated.py")

    def test_every_key_and_counter_is_described_once(self) -> None:
        said = set()
        for table in (Tables, Log, Listener, ServerTls, Revocation, ServerName, TargetTls, Limits, Counters):
            silent = {name for name, text in self.in_code(table).items() if not text}
            for name, text in self.generated.described(table).items():
                self.assertTrue(text, f"{table.__name__}.{name}: describe it in the code or in docs/generated.py")
            said |= {f"{table.__name__}.{name}" for name in silent}
        self.assertEqual(set(self.generated.SAID_HERE), said)

    def in_code(self, table: type) -> dict[str, str]:
        here = self.generated.SAID_HERE
        self.generated.SAID_HERE = {}
        try:
            return dict(self.generated.described(table))
        finally:
            self.generated.SAID_HERE = here

    def test_pages_use_all_of_them(self) -> None:
        used = {name for page in PAGES for name in re.findall(r"^\.\. generated:: (\S+)", page.read_text(), re.M)}
        self.assertEqual(used, set(self.generated.GENERATED))

    def test_each_says_what_the_code_says(self) -> None:
        for name, part in {
            "codes": "``not authorised``\n     - 5\n     - 0x87", "command-line": "--plugin-dir=",
            "counters": "``handler_faults``", "environment-sections": "``MQTT_WITHOUT_TLS``",
            "environment-keys": "``CRL_DEPTH``\n     - ``tls.revocation.crl_depth``",
            "listener-tls": "* - ``revocation``\n     -\n     - A table of its own, below.",
            "listener-tls-revocation": "* - ``allowed_ports``\n     - ``[80, 443]``\n     - The ports",
            "listener-tls-server-name": "Empty: the names in the certificate.",
            "listener-target-tls": "* - ``server_name``\n     - ``\"\"``\n     - The name that the target's",
            "environment-variables": "``MGATE_LIMITS_MAX_PACKET_SIZE``",
            "hooks": "auth_deliver(session, topic, payload)",
            "interceptor": "after(session, packet, direction)", "layers": "``mqtt.framing``",
            "limits": "``connect_timeout``\n     - ``10``", "listener": "* - ``name``\n     -\n     - Required",
            "log": "``lines_per_second``\n     - ``10``", "log-lines": "reason=not_authorised handler=tenant-rules",
            "maker": "make(arguments, context)", "states": "``dialling``", "tables": "``plugin_dirs``",
        }.items():  # fmt: skip
            with self.subTest(name):
                self.assertIn(part, self.generated.GENERATED[name]())


TLS_REASONS = {
    "tls_fault", "tls_flood", "tls_handshake", "tls_resumed", "tls_revoked", "tls_server_name", "tls_timeout",
    "tls_unavailable", "proxy_header", "proxy_timeout", "proxy_untrusted",
}  # fmt: skip
REVOCATION_REASONS = {"crl_failed", "ocsp_failed", "revocation_late", "revocation_pending", "revocation_soft"}


class Reasons(unittest.TestCase):
    """The page about the log names every event and every reason that the code can write."""

    page = (DOCS / "reference" / "log.rst").read_text()

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        for path in (ROOT / "mgate").rglob("*.py"):
            if not {"demo", "testing", "handlers"} & set(path.parts):
                for node in ast.walk(ast.parse(path.read_text())):
                    if isinstance(node, ast.Call):
                        yield getattr(node.func, "id", getattr(node.func, "attr", "")), node

    def words(self, *functions: str) -> set[str]:
        """Every text that is passed to these functions and looks like a reason."""
        found = set()
        for name, call in self.calls():
            if name in functions:
                passed = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg != "protocol")]
                texts = [str(each.value) for each in passed if isinstance(each, ast.Constant)]
                found |= {text for text in texts if re.fullmatch("[a-z_]+", text)}
        return found

    def test_reasons(self) -> None:
        reasons = self.words("TargetLost", "TimedOut", "reject", "_note", "_over_limit")
        self.assertIn("keep_alive", reasons)
        reasons |= self.words("_refuse", "_refuse_held", "refused")  # mgate.tls.connection, mgate.proxyprotocol.wrapper
        reasons |= set(re.findall(r'"(tls_[a-z_]+)"', (ROOT / "mgate" / "tls" / "connection.py").read_text()))
        reasons |= set(re.findall(r'reason = "(\w+)"', (ROOT / "mgate" / "proxyprotocol" / "header.py").read_text()))
        self.assertLessEqual(TLS_REASONS, reasons)
        reasons |= self.words("_report", "report")  # of event=revocation: mgate.tls.revocation and its methods
        self.assertLessEqual(REVOCATION_REASONS, reasons)
        reasons |= {"malformed", "target_lost", "max_connections", "max_connections_per_address", "connection_rate"}
        for reason in reasons:
            with self.subTest(reason):
                self.assertIn(f"``{reason}``", self.page)

    def test_events(self) -> None:
        events = self.words("event")
        self.assertLessEqual({"connect", "disconnect"}, events)
        for event in events | {"reject", "fault", "suppressed"}:
            with self.subTest(event):
                self.assertIn(f"\n``{event}``\n", self.page)

    def test_kinds_are_in_the_table_of_codes(self) -> None:
        table = load(DOCS / "generated.py").codes()
        for kind in Kind:
            self.assertIn(f"``{kind.value}``", table)


class Snippets(unittest.TestCase):
    """The code of pages that is no example: hops.py, tls.toml, test_slow_answers.py, test_refusing_target.py."""

    def test_configuration_of_tls(self) -> None:
        listener = load_configuration(str(DOCS / "snippets" / "tls.toml"), {}).listeners["fleet"]
        assert listener.tls is not None and listener.target_tls is not None
        self.assertEqual(listener.tls.cert_file, str(DOCS / "snippets" / "certs" / "server.pem"))
        self.assertEqual(listener.tls.revocation.methods, ("ocsp", "crl"))
        self.assertEqual(listener.tls.server_name[0].names, ("*.plant.example.com",))
        self.assertEqual(listener.target_tls.cert_file, str(DOCS / "snippets" / "certs" / "gateway.pem"))

    def test_snippets_with_tests(self) -> None:
        for path in sorted((DOCS / "snippets").glob("test_*.py")):
            with self.subTest(path.name):
                suite = unittest.defaultTestLoader.loadTestsFromModule(load(path))
                result = unittest.TestResult()
                suite.run(result)
                self.assertGreater(result.testsRun, 0)
                self.assertEqual([text for _, text in result.failures + result.errors], [])

    def test_configurations_of_the_test_pki(self) -> None:
        """mtls.toml and proxied.toml name the files that certs/make_pki.py makes."""
        for name in ("mtls", "proxied"):
            (listener,) = load_configuration(str(DOCS / "snippets" / f"{name}.toml"), {}).listeners.values()
            assert listener.tls is not None
            self.assertEqual(listener.tls.cert_file, str(DOCS / "snippets" / "../../certs/server.pem"))

    def test_named_by_certificate(self) -> None:
        handler = load(DOCS / "snippets" / "named_by_certificate.py").NamedByCertificate()
        session = Session(username="somebody else", certificate=self.identity("pump-3"))
        handler.auth_connect(session)
        self.assertEqual(session.username, "pump-3")
        for certificate in (None, self.identity(""), self.identity("+"), self.identity("a/b")):
            with self.assertRaises(Denied) as caught:
                handler.auth_connect(Session(certificate=certificate))
            self.assertEqual(caught.exception.kind, "not authorised")

    def identity(self, common_name: str) -> Any:
        """What a handler sees of a certificate with this common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        now = datetime.now(UTC)
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        return identify(made.sign(key, SHA256()))

    def test_certbot_hook(self) -> None:
        """certbot-hook.sh, with programs that only say how they were called."""
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        for program in ("install", "systemctl"):
            (folder / program).write_text(f'#!/bin/sh\necho {program} "$@"\n')
            (folder / program).chmod(0o755)
        environ = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "RENEWED_LINEAGE": "/renewed"}
        done = run(["sh", str(DOCS / "snippets" / "certbot-hook.sh")], environ=environ)
        self.assertEqual(done.stdout.splitlines(), [
            "install -o mgate -m 0400 /renewed/privkey.pem /etc/mgate/server.key",
            "install -o mgate -m 0444 /renewed/fullchain.pem /etc/mgate/server.pem",
            "systemctl reload mgate",
        ])  # fmt: skip

    def test_hops(self) -> None:
        hops = load(DOCS / "snippets" / "hops.py")
        device = relay_with(hops.Hops("gateway-1"))
        (message,) = device.publish("t", b"x").to_target
        self.assertEqual(list(getattr(message, "properties", [])), [(0x26, ("hop", "gateway-1"))])
        (message,) = device.deliver("t", b"x").to_device
        self.assertEqual(list(getattr(message, "properties", [])), [])
        self.assertEqual(relay_with(hops.Hops("g"), version=4).publish("t", b"x").published, [("t", b"x")])


class Console(unittest.TestCase):
    """Types every command of the pages, in a copy of the checkout's top, in front of a broker of ours."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.folder)
        self.ports = dict(zip(PORTS, quiet_ports(len(PORTS)), strict=True))
        self.servers: dict[str, Running] = {}
        (self.folder / "benchmarks").mkdir()
        typed = [*(ROOT / "examples").rglob("*"), *(DOCS / "snippets").iterdir(), ROOT / "certs" / "make_pki.py"]
        for path in typed:
            if path.suffix in (".py", ".toml", ".cfg"):
                copy = self.folder / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(self.here(path.read_text()))
                copy.chmod(0o644)
        tools = self.folder / ".venv" / "bin"
        tools.mkdir(parents=True)
        for tool, words in (("python", [sys.executable]), ("mgate", MGATE)):
            installed = f"PYTHONPATH={ROOT}:$PYTHONPATH"
            (tools / tool).write_text(f'#!/bin/sh\n{installed} exec {shlex.join(words)} "$@"\n')
            (tools / tool).chmod(0o755)
        self.environ = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        self.working = self.folder
        broker = Running(self, [sys.executable, "-c", BROKER, self.ports["1883"]])
        broker.expect("broker ready")

    def here(self, text: str) -> str:
        return re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[0]], text)

    def type_all(self, page: Path, start: str = ".") -> list[str]:
        """Type what a page says, beginning in the folder `start`. Returns the commands that were really run."""
        self.working = self.folder / start
        typed = []
        for command, expected in commands(page):
            if command.startswith("make "):
                self.assertRegex((ROOT / "Makefile").read_text(), rf"(?m)^{command.removeprefix('make ')}:")
            elif command.startswith("cd "):
                self.working = self.working / command.removeprefix("cd ")
                self.assertTrue(self.working.is_dir())
            elif not command.startswith(TYPED_ELSEWHERE):
                typed.append(command)
                with self.subTest(command):
                    self.type(self.here(command), self.here(expected))
        return typed

    def type(self, command: str, expected: str) -> None:
        words = shlex.split(command)
        if words[:2] in SERVERS:
            self.serve(words[0], command, expected)
            return
        done = run(["sh", "-c", command], directory=str(self.working), environ=self.environ)
        self.assert_output(done.stdout + done.stderr, expected)

    def serve(self, program: str, command: str, expected: str) -> None:
        """Start a server in place of the one of this program that runs, and wait for its lines."""
        if program in self.servers:
            self.servers[program].stop()
        running = Running(self, ["sh", "-c", f"exec {command}"], environ=self.environ, cwd=self.working)
        self.servers[program] = running
        for line in expected.splitlines():
            running.expect(max(line.split("..."), key=len))
        if program == "haproxy":
            self.wait_for_port(self.ports["8884"])

    def wait_for_port(self, port: str) -> None:
        """Connect until somebody listens who says nothing by itself."""
        for _ in range(PATIENCE * 10):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", int(port)), 1):
                return
            threading.Event().wait(0.1)
        self.fail(f"nobody listens on {port}")

    def assert_output(self, printed: str, expected: str) -> None:
        same = doctest.OutputChecker().check_output(
            expected, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.DONT_ACCEPT_TRUE_FOR_1
        )
        self.assertTrue(same, f"expected:\n{expected}\nprinted:\n{printed}")

    def test_tutorial(self) -> None:
        typed = self.type_all(DOCS / "start" / "tutorial.rst")
        self.assertGreater(len(typed), 8)

    def test_readme(self) -> None:
        demo = Running(self, [*MGATE, "demo", "--port", self.ports["1884"]])
        demo.expect("Every decision")
        self.servers["mgate"] = demo
        typed = self.type_all(ROOT / "README.md")
        self.assertGreater(len(typed), 4)

    def test_how_to(self) -> None:
        """In the folder of the examples."""
        typed = []
        for page in sorted((DOCS / "howto").glob("*.rst")):
            if page.stem not in ("tls", "behind-a-proxy"):
                typed += self.type_all(page, "examples")
        self.assertTrue({"python embedding.py", "mgate handlers --plugin-dir handlers"} <= set(typed))
        self.assertIn("PYTHONPATH=handlers python -m unittest test_tenant_rules", typed)

    def test_how_to_use_tls(self) -> None:
        needed("openssl", "apt install openssl")
        typed = self.type_all(DOCS / "howto" / "tls.rst")
        self.assertGreater(len([command for command in typed if "mgate pub" in command]), 7)
        self.assertGreater(len([command for command in typed if "openssl s_client" in command]), 3)
        self.servers["mgate"].expect("reason=tls_revoked")

    def test_how_to_stand_behind_a_proxy(self) -> None:
        """docs/snippets/haproxy.cfg and proxied.toml."""
        needed("haproxy", "apt install haproxy")
        self.working = self.folder
        self.type("python certs/make_pki.py", "...")
        self.assertEqual(len(self.type_all(DOCS / "howto" / "behind-a-proxy.rst")), 3)
        self.servers["mgate"].expect("event=connect")
        self.type(self.here("mgate pub -p 8883 -t t -m x"), "connection closed before it was accepted\n")
        self.servers["mgate"].expect("reason=proxy_header")

    def test_all_commands_are_on_these_pages(self) -> None:
        elsewhere = [page for page in PAGES if page.parent.name not in ("start", "howto")]
        self.assertEqual([page.name for page in elsewhere if list(commands(page))], [])

    def test_embedding_with_tls(self) -> None:
        """docs/snippets/embedding_tls.py, to a device that has a certificate, and to one whose is revoked."""
        self.working = self.folder
        self.type("python certs/make_pki.py", "...")
        self.type("python examples/ocsp_responder.py", "answering on ...")
        files = [f"certs/{name}" for name in ("server.pem", "server.key", "ca.pem")]
        gateway = Running(
            self, [sys.executable, "docs/snippets/embedding_tls.py", *files], environ=self.environ, cwd=self.working
        )
        gateway.expect("listening")
        client = self.here("mgate pub -h localhost -p 8883 --cafile certs/root.pem -t t -m x")
        self.type(f"{client} --cert certs/client-good.pem --key certs/client-good.key", "acknowledged...")
        refused = "connection closed before it was accepted\n"
        self.type(f"{client} --cert certs/client-revoked.pem --key certs/client-revoked.key", refused)
        gateway.expect("reason=tls_revoked")

    def test_embedding_judges(self) -> None:
        """examples/embedding.py, between a device and a broker."""
        self.working = self.folder / "examples"
        self.type("python embedding.py", "listening on ...\n")
        client = f"mgate pub -p {self.ports['1884']} -m x"
        self.type(f"{client} -t a", "acknowledged...\n")
        self.type(f"{client} -t plant/a", "publish refused: 0x87 not authorized: the plant listens to nobody\n")
        self.servers["python"].expect("event=connect")
        self.servers["python"].stop()


class Build(unittest.TestCase):
    """Sphinx takes all of it without a warning."""

    @unittest.skipUnless(util.find_spec("sphinx"), "Sphinx is not installed: pip install -e '.[docs]', or make docs")
    def test_without_warnings(self) -> None:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        command: list[Any] = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", DOCS, folder]
        done = subprocess.run([*command, "-d", f"{folder}/doctrees"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("auth_publish", (Path(folder) / "reference" / "hooks.html").read_text())

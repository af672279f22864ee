"""The law of layers holds, and its checker notices each kind of breach."""

from __future__ import annotations

import tempfile
import textwrap
from pathlib import Path
from unittest import TestCase

from tests import layers


class LawTests(TestCase):
    """The code of mgate as it is."""

    def test_no_breach(self) -> None:
        self.assertEqual("\n".join(layers.breaches()), "")

    def test_every_layer_is_there(self) -> None:
        modules = layers.read(layers.ROOT, "mgate")
        self.assertEqual({layers.layer_of(name) for name in modules}, {0, 1, 2, 3, 4})

    def test_core_is_what_knows_no_transport(self) -> None:
        modules = layers.core_modules()
        self.assertIn("mgate/mqtt/packets.py", modules)
        self.assertIn("mgate/policy.py", modules)
        self.assertNotIn("mgate/mqtt/protocol.py", modules)
        self.assertNotIn("mgate/dropins.py", modules)

    def test_core_tests_need_no_reactor(self) -> None:
        tests = layers.core_tests()
        self.assertIn("tests/handlers/test_deny.py", tests)
        self.assertNotIn("tests/test_dropins.py", tests)
        self.assertNotIn("tests/test_packaging.py", tests)


class CheckerTests(TestCase):
    """Each rule, on a small tree with one planted breach."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)

    def check(self, **files: str) -> list[str]:
        """Write modules (``__`` stands for a slash) and check them."""
        for name, text in files.items():
            path = self.root / "mgate" / (name.replace("__", "/") + ".py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return layers.breaches(self.root)

    def assert_breach(self, found: list[str], where: str, what: str) -> None:
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(where + ": "), found[0])
        self.assertIn(what, found[0])

    def test_lawful_tree(self) -> None:
        found = self.check(
            errors="import enum",
            interfaces="from twisted.plugin import IPlugin\nfrom zope.interface import Interface",
            policy="from twisted.internet.defer import Deferred\nfrom mgate.errors import Denied",
            mqtt__framing="import struct\nfrom mgate.errors import Malformed",
            mqtt__protocol="from twisted.internet.protocol import Protocol\nfrom mgate.mqtt.framing import split",
            service="def start():\n    from twisted.internet import reactor\n    return reactor",
        )
        self.assertEqual(found, [])

    def test_lower_layer_imports_higher(self) -> None:
        found = self.check(errors="", policy="from mgate.config import load", config="")
        self.assert_breach(found, "mgate/policy.py:1", "layer 2 imports mgate.config of layer 4")

    def test_import_inside_of_a_function_counts(self) -> None:
        found = self.check(errors="def late():\n    from mgate import policy", policy="")
        self.assert_breach(found, "mgate/errors.py:2", "layer 0 imports mgate.policy of layer 2")

    def test_relative_import(self) -> None:
        self.assert_breach(self.check(errors="from . import session"), "mgate/errors.py:1", "relative import")

    def test_deferred_outside_of_policy(self) -> None:
        found = self.check(verdict="from twisted.internet.defer import Deferred")
        self.assert_breach(found, "mgate/verdict.py:1", "twisted.internet.defer.Deferred below the transports")

    def test_transport_in_policy(self) -> None:
        found = self.check(policy="from twisted.internet.protocol import Protocol")
        self.assert_breach(found, "mgate/policy.py:1", "below the transports")

    def test_unknown_module_of_a_protocol_is_part_of_its_relay(self) -> None:
        found = self.check(mqtt__retries="from twisted.internet import task")
        self.assert_breach(found, "mgate/mqtt/retries.py:1", "below the transports")

    def test_socket_in_a_codec(self) -> None:
        self.assert_breach(self.check(mqtt__text="import socket"), "mgate/mqtt/text.py:1", "imports socket")

    def test_third_party_library_in_a_codec(self) -> None:
        self.assert_breach(self.check(mqtt__text="import attrs"), "mgate/mqtt/text.py:1", "imports attrs")

    def test_transport_in_configuration(self) -> None:
        found = self.check(config="from twisted.internet.endpoints import serverFromString")
        self.assert_breach(found, "mgate/config.py:1", "is no transport and assembles none")

    def test_reactor_in_a_link(self) -> None:
        found = self.check(link="def dial():\n    from twisted.internet import reactor")
        self.assert_breach(found, "mgate/link.py:2", "chooses a reactor")

    def test_named_reactor(self) -> None:
        found = self.check(flow="def poll():\n    from twisted.internet.epollreactor import install")
        self.assert_breach(found, "mgate/flow.py:2", "chooses a reactor")

    def test_reactor_as_soon_as_the_service_is_imported(self) -> None:
        found = self.check(service="try:\n    from twisted.internet import reactor\nexcept ImportError:\n    pass")
        self.assert_breach(found, "mgate/service.py:2", "as soon as it is imported")

    def test_protocol_imports_another(self) -> None:
        found = self.check(http__protocol="from mgate.mqtt.framing import split", mqtt__framing="")
        self.assert_breach(found, "mgate/http/protocol.py:1", "http imports mgate.mqtt.framing.split")

    def test_modules_named_after_nothing(self) -> None:
        self.assert_breach(self.check(mqtt__helpers=""), "mgate/mqtt/helpers.py:1", "no one reason to exist")

    def test_classes_named_after_nothing(self) -> None:
        found = self.check(link="\nclass LinkManager:\n    pass")
        self.assert_breach(found, "mgate/link.py:2", "class LinkManager")

    def test_circle(self) -> None:
        found = self.check(flow="import mgate.link", link="import mgate.flow")
        self.assert_breach(found, "mgate/flow.py:1", "mgate.flow -> mgate.link -> mgate.flow")

    def test_a_late_import_is_no_circle(self) -> None:
        self.assertEqual(self.check(flow="import mgate.link", link="def late():\n    import mgate.flow"), [])

    def test_type_checking_is_no_circle_but_a_breach_of_layers(self) -> None:
        text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mgate.link import Link"
        found = self.check(errors=text, link="import mgate.errors")
        self.assert_breach(found, "mgate/errors.py:3", "layer 0 imports mgate.link of layer 3")

    def test_private_openssl_in_one_file_of_tls(self) -> None:
        self.assertEqual(self.check(tls__verify="from OpenSSL import SSL\nSSL._lib.x()"), [])

    def test_private_openssl_outside_of_tls(self) -> None:
        found = self.check(link="from OpenSSL._util import lib")
        self.assert_breach(found, "mgate/link.py:1", "outside of mgate.tls")

    def test_private_openssl_in_two_files(self) -> None:
        found = self.check(
            tls__verify="from OpenSSL import SSL\nprint(SSL._lib)",
            tls__crl="from cryptography.hazmat.bindings.openssl.binding import Binding",
        )
        self.assertEqual(len(found), 2, found)
        self.assertIn("mgate/tls/crl.py:1", found[0])
        self.assertIn("mgate/tls/verify.py:2", found[1])

    def test_core_tests_follow_imports_of_the_suite(self) -> None:
        self.check(policy="", link="")
        (self.root / "tests").mkdir()
        for name, text in {
            "wire": "",
            "broker": "import subprocess",
            "test_policy": "import mgate.policy\nfrom tests import wire",
            "test_broker": "import mgate.policy\nfrom tests import broker",
            "test_link": "import mgate.link",
            "test_trial": "import mgate.policy\nfrom twisted.trial.unittest import TestCase",
            "test_deferred": "import mgate.policy\nfrom twisted.internet.defer import Deferred",
            "test_nothing_of_ours": "import json",
        }.items():
            (self.root / "tests" / f"{name}.py").write_text(text)
        self.assertEqual(layers.core_tests(self.root), ["tests/test_deferred.py", "tests/test_policy.py"])

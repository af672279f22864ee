"""Handlers are found by name, and every file and wheel that offers none is accounted for."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from unittest import TestCase
from unittest.mock import patch

from twisted.plugin import getPlugins

import mgate.plugins
from mgate.dropins import Found, discover, find_handler, find_maker, join_folders
from mgate.errors import ConfigError
from mgate.handler import Handler, MakerContext
from mgate.interfaces import IHandlerMaker

RULES = """
    from mgate.handler import Handler, plugin

    class Rules(Handler):
        pass

    rules = plugin("{name}", Rules)
"""


class DropinTestCase(TestCase):
    """Folders of plugins, and a search path that is as before when the test is over."""

    def setUp(self) -> None:
        self.addCleanup(os.umask, os.umask(0o022))
        self.root = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.root)
        before = list(mgate.plugins.__path__)
        self.addCleanup(lambda: mgate.plugins.__path__.__setitem__(slice(None), before))
        self.addCleanup(self.forget)
        self.addCleanup(sys.path.__setitem__, slice(None), list(sys.path))

    def forget(self) -> None:
        """Forget the modules that came from our folders: the next test has others of the same names."""
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(str(self.root)):
                del sys.modules[name]

    def write(self, path: str, text: str) -> str:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return str(file)

    def discover(self, *folders: str) -> list[Found]:
        """What is found beside the handlers that come with the gateway; nothing may be printed."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            found = discover([str(self.root / folder) for folder in folders])
        self.assertEqual(said.getvalue(), "")
        return [each for each in found if not each.source.endswith("mgate/plugins/builtin.py")]

    def statuses(self, *folders: str) -> list[tuple[str, str, str]]:
        return [(each.name, each.source, each.status) for each in self.discover(*folders)]

    def assert_problems(self, error: ConfigError, *expected: str) -> None:
        self.assertEqual(error.problems, list(expected))


class DiscoverTests(DropinTestCase):
    """Files of --plugin-dir."""

    def test_handlers_that_come_with_the_gateway(self) -> None:
        builtin = os.path.join(os.path.dirname(mgate.plugins.__file__), "builtin.py")
        found = [(each.name, each.source, each.status) for each in discover() if each.source == builtin]
        self.assertEqual(found, [(name, builtin, "loaded") for name in ("certificate", "deny", "log")])

    def test_file_in_a_folder(self) -> None:
        path = self.write("a/rules.py", RULES.format(name="tenant-rules"))
        (found,) = self.discover("a")
        self.assertEqual((found.name, found.source, found.status), ("tenant-rules", path, "loaded"))
        self.assertTrue(IHandlerMaker.providedBy(found.maker))
        self.assertTrue(found.usable)

    def test_package_in_a_folder(self) -> None:
        self.write("a/acme/core.py", RULES.format(name="acme"))
        path = self.write("a/acme/__init__.py", "from mgate.plugins.acme.core import rules")
        self.assertEqual(self.statuses("a"), [("acme", path, "loaded")])

    def test_twisted_finds_the_same(self) -> None:
        self.write("a/rules.py", RULES.format(name="tenant-rules"))
        found = discover([str(self.root / "a")], load_installed=False)
        ours = {each.maker for each in found if each.maker is not None}
        self.addCleanup(Path(mgate.plugins.__file__).with_name("dropin.cache").unlink, missing_ok=True)
        self.assertLessEqual(ours, set(getPlugins(IHandlerMaker, mgate.plugins)))
        self.assertEqual(len(ours), 4)

    def test_searching_leaves_no_cache_behind(self) -> None:
        self.write("a/rules.py", RULES.format(name="tenant-rules"))
        self.discover("a")
        self.assertFalse((self.root / "a" / "dropin.cache").exists())

    def test_a_poisoned_cache_is_not_read(self) -> None:
        self.write("a/rules.py", RULES.format(name="tenant-rules"))
        self.write("a/dropin.cache", f"cos\nsystem\n(S'touch {self.root}/poisoned'\ntR.")
        self.discover("a")
        self.assertFalse((self.root / "poisoned").exists())

    def test_files_that_do_not_import(self) -> None:
        good = self.write("a/good.py", RULES.format(name="good"))
        syntax = self.write("a/a_syntax.py", "x = 1\ndef (")
        division = self.write("a/b_division.py", "def f():\n    return 1 / 0\n\nf()")
        leaves = self.write("a/c_exit.py", "import sys\nsys.exit('bye')")
        missing = self.write("a/d_missing.py", "\n\nimport no_such_module_at_all")
        lines = self.write("a/e_lines.py", "raise RuntimeError('first\\nsecond \\x1b[2J' + 'x' * 999)")
        nameless = self.write("a/f_nameless.py", RULES.format(name="x") + "\n    rules.name = 'a:b'")
        found = {each.source: each.status for each in self.discover("a")}
        self.assertEqual(found.pop(good), "loaded")
        self.assertEqual(found.pop(syntax), "failed: SyntaxError: invalid syntax (a_syntax.py, line 2)")
        self.assertEqual(
            found.pop(division), "failed: ZeroDivisionError: division by zero (b_division.py, line 2)"
        )
        self.assertEqual(found.pop(leaves), "failed: SystemExit: bye (c_exit.py, line 2)")
        self.assertEqual(
            found.pop(missing), "failed: ModuleNotFoundError: No module named 'no_such_module_at_all' "
            "(d_missing.py, line 3)"
        )  # fmt: skip
        self.assertEqual(
            found.pop(nameless), "failed: ValueError: a handler's name may not be empty or hold a colon: 'a:b'"
        )
        why = found.pop(lines)
        self.assertTrue(why.isprintable(), why)
        self.assertTrue(why.startswith(r"failed: RuntimeError: first\nsecond \x1b[2Jxxx"), why)
        self.assertLess(len(why), 300)
        self.assertEqual(found, {})

    def test_interrupt_is_no_failure_of_a_plugin(self) -> None:
        self.write("a/slow.py", "raise KeyboardInterrupt")
        with self.assertRaises(KeyboardInterrupt):
            self.discover("a")

    def test_file_without_a_handler(self) -> None:
        path = self.write("a/rules.py", "from mgate.handler import Handler\n\nclass Rules(Handler):\n    pass\n")
        why = 'ignored: it offers no handler; did you forget x = plugin("name", X)?'
        self.assertEqual(self.statuses("a"), [("rules", path, why)])

    def test_names_that_cannot_be_imported(self) -> None:
        dash = self.write("a/my-handler.py", RULES.format(name="dash"))
        private = self.write("a/_shared.py", "raise RuntimeError('imported')")
        self.write("a/keys.json", "{}")
        self.assertEqual(self.statuses("a"), [
            ("_shared", private, "ignored: '_shared' starts with _: a module for others to import"),
            ("my-handler", dash, "ignored: 'my-handler' is no name of a module: rename the file to my_handler.py"),
        ])  # fmt: skip

    def test_one_file_hides_another(self) -> None:
        first = self.write("a/rules.py", RULES.format(name="first"))
        second = self.write("b/rules.py", RULES.format(name="second"))
        self.assertEqual(
            self.statuses("a", "b"), [("rules", second, f"shadowed by {first}"), ("first", first, "loaded")]
        )

    def test_file_named_as_one_of_ours(self) -> None:
        path = self.write("a/builtin.py", RULES.format(name="mine"))
        ours = os.path.join(os.path.dirname(mgate.plugins.__file__), "builtin.py")
        self.assertEqual(self.statuses("a"), [("builtin", path, f"shadowed by {ours}")])

    def test_package_hides_a_file(self) -> None:
        package = self.write("a/rules/__init__.py", RULES.format(name="package"))
        file = self.write("a/rules.py", RULES.format(name="file"))
        self.assertEqual(
            self.statuses("a"), [("rules", file, f"shadowed by {package}"), ("package", package, "loaded")]
        )

    def test_one_name_in_two_files(self) -> None:
        one = self.write("a/one.py", RULES.format(name="rules"))
        two = self.write("b/two.py", RULES.format(name="rules"))
        self.assertEqual(self.statuses("a", "b"), [
            ("rules", one, f"failed: the name 'rules' is also offered by {two}"),
            ("rules", two, f"failed: the name 'rules' is also offered by {one}"),
        ])  # fmt: skip

    def test_maker_imported_from_another_file_is_one(self) -> None:
        path = self.write("a/one.py", RULES.format(name="rules"))
        self.write("a/two.py", "from mgate.plugins.one import rules")
        self.assertEqual(self.statuses("a"), [("rules", path, "loaded")])

    def test_searching_twice_runs_a_module_once(self) -> None:
        self.write("a/rules.py", RULES.format(name="rules"))
        (first,), (second,) = self.discover("a"), self.discover("a")
        self.assertIs(first.maker, second.maker)


class FolderTests(DropinTestCase):
    """What --plugin-dir accepts."""

    def test_folder_that_is_not_there(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            join_folders([str(self.root / "nowhere")])
        self.assert_problems(caught.exception, f"--plugin-dir {self.root}/nowhere: there is no such folder")

    def test_all_problems_at_once_and_nothing_joins_that_has_one(self) -> None:
        good = self.root / "good"
        bad = self.root / "bad"
        for folder, mode in ((good, 0o755), (bad, 0o777)):
            folder.mkdir()
            folder.chmod(mode)
        with self.assertRaises(ConfigError) as caught:
            join_folders([str(self.root / "nowhere"), str(bad), str(good)])
        self.assert_problems(
            caught.exception,
            f"--plugin-dir {self.root}/nowhere: there is no such folder",
            f"--plugin-dir {bad}: {bad} (mode 0777) can be written by others; try: chmod go-w {bad}",
        )
        self.assertNotIn(str(bad), mgate.plugins.__path__)

    def test_folder_that_cannot_be_read(self) -> None:
        error = PermissionError(13, "Permission denied", str(self.root))
        with patch("mgate.dropins.why_untrusted", side_effect=error), self.assertRaises(ConfigError) as caught:
            join_folders([str(self.root)])
        self.assert_problems(
            caught.exception, f"--plugin-dir {self.root}: {self.root} cannot be read: Permission denied"
        )

    def test_joining_twice_is_joining_once(self) -> None:
        join_folders([str(self.root), f"{self.root}/"])
        self.assertEqual(list(mgate.plugins.__path__).count(str(self.root)), 1)

    def test_the_working_directory_is_not_searched(self) -> None:
        self.write("mgate/plugins/rules.py", RULES.format(name="rules"))
        with contextlib.chdir(self.root):
            self.assertEqual(self.discover(), [])


class WheelTests(DropinTestCase):
    """Handlers of installed distributions."""

    def install(self, entry_points: Sequence[str], distribution: str = "acme") -> None:
        """What an installed wheel leaves in site-packages."""
        folder = f"site/{distribution}-1.2.dist-info"
        self.write(f"{folder}/METADATA", f"Name: {distribution}\nVersion: 1.2\n")
        self.write(f"{folder}/entry_points.txt", "\n".join(["[mgate.handlers]", *entry_points]))
        if str(self.root / "site") not in sys.path:
            sys.path.append(str(self.root / "site"))

    def test_wheel(self) -> None:
        self.install(["acme = acme_rules:rules"])
        self.write("site/acme_rules.py", RULES.format(name="acme"))
        self.assertEqual(self.statuses(), [("acme", "acme 1.2 (acme_rules:rules)", "loaded")])

    def test_name_is_known_without_importing(self) -> None:
        self.install(["acme = acme_rules:rules"])
        self.write("site/acme_rules.py", "raise RuntimeError('imported')")
        found = [each for each in discover(load_installed=False) if each.name == "acme"]
        self.assertEqual([each.status for each in found], ["installed"])
        with self.assertRaises(ConfigError) as caught:
            find_maker("acme", found)
        self.assert_problems(
            caught.exception,
            "handler 'acme': acme 1.2 (acme_rules:rules) failed: RuntimeError: imported (acme_rules.py, line 1)",
        )

    def test_wheels_that_offer_something_else(self) -> None:
        self.install(["a = acme_rules:Rules", "b = acme_rules:rules", "c = acme_rules:nothing"])
        self.write("site/acme_rules.py", RULES.format(name="acme"))
        why = {each.name: each.status for each in self.discover()}
        self.assertEqual(
            why["a"], "failed: acme_rules:Rules is no IHandlerMaker; mgate.handler.plugin makes one"
        )
        self.assertEqual(why["b"], "failed: the entry point is called 'b', but its maker 'acme'")
        self.assertIn("AttributeError", why["c"])

    def test_name_of_a_wheel_and_a_file(self) -> None:
        path = self.write("a/mine.py", RULES.format(name="acme"))
        self.install(["acme = acme_rules:rules"])
        self.write("site/acme_rules.py", RULES.format(name="acme"))
        wheel = "acme 1.2 (acme_rules:rules)"
        self.assertEqual(self.statuses("a"), [
            ("acme", path, f"failed: the name 'acme' is also offered by {wheel}"),
            ("acme", wheel, f"failed: the name 'acme' is also offered by {path}"),
        ])  # fmt: skip
        with self.assertRaises(ConfigError) as caught:
            find_maker("acme")
        self.assertEqual(len(caught.exception.problems), 2)

    def test_wheel_that_offers_one_maker_in_both_ways(self) -> None:
        path = self.write("a/acme.py", RULES.format(name="acme"))
        self.install(["acme = mgate.plugins.acme:rules"])
        self.assertEqual(self.statuses("a"), [("acme", path, "loaded")])


class FindTests(DropinTestCase):
    """What the service asks for."""

    def test_maker(self) -> None:
        self.assertEqual(find_maker("deny").name, "deny")

    def test_handler_with_arguments(self) -> None:
        self.write("a/rules.py", RULES.format(name="rules"))
        found = self.discover("a")
        context = MakerContext(listener="mqtt")
        handler = find_handler("rules:keys.json:with colon", context, found)
        self.assertIsInstance(handler, Handler)
        self.assertEqual(handler.arguments, "keys.json:with colon")
        self.assertIs(handler.context, context)
        self.assertEqual(find_handler("rules", context).arguments, "")

    def assert_refused(self, spec: str, *problems: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            find_handler(spec, MakerContext())
        self.assert_problems(caught.exception, *problems)

    def test_near_name(self) -> None:
        self.assert_refused("dney:a/#", "no handler is called 'dney' (did you mean 'deny'?)")

    def test_no_near_name(self) -> None:
        self.assert_refused("policy", "no handler is called 'policy'; there are: certificate, deny, log")

    def test_unknown_name_mentions_what_failed(self) -> None:
        path = self.write("a/rules.py", "1 / 0")
        self.discover("a")
        self.assert_refused(
            "tenant-rules",
            "no handler is called 'tenant-rules'; there are: certificate, deny, log; "
            f"{path} failed: ZeroDivisionError: division by zero (rules.py, line 1)",
        )

    def test_failed_file_of_that_name(self) -> None:
        path = self.write("a/rules.py", "1 / 0")
        self.discover("a")
        self.assert_refused(
            "rules", f"handler 'rules': {path} failed: ZeroDivisionError: division by zero (rules.py, line 1)"
        )

    def test_ignored_file_of_that_name(self) -> None:
        path = self.write("a/my-rules.py", "")
        self.discover("a")
        why = "'my-rules' is no name of a module: rename the file to my_rules.py"
        self.assert_refused("my-rules", f"handler 'my-rules': {path} ignored: {why}")

    def test_makers_that_refuse(self) -> None:
        self.write("a/makers.py", """
            from mgate.errors import ConfigError
            from mgate.handler import plugin

            def configuration(arguments, context):
                raise ConfigError(["first", "second"])

            def value(arguments, context):
                raise ValueError("no such file")

            def fault(arguments, context):
                return {}[arguments and "key"]

            a = plugin("a", configuration)
            b = plugin("b", value)
            c = plugin("c", fault)
            d = plugin("d", lambda arguments, context: "text")
        """)
        self.discover("a")
        self.assert_refused("a:x", "handler 'a': first", "handler 'a': second")
        self.assert_refused("b:x", "handler 'b': no such file")
        self.assert_refused("c:x", "handler 'c': KeyError: 'key' (makers.py, line 12)")
        self.assert_refused("d:x", "handler 'd': its maker made str, which is neither a Handler nor an Interceptor")

    def test_a_misspelt_hook(self) -> None:
        rules = RULES.replace("pass", "def auth_pubish(self, session, topic, payload): pass")
        self.write("a/rules.py", rules.format(name="rules"))
        self.discover("a")
        self.assert_refused("rules", "handler 'rules': auth_pubish is no hook (did you mean auth_publish?)")

"""The `mgate` command: what it prints where, and its exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from mgate import cli
from tests.processes import MGATE, busy_port, run

GOOD = '[[listener]]\nname = "mqtt"\nlisten = "127.0.0.1:1884"\ntarget = "broker"\n'


class CommandTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def file(self, text: str) -> str:
        path = self.folder / "mgate.toml"
        path.write_text(text)
        return str(path)

    def mgate(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run it in this process: code, standard output, standard error."""
        with (
            mock.patch.dict(os.environ, environ, clear=True),
            contextlib.redirect_stdout(io.StringIO()) as output,
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            try:
                code = cli.main(arguments)
            except SystemExit as end:
                code = int(str(end.code or 0))
        return code, output.getvalue(), errors.getvalue()


class Help(CommandTest):
    def test_help(self) -> None:
        code, output, _ = self.mgate("--help")
        self.assertEqual(code, 0)
        for command in ("run", "check", "config", "handlers", "demo"):
            self.assertIn(f"\n  {command} ", output)
            self.assertIn(command, cli._COMMANDS)

    def test_no_command(self) -> None:
        code, output, errors = self.mgate()
        self.assertEqual((code, output), (1, ""))
        self.assertIn("Usage: mgate", errors)

    def test_a_misspelt_command(self) -> None:
        self.assertEqual(self.mgate("chekc"), (1, "", "mgate: no command is called 'chekc' (did you mean check?)\n"))

    def test_version(self) -> None:
        code, output, _ = self.mgate("--version")
        self.assertEqual(code, 0)
        self.assertRegex(output, r"^mgate \S")

    def test_help_of_each_command(self) -> None:
        for command in ("run", "check", "config", "handlers"):
            with self.subTest(command):
                code, output, _ = self.mgate(command, "--help")
                self.assertEqual(code, 0)
                self.assertTrue(output.startswith(f"Usage: mgate {command} [options]\n"))
                self.assertIn("--plugin-dir", output)

    def test_demo_is_handed_its_arguments(self) -> None:
        with mock.patch("mgate.demo.main", return_value=3) as main:
            self.assertEqual(self.mgate("demo", "--fast")[0], 3)
        main.assert_called_once_with(["--fast"])


class Check(CommandTest):
    def test_valid(self) -> None:
        self.assertEqual(self.mgate("check", "-c", self.file(GOOD)), (0, "Configuration is valid\n", ""))

    def test_nothing_is_bound(self) -> None:
        file = self.file(GOOD.replace("1884", str(busy_port(self))))
        self.assertEqual(self.mgate("check", "-c", file)[0], 0)

    def test_notes(self) -> None:
        code, output, _ = self.mgate("check", "--seed-defaults", MGATE_LOG_LEVLE="x")
        self.assertEqual(code, 0)
        self.assertIn("note: MGATE_LOG_LEVLE: nothing knows this variable", output)
        self.assertIn("note: seed defaults: not available", output)

    def test_every_problem_is_one_line(self) -> None:
        file = self.file(GOOD.replace("1884", "0") + "x = 1\n")
        code, output, errors = self.mgate("check", "-c", file)
        self.assertEqual((code, output), (1, ""))
        self.assertEqual(
            errors.splitlines()[1:],
            [
                f"{file}: listener \"mqtt\".listen: port '0' is not a number from 1 to 65535",
                f'{file}: listener "mqtt".x: unknown key',
            ],
        )

    def test_handlers_are_loaded(self) -> None:
        code, _, errors = self.mgate("check", "-c", self.file(GOOD), "--handler", "lgo", "--handler", "nope")
        self.assertEqual(code, 1)
        self.assertIn("no handler is called 'lgo' (did you mean 'log'?)", errors)
        self.assertIn("'nope'", errors)

    def test_mistakes_of_all_kinds_at_once(self) -> None:
        file = self.file(f'plugin_dirs = ["none"]\nhandlers = ["log", "lgo"]\n{GOOD}')
        for more in ("", "x = 1\n"):
            with self.subTest(more):
                code, _, errors = self.mgate("check", "-c", self.file(Path(file).read_text() + more))
                self.assertEqual(code, 1)
                self.assertIn(f"--plugin-dir {self.folder}/none: there is no such folder", errors)
                self.assertIn("no handler is called 'lgo'", errors)
                self.assertEqual("unknown key" in errors, bool(more))

    def test_a_handler_is_missed_in_the_file_that_names_it(self) -> None:
        file = self.file(f'handlers = ["lgo"]\n{GOOD}')
        self.assertIn(f"{file}: listener \"mqtt\": no handler is called 'lgo'", self.mgate("check", "-c", file)[2])
        errors = self.mgate("check", "-c", file, "--handler", "ddeny")[2]
        self.assertIn("--handler: listener \"mqtt\": no handler is called 'ddeny'", errors)

    def test_endpoint_strings_are_read(self) -> None:
        for text, code in (("unix:/run/x:mode=600", 0), ("systemd:domain=INET:name=mqtt", 0), ("tcp:x", 1),
                           ("unix:a:b:c:d", 1), ("tcp:1:bogus=1", 1)):  # fmt: skip
            with self.subTest(text):
                found = self.mgate("check", "-c", self.file(GOOD.replace("127.0.0.1:1884", text)))
                self.assertEqual(found[0], code, found)


class Config(CommandTest):
    def test_values_sources_and_no_secrets(self) -> None:
        file = self.file(f'handlers = ["db:password=hunter2"]\n{GOOD}')
        code, output, _ = self.mgate("config", "-c", file, "--log-level", "warn", MGATE_LIMITS_MAX_FILTERS="9")
        self.assertEqual(code, 0)
        self.assertNotIn("hunter2", output)
        lines = [" ".join(line.split()) for line in output.splitlines()]
        for expected in (
            'log.format = "text" # default',
            'log.level = "warn" # option --log-level',
            "limits.max_filters = 9 # environment MGATE_LIMITS_MAX_FILTERS",
            f'listener "mqtt".target = ["mqtt://broker:1883"] # file {file}',
            f'listener "mqtt".handlers = ["db:password=***"] # file {file}',
        ):
            self.assertIn(expected, lines)


class Handlers(CommandTest):
    def test_every_file_is_accounted_for(self) -> None:
        (self.folder / "broken.py").write_text("1 / 0\n")
        (self.folder / "good.py").write_text(
            "from mgate.handler import Handler, plugin\ngood_one = plugin('good-one', Handler)\n"
        )
        done = run([*MGATE, "handlers", "--plugin-dir", str(self.folder)])
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        rows = {line.split()[0]: line for line in done.stdout.splitlines()}
        self.assertIn("NAME", rows)
        self.assertIn("loaded", rows["log"])
        self.assertIn(f"{self.folder}/good.py", rows["good-one"])
        self.assertRegex(rows["broken"], "broken.py +failed: ZeroDivisionError")

    def test_folders_of_the_file_and_of_the_environment(self) -> None:
        (self.folder / "mine.py").write_text("1 / 0\n")
        file = self.file(f"plugin_dirs = [{json.dumps(str(self.folder))}]\n")
        self.assertIn("mine.py", run([*MGATE, "handlers", "-c", file]).stdout)
        self.assertIn("mine.py", run([*MGATE, "handlers"], environ={"MGATE_PLUGIN_DIRS": str(self.folder)}).stdout)
        code, _, errors = self.mgate("handlers", "-c", self.file("plugin_dirs = 3\n"))
        self.assertEqual((code, "plugin_dirs: must be a list of folders" in errors), (1, True))
        self.assertIn("cannot be read", self.mgate("handlers", "-c", str(self.folder / "none"))[2])

    def test_a_folder_that_is_none(self) -> None:
        code, output, errors = self.mgate("handlers", "--plugin-dir", str(self.folder / "none"))
        self.assertEqual((code, output), (1, ""))
        self.assertIn("there is no such folder", errors)

"""A folder whose code others could change is not used, and each reason names the path and its mode."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from unittest import TestCase, skipUnless
from unittest.mock import patch

from mgate.ownership import why_untrusted

IS_ROOT = os.geteuid() == 0


class OwnershipTests(TestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp()).resolve()
        self.addCleanup(shutil.rmtree, self.root)
        self.folder = self.make("plugins", 0o755)

    def make(self, name: str, mode: int, text: str | None = None) -> Path:
        path = self.root / name
        if text is None:
            path.mkdir()
        else:
            path.write_text(text)
        path.chmod(mode)
        return path

    def assert_refused(self, *expected: str) -> None:
        self.assertEqual(why_untrusted(str(self.folder)), list(expected))

    def test_ours_alone(self) -> None:
        self.make("plugins/rules.py", 0o644, "")
        self.make("plugins/package", 0o755)
        self.make("plugins/package/__init__.py", 0o644, "")
        self.assert_refused()

    def test_writable_by_others(self) -> None:
        for mode in (0o777, 0o775, 0o757, 0o1777):
            self.folder.chmod(mode)
            with self.subTest(oct(mode)):
                self.assert_refused(
                    f"{self.folder} (mode {mode:04o}) can be written by others; try: chmod go-w {self.folder}"
                )

    def test_writable_code(self) -> None:
        for name in ("rules.py", "rules.pyc", "rules.so", "rules.abi3.so", "dropin.cache"):
            path = self.make(f"plugins/{name}", 0o666, "")
            with self.subTest(name):
                self.assert_refused(f"{path} (mode 0666) can be written by others; try: chmod go-w {path}")
            path.unlink()

    def test_writable_code_further_down(self) -> None:
        self.make("plugins/__pycache__", 0o755)
        path = self.make("plugins/__pycache__/rules.cpython-311.pyc", 0o664, "")
        self.assert_refused(f"{path} (mode 0664) can be written by others; try: chmod go-w {path}")

    def test_writable_package(self) -> None:
        path = self.make("plugins/package", 0o777)
        self.assert_refused(f"{path} (mode 0777) can be written by others; try: chmod go-w {path}")

    def test_writable_data_is_no_code(self) -> None:
        self.make("plugins/keys.json", 0o666, "{}")
        self.make("plugins/notes for people", 0o777)
        self.assert_refused()

    def test_writable_parent(self) -> None:
        self.root.chmod(0o777)
        self.assert_refused(f"{self.root} (mode 0777) can be written by others; try: chmod go-w {self.root}")

    def test_sticky_parent(self) -> None:
        self.root.chmod(0o1777)
        self.assert_refused()

    def test_symbolic_link_to_code_that_others_write(self) -> None:
        self.make("elsewhere", 0o777)
        target = self.make("elsewhere/rules.py", 0o644, "")
        (self.folder / "rules.py").symlink_to(target)
        self.assert_refused(
            f"{target.parent} (mode 0777) can be written by others; try: chmod go-w {target.parent}"
        )

    def test_chain_of_symbolic_links(self) -> None:
        open_folder = self.make("open", 0o777)
        (open_folder / "step").symlink_to(self.make("rules.py", 0o644, ""))
        (self.folder / "rules.py").symlink_to("../open/step")
        self.assert_refused(f"{open_folder} (mode 0777) can be written by others; try: chmod go-w {open_folder}")

    def test_folder_that_contains_itself(self) -> None:
        (self.folder / "again").symlink_to(self.folder)
        self.assert_refused()

    def test_somebody_elses(self) -> None:
        self.make("plugins/rules.py", 0o644, "")
        with patch("os.geteuid", return_value=os.geteuid() + 4711):
            problems = why_untrusted(str(self.folder))
        if IS_ROOT:
            self.assertEqual(problems, [])  # what root owns may be used by everybody
        else:
            why = f"{self.folder} (mode 0755) belongs to uid {os.getuid()}, neither to root nor to us"
            self.assertIn(why, problems)

    @skipUnless(IS_ROOT, "only root can give a file away")
    def test_file_of_another_user(self) -> None:
        path = self.make("plugins/rules.py", 0o644, "")
        os.chown(path, 4711, -1)
        self.assert_refused(f"{path} (mode 0644) belongs to uid 4711, neither to root nor to us")

    @skipUnless(IS_ROOT, "only root can give a file away")
    def test_symbolic_link_of_another_user_in_a_sticky_folder(self) -> None:
        self.root.chmod(0o1777)
        link = self.root / "link"
        link.symlink_to(self.folder)
        os.chown(link, 4711, -1, follow_symlinks=False)
        problems = why_untrusted(str(link))
        self.assertEqual(problems, [f"{link} (mode 0777) belongs to uid 4711, neither to root nor to us"])

    def test_folder_that_is_not_there(self) -> None:
        with self.assertRaises(FileNotFoundError):
            why_untrusted(str(self.root / "nowhere"))

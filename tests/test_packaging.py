"""What is installed works as a whole: ``twistd mgate`` and ``mgate``, from a wheel, an sdist, a folder and a checkout.

Each way of installing gets a fresh environment which sees the libraries of ours, but not our mgate: nothing is
downloaded, and nothing of the checkout can be imported by accident.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path
from unittest import TestCase

from tests import layers

CHECKOUT = Path(__file__).parent.parent
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".tox", ".*_cache", ".coverage*", ".hypothesis", "__pycache__", "*.egg-info", "dist", "_build"
)


PRIVATE_KEY = rb"(?m)^-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/=]{16}"
"""What a key in PEM begins with; tests have its first line alone."""


def run(*command: str | Path, cwd: str | Path = "/") -> str:
    """Run a program without what our environment says about Python; its output, or an AssertionError with it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def canonical(requirement: str) -> str:
    """The name of a distribution, without extras and versions, as the package index writes it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[ \[<>=!~;]", requirement.strip())[0]).lower()


def make_pki(checkout: Path) -> None:
    """Leave certificates and keys to play with in a checkout, as one who builds there may have."""
    run(sys.executable, "-c", "import runpy, sys; sys.path.insert(0, '.');"
        "runpy.run_path('certs/make_pki.py', run_name='__main__')", cwd=checkout)  # fmt: skip


class Environment:
    """A fresh virtual environment with the libraries of the one that runs the tests, except mgate."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = Path(run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        ours = sysconfig.get_path("purelib")
        # A .pth inside of an added folder is not read, so an editable mgate of ours stays out of sight.
        (self.site / "libraries.pth").write_text(f"{ours}\n")
        scripts = Path(sysconfig.get_path("scripts"))
        text = (scripts / "twistd").read_text().partition("\n")[2]
        (folder / "bin" / "twistd").write_text(f"#!{self.python}\n{text}")
        (folder / "bin" / "twistd").chmod(0o755)
        self.scripts = folder / "bin"

    def install(self, *arguments: str | Path, cwd: str | Path = "/") -> None:
        run(
            self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index",
            "--no-build-isolation", "--no-deps", "--ignore-installed", *arguments, cwd=cwd,
        )  # fmt: skip


class PackagingTests(TestCase):
    """Builds once, from a copy of the checkout, then installs in each way."""

    root: Path
    source: Path
    wheel: Path
    sdist: Path

    @classmethod
    def setUpClass(cls) -> None:
        cls.root = Path(tempfile.mkdtemp()).resolve()
        cls.addClassCleanup(shutil.rmtree, cls.root)
        cls.source = cls.root / "checkout"
        shutil.copytree(CHECKOUT, cls.source, ignore=LEFT_OUT)
        make_pki(cls.source)
        built = {}
        for kind in ("sdist", "wheel"):
            copy = cls.root / f"for-{kind}"
            shutil.copytree(cls.source, copy)
            target = cls.root / kind
            target.mkdir()
            run(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})",
                cwd=copy)  # fmt: skip
            (built[kind],) = target.iterdir()
        cls.sdist, cls.wheel = built["sdist"], built["wheel"]

    def environment(self) -> Environment:
        folder = Path(tempfile.mkdtemp(dir=self.root))
        return Environment(folder)

    def assert_works(self, environment: Environment, home: Path) -> None:
        """Both commands work from a folder that is not the checkout, with the mgate below `home`."""
        where = run(environment.python, "-c", "import mgate; print(mgate.__file__)").strip()
        self.assertTrue(where.startswith(f"{home}/"), where)
        self.assertRegex(run(environment.scripts / "twistd", "--help"), r"(?m)^ +mgate +\w")
        self.assertIn("mgate", run(environment.scripts / "mgate", "--help"))
        self.assertIn("mgate", run(environment.python, "-m", "mgate", "--help"))
        self.assertIn("--config", run(environment.scripts / "twistd", "mgate", "--help"))

    def test_wheel(self) -> None:
        environment = self.environment()
        environment.install(self.wheel)
        self.assert_works(environment, environment.site)
        run(environment.python, "-m", "pip", "uninstall", "--quiet", "--yes", "mgate")
        self.assertFalse((environment.site / "twisted" / "plugins" / "mgate_plugin.py").exists())

    def test_sdist(self) -> None:
        environment = self.environment()
        environment.install(self.sdist)
        self.assert_works(environment, environment.site)

    def test_folder(self) -> None:
        environment = self.environment()
        copy = self.root / "for-folder"
        shutil.copytree(self.source, copy)
        environment.install(".", cwd=copy)
        self.assert_works(environment, environment.site)

    def test_editable(self) -> None:
        environment = self.environment()
        copy = self.root / "for-editable"
        shutil.copytree(self.source, copy)
        environment.install("-e", ".", cwd=copy)
        self.assert_works(environment, copy)

    def test_wheel_holds_what_it_should(self) -> None:
        with zipfile.ZipFile(self.wheel) as archive:
            names = archive.namelist()
        modules = {str(path.relative_to(self.source)) for path in (self.source / "mgate").rglob("*.py")}
        code = {name for name in names if ".dist-info/" not in name}
        self.assertEqual(code, modules | {"mgate/py.typed", "twisted/plugins/mgate_plugin.py"})
        self.assertTrue(any(name.endswith("licenses/LICENSE") for name in names))

    def test_twisted_stays_whole(self) -> None:
        """An __init__.py of ours would hide Twisted's."""
        for folder in ("twisted", "twisted/plugins"):
            self.assertFalse((CHECKOUT / folder / "__init__.py").exists())

    def test_sdist_can_be_tested_where_it_is_unpacked(self) -> None:
        with tarfile.open(self.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        for needed in (
            ".ci/run", "LICENSE", "Makefile", "constraints.txt", "examples/handlers/rewrite.py", "newsfragments/README",
            "tests/test_packaging.py", "tox.ini",
        ):  # fmt: skip
            with self.subTest(needed):
                self.assertIn(needed, names)
        self.assertFalse([name for name in names if name.endswith((".pyc", "dropin.cache"))])

    def test_no_key_and_no_certificate_is_built_in(self) -> None:
        """Also where certs/make_pki.py has made some."""
        self.assertTrue((self.source / "certs" / "client-good.key").exists())
        with tarfile.open(self.sdist) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
            self.assertEqual(
                {name for name in names if name.startswith("certs/")},
                {"certs/.gitignore", "certs/README.md", "certs/make_pki.py"},
            )
            for member in archive.getmembers():
                file = archive.extractfile(member)
                if file is not None:
                    with self.subTest(member.name):
                        self.assertNotRegex(file.read(), PRIVATE_KEY)

    def test_every_library_that_is_imported_is_declared(self) -> None:
        """One that comes along with another today may not tomorrow."""
        metadata = configparser.ConfigParser()
        metadata.read(CHECKOUT / "setup.cfg")
        declared = {canonical(line) for line in metadata["options"]["install_requires"].split("\n") if line}
        providers = packages_distributions()
        for source in layers.read(CHECKOUT, "mgate").values():
            for each in source.imports:
                package = each.name.partition(".")[0]
                if package not in sys.stdlib_module_names and package != "mgate":
                    offered_by = {canonical(name) for name in providers.get(package, ())}
                    with self.subTest(source.path, line=each.line, package=package):
                        self.assertTrue(offered_by & declared, f"{package} is of {offered_by or 'nobody'}")

    def test_twisted_loads_one_small_file(self) -> None:
        """``twistd --help`` reads it with those of everybody else; it may not import the gateway."""
        code = (
            "import sys, runpy; sys.path.insert(0, '.');"
            "runpy.run_path('twisted/plugins/mgate_plugin.py');"
            "sys.exit(any(name.startswith('mgate') for name in sys.modules))"
        )
        run(sys.executable, "-c", code, cwd=self.source)


PYTHON_THAT_MAKES = """\
#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p "$3/bin"
echo made >"$3/made"
"""


class MakeVenv(TestCase):
    """``.ci/make-venv`` keeps an environment that works, and makes one anew whose making was interrupted."""

    def make(self, *programs: str) -> Path:
        """Run it where .venv has these programs; returns .venv."""
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        (folder / ".ci").mkdir()
        shutil.copy(CHECKOUT / ".ci" / "make-venv", folder / ".ci")
        environment = folder / ".venv"
        (environment / "bin").mkdir(parents=True)
        for file in (folder / "python", *(environment / "bin" / program for program in programs)):
            file.write_text(PYTHON_THAT_MAKES)
            file.chmod(0o755)
        run(folder / ".ci" / "make-venv", folder / "python")
        return environment

    def test_a_whole_one_is_kept(self) -> None:
        self.assertFalse((self.make("python", "pip") / "made").exists())

    def test_a_half_one_is_made_anew(self) -> None:
        for programs in ((), ("python",), ("pip",)):
            with self.subTest(programs=programs):
                environment = self.make(*programs)
                self.assertTrue((environment / "made").exists())
                self.assertEqual(list((environment / "bin").iterdir()), [])

"""Compiles load.c and sink.c into benchmarks/build/ when they are newer than what is there: load.c twice, because only
TLS needs OpenSSL."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

__all__ = ["HERE", "NoCompilerError", "build_rig", "compiler", "without_tls"]

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
SOURCES = {"load": ["load.c", "tls.h", "wire.h"], "sink": ["sink.c", "wire.h"]}
WITH_TLS = {"load-tls": SOURCES["load"]}
TLS_FLAGS = ["-DWITH_TLS"], ["-lssl", "-lcrypto"]


class NoCompilerError(Exception):
    """The generator and the sink cannot be built; the text says what to do."""


def compiler() -> list[str] | None:
    """The command of the C compiler: ``$CC``, else cc, gcc or clang; None where there is none."""
    asked = shlex.split(os.environ.get("CC", ""))
    for command in [asked] if asked else [["cc"], ["gcc"], ["clang"]]:
        if shutil.which(command[0]):
            return command
    return None


@cache
def without_tls() -> str:
    """Why ``load-tls`` cannot be compiled here, or "" if it can."""
    text = "#include <openssl/ssl.h>\n"
    command = [*(compiler() or ["cc"]), "-E", "-x", "c", "-"]
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True)
    except OSError:
        return "there is no C compiler"
    return "the compiler finds no openssl/ssl.h (Debian: apt install libssl-dev)" if done.returncode else ""


def build_rig() -> Path:
    """Compile what is not up to date.

    Returns: the folder with the programs ``load``, ``sink`` and, unless `without_tls`, ``load-tls``.
    Raises: NoCompilerError, also with what the compiler said when it failed.
    """
    folder = HERE / "build"
    folder.mkdir(exist_ok=True)
    for name, files in (SOURCES if without_tls() else SOURCES | WITH_TLS).items():
        sources, program = [HERE / file for file in files], folder / name
        if program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime for source in sources):
            continue
        command = compiler()
        if command is None:
            raise NoCompilerError(
                "The load generator and the sink are written in C, and there is no C compiler here.\n"
                "Install one (Debian: apt install gcc libc6-dev) or name it in CC, then try again."
            )
        fresh = folder / f"{name}.{os.getpid()}"  # two runs may build at the same time
        defines, libraries = TLS_FLAGS if name in WITH_TLS else ([], [])
        command = [*command, *FLAGS, *defines, "-o", str(fresh), str(sources[0]), *libraries]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise NoCompilerError(f"{shlex.join(command)} cannot compile {sources[0].name}:\n{done.stderr.strip()}")
        fresh.replace(program)
    return folder

"""Programs that these tests run but do not bring along: without one a test is skipped, under CI it fails."""

from __future__ import annotations

import os
import shutil
import unittest

__all__ = ["missing", "needed"]


def needed(program: str, origin: str) -> str:
    """The path of a program.

    Args:
        program: its name. origin: where one gets it from, for the one who reads why a test did not run.

    Raises:
        SkipTest: there is no such program here.
        AssertionError: the same, but ``CI=true`` says that there has to be.
    """
    # Debian keeps mosquitto where only root looks.
    found = shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))
    return found or missing(f"{program} is not installed ({origin})")


def missing(why: str) -> str:
    """Skip, or fail under CI. Never returns; the annotation lets it end an expression."""
    if os.environ.get("CI") == "true":
        raise AssertionError(f"CI=true, but {why}")
    raise unittest.SkipTest(f"NOT TESTED: {why}")

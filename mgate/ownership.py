"""May the code in a folder be run? Only if nobody but root and ourselves can change it, or put another in its place.

`mgate.dropins` asks before a folder of --plugin-dir joins the search path: whoever can write there runs code as us.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from importlib.machinery import all_suffixes

__all__ = ["why_untrusted"]

CODE = (*all_suffixes(), "dropin.cache")
"""How the names of files end that Python or Twisted would execute; Twisted's plugin cache is a pickle."""


def why_untrusted(folder: str) -> list[str]:
    """Look at `folder`, each parent, and the code in it, through symbolic links.

    Returns: one line for each path that is not ours, or that others may write, with the path and its mode; nothing
        if the folder may be used.
    Raises: OSError, if something cannot be looked at.
    """
    problems: dict[str, str | None] = {}
    walked: set[str] = set()
    waiting = [os.path.abspath(folder)]
    while waiting:
        here = waiting.pop()
        if os.path.realpath(here) in walked:
            continue
        walked.add(os.path.realpath(here))
        inside = []
        with os.scandir(here) as entries:
            for entry in entries:
                # A name that is no identifier cannot be imported; __pycache__ is one.
                if entry.is_dir() and entry.name.isidentifier():
                    waiting.append(entry.path)
                elif entry.name.endswith(CODE) and not entry.name.startswith("."):
                    inside.append(entry.path)
        for path in (here, *sorted(inside)):
            for step, is_parent in _way_to(path, here):
                problems[step] = problems.get(step) or _problem(step, is_parent)
    return [problem for problem in problems.values() if problem]


def _way_to(path: str, folder: str) -> Iterator[tuple[str, bool]]:
    """Each path whose owner decides what `path` is, from the root down, and whether it is only a parent of the code:
    there, a sticky bit protects what others own."""
    yield "/", True
    waiting = [path, os.path.realpath(path)]
    seen = set()
    ends = {path, folder, os.path.realpath(path), os.path.realpath(folder)}
    while waiting:
        target = waiting.pop()
        step = ""
        for part in target.split("/")[1:]:
            step = f"{step}/{part}"
            if step in seen:
                continue
            seen.add(step)
            yield step, step not in ends
            if os.path.islink(step):
                waiting.append(os.path.normpath(os.path.join(os.path.dirname(step), os.readlink(step))))


def _problem(path: str, is_parent: bool) -> str | None:
    status = os.lstat(path)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} (mode {mode:04o}) belongs to uid {status.st_uid}, neither to root nor to us"
    if stat.S_ISLNK(status.st_mode) or not mode & (stat.S_IWGRP | stat.S_IWOTH):
        return None
    if is_parent and stat.S_ISDIR(status.st_mode) and mode & stat.S_ISVTX:
        return None
    return f"{path} (mode {mode:04o}) can be written by others; try: chmod go-w {path}"

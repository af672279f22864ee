"""Whether the methods of a handler are the hooks that their author took them for.

A policy calls what it knows by name, so a misspelt `auth_publish` would admit everything and say nothing.
`mgate.dropins` asks for each handler that it makes, and the gateway does not start with one that has a mistake.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from types import FunctionType
from typing import Any

from zope.interface.interface import Method

from mgate.interfaces import IHandler, IInterceptor

__all__ = ["mistakes_in_hooks"]

ASKED = "auth_"
"""What the names of all hooks begin with that are asked; no other method may look like one."""

NEAR = 0.8
"""How alike two names are, from 0 to 1, if one of them is meant to be the other."""


def mistakes_in_hooks(handler: Any) -> Iterator[str]:
    """What is wrong with the methods of a handler, one line each.

    Args:
        handler: a provider of IHandler, of IInterceptor, or of both.
    """
    hooks: dict[str, Any] = dict(IHandler.namesAndDescriptions())
    if IInterceptor.providedBy(handler):
        hooks |= dict(IInterceptor.namesAndDescriptions())
    for name in _methods(handler):
        if name in hooks:
            yield from _wrong_parameters(name, hooks[name], getattr(handler, name))
        else:
            yield from _misspelt(name, list(hooks))


def _methods(handler: Any) -> list[str]:
    """The names of public methods. Properties are left alone: to look at one is to run it."""
    found = []
    for name in dir(handler):
        value = inspect.getattr_static(handler, name, None)
        if not name.startswith("_") and isinstance(value, FunctionType | classmethod | staticmethod):
            found.append(name)
    return found


def _wrong_parameters(name: str, hook: Method, method: Any) -> Iterator[str]:
    wanted = ", ".join(hook.positional)
    try:
        signature = inspect.signature(method)
    except (TypeError, ValueError):
        return  # something that hides how it is called
    try:
        signature.bind(*hook.positional)
    except TypeError:
        taken = ", ".join(signature.parameters)
        yield f"{name} is called with ({wanted}), but takes ({taken})"


def _misspelt(name: str, hooks: list[str]) -> Iterator[str]:
    if name.startswith(ASKED):
        near = get_close_matches(name, hooks, 1)
        yield f"{name} is no hook" + (f" (did you mean {near[0]}?)" if near else "")
        return
    near = get_close_matches(name, hooks, 1, NEAR)
    # A word that is made of a hook's, as on_publish, reconnect, subscriber and connected are, is a name of its own.
    if near and (len(name) < len(near[0]) or near[0].rstrip("e") not in name):
        yield f"{name} is no hook (did you mean {near[0]}?); call it _{name} if you did not"
